"""The report in a real browser: it loads without a complaint, shows its charts, fits the window, runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BROWSER, DRIVER, WHY_NOT, Browser
from command_line import CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.skipif(DRIVER is None or BROWSER is None, reason=WHY_NOT)]

SPEC = """
name: shown
records: 120
row_group_size: 20
models:
  - {alias: writer, provider: simulated, model: quick,
     input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 2,
     simulation: {latency_ms: 3, rejected: 0.1, transient: 0.1}}
columns:
  - {name: kind, column_type: sampler, sampler_type: category,
     params: {values: [red, "<script>document.title = 'run'</script>", ENDLESS]}}
  - {name: size, column_type: sampler, sampler_type: gaussian, params: {mean: 5, stddev: 1}}
  - {name: a_note_on_the_thing_under_a_name_that_is_longer_than_a_box, column_type: llm-text, model_alias: writer,
     prompt: "Describe a {{ kind }} thing of size {{ size }}."}
run: {error_window: 1000}
""".replace("ENDLESS", "w" * 200)
BROAD = """
[...document.querySelectorAll('svg.graph g.box')].flatMap(box => {
  const edge = box.querySelector('rect').getBoundingClientRect().right
  return [...box.querySelectorAll('text')].filter(text => text.getBoundingClientRect().right > edge)
}).map(text => text.textContent)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rowmill = CommandLine(tmp_path_factory.mktemp("shown"))
    (rowmill.directory / "shown.yaml").write_text(SPEC)
    done = rowmill("run", "shown.yaml")
    assert done.returncode in {0, 3}, done.stderr
    rowmill.output_of("report")
    return rowmill.directory / "shown.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_loads_and_fits(browser: Browser, report: Path, width: int, dark: bool) -> None:
    browser.open(report, width, dark=dark)
    assert browser.console() == []
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("document.querySelectorAll('svg.chart').length") >= 7
    assert browser.value("document.querySelectorAll('svg.graph g.box').length") == 3
    flat = "[...document.querySelectorAll('svg.chart')].filter(s => s.getBoundingClientRect().height < 40).length"
    assert browser.value(flat) == 0
    assert browser.value(BROAD) == [], "what boxes of the graph say stays inside"
    tall = "[...document.querySelectorAll('tr')].filter(row => row.getBoundingClientRect().height > 300).length"
    assert browser.value(tall) == 0, "cells are broad enough"
    lightness = int(browser.value("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
    assert (lightness < 100) is dark


def test_a_cell_that_holds_a_script_shows_as_text(browser: Browser, report: Path) -> None:
    browser.open(report, 1280)
    assert browser.value("document.title") == "shown: report"
    assert browser.value("document.scripts.length") == 0
    assert "<script>document.title = 'run'</script>" in browser.value("document.body.innerText")


def test_the_report_asks_for_no_other_file(browser: Browser, report: Path) -> None:
    browser.requested()
    browser.open(report, 1280)
    assert {url for url in browser.requested() if not url.startswith("data:")} == {report.as_uri()}
