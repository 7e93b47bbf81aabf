"""Released weights of the original systems: recognised by names and shapes, placed tensor by tensor, all reported."""

from __future__ import annotations

import functools
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synfire.core.checkpoint_files import StateFile, read_state
from synfire.core.errors import CheckpointError
from synfire.core.models import create_model
from synfire.core.registry import released_layouts
from synfire.core.released_report import LoadReport

__all__ = [
    "LoadReport",
    "ReleasedLayout",
    "Unused",
    "create_released",
    "load_released",
    "recognise",
    "rename",
]

Shapes = Mapping[str, tuple[int, ...]]
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Unused:
    """Why a tensor of a checkpoint has no place in a net.

    Args:
        reason: for the report.
        harmless: the net computes the same without it, so leaving it out makes no partial load.
    """

    reason: str
    harmless: bool = False


class ReleasedLayout(ABC):
    """How one released system names its tensors, and where they belong. Stateless; one instance is registered."""

    title: str

    @abstractmethod
    def recognises(self, shapes: Shapes) -> bool:
        """Whether these tensors are of this system."""

    @abstractmethod
    def fitting(self, shapes: Shapes, net: nn.Module | None = None) -> tuple[str, dict[str, Any]]:
        """Name and options (beyond its defaults) of the model that the checkpoint was made with, or with ``net`` of the
        model of its kind whose sizes fit."""

    @abstractmethod
    def takes(self, net: nn.Module) -> bool:
        """Whether tensors of this system have places in ``net``."""

    @abstractmethod
    def place(self, name: str, net: nn.Module) -> str | Unused:
        """Name in ``net`` of the checkpoint's tensor ``name``; a name that ``net`` lacks is reported as unused."""

    def replaceable(self, name: str, net: nn.Module) -> bool:
        """Whether the net's tensor ``name`` may differ in shape or be absent where a partial load is asked for."""
        return False

    @abstractmethod
    def set_neurons(self, net: nn.Module) -> dict[str, Any]:
        """Set the neurons to the variant that the weights were trained with; returns what was set, which of ``net``'s
        options say so under the same names."""


@functools.lru_cache(8192)
def rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """``name`` after every rule (regular expression, replacement) in turn.

    Example:
        >>> rename("block3.0.fc1_bn.weight", ((r"^block3", "stages.3"), (r"fc1_bn", "norm")))
        'stages.3.0.norm.weight'
    """
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def recognise(tensors: Mapping[str, Tensor]) -> ReleasedLayout:
    """The layout of a state dict.

    Raises:
        CheckpointError: none that is known.
    """
    importlib.import_module("synfire.backbones")  # layouts are registered beside their models
    shapes = _shapes(tensors)
    for key in released_layouts:
        layout: ReleasedLayout = released_layouts[key]
        if layout.recognises(shapes):
            return layout
    known = "; ".join(released_layouts[key].title for key in released_layouts)
    raise CheckpointError(
        f"expected released weights of one of: {known}; no such names among {', '.join(list(shapes)[:3])}, ... "
        "(weights that Synfire saved are read with synfire.load)."
    )


def load_released(
    net: nn.Module,
    source: Path | str | Mapping[str, Any],
    *,
    partial: bool = False,
    average: bool = True,
) -> LoadReport:
    """Load released weights of an original repository into ``net``, in place.

    The layout is recognised from names and shapes. Every tensor lands where it belongs, BatchNorm statistics and
    learned constants among them; rounding, gradient window and normalisation of the neurons become those that the
    weights were trained with, and ``net.config`` records them, so that :func:`synfire.save` keeps them. Nothing is
    changed if anything is refused.

    Args:
        net: a model of a family that the weights fit.
        source: a .pth, .pt or .safetensors file, or a dict. Containers ``model``, ``state_dict`` and averages of the
            weights (``state_dict_ema``, ``ema``) are opened, prefixes ``module.`` and ``backbone.`` stripped. Nothing
            but tensors and plain values is unpickled.
        partial: accept tensors that are missing or left over (another number of classes, a pre-training checkpoint in
            the model to be fine-tuned); such tensors of ``net`` keep their values and are reported. A net of other
            widths is refused all the same.
        average: take the average of the weights where the file holds both.

    Returns:
        What became of every tensor; ``str(report)`` is a table.

    Raises:
        CheckpointError: the file cannot be read, its layout is unknown, or it does not fit ``net`` whole; the message
            names the model that it fits.

    Example:
        >>> import synfire
        >>> net = synfire.create_model("e_spikeformer_t", num_classes=10)
        >>> synfire.load_released(net, {"model": {"head.weight": torch.zeros(10, 128)}})
        Traceback (most recent call last):
        ...
        synfire.core.errors.CheckpointError: expected released weights of one of: ...
    """
    file = read_state(source, average)
    return _load(net, file, recognise(file.tensors), partial)


