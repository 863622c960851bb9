"""Looking at a run costs the same however many rows are finished; what must read them all comes slice by slice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from finished_rows import finished_run
from query_plan import work_of
from run_state import RunState

from rowmill.store.database.statements import statement
from rowmill.store.reading import listing as listing_module
from rowmill.store.reading.details import read_details
from rowmill.store.reading.listing import VIEWS, Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.store.reading.status import read_status

ROW_GROUPS = 10
OVER_ALL_ROWS = {"columns", "rows", "attempts"}
"""Listings that look at everything: statistics at all values, the first rows and the last attempts at numbers alone."""
STATUS = (
    "read_run_status",
    "read_progress",
    "read_resources",
    "drop_reasons",
    "deferral_reasons",
    "read_rates",
    "oldest_row_group",
    "read_admission",
    "read_budget",
)
PARAMETERS = {"limit": 101, "since_us": 1_690_000_000_000_000, "now_us": 1_700_000_000_000_000}


@pytest.fixture(scope="module")
def sizes() -> Iterator[tuple[RunState, RunState]]:
    """Two runs of as many row groups and dropped rows, one with a hundred times the finished rows."""
    with (
        finished_run(None, ROW_GROUPS, 200, drop_every=20) as small,
        finished_run(None, ROW_GROUPS, 20_000, drop_every=2000) as large,
    ):
        yield small, large


def _work(state: RunState, name: str) -> int:
    found = statement(name)
    text = found.fill(**{slot: {"columns": "*", "predicate": "true"}[slot] for slot in found.slots})
    return work_of(state, text, {key: value for key, value in PARAMETERS.items() if f"${key}" in text})


@pytest.mark.parametrize("name", [*STATUS, *(f"show_{what}" for what in sorted(VIEWS.keys() - OVER_ALL_ROWS))])
def test_what_people_ask_again_and_again_costs_no_more_for_more_finished_rows(
    sizes: tuple[RunState, RunState], name: str
) -> None:
    small, large = (_work(state, name) for state in sizes)
    assert large <= small + 2 * 2048, "rows come in vectors of 2,048"


def test_the_measure_sees_what_reads_all_rows(sizes: tuple[RunState, RunState]) -> None:
    small, large = (_work(state, "show_columns") for state in sizes)
    assert large > 50 * small


@pytest.mark.parametrize("name", ["show_rows_between", "show_attempts_between"])
def test_a_slice_costs_no_more_in_a_larger_run(sizes: tuple[RunState, RunState], name: str) -> None:
    text = statement(name).fill(columns="*", predicate="true")
    for first in (0, 1000):
        small, large = (work_of(state, text, {"first": first, "last": first + 99}) for state in sizes)
        assert large <= small + 4 * 2048


def test_the_status_of_a_finished_part_is_that_of_its_rows(sizes: tuple[RunState, RunState]) -> None:
    for state, rows in zip(sizes, (2_000, 200_000), strict=True):
        status = read_status(state.store.connection)
        assert (status.rows_finished, status.rows_dropped, status.requests) == (rows - 100, 100, rows)
        details = read_details(state.store.connection, status, 1_700_000_000.0)
        assert details.drop_reasons[0].rows == 100
        assert state.violations() == []


def test_all_attempts_come_the_latest_first_slice_by_slice(
    sizes: tuple[RunState, RunState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_module, "_SLICE_ROWS", 300)
    reader = Reader(sizes[0].store.connection)
    everything = listing(reader, "attempts", Selection(columns=["number", "row_id"])).read_all()
    assert everything["number"].to_pylist() == list(range(1999, -1, -1))
    assert everything["row_id"].to_pylist() == list(range(1999, -1, -1))
    refused = listing(reader, "attempts", Selection(where="outcome = 'rejected' -- only", columns=["row_id"]))
    assert refused.read_all()["row_id"].to_pylist() == list(range(1987, 0, -20))
    for limit in (1, 3, 299, 300, 301, 1999, 2000, 3000):
        few = listing(reader, "attempts", Selection(columns=["number"], limit=limit)).read_all()
        assert few["number"].to_pylist() == list(range(1999, -1, -1))[:limit]
        rows = listing(reader, "rows", Selection(columns=["row_id"], limit=limit)).read_all()
        assert rows["row_id"].to_pylist() == [row_id for row_id in range(2000) if row_id % 20 != 7][:limit]
    assert listing(reader, "attempts", Selection(limit=0)).read_all().num_rows == 0


@pytest.mark.slow
def test_values_of_very_many_rows_are_estimated_from_blocks_spread_over_them() -> None:
    with finished_run(None, 1, 1_050_000, drop_every=1_000_000) as state:
        ((rows, nulls, exact, median),) = state.sql(
            "select \"rows\", nulls, mean, median from column_statistics where column_name = 'points'"
        )
        assert (rows, nulls, median) == (1_049_998, 0, 30)
        assert exact == pytest.approx(30, abs=0.01)
        for view in ("column_value", "column_histogram"):
            ((total,),) = state.sql(f"select sum(\"rows\") from {view} where column_name = 'points'")
            assert total == pytest.approx(rows, rel=0.02)
        values = dict(state.sql("select value, \"rows\" from column_value where column_name = 'points'"))
        assert values.keys() == {"10", "20", "30", "40", "50"}
        assert all(count == pytest.approx(rows / 5, rel=0.02) for count in values.values())
