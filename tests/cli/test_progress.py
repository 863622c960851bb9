"""Progress: the pace, the plain lines, the live panel."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from rowmill.cli import figures, overview
from rowmill.cli.pace import Pace, Pacemaker
from rowmill.cli.panel import Panel, console_on, panel
from rowmill.cli.progress import LogLines, progress_line
from rowmill.store.reading import status as status_values
from rowmill.store.reading.status import ColumnProgress, ResourceStatus, Status

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def a_status(rows: int = 0, note_done: int = 0) -> Status:
    """A run of 100 rows with two columns, somewhere on its way."""
    return Status(
        name="penguins",
        state="running",
        records=100,
        rows_finished=rows,
        rows_dropped=0,
        row_groups=10,
        row_groups_active=2,
        row_groups_finished=rows // 10,
        invocations=1,
        requests=note_done,
        input_tokens=12 * note_done,
        output_tokens=30 * note_done,
        cost_usd=0.001 * note_done,
        started_at=datetime(2026, 11, 20, 11, 59),
        updated_at=datetime(2026, 11, 20, 12, 0),
        columns=(
            ColumnProgress("colour", "colour", "sql", 100, 100, 0, 0, 0, 0),
            ColumnProgress("note", "note", "cell", 100, note_done, 0, 0, 3, 100 - note_done),
        ),
        reason=None,
        resources=(
            ResourceStatus("simulated/quick", 32, 24, 7, datetime(2026, 11, 20, 12, 0, 5), "429"),
            ResourceStatus("local", 1024, 1024, 0, None, None),
        ),
    )


def test_the_first_status_has_no_pace_yet() -> None:
    assert Pacemaker().observe(a_status(), 5.0) == Pace(0.0, 0.0, None)


def test_the_pace_counts_rows_and_cells_over_the_time_between_statuses() -> None:
    pacemaker = Pacemaker()
    pacemaker.observe(a_status(0, 0), 10.0)
    assert pacemaker.observe(a_status(20, 25), 20.0) == Pace(2.0, 2.5, 30.0)


def test_a_run_that_stands_still_has_no_time_of_arrival() -> None:
    pacemaker = Pacemaker()
    pacemaker.observe(a_status(20, 25), 0.0)
    assert pacemaker.observe(a_status(20, 25), 10.0) == Pace(0.0, 0.0, None)


def test_the_pace_forgets_what_was_long_ago() -> None:
    pacemaker = Pacemaker(window_s=10.0)
    for second in range(0, 100, 5):
        pacemaker.observe(a_status(0, 0), float(second))
    pacemaker.observe(a_status(10, 10), 100.0)
    pace = pacemaker.observe(a_status(20, 20), 105.0)
    assert pace.cells_per_s == pytest.approx(20 / 15)


def test_the_line_without_a_terminal_tells_what_matters() -> None:
    line = progress_line(a_status(20, 25), Pace(2.0, 2.5, 75.0))
    assert line == (
        "20/100 rows (20 %), 2.5 cells/s, ETA 1:15, 25 requests, 300 + 750 tokens, $0.025, 7 in flight, 3 deferred"
    )


def test_the_percentage_beside_the_finished_rows_is_theirs() -> None:
    status = replace(a_status(33, 33), rows_dropped=60)
    assert progress_line(status, Pace(2.0, 2.5, 75.0)).startswith("33/100 rows (33 %), ")
    assert overview.facts(status, NOW)[0].text == "33 of 100 finished (33 %), 60 dropped"


def _before_a_barrier(note_done: int) -> Status:
    best = ColumnProgress("best", "best", "dataset", 100, 0, 0, 0, 0, 100)
    return replace(a_status(0, note_done), columns=(*a_status(0, note_done).columns, best))


def test_the_progress_of_a_run_whose_rows_wait_for_a_column_over_all_is_that_of_its_cells() -> None:
    status = _before_a_barrier(80)
    line = progress_line(status, Pace(0.0, 2.5, 75.0))
    assert line.startswith("0/100 rows (60 % of the cells; rows wait for 'best'), 2.5 cells/s, ETA 1:15")
    facts = {fact.label: fact.text for fact in overview.facts(status, NOW)}
    assert facts["waiting"] == "60 % of the cells are made, rows wait for column 'best', which looks at all of them"
    assert facts["waiting"] in str(status)
    assert facts["waiting"] in status._repr_html_().replace("&#39;", "'").replace("&#x27;", "'")
    assert facts["waiting"] in " ".join(_drawn(status).replace("│", "").split())


def test_dropped_rows_are_no_progress_of_those_that_wait_for_a_column_over_all() -> None:
    status = _before_a_barrier(80)
    columns = tuple(replace(each, done=max(each.done - 60, 0), dropped=60) for each in status.columns)
    assert replace(status, columns=columns).barrier_note.startswith("50 % of the cells are made, ")


def test_nothing_waits_for_a_barrier_that_was_made() -> None:
    status = _before_a_barrier(100)
    made = replace(status, columns=tuple(replace(each, done=100, waiting=0) for each in status.columns))
    assert (status.barrier_note == "", made.barrier_note == "") == (False, True)
    assert replace(status, state="finished").barrier_note == ""


def _drawn(status: Status, width: int = 110, height: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(panel(status, NOW, width, height, Pace(2.0, 2.5, 75.0), 61.0))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_panel_shows_rows_columns_endpoints_tokens_and_cost() -> None:
    drawn = _drawn(a_status(20, 25))
    for text in (
        "20 of 100 finished",
        "(20 %)",
        "1:15, until 12:01:15 UTC",
        "1:01 elapsed",
        "25/100",
        "24 of 32",
        "cooling 5.0 s: 429",
        "$0.025",
    ):
        assert text in drawn


def test_a_cool_down_that_is_over_is_not_shown() -> None:
    status = a_status()
    over = replace(status.resources[0], cooling_until=(NOW - timedelta(seconds=1)).replace(tzinfo=None))
    assert "cooling" not in _drawn(replace(status, resources=(over,)))


def test_the_panel_shows_the_columns_at_work_when_not_all_fit() -> None:
    done = [ColumnProgress(f"done {n}", f"d{n}", "sql", 9, 9, 0, 0, 0, 0) for n in range(40)]
    status = replace(a_status(), columns=(*done, *a_status().columns))
    drawn = _drawn(status, height=24)
    assert "note" in drawn
    assert "more" in drawn
    assert len(drawn.splitlines()) <= 24


def test_names_cannot_steer_the_terminal() -> None:
    column = replace(a_status().columns[0], column_name="[red]\x1b[31m")
    drawn = _drawn(replace(a_status(), name="\x1b]0;title\x07", columns=(column,)))
    assert "\x1b[31m" not in drawn
    assert "\x07" not in drawn
    assert r"[red]\x1b[31m" in drawn


def test_a_run_of_no_rows_is_drawn() -> None:
    empty = replace(a_status(), records=0, columns=(ColumnProgress("note", "note", "cell", 0, 0, 0, 0, 0, 0),))
    assert "0 of 0 finished (100 %)" in _drawn(empty)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (7384, "2:03:04"), (90_061, "1 d 01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(7, "7"), (9_999, "9,999"), (12_345, "12.3k"), (999_999, "1M"), (2.5e6, "2.5M"), (3e9, "3G")]
)
def test_short_counts(number: float, text: str) -> None:
    assert figures.short_count(number) == text


def test_a_share_is_100_percent_only_when_all_is_there() -> None:
    assert [figures.share(part, 1000) for part in (0, 4, 999, 1000)] == ["0 %", "0 %", "99 %", "100 %"]
    assert figures.share(0, 0) == "100 %"


def detailed_status() -> Status:
    """The same run with everything there is to say about it."""
    pace = status_values.PaceStatus(
        300.0, 2.2, 14.3, 1.9, 12.2, 4000.0, 1234.0, "4,100 answers of simulated/quick left, 20.1/s in the last 5 min",
        (status_values.RecentRequests("simulated/quick", 4000, 3800, 345.6),),
    )  # fmt: skip
    return replace(
        a_status(20, 25),
        rows_dropped=3,
        details=status_values.Details(
            pace=pace,
            drop_reasons=(
                status_values.DropReason("note", "rejected", "HTTP 400", "the prompt is " + "long " * 90, 3),
            ),
            deferral_reasons=(
                status_values.DeferralReason("note", "RateLimited", "slow down", 1200, datetime(2026, 11, 20, 12)),
            ),
            oldest_row_group=status_values.OldestRowGroup(2, "active", datetime(2026, 11, 19, 23, 59), 500, 3),
            admission=status_values.AdmissionStatus(
                False, "deferred tasks", 3, "Row group 3 waits: " + "so it is " * 9
            ),
            budget=status_values.BudgetStatus(5.0, 1000, 27, None),
            read_at=datetime(2026, 11, 20, 11, 59),
        ),
    )


@pytest.mark.parametrize("width", [40, 60, 80, 119, 120, 200])
def test_the_panel_fits_any_width_and_tells_the_essential(width: int) -> None:
    drawn = _drawn(detailed_status(), width=width, height=50)
    assert {len(line) for line in drawn.splitlines()} == {width}
    together = " ".join(drawn.replace("│", " ").split())
    for text in ("20 of 100 finished", "20:34", "$0.025 of $5.00", "24 of 32", "note", "dropped", "deferred"):
        assert text in together


def test_a_low_terminal_leaves_out_what_is_missed_least() -> None:
    drawn = _drawn(detailed_status(), width=80, height=24)
    assert len(drawn.splitlines()) <= 24
    assert "20 of 100 finished" in drawn
    assert "row groups" not in drawn


def test_budgets_that_are_nearly_used_up_are_marked() -> None:
    (budget,) = [fact for fact in overview.facts(detailed_status(), NOW) if fact.label == "budget"]
    assert (budget.text, budget.is_warning) == ("1,050 of 1,000 tokens, 25 of 27 requests", True)


@pytest.mark.parametrize(
    ("spent", "text"),
    [(4.99, "$4.99 of $5.00 (99 %)"), (5.0, "$5.00 of $5.00 (100 %)"), (5.04, "$5.04 of $5.00 (101 %)"),
     (5.003, "$5.003 of $5.000 (100 %)"), (0.0, "$0.00 of $5.00 (0 %)")],
)  # fmt: skip
def test_a_budget_is_used_up_by_its_figures_and_its_share_alike(spent: float, text: str) -> None:
    facts = overview.facts(replace(detailed_status(), cost_usd=spent), NOW)
    assert next(fact.text for fact in facts if fact.label == "cost") == text


def test_a_time_of_another_day_comes_with_its_date_and_every_time_with_its_zone() -> None:
    facts = {fact.label: fact.text for fact in overview.facts(detailed_status(), NOW)}
    assert facts["row groups"].endswith("entered 2026-11-19 23:59 UTC")
    assert "until 12:20:34 UTC" in facts["time left"]
    assert facts["time"].startswith("started 2026-11-20 11:59:00 UTC")


class _Recorder(io.StringIO):
    """A terminal that remembers each write."""

    encoding = "ascii"

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)

    def isatty(self) -> bool:
        return True


def test_a_stream_without_unicode_gets_plain_characters_of_the_same_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = _Recorder()
    console = console_on(stream)
    console.print(panel(replace(detailed_status(), name="pingüine"), NOW, 80, 50))
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert text.isascii()
    lines = text.splitlines()
    assert lines[0].startswith("+- ping\\xfcine: running -")
    assert {len(line) for line in lines[1:]} == {80}


def test_a_redrawn_panel_is_one_write_and_clears_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = _Recorder()
    with Panel(stream) as shown:
        shown.show(a_status(10, 10))
        before = len(stream.writes)
        shown.show(a_status(20, 25))
        assert len(stream.writes) == before + 1
    assert "\x1b[2J" not in stream.getvalue()
    assert "20 of 100 finished" in stream.writes[before]


def test_lines_without_a_terminal_carry_the_time_with_its_zone() -> None:
    stream = io.StringIO()
    with LogLines(stream) as lines:
        lines.show(a_status(20, 25))
    assert re.fullmatch(r"\d\d:\d\d:\d\d UTC 20/100 rows .*\n", stream.getvalue())
