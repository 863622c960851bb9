"""The page of ``rowmill ui``: what it answers, to whom, and what it makes of hostile values, over real HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from page import HOSTILE, Page, hostile_run, page_of

import rowmill as package
from rowmill.errors import QueryStopped, UsageError
from rowmill.ui.door import Door
from rowmill.ui.server import PageServer


@pytest.fixture(scope="module")
def served(_finished_run: Path) -> Iterator[Page]:
    with page_of(_finished_run) as opened:
        yield opened


@pytest.fixture
def page(served: Page) -> Page:
    """The page of a finished run, which nobody changes."""
    return Page(served.url)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("hostile") / "hostile.duckdb"
    hostile_run(path)
    with page_of(path) as opened:
        yield opened


# Who may ask ---------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_whatever_is_asked_for(page: Page) -> None:
    wrong = page.token[:-1] + ("A" if page.token[-1] != "A" else "B")
    for path in ("/", "/favicon.ico", f"/{wrong}/", f"/{wrong}/static/page.js", "/%ff%fe/", f"//{page.token}/"):
        answer = page.ask("GET", path)
        assert answer.status == 403, path
        assert page.token not in answer.html


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example:80", "[::1]:80", ""])
def test_a_request_under_another_name_is_refused(page: Page, host: str) -> None:
    page.headers["Host"] = host
    assert page.get().status in {400, 403}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_of_another_page_is_refused(page: Page, headers: dict[str, str]) -> None:
    page.headers.update(headers)
    assert page.get("rows").status == 403
    assert page.post("act/do", key="x").status == 403


def test_a_change_without_an_origin_is_refused(quick_run: Path) -> None:
    with page_of(quick_run, can_steer=True) as page:
        assert page.ask("POST", f"/{page.token}/act/count", "verb=pause", {}).status == 403


def test_changes_are_posted_and_nothing_else_is(page: Page) -> None:
    assert page.get("act/do").status == 405
    assert page.post("rows").status == 405
    assert page.ask("DELETE", f"/{page.token}/", headers={"Origin": page.origin}).status == 403


def test_every_answer_forbids_scripts_of_others_and_tells_nobody_the_address(page: Page) -> None:
    for path in ("", "rows", "row/3", "row/99", "sql", "nowhere", "static/page.js", "value/3/note", "sql/result.csv"):
        headers = page.get(path).headers
        assert "'unsafe" not in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_a_port_that_is_taken_is_said(page: Page, quick_run: Path) -> None:
    port = int(page.origin.rpartition(":")[2])
    with pytest.raises(UsageError, match=f"Port {port} .* --port"):
        PageServer(quick_run, port=port)


# What is shown -------------------------------------------------------------------------------------


def test_now_shows_progress_endpoints_and_the_graph(page: Page) -> None:
    found = page.get()
    assert found.status == 200
    for text in ("quick", "finished", "simulated/quick", "colour", "of 20", '<svg class="graph"', "time left"):
        assert text in found.text


def test_rows_are_paged_by_key_in_both_directions(page: Page) -> None:
    newest = page.get("rows")
    assert newest.html.index("row/19") < newest.html.index("row/18")
    below = page.get("rows", below=5).html
    assert "row/4" in below
    assert 'row/5"' not in below
    assert "above=4" in below
    above = page.get("rows", above=17).html
    assert "row/19" in above
    assert 'row/17"' not in above


def test_a_condition_and_chosen_columns_are_heeded(page: Page) -> None:
    found = page.get("rows", where="row_id = 7 -- a comment", column=["size"]).html
    assert "row/7" in found
    assert "row/8" not in found
    assert "Describe a" not in found


def test_a_condition_that_does_not_run_says_why_in_the_engines_words(page: Page) -> None:
    found = page.get("rows", where="sise > 3")
    assert found.status == 400
    assert "sise" in found.text
    assert "size" in found.text
    assert "Traceback" not in found.text


@pytest.mark.parametrize(
    "where",
    [
        "row_id in (select 1 from read_text('/etc/hostname'))",
        "(select 1 from force_checkpoint()) = 1",
        "1); drop view x",
    ],
)
def test_a_condition_only_reads(page: Page, where: str) -> None:
    assert page.get("rows", where=where).status == 400


def test_a_row_has_the_prompt_rendered_again_and_its_attempts(page: Page) -> None:
    row = page.get("row/3").text
    assert "The prompt, rendered again from this row" in row
    colour, size = (page.get(f"value/3/{name}").text for name in ("colour", "size"))
    assert f"Describe a {colour} thing, size {size}." in row
    assert "Attempts" in row
    assert "row/4" in row
    assert "row/2" in row


def test_what_is_not_there_is_said_without_a_traceback(page: Page) -> None:
    for path in (
        "row/99",
        "row/-1",
        "row/9999999999999999999999",
        "value/3/nothing",
        "picture/3/note",
        "rows?kind=odd",
    ):
        answer = page.get(path)
        assert answer.status in {400, 404}, path
        assert "Traceback" not in answer.html


def test_a_query_shows_its_result_and_can_be_taken_away_whole(page: Page) -> None:
    query = "select row_id, note from dataset order by row_id -- all"
    assert "20 rows" in page.get("sql", q=query).html
    assert page.get("sql/result.csv", q=query).html.splitlines()[0] == '"row_id","note"'
    assert pq.read_table(io.BytesIO(page.get("sql/result.parquet", q=query).content)).num_rows == 20


def test_two_columns_of_one_name_and_an_explanation_are_shown(page: Page) -> None:
    assert page.get("sql", q="select 1 as a, 'two' as a, [1, 2] as a;").status == 200
    plan = page.get("sql", q="explain select 1 + row_id from dataset")
    assert plan.status == 200
    assert "dataset_row" in plan.text


@pytest.mark.parametrize(
    "query",
    ["drop view dataset", "select 1; select 2", "from read_csv('/etc/passwd')", "select", "copy dataset to 'x'"],
)
def test_a_query_only_reads_and_its_error_is_shown(page: Page, query: str) -> None:
    found = page.get("sql", q=query)
    assert found.status == 400
    assert 'role="alert"' in found.html


def test_a_question_ends_at_its_time_limit(quick_run: Path) -> None:
    long = "select count(*) from range(100000000000) as a(i) where i % 7 = 3"
    with pytest.raises(QueryStopped, match=r"longer than 0\.3 s"):
        asyncio.run(Door(quick_run).ask(lambda reader: reader.table(long), 0.3))


def test_completion_knows_views_and_columns(page: Page) -> None:
    names = json.loads(page.get("sql/names").content)
    assert "note" in names["dataset"]
    assert "waiting" in names["progress"]


def test_the_page_serves_the_figures_for_monitoring(page: Page) -> None:
    found = page.get("metrics")
    assert found.headers["Content-Type"].startswith("text/plain; version=")
    assert "# TYPE rowmill_" in found.html


def test_a_fork_is_compared_with_its_parent(quick_run: Path) -> None:
    other = quick_run.with_name("other.duckdb")
    shutil.copy(quick_run, other)
    with duckdb.connect(str(other)) as connection:
        connection.execute("update state.dataset_row set note = 'changed' where row_id in (2, 5)")
        connection.execute("delete from state.dataset_row where row_id = 9")
    with page_of(quick_run) as page:
        found = page.get("compare", **{"with": "other.duckdb"}).text
        assert found.count('class="changed"') == 4
        assert "row/2" in found
        assert "row/9" not in found
        assert page.get("compare", **{"with": "../secret.duckdb"}).status == 400


def test_texts_that_differ_late_are_shown_from_where_they_differ(quick_run: Path) -> None:
    other = quick_run.with_name("other.duckdb")
    shutil.copy(quick_run, other)
    for path, end in ((quick_run, "mine"), (other, "theirs")):
        with duckdb.connect(str(path)) as connection:
            connection.execute("update state.dataset_row set note = repeat('the same ', 900) || $1", [end])
    with page_of(quick_run) as page:
        found = page.get("compare", **{"with": "other.duckdb"}).text
    assert "the same mine" in found
    assert "the same theirs" in found


# Hostile values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "rows", "rows?kind=dropped", "sql?q=from+dataset", *(f"row/{n}" for n in range(8))]
)
def test_hostile_values_are_text_on_every_page(hostile: Page, path: str) -> None:
    found = hostile.get(path)
    assert found.status == 200
    assert "<script>document" not in found.html
    assert "<img src=x" not in found.html
    assert 'href="javascript' not in found.html
    assert "\u202e" not in found.html
    assert ">49<" not in found.html


def test_signs_that_turn_text_around_or_cannot_be_seen_stand_as_their_number(hostile: Page) -> None:
    assert "U+202E" in hostile.get("row/3").html
    for path in ("row/7", "rows", "sql?q=from+dataset"):
        shown = hostile.get(path).html
        assert "U+0000" in shown
        assert "\0" not in shown


def test_a_long_value_is_shortened_and_there_whole_on_demand(hostile: Page) -> None:
    assert len(hostile.get("rows").content) < 60_000
    assert len(hostile.get("row/4").content) < 200_000
    whole = hostile.get("value/4/note")
    assert whole.headers["Content-Type"].startswith("text/plain")
    assert whole.html == HOSTILE["long"]


# Databases in any state ----------------------------------------------------------------------------


def test_a_database_that_comes_later_goes_and_is_replaced_is_shown_each_time(quick_run: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.duckdb"
    with page_of(late) as page:
        assert "There is no run database" in page.get().text
        shutil.copy(quick_run, late)
        assert "row/19" in page.get("rows").html
        late.unlink()
        assert page.get("rows").status == 400
        late.write_bytes(b"no database at all" * 1000)
        assert page.get("rows").status == 400
        assert "Traceback" not in page.get("rows").text


def test_the_page_holds_no_file_between_two_questions(quick_run: Path) -> None:
    with page_of(quick_run) as page:
        assert page.get("rows").status == 200
        duckdb.connect(str(quick_run)).close()  # to write: refused where anybody holds it


# Acting --------------------------------------------------------------------------------------------


def test_a_page_that_only_looks_acts_on_nothing(page: Page) -> None:
    assert page.post("act/count", verb="pause").status == 403
    assert "Act" not in page.get().html


def test_a_change_is_counted_first_and_done_once_with_the_key_of_the_count(quick_run: Path) -> None:
    with page_of(quick_run, can_steer=True) as page:
        counted = json.loads(page.post("act/count", verb="rerun", column="note", where="row_id < 3").content)
        assert "3 rows" in counted["words"]
        assert "20" in page.get("rows").text
        said = json.loads(page.post("act/do", key=counted["key"]).content)["said"]
        assert "3 rows wait" in said
        again = page.post("act/do", key=counted["key"])
        assert again.status == 400
        assert "count again" in again.text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"verb": "retry"}, "No dropped row"),
        ({"verb": "hurry"}, "No deferred task"),
        ({"verb": "drop", "rows": "3"}, "No row that is worked on"),
    ],
)
def test_where_there_is_nothing_to_do_there_is_no_key(quick_run: Path, form: dict[str, str], words: str) -> None:
    with page_of(quick_run, can_steer=True) as page:
        counted = json.loads(page.post("act/count", **form).content)
        assert words in counted["words"]
        assert counted["key"] is None


@pytest.mark.parametrize(
    "form",
    [
        {"verb": "cancel-everything"},
        {"verb": "limit", "resource": "nobody", "calls": "3"},
        {"verb": "limit", "resource": "writer", "calls": "-3"},
        {"verb": "drop", "rows": "1;2"},
        {"verb": "drop"},
        {"verb": "retry", "where": "nonsense ("},
        {"verb": "rerun", "column": "nothing"},
    ],
)
def test_a_verb_that_makes_no_sense_is_refused_in_words(quick_run: Path, form: dict[str, str]) -> None:
    with page_of(quick_run, can_steer=True) as page:
        answer = page.post("act/count", **form)
        assert answer.status == 400
        assert answer.text


# From Python ---------------------------------------------------------------------------------------


def test_a_run_database_gives_the_address_of_its_page_and_ends_it(quick_run: Path) -> None:
    with package.RunDatabase.open(quick_run) as database:
        page = Page(database.ui())
        assert database.ui() == page.url
        assert page.post("act/count", verb="pause").status == 403
        steering = Page(database.ui(steer=True))
        assert database.ui(steer=True) == steering.url
        counted = json.loads(steering.post("act/count", verb="rerun", column="note", where="row_id < 3").content)
        assert "3 rows wait" in steering.post("act/do", key=counted["key"]).text
        assert database.status().rows_finished == 17
        with pytest.raises(ConnectionRefusedError):
            page.get()
        page = steering
        assert page.get().status == 200
    with pytest.raises(ConnectionRefusedError):
        page.get()