def create_released(
    source: Path | str | Mapping[str, Any], *, average: bool = True, **options: Any
) -> tuple[nn.Module, LoadReport]:
    """The model that a released checkpoint was made with, its sizes read off the shapes, in eval mode, and the report.

    Args:
        source, average: as of :func:`load_released`.
        options: of the model beside those that the shapes tell, such as ``levels``, which no checkpoint holds.
    """
    file = read_state(source, average)
    layout = recognise(file.tensors)
    name, fitting = layout.fitting(_shapes(file.tensors))
    net = create_model(name, **fitting | options)
    return net.eval(), _load(net, file, layout, partial=False)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _load(net: nn.Module, file: StateFile, layout: ReleasedLayout, partial: bool) -> LoadReport:
    shapes = _shapes(file.tensors)
    call = _call(*layout.fitting(shapes))
    if not layout.takes(net):
        raise CheckpointError(
            f"{file.source} holds weights of {layout.title}, which do not go into a {type(net).__name__}: "
            f"build the model with {call}."
        )
    matching = match(net, file.tensors, layout)
    matching.refuse_other_sizes(file, layout, _call(*layout.fitting(shapes, net)), partial)
    if not partial:
        matching.refuse_parts(file, layout, call)
    casts = _copy(matching, file.tensors)
    neurons = layout.set_neurons(net)
    _record(net, neurons)
    return LoadReport(
        layout.title, call, file.source, file.container, file.others, file.prefixes, neurons,
        {first: ours for ours, (first, *_) in matching.sources.items()},
        {copy: first for first, *copies in matching.sources.values() for copy in copies},
        matching.unused, matching.missing, tuple(matching.counters), casts,
    )  # fmt: skip


def _call(name: str, options: dict[str, Any]) -> str:
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    return f"synfire.create_model({name!r}{arguments})"


def _record(net: nn.Module, settings: dict[str, Any]) -> None:
    """Settings of the neurons among the options that :func:`synfire.save` writes."""
    for options in (getattr(net, "options", None), getattr(net, "config", {}).get("options")):
        if isinstance(options, dict):
            options.update((key, value) for key, value in settings.items() if key in options)


