"""The page of ``rowmill ui`` in a real browser: no complaint, values as text, keys, a run killed under an open page."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import Popen
from typing import Any

import duckdb
import pytest
from browser import BROWSER, DRIVER, WHY_NOT, Browser
from command_line import CommandLine
from page import HOSTILE, Page, hostile_run, page_of
from ugly_run import ugly_run

from rowmill.run_database import RunDatabase

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


@pytest.fixture(scope="module")
def ugly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a run with many columns, pictures, drops and older values, beside a copy that differs."""
    path = tmp_path_factory.mktemp("ugly") / "ugly.duckdb"
    ugly_run(path)
    other = path.with_name("other.duckdb")
    shutil.copy(path, other)
    with duckdb.connect(str(other)) as connection:
        connection.execute("update state.dataset_row set verdict = 99 where row_id % 3 = 0")
    with page_of(path, can_steer=True) as opened:
        yield opened


def press(browser: Browser, *keys: str) -> None:
    """Presses keys, one after the other."""
    for key in keys:
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        number = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": number}
            browser.command("Input.dispatchKeyEvent", event)


def do(browser: Browser, statement: str) -> None:
    """Runs a statement on the page."""
    assert browser.value(f"{statement}; true")


def until(browser: Browser, expression: str) -> None:
    """Waits until an expression is true on the page."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not browser.value(expression):
        assert time.monotonic() < give_up_at, f"{expression}\n{browser.value('document.body.innerText')}"


@pytest.mark.parametrize(
    "path", ["", "rows", "rows?kind=dropped", "rows?kind=live", "row/2", "row/11", "sql?q=from+dataset", "compare"]
)
def test_every_page_fits_and_says_nothing_on_the_console(browser: Browser, hostile: Page, path: str) -> None:
    browser.visit(hostile.url + path, 1280, dark=True)
    until(browser, "document.readyState === 'complete'")
    for width in (1280, 2560, 360):
        browser.resize(width, dark=width == 1280)
        until(browser, f"innerWidth === {width}")
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


def test_another_page_of_the_browser_can_neither_read_nor_change_anything(browser: Browser, hostile: Page) -> None:
    html = f"""<!doctype html><title>evil</title><iframe id="in" src="{hostile.url}rows"></iframe><script>
      window.said = [];
      for (const [path, method] of [["rows", "GET"], ["act/count", "POST"], ["metrics", "GET"]])
        for (const mode of ["cors", "no-cors"])
          fetch("{hostile.url}" + path, {{method, mode, body: method === "POST" ? "verb=pause" : undefined}})
            .then((a) => a.text()).then((text) => said.push(text), () => said.push("")).catch(() => said.push(""));
    </script>"""

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            browser.visit(f"http://127.0.0.1:{server.server_port}/", 1280)
            until(browser, "window.said.length === 6")
            assert set(browser.value("window.said")) == {""}
            complaints = " ".join(browser.console())
        finally:
            server.shutdown()
    assert "403" in complaints
    assert "frame" in complaints


def test_arrows_go_to_the_next_row_and_digits_to_the_pages(browser: Browser, hostile: Page) -> None:
    browser.visit(f"{hostile.url}row/1", 1280)
    press(browser, "ArrowRight")
    until(browser, "location.pathname.endsWith('/row/2')")
    press(browser, "ArrowLeft")
    until(browser, "location.pathname.endsWith('/row/1')")
    press(browser, "3")
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


# A run as nobody designs a page for -----------------------------------------------------------------


def test_every_page_of_an_ugly_run_fits_and_says_nothing_on_the_console(browser: Browser, ugly: Page) -> None:
    pages = (
        "",
        "rows",
        "rows?kind=dropped",
        "row/3",
        "sql?q=from+dataset",
        "sql?q=selekt",
        "compare?with=other.duckdb",
    )
    for path in (*pages, "rows?where=nonsense", "row/9999", "compare?with=nowhere.duckdb"):
        browser.visit(ugly.url + path, 1280)
        until(browser, "document.readyState === 'complete'")
        for width, dark in ((1280, False), (400, True)):
            browser.resize(width, dark=dark)
            until(browser, f"innerWidth === {width}")
            assert browser.value("document.documentElement.scrollWidth") == width, path
            assert browser.console() == [], path
            ground = browser.value("getComputedStyle(document.body).backgroundColor")
            lightness = sum(int(part) for part in ground[4:-1].split(",")[:3])
            assert (lightness < 200) is dark, f"{path}: {ground}"


def test_what_models_made_and_why_rows_were_dropped_stands_first(browser: Browser, ugly: Page) -> None:
    heads = "[...document.querySelectorAll('#rows th')].map(h => h.textContent)"
    browser.visit(ugly.url + "rows", 1280)
    assert browser.value(heads)[:4] == ["row_id", "review", "code", "portrait"]
    browser.visit(ugly.url, 1280)
    bars = "[...document.querySelectorAll('table.progress th[scope] span:first-child')].map(h => h.textContent)"
    assert browser.value(bars)[:4] == ["review", "review__trace", "code", "portrait"]
    browser.visit(ugly.url + "rows?kind=dropped", 1280)
    assert browser.value(heads)[:5] == ["row_id", "column_name", "reason", "error_type", "message"]
    browser.visit(ugly.url + "compare?with=other.duckdb", 1280)
    assert browser.value("[...document.querySelectorAll('table.compared th')].map(h => h.textContent)")[2] == "verdict"
    assert "other columns are the same in every row" in browser.value("document.body.innerText")


def test_pictures_are_drawn_whether_they_are_files_or_values_and_other_bytes_are_not(
    browser: Browser, ugly: Page
) -> None:
    drawn = "[...document.querySelectorAll('img')].map(i => [i.complete && i.naturalWidth > 0, i.src])"
    for path, number in (("rows?where=row_id+%3D+3", 2), ("row/3", 2)):
        browser.visit(ugly.url + path, 1280)
        for place in range(number):  # one that is far away is loaded when somebody comes near it
            do(browser, f"document.querySelectorAll('img')[{place}].scrollIntoView({{inline: 'center'}})")
            until(browser, f"{drawn}[{place}][0]")
        until(browser, f"{drawn}.length === {number} && {drawn}.every(([is]) => is)")
        assert {src.rpartition("/")[2] for _, src in browser.value(drawn)} == {"portrait", "icon"}
    assert "4 bytes" in browser.value("document.body.innerText")
    assert browser.console() == []


def test_a_trace_is_a_conversation_and_a_column_has_its_prompt_and_the_value_it_had_before(
    browser: Browser, ugly: Page
) -> None:
    browser.visit(ugly.url + "row/3", 1280)
    column = (
        "[...document.querySelectorAll('section.column')].find(s => s.querySelector('h2').textContent.startsWith({}))"
    )
    trace, review = column.format("'review__trace'"), column.format("'review '")
    roles = browser.value(f"[...{trace}.querySelectorAll('.made .message .role')].map(r => r.textContent)")
    assert roles == ["system", "user", "assistant"]
    said = browser.value(f"{trace}.querySelector('.made .message.assistant pre').textContent")
    assert said == browser.value(f"{review}.querySelector('.made pre').textContent")
    asked = browser.value(f"{review}.querySelector('.prompt .message.user pre').textContent")
    assert asked.startswith("Write a long review as ")
    assert asked == browser.value(f"{trace}.querySelector('.made .message.user pre').textContent")
    earlier = f"[...{review}.querySelectorAll('details')].find(d => d.textContent.includes('spec version 1'))"
    assert browser.value(f"{earlier}.querySelector('pre').textContent") not in {said, ""}


def test_the_keyboard_is_enough(browser: Browser, ugly: Page) -> None:
    browser.visit(ugly.url + "rows", 1280)
    press(browser, "Tab")
    assert browser.value("document.activeElement.className") == "skip"
    do(browser, "document.activeElement.blur()")
    press(browser, "j", "j", "k", "j")
    second = browser.value("document.querySelectorAll('#rows tbody tr')[1].dataset.href")
    press(browser, "Enter")
    until(browser, f"location.pathname === '{second}' && document.readyState === 'complete'")
    press(browser, "u")
    until(browser, "location.pathname.endsWith('/rows') && document.readyState === 'complete'")
    press(browser, "ArrowRight")
    until(browser, "location.search.includes('below') && document.readyState === 'complete'")
    press(browser, "/")
    until(browser, "document.activeElement.id === 'ask'")
    press(browser, "Escape", "?")
    until(browser, "document.getElementById('help').open")
    press(browser, "Escape")
    until(browser, "!document.getElementById('help').open")
    for digit, page in (("1", "/"), ("2", "/rows"), ("3", "/sql"), ("4", "/compare")):
        press(browser, digit)
        until(browser, f"location.pathname.endsWith('{page}') && document.readyState === 'complete'")
    assert browser.console() == []


def test_a_result_is_taken_away_as_csv_and_parquet(browser: Browser, ugly: Page, tmp_path: Path) -> None:
    browser.command("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.visit(ugly.url + "sql?q=select+row_id,+review+from+dataset", 1280)
    for place in (0, 1):
        do(browser, f"document.querySelectorAll('a[download]')[{place}].click()")
    give_up_at = time.monotonic() + _PATIENCE_S
    while {path.name for path in tmp_path.iterdir()} != {"result.csv", "result.parquet"}:
        assert time.monotonic() < give_up_at, list(tmp_path.iterdir())
    with duckdb.connect() as connection:
        for reading in ("read_csv", "read_parquet"):
            file = tmp_path / f"result.{reading.removeprefix('read_')}"
            found = connection.execute(f"select count(*), count(review) from {reading}($1)", [str(file)]).fetchall()
            assert found == [(102, 102)]


def test_a_run_of_an_older_schema_is_shown_before_it_is_migrated(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "older.duckdb"
    released = Path(__file__).parent.parent / "released" / "schema_11.duckdb.gz"
    path.write_bytes(gzip.decompress(released.read_bytes()))
    with page_of(path, can_steer=True) as page:
        for part in ("", "rows", "rows?kind=dropped", "row/0", "sql?q=from+dataset", "compare"):
            browser.visit(page.url + part, 1280)
            seen = browser.value("document.body.innerText")
            assert "rowmill migrate" in seen or "row_id" in seen or "Beside" in seen, f"{part}\n{seen}"
            assert "Traceback" not in seen
            assert browser.console() == [], part
    with RunDatabase.open(path) as database:
        assert database.sql("select count(*) as n from dataset").to_pylist()[0]["n"] > 0, "it is as it was"


# Acting on a living run ------------------------------------------------------------------------------


@contextlib.contextmanager
def living_run(directory: Path, fates: str, settings: str) -> Iterator[tuple[Page, Popen[str], RunDatabase]]:
    """A page that may act, beside a run that works."""
    rowmill = CommandLine(directory)
    (directory / "slow.yaml").write_text(
        SLOW.replace("latency_ms: 40", f"latency_ms: 40, {fates}") + f"run: {{max_error_share: 1{settings}}}\n"
    )
    run = rowmill.start("run", "slow.yaml")
    try:
        with page_of(directory / "slow.duckdb", can_steer=True) as page:
            give_up_at = time.monotonic() + _PATIENCE_S
            while "running" not in page.get("sql", q="select state from run_status").text:
                assert time.monotonic() < give_up_at
            with RunDatabase.open(directory / "slow.duckdb") as database:
                yield page, run, database
    finally:
        rowmill.close()


@pytest.fixture
def living(tmp_path: Path) -> Iterator[tuple[Page, Popen[str], RunDatabase]]:
    """One that loses some rows."""
    with living_run(tmp_path, "rejected: 0.05", "") as found:
        yield found


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Page, Popen[str], RunDatabase]]:
    """One whose failed tasks wait for an hour."""
    with living_run(tmp_path, "transient: 0.3", ", backoff_base_s: 3600, backoff_max_s: 7200") as found:
        yield found


def act(browser: Browser, verb: str, **fields: str) -> tuple[str, str]:
    """Acts as somebody at the page does: what was counted, and what was said when it was done."""
    form = f"document.querySelector('form[data-verb={verb}]')"
    do(browser, "document.getElementById('said').textContent = ''")
    for name, value in fields.items():
        do(browser, f"{form}.elements.{name}.value = {json.dumps(value)}")
    do(browser, f"{form}.requestSubmit()")
    said = "document.getElementById('said').textContent"
    until(browser, f"document.getElementById('confirm').open || !['', 'Counting …'].includes({said})")
    counted = browser.value("document.getElementById('said').textContent")
    if not browser.value("document.getElementById('confirm').open"):
        return counted, ""
    assert browser.value("document.getElementById('counted').textContent") == counted
    do(browser, "document.querySelector('#confirm button[value=yes]').click()")
    until(browser, f"document.getElementById('said').textContent !== {json.dumps(counted)}")
    return counted, browser.value("document.getElementById('said').textContent")


def test_every_verb_acts_on_a_living_run_after_its_count(
    browser: Browser, living: tuple[Page, Popen[str], RunDatabase]
) -> None:
    page, run, database = living

    def one(query: str) -> object:
        return next(iter(database.sql(query).to_pylist()[0].values()))

    def becomes(query: str, wanted: object) -> None:
        give_up_at = time.monotonic() + _PATIENCE_S
        while (found := one(query)) != wanted:
            assert time.monotonic() < give_up_at, f"{query}: {found}"

    state = "select state from run_status"
    browser.visit(page.url, 1280)
    act(browser, "pause")
    becomes(state, "paused")
    until(browser, "document.getElementById('state').textContent === 'paused'")
    _, said = act(browser, "limit", resource="simulated/quick", calls="3")
    assert "3" in said
    becomes("select configured_limit from resource where resource = 'simulated/quick'", 3)
    act(browser, "limit", resource="simulated/quick", calls="spec")
    becomes("select configured_limit from resource where resource = 'simulated/quick'", 16)
    counted, _ = act(browser, "limit", resource="", calls="many")
    assert "whole number" in counted

    live = one("select min(row_id) from live_row")
    counted, said = act(browser, "drop", rows=str(live), where="", reason="an odd <b>one</b>")
    assert counted.startswith("1 live row ")
    becomes(f"select message from dropped_row where row_id = {live}", "an odd <b>one</b>")
    dropped = one("select count(*) from dropped_row")
    counted, said = act(browser, "retry", where=f"row_id = {live}")
    assert counted.startswith("1 dropped row ")
    becomes("select count(*) from dropped_row", int(str(dropped)) - 1)
    counted, said = act(browser, "retry", where="no_such_column = 1")
    assert "no_such_column" in counted
    assert said == ""
    counted, said = act(browser, "rerun", column="note", where="row_id < 10")
    assert "in use by process" in counted
    assert said == ""

    act(browser, "resume")
    becomes(state, "running")
    act(browser, "drain")
    assert run.wait(_PATIENCE_S) == 75
    until(browser, "document.getElementById('state').textContent === 'stopped'")
    database.close()  # nobody has the file open who could not let it go
    counted, said = act(browser, "rerun", column="note", where="row_id < 10")
    assert "would be made again" in counted
    assert "rowmill run" in said
    assert all("/act/count" in said for said in browser.console()), "but the refusals"


def test_deferred_tasks_are_tried_at_once_when_the_page_asks_for_it(
    browser: Browser, waiting: tuple[Page, Popen[str], RunDatabase]
) -> None:
    page, _run, database = waiting

    def first(query: str) -> Any:
        return database.sql(query).to_pylist()[0]

    browser.visit(page.url, 1280)
    give_up_at = time.monotonic() + _PATIENCE_S
    while (found := first("select count(*) as n, min(row_id) as row_id from deferred_task"))["n"] < 5:
        assert time.monotonic() < give_up_at
    again = "select count(*) as n from attempt where attempt > 1"
    assert first(again)["n"] == 0
    counted, said = act(browser, "hurry", where="row_id = -1")
    assert (counted, said) == ("No deferred task is meant.", "")
    counted, _ = act(browser, "hurry", where=f"row_id = {found['row_id']}")
    assert counted == "1 deferred task would be ready at once."
    while first(again)["n"] < 1:
        assert time.monotonic() < give_up_at
    counted, _ = act(browser, "hurry", where="")
    assert counted.endswith("deferred tasks would be ready at once.")
    while first(again)["n"] < 5:
        assert time.monotonic() < give_up_at
