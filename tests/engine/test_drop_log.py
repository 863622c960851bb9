"""What a run says of the rows it drops."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import anyio
import pytest
from virtual_run import Finished, Row, custom, prepared

from rowmill.store.turn.error_window import TooManyFailures

Run = Callable[..., Finished]


async def failing(row: Row) -> str:
    await anyio.sleep(1)
    raise ValueError("no")


@pytest.mark.slow
def test_a_run_that_drops_again_and_again_says_how_many_now_and_then_and_forgets_none(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="rowmill"):
        done = run(prepared(custom("a", failing), records=60, run={"max_in_flight": 1, "error_window": 1000}))
    said = [record for record in caplog.records if record.name == "rowmill.rows"]
    assert done.report is not None
    assert done.report.rows_dropped == sum(vars(record)["rows"] for record in said) == 60
    assert re.fullmatch(r"Dropped 1 × column 'a' \(rejected, ValueError, test_drop_log\.py:\d+\)", said[0].getMessage())
    assert 1 < len(said) <= done.took_s / 10 + 2


def test_nothing_is_said_of_rows_that_were_given_back_as_too_much_failed(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="rowmill"), pytest.raises(TooManyFailures):
        run(prepared(custom("a", failing), records=60, run={"max_in_flight": 2, "error_window": 12}))
    said = sum(vars(record)["rows"] for record in caplog.records if record.name == "rowmill.rows")
    assert said <= 2  # those of the first turn, said before it was known that so many would follow
