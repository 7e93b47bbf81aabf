"""State dicts out of the files that others write: nothing is unpickled but tensors and plain values."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import CheckpointError

AVERAGES = ("state_dict_ema", "model_ema", "ema")
RAW = ("model", "state_dict", "module")
PREFIXES = ("module.", "backbone.", "_orig_mod.")
_OF_DAMAGE = (
    RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class StateFile:
    """The tensors of a checkpoint under their bare names.

    Attributes:
        tensors: name to tensor, prefixes stripped.
        source: the file, or ``dict``.
        container: the key that held them, such as ``state_dict_ema``; "" for a plain state dict.
        others: keys of containers that were present and not taken.
        prefixes: what was stripped.
    """

    tensors: dict[str, Tensor]
    source: str
    container: str = ""
    others: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


def read_state(source: Path | str | Mapping[str, Any], average: bool = True) -> StateFile:
    """The state dict in a file (.safetensors; else torch's own format) or in a dict.

    Containers ``model`` and ``state_dict`` are opened, and those of an average of the weights (``state_dict_ema``,
    ``model_ema``, ``ema``), which is preferred unless ``average`` is false. Prefixes ``module.``, ``backbone.`` and
    ``_orig_mod.`` are stripped.

    Raises:
        CheckpointError: the file is missing, damaged, holds objects of other classes, or no tensors.

    Example:
        >>> raw, averaged = {"module.w": torch.zeros(2)}, {"w": torch.ones(2)}
        >>> file = read_state({"model": raw, "state_dict_ema": averaged, "epoch": 3})
        >>> file.container, file.others, file.tensors["w"].tolist()
        ('state_dict_ema', ('model',), [1.0, 1.0])
    """
    if isinstance(source, Mapping):
        content, name = source, "dict"
    else:
        content, name = _read(Path(source)), str(source)
    container = ""
    others: tuple[str, ...] = ()
    while chosen := _choose(content, average):
        container = ".".join(filter(None, (container, chosen[0])))
        others = others or tuple(chosen[1:])
        content = content[chosen[0]]
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"expected a state dict (names to tensors) in {name}, directly or under one of "
            f"{', '.join((*AVERAGES, *RAW))}; found {found}."
        )
    bare, prefixes = _strip(tensors, name)
    return StateFile(bare, name, container, others, prefixes)


def _choose(content: Mapping[Any, Any], average: bool) -> list[str]:
    """Keys of containers in ``content``, the preferred one first."""
    order = (*AVERAGES, *RAW) if average else (*RAW, *AVERAGES)
    return [key for key in order if _holds_tensors(content.get(key))]


def _holds_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and any(
        isinstance(value, Tensor) or (key in (*AVERAGES, *RAW) and _holds_tensors(value))
        for key, value in content.items()
    )


def _strip(tensors: dict[str, Tensor], name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    bare: dict[str, Tensor] = {}
    stripped: list[str] = []
    for key, value in tensors.items():
        short = key
        while prefix := next((p for p in PREFIXES if short.startswith(p)), None):
            short = short.removeprefix(prefix)
            if prefix not in stripped:
                stripped.append(prefix)
        if short in bare:
            raise CheckpointError(
                f"{name} holds two tensors named {short!r} once {', '.join(stripped)} is stripped "
                f"(one of them as {key!r}): hand over a dict with the one to load."
            )
        bare[short] = value
    return bare, tuple(stripped)


def _read(path: Path) -> Mapping[Any, Any]:
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint file, but {path} is no file.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"expected a dict of tensors in {path}, but it holds {_indefinite(content)}: save its "
            "state_dict() and load that."
        )
    return content


def _indefinite(content: Any) -> str:
    kind = type(content).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    return tensors


def _read_torch(path: Path) -> Any:
    # Training scripts keep their arguments beside the weights: a Namespace holds plain values and runs nothing.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_why_not_unpickled(path, str(error))) from error
    except _OF_DAMAGE as error:
        first = (str(error) or type(error).__name__).split("\n")[0].split(". ")[0]
        raise CheckpointError(f"{path} is damaged or no checkpoint of torch: {first}.") from error


def _why_not_unpickled(path: Path, error: str) -> str:
    named = re.search(r"GLOBAL (\S+)", error)
    if named is None:
        return f"{path} is damaged or no checkpoint of torch: its pickle cannot be read."
    return (
        f"{path} holds objects of other classes (such as {named[1]}), and nothing but tensors and plain values is "
        "unpickled: where you trust the file, save its tensors alone with "
        "torch.save(torch.load(path, weights_only=False)['model'], 'tensors.pth'), and load those."
    )
