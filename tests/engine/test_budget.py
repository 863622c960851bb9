"""The budget: a run that has used it up drains, says so, and goes on when it is raised."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from virtual_run import EPOCH, Finished, custom, llm, model, prepared, sampler

from rowmill.errors import SpecError
from rowmill.spec.spec import Spec

Run = Callable[..., Finished]
LIMIT = 4
PRICED: dict[str, Any] = {"input_usd_per_million_tokens": 1000.0, "output_usd_per_million_tokens": 1000.0}


def spec(records: int = 40, **budget: Any) -> Any:
    return prepared(
        sampler("rating"),
        llm("text", "Say {{ rating }}."),
        models=[model(limit=LIMIT, simulation={"latency_ms": 1000.0, "output_tokens": 10}, **PRICED)],
        records=records,
        row_group_size=10,
        run=budget,
    )


def used(finished: Finished) -> tuple[int, int, float]:
    return finished.sql("select requests, input_tokens + output_tokens, cost_usd from run_status")[0]


@pytest.mark.parametrize("field", ["max_requests", "max_tokens", "max_cost_usd"])
def test_a_run_drains_when_its_budget_is_reached_and_goes_on_when_it_is_raised(
    run: Run, tmp_path: Path, field: str
) -> None:
    whole = used(run(spec()))
    place = ["max_requests", "max_tokens", "max_cost_usd"].index(field)
    share: float = {"max_requests": 12, "max_tokens": whole[1] * 3 // 10, "max_cost_usd": whole[2] * 0.3}[field]
    budget: dict[str, Any] = {field: share}
    first = run(spec(**budget), tmp_path / "x.duckdb")
    assert first.report is not None
    assert first.report.exit_code == 75
    assert f"Raise run.{field}" in first.report.message
    assert share <= used(first)[place] <= share + 2 * LIMIT * whole[place] / whole[0] * 1.5, (
        "only what ran was finished"
    )
    assert first.sql("select reason like 'The budget is reached%' from run_status") == [(True,)]
    assert first.sql("select count(*) from event where kind = 'stopped' and subject = 'budget'") == [(1,)]
    requests = used(first)[0]

    again = run(spec(**budget), tmp_path / "x.duckdb", starts_at_s=100.0)
    assert again.report is not None
    assert (again.report.exit_code, used(again)[0]) == (75, requests), "it counts what earlier invocations used"

    budget[field] = share * 100
    raised = run(spec(**budget), tmp_path / "x.duckdb", starts_at_s=200.0)
    assert raised.report is not None
    assert (raised.report.exit_code, used(raised)[0]) == (0, whole[0])
    assert raised.violations() == []


def test_a_deadline_drains_the_run_at_its_time_even_if_nothing_happens_then(run: Run, tmp_path: Path) -> None:
    async def slow(row: dict[str, Any]) -> str:
        import anyio

        await anyio.sleep(20.0)
        return "x"

    deadline = datetime.fromtimestamp(EPOCH + 5.0, UTC)
    limited = {"deadline": deadline.isoformat(), "max_in_flight": 2}
    late = prepared(sampler("rating"), custom("text", slow, ["rating"]), records=40, row_group_size=10, run=limited)
    first = run(late, tmp_path / "x.duckdb")
    assert first.report is not None
    assert (first.report.exit_code, "has passed" in first.report.message) == (75, True)
    assert first.took_s == pytest.approx(20.0, abs=1.0)
    assert first.sql("select done from progress where column_name = 'text'") == [(2,)]


def test_a_run_that_is_complete_when_it_reaches_its_budget_is_complete(run: Run) -> None:
    done = run(spec(records=4, max_requests=4))
    assert done.report is not None
    assert done.report.exit_code == 0


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_cost_usd": 1.0}, "has no price"),
        ({"max_requests": 0}, "max_requests"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"deadline": "2026-11-22T08:00:00"}, "needs its time zone"),
        ({"deadline": "20261122"}, "seconds since 1970"),
        ({"deadline": 5}, "date and a time"),
        ({"deadline": "tomorrow"}, "deadline"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(budget: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Spec.from_data(
            {
                "records": 1,
                "models": [{"alias": "m", "provider": "simulated", "model": "x"}],
                "columns": [{"name": "a", "column_type": "llm-text", "model_alias": "m", "prompt": "x"}],
                "run": budget,
            }
        )
