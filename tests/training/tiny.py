"""A recipe so small that whole trainings fit into a test."""

from __future__ import annotations

from synfire.training import Recipe, load_recipe

TINY = (
    "--model.options.widths=[4, 8]",
    "--data.limit=96",
    "--train.epochs=3",
    "--train.batch_size=32",
    "--train.threads=1",
    "--train.accelerator=cpu",
)


def tiny_recipe(*overrides: str) -> Recipe:
    """The recipe of the digits on 96 images, with ``overrides``."""
    return load_recipe("digits", [*TINY, *overrides])
