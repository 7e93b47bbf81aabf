"""Optional packages: looked for without importing; a missing one says what brings it."""

from __future__ import annotations

import sys

import pytest

from synfire.core.errors import MissingDependencyError
from synfire.core.optional import installed, require


def test_looks_without_importing():
    sys.modules.pop("this", None)
    assert installed("this")
    assert "this" not in sys.modules


def test_a_missing_package_names_the_extra():
    assert not installed("no_such_package_at_all")
    assert not installed("no_such_package_at_all.part")
    with pytest.raises(MissingDependencyError) as caught:
        require("no_such_package_at_all.part", "train")
    assert str(caught.value) == (
        "this needs the package 'no_such_package_at_all', which is not installed: "
        'pip install "synfire[train]".'
    )


def test_a_present_package_is_imported():
    import json.decoder

    assert require("json.decoder", "train") is json.decoder


def test_a_package_that_fails_by_itself_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_here.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        require("broken_here", "train")
