import subprocess
import sys
from pathlib import Path

import pytest

from synfire.cli import main, verb_names
from synfire.cli.overrides import split_overrides
from synfire.core.errors import ConfigError, SynfireError

TOOLS = Path(__file__).parents[2] / "tools"


def test_the_verbs() -> None:
    expected = "energy evaluate export models pipeline report simulate train verify"
    assert set(expected.split()) <= set(verb_names())


@pytest.mark.parametrize("verb", verb_names())
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([verb, "--help"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert f"example:\n  synfire {verb} " in said
    assert "--debug" in said


@pytest.mark.parametrize("verb", verb_names())
def test_every_verb_has_a_tool(verb: str) -> None:
    assert f'main(["{verb}", *sys.argv[1:]])' in (TOOLS / f"{verb}.py").read_text()


def test_a_tool_is_its_verb() -> None:
    command = [sys.executable, str(TOOLS / "models.py"), "spiking_cnn_tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].startswith("spiking_cnn_tiny")


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb}" in said for verb in verb_names())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out[0].isdigit()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown verb 'trian': did you mean train?"),
        (["train", "--recipe", "digts"], "unknown recipe 'digts': did you mean digits"),
        (["train", "--model.name", "spiking_cnn_tinny"], "did you mean spiking_cnn_tiny"),
        (["train", "--model.levels=0"], "an int of at least 1, got 0"),
        (["train", "--model.option", "3"], "unrecognized arguments: --model.option 3"),
        (["train", "--model.levels"], "--model.levels needs a value"),
        (["train", "--recipe", "mnist"], "MNIST needs the folder of its files: set data.root"),
        (["models", "nothing*"], "unknown model 'nothing*'"),
        (["evaluate", "nowhere"], "unknown folder or shipped model 'nowhere'"),
        (["simulate", "nowhere", "--input", "x.npy"], "has no graph.json"),
        (["report", "nowhere"], "nowhere holds no results.json"),
    ],
)
def test_mistakes_end_in_one_sentence(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(SynfireError, match="unknown verb"):
        main(["trian", "--debug"])


def test_overrides_may_stand_anywhere() -> None:
    words = [
        "--data.root",
        "a b",
        "runs/x",
        "--count",
        "3",
        "--train.seed=1",
        "--optimiser.lr",
        "-1",
    ]
    overrides, others = split_overrides(words)
    assert overrides == ["--data.root", "a b", "--train.seed=1", "--optimiser.lr", "-1"]
    assert others == ["runs/x", "--count", "3"]
    with pytest.raises(ConfigError, match=r"--data.root needs a value"):
        split_overrides(["--data.root", "--train.seed=1"])
