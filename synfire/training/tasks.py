"""Tasks by name: what ``train.task`` of a recipe chooses."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from synfire.core.optional import require
from synfire.core.registry import Registry

if TYPE_CHECKING:
    from synfire.training.task_module import TaskModule

tasks: Registry[str] = Registry("task")
"""Task name to ``package.module:Class`` of its :class:`~synfire.training.task_module.TaskModule`.

A path, not the class: the class needs Lightning, which is imported when it is needed.
"""

tasks.add("classification", "synfire.training.classification:Classification")


def load_task(name: str) -> type[TaskModule]:
    """The module class of a task.

    Raises:
        UnknownNameError: no task has that name.

    Example:
        >>> load_task("classification").__name__
        'Classification'
    """
    require("lightning.pytorch", "train")
    module, _, attribute = tasks[name].partition(":")
    found: Any = getattr(importlib.import_module(module), attribute)
    return found
