"""``rowmill show``: every listing, of a run in any state, with conditions, columns and limits."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import CommandLine
from every import every
from run_state import RunState, moment
from virtual_run import EPOCH, custom, llm, model, prepared, sampler

from rowmill.cli.main import execute
from rowmill.errors import UsageError
from rowmill.store.reading.listing import VIEWS, Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.store.run_store import RunStore

LISTINGS = sorted(VIEWS)


async def made(row: object) -> str:
    return "made"


def _spec(records: int = 20) -> object:
    return prepared(
        sampler("colour"),
        custom("note", made, ["colour"]),
        models=[model()],
        records=records,
        row_group_size=5,
    )


def _new(path: Path) -> None:
    with_tables = RunStore.open(path)
    with_tables.create(_spec().blueprint(), EPOCH)  # type: ignore[attr-defined]
    with_tables.close()


def _crashed(path: Path) -> None:
    """Two row groups entered, a task failed and waits, a row was dropped; then the process died."""
    with RunState(_spec(), path) as state:  # type: ignore[arg-type]
        state.write_row_group(0)
        state.write_row_group(1)
        state.write_done("colour")
        state.write_deferral("note", 0, 1, until_s=60)
        state.write_drop("note", 3)


def _empty(path: Path) -> None:
    with RunState(_spec(records=0), path) as state:  # type: ignore[arg-type]
        state.take()
        state.store.end("complete", EPOCH)


STATES: dict[str, Callable[[Path], None]] = {"new": _new, "crashed": _crashed, "empty": _empty}


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    path = tmp_path / "seen.duckdb"
    _crashed(path)
    return path


@pytest.mark.parametrize("state", STATES)
def test_every_listing_can_be_read_whatever_the_state_of_the_run(tmp_path: Path, state: str) -> None:
    path = tmp_path / "seen.duckdb"
    STATES[state](path)

    def check(what: str) -> None:
        with Reader.open(path) as reader:
            for limit in (None, 3):
                rows = listing(reader, what, Selection(limit=limit)).read_all()
                assert rows.num_columns > 1

    every(LISTINGS, check)


Shown = Callable[..., str]


@pytest.fixture
def shown(capfdbinary: pytest.CaptureFixture[bytes]) -> Shown:
    """What ``rowmill show ARGUMENT…`` writes, asked of this process: formats are made here, whoever asks."""

    def show(*arguments: str | Path) -> str:
        assert execute(["show", *map(str, arguments)]) == 0
        return capfdbinary.readouterr().out.decode()

    return show


def test_every_listing_is_shown(rowmill: CommandLine, quick_run: Path, shown: Shown) -> None:
    def check(what: str) -> None:
        asked = (what, quick_run, "--format", "json")
        assert rowmill.output_of("show", *asked) == shown(*asked)

    every(LISTINGS, check)


@pytest.mark.slow
def test_every_listing_has_every_format(quick_run: Path, shown: Shown) -> None:
    def check(what: str) -> None:
        rows = json.loads(shown(what, quick_run, "--format", "json"))
        lines = shown(what, quick_run, "--format", "jsonl").splitlines()
        assert [json.loads(line) for line in lines] == rows
        records = list(csv.DictReader(io.StringIO(shown(what, quick_run, "--format", "csv"))))
        assert len(records) == len(rows)
        if rows:
            assert list(records[0]) == list(rows[0])
            assert next(iter(rows[0])) in shown(what, quick_run, "--format", "table")

    every(LISTINGS, check)


def test_a_condition_and_columns_choose_a_part_of_a_listing(rowmill: CommandLine, quick_run: Path) -> None:
    shown = rowmill.output_of(
        "show", "rows", "--where", "colour = 'red' -- only red", "--columns", "row_id, colour", "--format", "jsonl"
    )
    rows = [json.loads(line) for line in shown.splitlines()]
    everything = json.loads(rowmill.output_of("show", "rows", "--format", "json"))
    assert rows == [{"row_id": r["row_id"], "colour": "red"} for r in everything if r["colour"] == "red"]
    assert 0 < len(rows) < 20


def test_an_unknown_column_is_named_with_the_nearest_one(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("show", "rows", "--columns", "row_id,color")
    assert done.returncode == 2
    assert "The view 'dataset' has no column 'color'. Did you mean 'colour'?" in done.stderr


@pytest.mark.parametrize("condition", ["nonsense = 1", "colour =", "1) or (1", "delete from state.run"])
def test_a_condition_that_does_not_run_is_wrong_usage(rowmill: CommandLine, quick_run: Path, condition: str) -> None:
    done = rowmill("show", "rows", "--limit", "0", "--where", condition)
    if condition == "1) or (1":  # balanced: merely odd
        assert done.returncode == 0
        return
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: The condition {condition!r} cannot be used on 'rows'.")
    assert done.stdout == ""


def test_an_empty_listing_says_so_in_words(
    rowmill: CommandLine, quick_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for what, words in (("dropped", "No row was dropped."), ("deferred", "No task is deferred.")):
        for output_format in ("table", "json", "jsonl", "csv"):
            assert execute(["show", what, str(quick_run), "--format", output_format]) == 0
            assert capfd.readouterr().err == words + "\n"
        done = rowmill("show", what)
        assert (done.returncode, done.stderr) == (0, words + "\n")


def test_all_rows_come_in_order_however_many(rowmill: CommandLine, quick_run: Path) -> None:
    shown = rowmill.output_of("show", "rows", "--limit", "0", "--columns", "row_id", "--format", "csv")
    assert shown.splitlines() == ['"row_id"', *map(str, range(20))]


def test_a_long_table_is_written_page_by_page_and_aligned(rowmill: CommandLine, quick_run: Path) -> None:
    lines = rowmill.output_of("sql", "select i, repeat('x', i % 9) as text from range(2500) as r(i)").splitlines()
    assert len(lines) == 2502
    assert lines[0].split() == ["i", "text"]
    assert lines[-1] == f"{2499}  {'x' * 6}"
    assert len({line.index("x") for line in lines[2:1002] if "x" in line}) == 1


def test_the_graph_is_drawn_with_counts_and_states(rowmill: CommandLine, crashed: Path) -> None:
    drawn = rowmill.output_of("show", "graph", crashed)
    assert drawn.startswith("flowchart LR\n")
    assert "g0 --> g1" in drawn
    # 20 rows; colour is made for 9 live ones of 10 that entered, note waits at a task that failed.
    assert "waiting · 10 of 20, 1 dropped" in drawn
    assert "ready · 1 of 20, 1 dropped, 1 deferred" in drawn
    assert "class g1 ready" in drawn


def test_the_spec_is_spelt_so_that_it_can_be_run_again(rowmill: CommandLine, quick_run: Path) -> None:
    text = rowmill.output_of("show", "spec", quick_run)
    assert [column["name"] for column in yaml.safe_load(text)["columns"]] == ["colour", "size", "note"]
    (rowmill.directory / "again.yaml").write_text(text)
    done = rowmill("run", "again.yaml", quick_run)
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stderr


def test_a_drawing_of_what_is_no_graph_is_wrong_usage(rowmill: CommandLine, quick_run: Path) -> None:
    for arguments in (("rows", "--format", "mermaid"), ("graph", "--format", "yaml")):
        done = rowmill("show", *arguments)
        assert done.returncode == 2
        assert "use table, json, jsonl or csv" in done.stderr


# Why is nothing happening? ------------------------------------------------------------------------


def test_admission_says_in_words_that_nothing_works_on_a_crashed_run(rowmill: CommandLine, crashed: Path) -> None:
    shown = rowmill.output_of("show", "admission", crashed)
    assert "Nothing works on this run now: 'rowmill run' goes on. Row group 2 (5 rows) may enter" in shown
    assert shown.splitlines()[0].split() == ["admit", "true"]


def test_admission_says_that_a_finished_run_is_complete(rowmill: CommandLine, quick_run: Path) -> None:
    assert "The run is complete: every row group is finished." in rowmill.output_of("show", "admission")


def explanation(state: RunState, view: str) -> str:
    ((text,),) = state.sql(f"select explanation from {view} limit 1")
    assert isinstance(text, str)
    return text


def _living(**run: object) -> RunState:
    state = RunState(
        prepared(
            sampler("colour"),
            custom("note", made, ["colour"]),
            models=[model()],
            records=20,
            row_group_size=5,
            run=run,
        )
    )
    state.sql("set variable rowmill_live = true")
    return state


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"max_active_rows": 6}, "Row group 1 (5 rows) waits: 5 rows are being worked on, and no more than 6 may be"),
        ({"max_active_row_groups": 1}, "waits: 1 row groups are being worked on, as many as may be"),
        ({}, "Row group 1 (5 rows) may enter: there is room for it."),
    ],
)
def test_a5_admission_explains_its_bounds_in_words(run: dict[str, object], words: str) -> None:
    with _living(**run) as state:
        state.write_row_group(0)
        assert words in explanation(state, "admission")


def test_a5_admission_names_the_endpoint_that_rests_and_until_when() -> None:
    with RunState(
        prepared(
            llm("note", "Write."),
            models=[model("writer")],
            records=20,
            row_group_size=5,
        )
    ) as state:
        state.sql("set variable rowmill_live = true")
        state.write_row_group(0)
        state.write_deferral("note", 0, 1, until_s=90)
        state.sql(
            "update state.resource set cooling_until = $until, reason = '429' where resource like 'simulated/%'",
            until=moment(90),
        )
        ((resource, until),) = state.sql(
            "select resource, strftime(cooling_until, '%Y-%m-%d %H:%M:%S') from resource "
            "where resource like 'simulated/%'"
        )
        words = explanation(state, "admission")
        assert words.startswith("Row group 1 (5 rows) waits: ")
        assert f"{resource} takes no requests until {until} UTC" in words
        assert explanation(state, "deferred_task") == (
            f"Failed (Timeout) and waits for {resource}, which rests until {until} UTC."
        )
        rests = state.sql("select explanation from resource where resource = $resource", resource=resource)
        assert rests == [(f"Rests until {until} UTC: 429.",)]


def test_a_learned_limit_is_explained() -> None:
    with _living() as state:
        state.sql("update state.resource set learned_limit = 2, configured_limit = 4 where resource = 'local'")
        ((text,),) = state.sql("select explanation from resource where resource = 'local'")
        assert text == "Takes 2 calls at once; 4 are configured, but it answered that this is too much."


def test_a_deferred_task_says_when_it_is_tried_again() -> None:
    with _living() as state:
        state.write_row_group(0)
        state.write_deferral("note", 0, 1, until_s=90)
        assert "is tried again at " in explanation(state, "deferred_task")
        state.write_time(100)
        assert "as soon as local has room" in explanation(state, "deferred_task")


def test_a_listing_of_a_library_user_names_unknown_columns(crashed: Path) -> None:
    with Reader.open(crashed) as reader, pytest.raises(UsageError, match="Did you mean 'row_group'"):
        listing(reader, "groups", Selection(columns=["row_grup"]))


@pytest.mark.parametrize(
    ("what", "where", "columns"),
    [
        ("invocations", "invocation = 1", "invocation,end_reason"),
        ("spec", "is_current", "version,is_current"),
        ("graph", "generator = 'note'", "generator,needs,state"),
    ],
)
def test_what_is_drawn_or_spelt_by_itself_is_a_listing_too(
    quick_run: Path, shown: Shown, what: str, where: str, columns: str
) -> None:
    asked = (what, quick_run, "--where", where, "--columns", columns, "--limit", "1", "--format")
    (row,) = json.loads(shown(*asked, "json"))
    assert list(row) == columns.split(",")
    assert [json.loads(line) for line in shown(*asked, "jsonl").splitlines()] == [row]
    (record,) = csv.DictReader(io.StringIO(shown(*asked, "csv")))
    assert list(record) == list(row)
    table = shown(*asked, "table").splitlines()
    assert (table[0].split(), len(table)) == (columns.split(","), 3)
