"""Recipe parameters among the words of a command: options with a dot, as ``--model.levels 8``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synfire.core.errors import ConfigError

DOTTED = re.compile(r"--[a-z_]+\.[\w.]+(=.*)?", re.DOTALL)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides with their values, and the other words.

    Example:
        >>> split_overrides(["runs/a", "--data.root", "x", "--count", "3", "--train.seed=1"])
        (['--data.root', 'x', '--train.seed=1'], ['runs/a', '--count', '3'])
    """
    overrides: list[str] = []
    others: list[str] = []
    remaining = iter(words)
    for word in remaining:
        match = DOTTED.fullmatch(word)
        if match is None:
            others.append(word)
        elif match.group(1) is not None:
            overrides.append(word)
        else:
            value = next(remaining, None)
            if value is None or DOTTED.fullmatch(value):
                raise ConfigError(f"{word} needs a value.")
            overrides += [word, value]
    return overrides, others
