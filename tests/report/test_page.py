from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from synfire.core.errors import UnknownNameError
from synfire.report import write_report
from synfire.report.page import glue, render
from tests.report.made_up import confusion, results

SECTIONS = [
    "accuracy",
    "confusion",
    "learning",
    "tradeoff",
    "activity",
    "equality",
    "energy",
    "files",
]
FIGURES = ["accuracy", "confusion", "learning", "tradeoff", "raster", "rates", "energy"]


def ids(page: str, tag: str) -> list[str]:
    return re.findall(rf'<{tag} id="([\w-]+)"', page)


def test_every_section_and_figure_is_there(tmp_path: Path) -> None:
    path = write_report(tmp_path / "run", results())
    page = path.read_text(encoding="utf-8")
    assert path == tmp_path / "run" / "report.html"
    assert ids(page, "section") == SECTIONS
    assert ids(page, "figure") == [f"figure-{name}" for name in FIGURES]


def test_the_page_stands_alone() -> None:
    page = render(results())
    links = re.findall(r'(?:src|href|action|srcset)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in page
    assert "<script" not in page
    assert not re.search(r"url\((?!['\"]?#)", page)


def test_figures_are_well_formed_and_described() -> None:
    page = render(results())
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) == len(FIGURES)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img"
        assert len(root.get("aria-label", "")) > 20
        width, height = map(float, root.get("viewBox", "").split()[2:])
        assert width > 200
        assert height > 50
    assert page.count("<figcaption>") == len(FIGURES)
    identities = re.findall(r'\bid="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", page)


def test_results_survive_json() -> None:
    assert render(json.loads(json.dumps(results()))) == render(results())


@pytest.mark.parametrize("name", [*SECTIONS, "run"])
def test_a_section_alone(name: str) -> None:
    page = render({name: results()[name]})
    assert ids(page, "section") == ([name] if name != "run" else [])


def test_an_empty_report_has_no_section() -> None:
    assert ids(render({}), "section") == []


def test_texts_are_escaped() -> None:
    found = results()
    found["run"]["title"] = "<b>1 & 2</b>"
    found["confusion"]["labels"][0] = '<i>"zero"&'
    found["activity"]["layers"][0]["name"] = "a<b"
    page = render(found)
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;1 &amp; 2" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(drawing)


def test_what_the_figures_say() -> None:
    page = render(results())
    text = re.sub(r"\s+", " ", page.replace("\u00a0", " "))
    assert "358 of 360 right: 99.44 % (95 % interval 98.00 % to 99.85 %)" in text
    assert "Over 3 seeds: 99.17 % on average, standard deviation 0.28 points" in text
    assert "360 of 360 predictions are equal; at most 2 of 1,866,240 counts differ" in text
    assert "First difference: neuron stages.1.body.0" in text
    assert "At T = 1 this net is a quantised network" in text
    assert "5 wrong in all" in text
    assert "consum" not in text.lower()


def test_equal_runs_are_called_equal() -> None:
    found = results()
    found["equality"]["comparisons"] = found["equality"]["comparisons"][1:]
    found["equality"]["first_difference"] = None
    page = render(found)
    assert "Every neuron sends the same count" in page
    assert "First difference" not in page
    assert ">equal</dd>" in page


@pytest.mark.parametrize(("timesteps", "levels"), [(1, 1), (4, 1), (3, 4)])
def test_rasters_hold_one_mark_per_unit_spike(timesteps: int, levels: int) -> None:
    section = results(timesteps, levels)["activity"]
    page = render({"activity": section})
    spikes = sum(
        count
        for layer in section["raster"]["layers"]
        for sample in layer["counts"]
        for step in sample
        for count in step
    )
    drawing = page[page.index('id="figure-raster"') : page.index('id="figure-rates"')]
    marks = sum(
        path.count("M ")
        for path in re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--accent\)', drawing)
    )
    assert marks == spikes
    assert f"{spikes} unit spikes" in drawing


def test_odd_results_are_shown_too() -> None:
    found = results()
    found["learning"] = {"epochs": [1], "loss": [{"name": "training", "values": [None]}]}
    found["confusion"] = confusion(100, 1000)
    found["tradeoff"]["points"] = found["tradeoff"]["points"][:1]
    for row in found["activity"]["layers"]:
        row.update(rate=0.0, nonzero=0.0, low=0.0, high=0.0)
    for layer in found["activity"]["raster"]["layers"]:
        layer["counts"] = [[[0] * len(step) for step in sample] for sample in layer["counts"]]
    page = render(found)
    assert "0 unit spikes" in page
    assert ids(page, "section") == SECTIONS
    nothing_wrong = {"labels": ["a", "b"], "matrix": [[5, 0], [0, 5]]}
    assert "No sample was taken wrongly" in render({"confusion": nothing_wrong})


def test_unknown_sections_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="energy"):
        write_report(tmp_path / "run", {"energie": {}})
    assert not (tmp_path / "run").exists()


def test_numbers_stay_with_their_units() -> None:
    assert glue("5 % of 3.2 µJ in 4 bits, 7 k") == "5\u00a0% of 3.2\u00a0µJ in 4 bits, 7\u00a0k"
