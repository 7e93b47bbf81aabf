"""Models by name: make, list, save, load. The exchange form is ``model.safetensors`` beside ``config.json``."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from torch import nn

from synfire.core import registry
from synfire.core.errors import CheckpointError, ConfigError, RunExistsError, UnknownNameError
from synfire.core.files import folder_atomic, write_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def _fill_registry() -> None:
    importlib.import_module(
        "synfire.backbones"
    )  # registration is its side effect; a name, not an upward import


def list_models(pattern: str = "*") -> list[str]:
    """Sorted names of the models that match a shell pattern.

    Example:
        >>> list_models("spiking_cnn*")
        ['spiking_cnn_small', 'spiking_cnn_tiny']
    """
    _fill_registry()
    return registry.models.names(pattern)


def create_model(name: str, *, pretrained: str | None = None, **options: Any) -> Any:
    """Build a model.

    Args:
        name: one of :func:`list_models`.
        pretrained: name of weights shipped for this model; they fix the options, and a contradiction is an error.
        options: ``num_classes``, ``levels`` (D), ``timesteps`` (T), ``in_channels``, and those of the family.

    Returns:
        A container (:class:`synfire.core.time.Folded`): takes [B, ...] or [T, B, ...]. Its ``config`` holds the name
        and the options; a family that sets ``net.options`` has all of them kept, defaults among them.

    Example:
        >>> net = create_model("spiking_cnn_tiny", num_classes=10, levels=4, timesteps=1, in_channels=1)
        >>> import torch; net(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    _fill_registry()
    build = registry.models[name]
    if pretrained is not None:
        return _pretrained(name, pretrained, options)
    try:
        net = build(**options)
    except TypeError as error:
        raise ConfigError(f"model {name!r}: {str(error).split('() ')[-1]}.") from error
    net.config = {"model": name, "options": getattr(net, "options", options)}
    return net


def _pretrained(name: str, weights: str, options: dict[str, Any]) -> Any:
    folder = Path(registry.pretrained[f"{name}/{weights}"])
    net = load(folder)
    fixed = net.config["options"]
    for key, value in options.items():
        if key not in fixed or _tuples(fixed[key]) != _tuples(value):
            raise ConfigError(
                f"the weights {weights!r} of {name!r} were trained with {key}={fixed.get(key)!r}, "
                f"got {value!r}: leave the option out, or build the model without pretrained."
            )
    return net


def save(net: nn.Module, folder: Path | str, overwrite: bool = False) -> Path:
    """Write a model made by :func:`create_model`: ``model.safetensors`` and ``config.json``, both or none.

    T is written as it is now, after any :func:`synfire.set_timesteps`. ``overwrite`` replaces a saved model, never
    other files.

    Raises:
        ConfigError: the net has no model name, or an option that JSON cannot hold (an encoder object).
        RunExistsError: ``folder`` is not empty.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    config = _config_now(net)
    refuse_occupied(folder, overwrite)
    state = {key: value.detach().contiguous().cpu() for key, value in net.state_dict().items()}
    with folder_atomic(folder) as temporary:
        save_file(state, temporary / WEIGHTS)
        write_json(temporary / CONFIG, config)
    return folder


def _config_now(net: nn.Module) -> dict[str, Any]:
    import synfire

    config = getattr(net, "config", None)
    if not isinstance(config, dict) or "model" not in config:
        raise ConfigError(
            f"save takes a model of synfire.create_model, got {type(net).__name__}: keep your own modules "
            "with torch.save(net.state_dict(), ...), or export them with synfire.export.trace."
        )
    options = dict(config["options"])
    if hasattr(net, "timesteps"):
        options["timesteps"] = net.timesteps
    for key, value in options.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ConfigError(
                f"{CONFIG} cannot hold the option {key}={value!r}: build the model without it, and set "
                f"net.{key} after loading."
            ) from error
    return {**config, "options": options, "synfire": synfire.__version__}


def refuse_occupied(folder: Path, overwrite: bool) -> None:
    """Raise RunExistsError where :func:`save` would not write to ``folder``."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunExistsError(f"{folder} is a file: name a folder to save a model in.")
    present = {path.name for path in folder.iterdir()}
    if present and not overwrite:
        raise RunExistsError(f"{folder} is not empty: name another folder, or overwrite=True.")
    if others := sorted(present - {CONFIG, WEIGHTS}):
        raise RunExistsError(
            f"{folder} holds {others[0]!r}, which is no part of a saved model and would be lost: "
            "name another folder."
        )


def load(folder: Path | str) -> Any:
    """Read a model written by :func:`save`, in eval mode, in the dtype that it was saved in.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not fit; the message names it.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"expected a saved model in {folder}, but it has no {name}.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model, options = str(config["model"]), dict(config["options"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} is damaged: expected a model and its options."
        ) from error
    try:
        net = create_model(model, **{key: _tuples(value) for key, value in options.items()})
    except (ConfigError, UnknownNameError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} names no model that can be built: {error}"
        ) from error
    _load_weights(net, folder / WEIGHTS)
    return net.eval()


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _load_weights(net: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    try:
        net.load_state_dict(state, assign=True)  # copying would round a float64 model to float32
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"{path} does not fit its {CONFIG}: {first}") from error
