"""The page in headless Chromium: nothing broken, nothing too wide, dark and light."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from synfire.report import write_report
from tests.report.made_up import results
from tests.report.test_page import FIGURES, SECTIONS

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER and find_spec("selenium")) and not os.environ.get("CI"),
    reason="chromium, chromedriver and selenium are not all installed (in CI this would fail)",
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    assert CHROMIUM, "CI needs chromium"
    assert DRIVER, "CI needs chromedriver"
    from selenium import webdriver
    from selenium.webdriver.chrome import service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("run"), results())


def show(browser: Any, page: Path, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_feature]})
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [360, 1200])
def test_everything_is_shown_and_fits(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.get_log("browser") == []
    sections = browser.execute_script(
        "return [...document.querySelectorAll('section')].map(s => s.id)"
    )
    assert sections == SECTIONS
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure')].map(f => { const s = f.querySelector('svg');"
        "const b = s.getBoundingClientRect(), g = s.getBBox();"
        "return [f.id, b.width, b.height, g.width, g.height, s.querySelectorAll('path').length]; })"
    )
    assert [box[0] for box in boxes] == [f"figure-{name}" for name in FIGURES]
    for name, *extents, paths in boxes:
        assert min(extents) > 40, name
        assert paths > 3, name
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg') &&"
        f"e.getBoundingClientRect().right > {width} + 0.5).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_text_of_figures_stays_readable_on_a_phone(browser: Any, page: Path) -> None:
    show(browser, page, 360)
    smallest = browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('figure svg text')].map(t =>"
        "parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a).filter(s => s > 0))"
    )
    assert smallest >= 6.5


def test_figures_do_not_spill_out_of_their_frames(browser: Any, page: Path) -> None:
    show(browser, page, 360)
    spills = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].flatMap(s => {"
        "const f = s.getBoundingClientRect(); return [...s.querySelectorAll('text')].filter(t => {"
        "const b = t.getBoundingClientRect(); return b.right > f.right + 3 || b.left < f.left - 3; })"
        ".map(t => t.textContent); })"
    )
    assert spills == []


def test_tables_scroll_in_their_own_boxes(browser: Any, page: Path) -> None:
    show(browser, page, 360)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(b => [b.clientWidth, b.scrollWidth,"
        "getComputedStyle(b).overflowX, b.getAttribute('aria-label')])"
    )
    assert all(width <= 360 and overflow == "auto" and label for width, _, overflow, label in boxes)
    assert any(scroll > width for width, scroll, _, _ in boxes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(browser: Any, page: Path, scheme: str) -> None:
    show(browser, page, 1200, scheme)
    colours = browser.execute_script(
        "const paper = getComputedStyle(document.documentElement).backgroundColor;"
        "const of = q => getComputedStyle(document.querySelector(q));"
        "return [paper, of('h1').color, of('.lead').color, of('nav a').color,"
        "of('figure svg text').fill];"
    )
    paper, *inks = [luminance(colour) for colour in colours]
    assert (paper < 0.1) == (scheme == "dark")
    for ink in inks:
        light, dark = max(paper, ink), min(paper, ink)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
