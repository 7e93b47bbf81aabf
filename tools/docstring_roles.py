"""Documentation build: what the docstrings write and the parser of Google style does not know.

A reference such as :func:`synfire.load` is shown as plain code, and ``Example:`` is a section.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:py:)?(?:mod|class|func|meth|attr|data|exc):`~?([^`]+)`")

EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


class DocstringRoles(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            plain = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", plain)
