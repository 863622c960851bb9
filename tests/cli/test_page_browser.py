"""The page of ``rowmill ui`` in a real browser: no complaint, values as text, keys, a run killed under an open page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BROWSER, DRIVER, WHY_NOT, Browser
from command_line import CommandLine
from page import HOSTILE, Page, hostile_run, page_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(DRIVER is None or BROWSER is None, reason=WHY_NOT)]

_PATIENCE_S = 40.0
SLOW = """
name: slow
records: 4000
row_group_size: 20
models:
  - {alias: writer, provider: simulated, model: quick, max_parallel_requests: 16, simulation: {latency_ms: 40}}
columns:
  - {name: colour, column_type: sampler, sampler_type: category, params: {values: [red, green, blue]}}
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "Describe a {{ colour }} thing."}
"""


@pytest.fixture(scope="module")
def _browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def browser(_browser: Browser) -> Browser:
    """A browser that shows nothing, and whose console has said nothing."""
    _browser.visit("about:blank", 1280)
    _browser.console()
    return _browser


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("hostile") / "hostile.duckdb"
    hostile_run(path)
    with page_of(path, can_steer=True) as opened:
        yield opened


def do(browser: Browser, statement: str) -> None:
    """Runs a statement on the page."""
    assert browser.value(f"{statement}; true")


def until(browser: Browser, expression: str) -> None:
    """Waits until an expression is true on the page."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not browser.value(expression):
        assert time.monotonic() < give_up_at, f"{expression}\n{browser.value('document.body.innerText')}"


@pytest.mark.parametrize("width", [2560, 1280, 360])
@pytest.mark.parametrize(
    "path", ["", "rows", "rows?kind=dropped", "rows?kind=live", "row/2", "row/11", "sql?q=from+dataset", "compare"]
)
def test_every_page_fits_and_says_nothing_on_the_console(
    browser: Browser, hostile: Page, path: str, width: int
) -> None:
    browser.visit(hostile.url + path, width, dark=width == 1280)
    until(browser, "document.readyState === 'complete'")
    assert browser.console() == []
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("document.title").endswith("Rowmill")
    assert browser.value("document.querySelectorAll('h1').length") == 1


def test_hostile_values_are_seen_as_text_and_nothing_runs(browser: Browser, hostile: Page) -> None:
    browser.visit(hostile.url + "rows", 1280)
    seen = browser.value("document.body.innerText")
    for kind in ("script", "image", "address", "quotes", "template"):
        assert HOSTILE[kind] in seen, kind
    for place in range(len(HOSTILE)):
        browser.visit(f"{hostile.url}row/{place}", 1280)
        assert browser.value("document.title").startswith(f"Row {place} ")
        assert browser.value("[...document.scripts].every(s => s.src.endsWith('/page.js'))")
    assert browser.console() == []


def test_a_long_value_comes_whole_when_it_is_asked_for(browser: Browser, hostile: Page) -> None:
    browser.visit(f"{hostile.url}row/4", 1280)
    do(browser, "document.querySelector('[data-whole]').click()")
    until(browser, f"[...document.querySelectorAll('pre')].some(p => p.textContent.length === {len(HOSTILE['long'])})")


def test_the_page_asks_nothing_of_any_other_server(browser: Browser, hostile: Page) -> None:
    browser.requested()
    for path in ("", "rows", "row/1", "sql", "compare"):
        browser.visit(hostile.url + path, 1280)
    asked = {url for url in browser.requested() if not url.startswith("data:")}
    assert asked
    assert all(url.startswith(hostile.url) for url in asked)


def test_arrows_go_to_the_next_row_and_digits_to_the_pages(browser: Browser, hostile: Page) -> None:
    def press(key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            browser.command("Input.dispatchKeyEvent", {"type": kind, "key": key, "text": key if len(key) == 1 else ""})

    browser.visit(f"{hostile.url}row/1", 1280)
    press("ArrowRight")
    until(browser, "location.pathname.endsWith('/row/2')")
    press("ArrowLeft")
    until(browser, "location.pathname.endsWith('/row/1')")
    press("3")
    until(browser, "location.pathname.endsWith('/sql') && document.readyState === 'complete'")


def test_a_view_is_completed_in_the_sql_box(browser: Browser, hostile: Page) -> None:
    browser.visit(f"{hostile.url}sql", 1280)
    do(browser, "document.querySelector('textarea').focus()")
    browser.command("Input.insertText", {"text": "from prog"})
    until(browser, "document.querySelectorAll('#names li').length > 0")
    browser.command("Input.dispatchKeyEvent", {"type": "keyDown", "key": "Tab"})
    assert browser.value("document.querySelector('textarea').value") == "from progress"


def test_a_change_is_asked_about_before_it_is_made(browser: Browser, hostile: Page) -> None:
    browser.visit(hostile.url, 1280)
    do(browser, "document.querySelector('form[data-verb=pause]').requestSubmit()")
    until(browser, "document.getElementById('confirm').open")
    do(browser, "document.querySelector('#confirm button[value=\"\"]').click()")
    until(browser, "document.getElementById('said').textContent === 'Nothing was changed.'")


def test_a_run_that_is_killed_and_started_again_goes_on_under_an_open_page(browser: Browser, tmp_path: Path) -> None:
    rowmill = CommandLine(tmp_path)
    (tmp_path / "slow.yaml").write_text(SLOW)
    finished = "parseInt(document.querySelector('.tile b')?.textContent.replaceAll(',', '') ?? '-1')"
    state = "document.getElementById('state').textContent"
    try:
        run = rowmill.start("run", "slow.yaml")
        with page_of(tmp_path / "slow.duckdb") as page:
            browser.visit(page.url, 1280)
            until(browser, f"{state} === 'running' && {finished} > 20")
            run.kill()
            until(browser, f"{state} === 'stopped'")
            kept = browser.value(finished)
            again = rowmill.start("run", "slow.yaml")
            until(browser, f"{state} === 'running' && {finished} > {kept + 40}")
            assert browser.console() == []
            again.kill()
    finally:
        rowmill.close()
