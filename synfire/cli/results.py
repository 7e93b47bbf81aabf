"""What a pipeline found, as the sections of ``results.json`` (see :mod:`synfire.report.schema`)."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import synfire
from synfire.export import SpikeGraph, execute
from synfire.report.schema import (
    Accuracy,
    Activity,
    Confusion,
    Curve,
    Equality,
    LayerActivity,
    Learning,
    Point,
    Raster,
    RasterLayer,
    Results,
    Run,
    Score,
    Tradeoff,
    WrittenFile,
)

if TYPE_CHECKING:
    from synfire.cli.pipeline import Net, Pipeline

RASTER_SAMPLES, RASTER_NEURONS = 8, 32
TITLES = {
    "linear": "linear classifier",
    "relu": "ReLU net of the same shape",
    "unbudgeted": "spiking net without budget",
}
FILES = {
    "report.html": "this page",
    "results.json": "every figure of this page",
    "graph/graph.json": "the net as a SpikeGraph, which runs without torch",
    "graph/weights.safetensors": "its weights",
}


def assemble(
    pipeline: Pipeline,
    main: Net,
    seeds: list[Net],
    baselines: list[Net],
    equality: Equality,
    replayed: dict[str, Any],
) -> Results:
    """Every section of the report."""
    return Results(
        run=_run(pipeline, main, seeds, replayed),
        accuracy=_accuracy(pipeline, main, seeds, baselines),
        confusion=Confusion(
            labels=list(pipeline.splits.classes), matrix=main.evaluation.confusion.tolist()
        ),
        learning=_learning(main),
        tradeoff=_tradeoff(main, seeds, baselines),
        activity=_activity(pipeline, main),
        equality=equality,
        energy=main.energy.to_dict(),
        files=_files(pipeline.out, main.trained.folder),
    )


def summary(content: Results, replayed: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    accuracy, totals = content["accuracy"], content["energy"]["totals"]
    shares = [seed["correct"] / seed["total"] for seed in accuracy.get("seeds", [])]
    lines = [
        f"accuracy    {accuracy['correct'] / accuracy['total']:.2%} "
        f"({accuracy['correct']} of {accuracy['total']})"
    ]
    if len(shares) > 1:
        lines.append(
            f"            {sum(shares) / len(shares):.2%} on average of {len(shares)} seeds"
        )
    lines += [
        f"{'baseline':<12}{score['correct'] / score['total']:.2%} {score['name']}"
        for score in accuracy.get("baselines", [])
    ]
    for row in content["equality"]["comparisons"]:
        lines.append(
            f"{'equality':<12}{row['left']} / {row['right']}: {row['predictions_equal']} of "
            f"{row['predictions']} predictions equal, {row['flips']} of {row['neurons']:,} counts "
            f"differ ({row['note']})"
        )
    lines += [
        f"operations  {totals['sop_unit']:,.0f} synaptic operations per image "
        f"({totals['dense_macs']:,} dense), {totals['macs']:,.0f} MACs on analog input",
        f"graph       reloaded in a fresh process: {replayed['equal']} of {replayed['samples']} "
        "predictions equal",
    ]
    return "\n".join(lines)


def _run(pipeline: Pipeline, main: Net, seeds: list[Net], replayed: dict[str, Any]) -> Run:
    recipe, splits = pipeline.recipe, pipeline.splits
    return Run(
        title=f"{splits.name} with spikes",
        subtitle=f"{recipe.model.name}, trained with integers and run with spikes",
        model=recipe.model.name,
        timesteps=recipe.model.timesteps,
        levels=recipe.model.levels,
        recipe=recipe.name,
        parameters=sum(p.numel() for p in main.trained.net.parameters()),
        seeds=[net.recipe.train.seed for net in seeds],
        data=f"{splits.name}, {splits.in_channels} x {splits.image_size[0]} x {splits.image_size[1]}",
        train_samples=len(splits.train),
        test_samples=len(splits.test),
        seconds=pipeline.seconds(),
        created=datetime.datetime.now().isoformat(" ", "minutes"),
        command=pipeline.command,
        versions={"synfire": synfire.__version__, "torch": str(torch.__version__)},
        shown={
            "Fresh process": f"{replayed['equal']} of {replayed['samples']} predictions of the "
            "reloaded graph equal"
        },
    )


def _score(net: Net, name: str) -> Score:
    return Score(name=name, correct=_correct(net), total=len(net.evaluation.labels))


def _correct(net: Net) -> int:
    return int(net.evaluation.confusion.diagonal().sum())


def _accuracy(pipeline: Pipeline, main: Net, seeds: list[Net], baselines: list[Net]) -> Accuracy:
    accuracy = Accuracy(correct=_correct(main), total=len(main.evaluation.labels))
    if split := getattr(pipeline.recipe.data, "split", ""):
        accuracy["split"] = f"{split} split"
    if len(seeds) > 1:
        accuracy["seeds"] = [_score(net, net.name) for net in seeds]
    if baselines:
        accuracy["baselines"] = [
            _score(net, TITLES[net.name]) | {"note": "same data and schedule"} for net in baselines
        ]
    return accuracy


def _learning(main: Net) -> Learning:
    history = main.trained.history

    def curves(kind: str) -> list[Curve]:
        keys = [f"{part}_{kind}" for part in ("train", "validation", "test")]
        return [
            Curve(name=key.split("_")[0], values=[record.get(key) for record in history])
            for key in keys
            if key in history[-1]
        ]

    return Learning(
        epochs=[record["epoch"] for record in history],
        loss=curves("loss"),
        accuracy=curves("accuracy"),
        operations=[Curve(name="train", values=[record.get("operations") for record in history])],
    )


def _tradeoff(main: Net, seeds: list[Net], baselines: list[Net]) -> Tradeoff:
    points = []
    for net in (*seeds, *baselines):
        operations = None
        if net.energy is not None:
            operations = net.energy.totals.sop_unit
        elif net.name == "relu":
            operations = float(main.energy.totals.dense_macs)
        if operations is not None:
            points.append(
                Point(
                    name=TITLES.get(net.name, net.name),
                    operations=operations,
                    correct=_correct(net),
                    total=len(net.evaluation.labels),
                    group="not spiking" if net.name == "relu" else "spiking",
                    shipped=net is main,
                )
            )
    return Tradeoff(unit="synaptic operations (unit spikes) per image", points=points)


def _activity(pipeline: Pipeline, main: Net) -> Activity:
    assert main.graph is not None
    return Activity(
        samples=main.energy.conditions.samples,
        layers=[
            LayerActivity(
                name=row.path,
                neurons=row.neurons,
                rate=row.rate,
                nonzero=row.nonzero,
                low=row.rate_low,
                high=row.rate_high,
            )
            for row in main.energy.neurons
        ],
        raster=_raster(pipeline, main, main.graph),
    )


def _raster(pipeline: Pipeline, main: Net, graph: SpikeGraph) -> Raster:
    labels, predictions = main.evaluation.labels, main.evaluation.predictions
    shown = _one_of_each_class(labels)[:RASTER_SAMPLES]
    timed = pipeline.in_time(main.trained.net, pipeline.splits.test.batch(shown))
    counts = execute(graph, timed, record=True).counts
    classes = pipeline.splits.classes
    names = [
        classes[label] if label == said else f"{classes[label]} taken for {classes[said]}"
        for label, said in zip(labels[shown].tolist(), predictions[shown].tolist(), strict=True)
    ]
    layers = [
        _raster_layer(node.path, torch.as_tensor(counts[node.name])) for node in graph.neurons()
    ]
    return Raster(
        levels=max(n.attrs["levels"] for n in graph.neurons()), samples=names, layers=layers
    )


def _raster_layer(name: str, counts: Tensor) -> RasterLayer:
    """The neurons whose counts vary most over the samples shown."""
    flat = counts.flatten(2).transpose(0, 1)  # [sample, timestep, neuron]
    liveliest = (
        flat.float().flatten(0, 1).var(0, correction=0).argsort(descending=True, stable=True)
    )
    chosen = liveliest[:RASTER_NEURONS].sort().values
    return RasterLayer(
        name=name, neurons=chosen.tolist(), counts=flat[:, :, chosen].round().int().tolist()
    )


def _one_of_each_class(labels: Tensor) -> Tensor:
    first = [(labels == label).nonzero()[0, 0] for label in labels.unique()]
    return torch.stack(first)


def _files(out: Path, trained: Path) -> list[WrittenFile]:
    folder = trained.relative_to(out)
    files = FILES | {
        f"{folder}/model/model.safetensors": "weights, to read with synfire.load",
        f"{folder}/recipe.yaml": "the recipe with every parameter",
        f"{folder}/history.json": "the learning curve",
    }
    return [_file(out, path, what) for path, what in files.items()]


def _file(out: Path, path: str, what: str) -> WrittenFile:
    file = WrittenFile(path=path, what=what)
    if (out / path).is_file():
        file["bytes"] = (out / path).stat().st_size
    return file
