"""Files appear whole or not at all."""

from __future__ import annotations

import json

import pytest

from synfire.core.errors import RunExistsError
from synfire.core.files import (
    FINISHED,
    folder_atomic,
    mark_finished,
    refuse_finished,
    write_atomic,
    write_json,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "deep" / "er" / "note.txt"
    assert write_text(path, "Zürich\n") == path
    assert path.read_bytes() == "Zürich\n".encode()
    write_text(path, "second")
    assert path.read_text() == "second"
    assert names(path.parent) == ["note.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_json_keeps_the_order_of_keys(tmp_path):
    path = write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    assert json.loads(path.read_text()) == {"b": 1, "a": [2]}
    assert path.read_text().index('"b"') < path.read_text().index('"a"')


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(temporary):
        temporary.write_bytes(b"half of the n")
        assert temporary.parent == tmp_path
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_failing_first_writer_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"key": object()})
    assert names(tmp_path) == []


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    seen = []

    def write(temporary):
        seen.append(temporary.suffix)
        temporary.write_text("x")

    write_atomic(tmp_path / "a.safetensors", write)
    assert seen == [".safetensors"]


def test_folder_appears_when_the_block_ends(tmp_path):
    folder = tmp_path / "deep" / "graph"
    with folder_atomic(folder) as temporary:
        (temporary / "a").write_text("1")
        assert not folder.exists()
    assert names(folder) == ["a"]
    assert names(folder.parent) == ["graph"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_folder_takes_the_place_of_the_old_one(tmp_path):
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "old").write_text("1")
    with folder_atomic(folder) as temporary:
        (temporary / "new").write_text("2")
        assert names(folder) == ["old"]
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["graph"]


def test_a_failing_block_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "old").write_text("1")

    def fail():
        with folder_atomic(folder) as temporary:
            (temporary / "new").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["graph"]


def test_finished_runs_are_not_written_over(tmp_path):
    run = tmp_path / "run"
    assert refuse_finished(run) == run
    run.mkdir()
    (run / "last.ckpt").write_text("unfinished")
    assert refuse_finished(run) == run
    mark_finished(run, {"accuracy": 0.99})
    assert json.loads((run / FINISHED).read_text()) == {"accuracy": 0.99}
    with pytest.raises(RunExistsError, match=r"run holds a finished run.*--overwrite"):
        refuse_finished(run)
    assert (run / FINISHED).exists()


def test_overwrite_takes_the_mark_away_and_nothing_else(tmp_path):
    (tmp_path / "model").write_text("x")
    mark_finished(tmp_path, {})
    refuse_finished(tmp_path, overwrite=True)
    assert names(tmp_path) == ["model"]
    assert refuse_finished(tmp_path) == tmp_path
