"""Progress: the pace, the plain lines, the live panel."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from rowmill.cli import figures
from rowmill.cli.pace import Pace, Pacemaker
from rowmill.cli.panel import panel
from rowmill.cli.progress import progress_line
from rowmill.store.status import ColumnProgress, ResourceStatus, Status

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


def _drawn(status: Status, width: int = 110, height: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(panel(status, Pace(2.0, 2.5, 75.0), 61.0, NOW, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_panel_shows_rows_columns_endpoints_tokens_and_cost() -> None:
    drawn = _drawn(a_status(20, 25))
    for text in (
        "20 of 100 rows",
        "(20 %)",
        "ETA 1:15",
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
    assert "0 of 0 rows (100 %)" in _drawn(empty)


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
