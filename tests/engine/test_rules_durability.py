"""D2: what a crash may cost. In virtual time, where the window of a commit can be measured to the millisecond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from virtual_run import Finished, Row, custom, prepared, sampler

from rowmill.errors import SpecError

Run = Callable[..., Finished]
IDENTITY = sampler("id", sampler_type="uuid", params={})
WINDOW_S = 0.05


class Cut(KeyboardInterrupt):
    """Ends the process as nothing in the engine expects."""


@dataclass
class Life:
    """Who was asked in the first life of a run, and when that was answered; who was asked in its second."""

    in_flight: set[str] = field(default_factory=set)
    answered_at_s: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_second: bool = False
    asked_again: set[str] = field(default_factory=set)


@pytest.mark.parametrize("commit_window_ms", [0.0, 50.0])
@pytest.mark.parametrize("seconds", [0.003, 0.1])
def test_d2_a_crash_repeats_at_most_the_calls_in_flight_and_the_results_of_one_commit_window(
    run: Run, tmp_path: Path, commit_window_ms: float, seconds: float
) -> None:
    life = Life()

    async def ask(row: Row) -> str:
        if life.is_second:
            life.asked_again.add(row["id"])
            return "made"
        life.asked.append(row["id"])
        life.in_flight.add(row["id"])
        # No two calls end at once.
        await anyio.sleep(seconds + len(life.asked) * 0.0007)
        life.answered_at_s[row["id"]] = anyio.current_time()
        if len(life.answered_at_s) == 100:
            raise Cut
        life.in_flight.discard(row["id"])
        return "made"

    bounds = {"max_in_flight": 16, "commit_window_ms": commit_window_ms}
    spec = prepared(IDENTITY, custom("text", ask, ["id"]), records=150, row_group_size=50, run=bounds)
    with pytest.raises(Cut):
        run(spec, tmp_path / "run.duckdb")
    life.is_second = True
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    died_at_s = max(life.answered_at_s.values())
    of_the_window = {name for name, at_s in life.answered_at_s.items() if at_s > died_at_s - WINDOW_S}
    repeated = life.asked_again & set(life.asked)
    assert life.in_flight <= repeated <= life.in_flight | of_the_window
    assert len(life.in_flight) <= 16
    assert (len(done.dataset()), done.violations()) == (150, [])


def test_d2_a_result_is_committed_within_its_window_when_no_other_comes(run: Run, tmp_path: Path) -> None:
    """One quick row beside slow ones: nothing else comes meanwhile, and its result is on disk all the same."""
    life = Life()

    async def ask(row: Row) -> str:
        if life.is_second:
            life.asked_again.add(row["id"])
            return "made"
        life.asked.append(row["id"])
        if len(life.asked) == 1:
            await anyio.sleep(0.2)
            return "quick"
        await anyio.sleep(0.2 + WINDOW_S + 0.001)
        raise Cut

    bounds = {"commit_window_ms": 50.0}
    spec = prepared(IDENTITY, custom("text", ask, ["id"]), records=4, row_group_size=4, run=bounds)
    with pytest.raises(Cut):
        run(spec, tmp_path / "run.duckdb")
    life.is_second = True
    run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert life.asked_again == set(life.asked[1:])


def test_d2_no_spec_can_widen_the_window_beyond_50_milliseconds() -> None:
    with pytest.raises(SpecError, match="commit_window_ms"):
        prepared(IDENTITY, run={"commit_window_ms": 51.0})