@dataclass
class Matching:
    """Which tensor of a checkpoint goes where.

    Attributes:
        ours: the net's tensors by their first name.
        sources: name in the net to the names in the checkpoint that hold it, several where a tensor is shared.
        mismatched: name in the checkpoint to name in the net, where shapes differ; and those among them that must fit.
        unused, missing, counters: as of :class:`LoadReport`.
        left_over: the unused tensors that the net would need to compute the same.
    """

    ours: dict[str, Tensor]
    sources: dict[str, list[str]] = field(default_factory=dict)
    mismatched: dict[str, str] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)

    def refuse_other_sizes(
        self, file: StateFile, layout: ReleasedLayout, call: str, partial: bool
    ) -> None:
        """Raise CheckpointError where shapes differ; those of classifiers and the like pass in a partial load."""
        first = next(iter(self.fixed or self.mismatched), None)
        if first is None or (partial and not self.fixed):
            return
        target = self.mismatched[first]
        others = len(self.mismatched) - 1
        more = f", and {others} more differ" if others else ""
        remedy = f"the model that fits is {call}"
        if not self.fixed:
            remedy += "; partial=True leaves such tensors of the net as they are"
        raise CheckpointError(
            f"{file.source} ({layout.title}) does not fit the net: {first} has shape "
            f"{list(file.tensors[first].shape)}, but {target} has {list(self.ours[target].shape)}{more}; {remedy}."
        )

    def refuse_parts(self, file: StateFile, layout: ReleasedLayout, call: str) -> None:
        """Raise CheckpointError where tensors of either side have no counterpart."""
        whole = f"{file.source} ({layout.title})"
        remedy = f"the model that fits is {call}; partial=True loads what there is"
        if self.missing:
            if file.others:
                remedy += f"; average=False takes {file.others[0]!r} instead of {file.container!r}"
            raise CheckpointError(
                f"{whole} lacks {_some(list(self.missing))} of the net; {remedy}."
            )
        if self.left_over:
            raise CheckpointError(
                f"{whole} holds {_some(self.left_over)} for which the net has no place; {remedy}."
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more tensors"


def match(net: nn.Module, tensors: Mapping[str, Tensor], layout: ReleasedLayout) -> Matching:
    """Find the place of every tensor by name and shape; values are not looked at."""
    state: dict[str, Tensor] = net.state_dict(keep_vars=True)
    first_name: dict[int, str] = {}
    for name, tensor in state.items():
        first_name.setdefault(id(tensor), name)
    found = Matching({name: state[name] for name in first_name.values()})
    for name, tensor in tensors.items():
        target = layout.place(name, net)
        if isinstance(target, Unused):
            found.unused[name] = target.reason
            if not target.harmless:
                found.left_over.append(name)
        elif target not in state:
            found.unused[name] = f"the net has no such part, {_part(target)}"
            found.left_over.append(name)
        else:
            _place(found, name, tensor, first_name[id(state[target])], layout, net)
    for name in found.ours:
        if name in found.sources or name in found.mismatched.values():
            continue
        if name.endswith(COUNTER):
            found.counters.append(name)
        else:
            found.missing[name] = "not in the checkpoint"
    return found


def _part(name: str) -> str:
    return name.rpartition(".")[0] or name


def _place(
    found: Matching, name: str, tensor: Tensor, target: str, layout: ReleasedLayout, net: nn.Module
) -> None:
    ours = found.ours[target]
    if _sizes(tensor) == _sizes(ours):
        found.sources.setdefault(target, []).append(name)
        return
    found.mismatched[name] = target
    if not layout.replaceable(target, net):
        found.fixed.append(name)
    shapes = f"shape {list(tensor.shape)} in the checkpoint, {list(ours.shape)} in the net"
    found.unused[name] = shapes
    found.missing[target] = shapes


def _sizes(tensor: Tensor) -> list[int]:
    """The shape without axes of size one: a kernel [O, I, 1] is the kernel [O, I, 1, 1]."""
    return [size for size in tensor.shape if size != 1]


@torch.no_grad()
def _copy(matching: Matching, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    for target, (first, *copies) in matching.sources.items():
        if matching.ours[target].is_meta:
            raise CheckpointError(
                f"{target} of the net lies on the meta device and cannot hold values: build the net elsewhere."
            )
        for copy in copies:
            _refuse_unequal(first, copy, tensors)
    casts: dict[str, int] = {}
    for target, (first, *_) in matching.sources.items():
        ours, theirs = matching.ours[target], tensors[first]
        ours.copy_(theirs.reshape(ours.shape))
        if ours.dtype != theirs.dtype:
            key = f"{_name(theirs.dtype)} to {_name(ours.dtype)}"
            casts[key] = casts.get(key, 0) + 1
    return casts


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _refuse_unequal(first: str, copy: str, tensors: Mapping[str, Tensor]) -> None:
    a, b = tensors[first], tensors[copy]
    if not torch.equal(a, b):
        largest = float((a.double() - b.double()).abs().max())
        raise CheckpointError(
            f"{first} and {copy} are copies of one tensor of the model, but differ by up to {largest:g}: "
            "the checkpoint is damaged, or was trained without sharing."
        )
