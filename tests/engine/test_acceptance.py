"""P6: rows are planned until enough of them survive, exactly so many, within a bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from virtual_run import Finished, Row, custom, prepared, sampler

from rowmill.engine.preparation import Prepared
from rowmill.engine.reopening import extend
from rowmill.errors import SpecError, UsageError
from rowmill.store.turn.acceptance import TooFewAccepted

Run = Callable[..., Finished]


async def picky(row: Row) -> str:
    if row["rating"] > 3:
        raise ValueError("too good to be true")
    return "fine"


def spec(accepted: int, at_most: int | None = None, **fields: Any) -> Prepared:
    records: dict[str, int] = {"accepted": accepted}
    if at_most is not None:
        records["at_most"] = at_most
    settings = {"max_error_share": 1.0}
    columns = [sampler(), custom("check", picky, ["rating"])]
    return prepared(*columns, **{"records": records, "row_group_size": 7, "run": settings, **fields})


@pytest.mark.parametrize("accepted", [1, 5, 50, 120])
def test_p6_exactly_so_many_rows_survive_as_were_asked_for(run: Run, accepted: int) -> None:
    done = run(spec(accepted))
    assert done.report is not None
    assert done.report.state == "finished"
    assert len(done.dataset()) == accepted
    ((planned, dropped),) = done.sql("select records, rows_dropped from run_status")
    assert planned == accepted + dropped
    assert done.violations() == []


def test_p6_no_row_is_made_in_vain(run: Run) -> None:
    done = run(spec(60))
    assert done.sql("select count(*) from state.dataset_row") == [(60,)]
    last = done.sql(
        "select max(row_id) from (select row_id from state.dataset_row union all from (select row_id from dropped_row))"
    )
    assert last == [(done.sql("select records from run_status")[0][0] - 1,)]


def test_p6_the_bound_stops_the_run_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    stopped = run(spec(60, at_most=70), database, expects_error=True)
    assert isinstance(stopped.error, TooFewAccepted)
    assert stopped.error.exit_code == 1
    assert "of 60 rows were accepted after 70 were tried" in str(stopped.error)
    finished = stopped.dataset()
    assert 0 < len(finished) < 60
    done = run(spec(60, at_most=600), database, starts_at_s=60.0)
    assert len(done.dataset()) == 60
    assert done.dataset()[: len(finished)] == finished


@pytest.mark.slow
def test_p6_a_greater_number_goes_on_where_the_finished_run_ended(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    first = run(spec(20), database).dataset()
    more = run(spec(40), database, starts_at_s=60.0)
    assert len(more.dataset()) == 40
    assert more.dataset()[:20] == first
    again = run(spec(40), database, starts_at_s=120.0)
    assert again.report is not None
    assert again.report.turns <= 1


@pytest.mark.slow
def test_p6_such_a_run_is_extended_by_its_spec_alone(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    done = run(spec(20), database)
    first = done.dataset()
    done.store.close()
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=r"until 20 are accepted.*raise 'accepted' of 'records' in the spec"):
            extend(database, 500, None, 1_900_000_000.0, dry_run=dry_run)
    assert run(spec(20), database, starts_at_s=60.0).dataset() == first
    assert len(run(spec(30), database, starts_at_s=120.0).dataset()) == 30


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"accepted": 5, "at_most": 3}, r"at least accepted, 5.*records.at_most"),
        ({"acepted": 5}, r"acepted.*Did you mean 'accepted'"),
        ({"accepted": 0}, r"at least 1.*records.accepted"),
        ("many", r"whole number.*records"),
    ],
)
def test_p6_a_spec_that_makes_no_sense_is_refused_with_the_place(records: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        prepared(sampler(), records=records)  # type: ignore[arg-type]
