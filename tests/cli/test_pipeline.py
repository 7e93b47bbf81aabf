import json
from pathlib import Path

import numpy as np
import pytest
import torch

import synfire
from synfire.cli import main
from synfire.datasets import load_dataset
from synfire.export import SpikeGraph
from tests.training.tiny import TINY

WORDS = (*TINY, "--train.epochs=4", "--train.watch=test", "--budget.weight=0.5")
BASELINES = ("--baselines.linear=true", "--baselines.relu=true", "--baselines.unbudgeted=true")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pipeline") / "run"
    assert main(["pipeline", "--seeds", "2", "--out", str(out), *WORDS, *BASELINES]) == 0
    return out


@pytest.fixture(scope="module")
def results(run: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((run / "results.json").read_text())


def test_everything_is_written(run: Path, results: dict) -> None:  # type: ignore[type-arg]
    assert (run / "report.html").stat().st_size > 10_000
    assert all((run / file["path"]).is_file() for file in results["files"])
    assert results["run"]["parameters"] == sum(p.numel() for p in _net(run).parameters())
    assert results["run"]["command"].startswith("synfire pipeline --seeds 2")


def _net(run: Path) -> torch.nn.Module:
    return synfire.load(run / "seed-0" / "model")


def test_accuracy_is_that_of_the_saved_model(run: Path, results: dict) -> None:  # type: ignore[type-arg]
    test = load_dataset("digits", limit=96).test
    right = int((_net(run)(test.batch(torch.arange(96))).argmax(1) == test.labels).sum())
    assert (results["accuracy"]["correct"], results["accuracy"]["total"]) == (right, 96)
    assert [seed["name"] for seed in results["accuracy"]["seeds"]] == ["seed 0", "seed 1"]
    names = [baseline["name"] for baseline in results["accuracy"]["baselines"]]
    assert names == [
        "spiking net without budget",
        "ReLU net of the same shape",
        "linear classifier",
    ]
    assert np.trace(results["confusion"]["matrix"]) == right


def test_integer_and_slots_are_compared_on_every_test_image(results: dict) -> None:  # type: ignore[type-arg]
    last = results["equality"]["comparisons"][-1]
    assert (last["left"], last["right"]) == ("integer graph", "binary slots")
    assert last["predictions_equal"] == last["predictions"] == 96
    assert {row["left"] for row in results["equality"]["comparisons"][:-1]} == {"module"}


def test_operations_and_activity(run: Path, results: dict) -> None:  # type: ignore[type-arg]
    points = {point["name"]: point for point in results["tradeoff"]["points"]}
    assert points["seed 0"]["shipped"]
    budgeted, free = (
        points["seed 0"]["operations"],
        points["spiking net without budget"]["operations"],
    )
    assert budgeted < free
    assert budgeted == results["energy"]["totals"]["sop_unit"]
    neurons = [path for path, _ in synfire.core.neuron.named_neurons(_net(run))]
    assert [layer["name"] for layer in results["activity"]["layers"]] == neurons
    raster = results["activity"]["raster"]
    assert len(raster["layers"][0]["counts"]) == len(raster["samples"])
    assert max(max(max(row)) for row in raster["layers"][0]["counts"]) <= raster["levels"]


def test_learning_curve(results: dict) -> None:  # type: ignore[type-arg]
    assert results["learning"]["epochs"] == [1, 2, 3, 4]
    assert {curve["name"] for curve in results["learning"]["accuracy"]} == {"train", "test"}
    assert all(value > 0 for value in results["learning"]["operations"][0]["values"])


def test_a_finished_run_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "results.json").read_bytes()
    assert main(["pipeline", "--out", str(run), *WORDS]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert (run / "results.json").read_bytes() == before


def test_an_interrupted_pipeline_trains_nothing_twice(
    run: Path,
    results: dict,
    capsys: pytest.CaptureFixture[str],  # type: ignore[type-arg]
) -> None:
    (run / "finished.json").unlink()
    words = ["pipeline", "--seeds", "2", "--out", str(run), *WORDS, *BASELINES]
    assert main(words) == 0
    assert "epoch" not in capsys.readouterr().err.replace("linear: epoch", "")
    again = json.loads((run / "results.json").read_text())
    assert again["accuracy"] == results["accuracy"]


def test_a_finished_training_of_another_recipe_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the pipeline around it was interrupted."""
    words = ["--out", str(tmp_path / "run"), *TINY, "--train.epochs=1", "--train.seed=3"]
    assert main(["pipeline", *words]) == 0
    (tmp_path / "run" / "finished.json").unlink()
    weights = tmp_path / "run" / "seed-3" / "model" / "model.safetensors"
    before = weights.read_bytes()
    capsys.readouterr()
    assert main(["pipeline", *words, "--optimiser.lr=0.1"]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert weights.read_bytes() == before
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "e")]) == 0


def test_report_is_written_again(run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_bytes() == (run / "report.html").read_bytes()
    (tmp_path / "results.json").write_text("{")
    assert main(["report", str(tmp_path)]) == 2


def test_evaluate(run: Path, tmp_path: Path, results: dict) -> None:  # type: ignore[type-arg]
    assert main(["evaluate", str(run), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["confusion"] == results["confusion"]["matrix"]
    assert main(["evaluate", str(run), "--out", str(tmp_path)]) == 2
    words = ["--part", "train", "--data.split", "writers", "--overwrite", "--out", str(tmp_path)]
    assert main(["evaluate", str(run / "seed-1"), *words]) == 0


def test_evaluating_on_images_of_the_training_is_pointed_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(run), "--overwrite", "--out", str(tmp_path)]
    assert main([*words, "--data.limit=50"]) == 0
    assert "note" not in capsys.readouterr().err
    assert main([*words, "--data.split=writers"]) == 0
    assert "the net was trained on may be among them" in capsys.readouterr().err


def test_verify(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--float64", "--count", "20", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "verify.json").read_text())["exact"]
    assert "exact: equal counts in every neuron" in capsys.readouterr().out


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("mode", ["integer", "slots"])
def test_export_and_simulate(run: Path, tmp_path: Path, mode: str, backend: str) -> None:
    model = str(run / "seed-0" / "model")
    assert main(["export", model, "--shape", "1,8,8", "--out", str(tmp_path / "x")]) == 0
    words = ["simulate", str(tmp_path / "x" / "graph"), "--recipe", "digits", "--count", "70"]
    words += ["--mode", mode, "--backend", backend, "--out", str(tmp_path / "y")]
    assert main(words) == 0
    test = load_dataset("digits").test
    expected = _net(run)(test.batch(torch.arange(70))).argmax(1).numpy()
    assert np.array_equal(np.load(tmp_path / "y" / "predictions.npy"), expected)
    summary = json.loads((tmp_path / "y" / "summary.json").read_text())
    assert summary["accuracy"] == pytest.approx((expected == test.labels[:70].numpy()).mean())


def test_energy_of_a_model_and_of_its_graph(run: Path, tmp_path: Path) -> None:
    for name, source in (("a", run), ("b", run / "graph")):
        words = ["energy", str(source), "--recipe", "digits", "--count", "30"]
        assert main([*words, "--out", str(tmp_path / name)]) == 0
    one, two = (json.loads((tmp_path / name / "energy.json").read_text()) for name in "ab")
    assert one["totals"] == two["totals"]


def test_nan_input_is_refused_everywhere(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.zeros((3, 1, 8, 8), np.float32)
    x[1, 0, 2, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    for verb, source in (("simulate", run / "graph"), ("verify", run), ("energy", run / "graph")):
        words = [
            verb,
            str(source),
            "--input",
            str(tmp_path / "x.npy"),
            "--out",
            str(tmp_path / "o"),
        ]
        assert main(words) == 2
        assert "holds 1 values that are NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_bad_arrays(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.npy"
    words = ["simulate", str(run / "graph"), "--input", str(file), "--out", str(tmp_path / "o")]
    for content, message in (
        (b"nonsense", "cannot be read as a .npy array"),
        (_npy(np.zeros((3, 1, 9, 8))), "expected a timed input [T, B, 1, 8, 8]"),
        (_npy(np.array([{}])), "cannot be read as a .npy array"),
    ):
        file.write_bytes(content)
        assert main(words) == 2
        assert message in capsys.readouterr().err


def _npy(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_wrong_data_for_a_net(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            _image(folder / "0.png")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"data: {{name: image_folder, root: {tmp_path}}}\n")
    assert main(["evaluate", str(run), "--recipe", str(recipe)]) == 2
    assert "has in_channels=1, but the image folder needs 3" in capsys.readouterr().err


def _image(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(path)


def test_a_damaged_graph_is_refused(run: Path, tmp_path: Path) -> None:
    graph = SpikeGraph.load(run / "graph")
    folder = graph.save(tmp_path / "graph")
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 8, 8), np.float32))
    words = ["simulate", str(folder), "--input", str(tmp_path / "x.npy"), "--out", str(tmp_path)]
    assert main(words) == 2
