"""Usage adds up (D4) whether attempts were summed up already or not, and the time a run was worked on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from run_state import RunState, moment, rejected, request, succeeded, transient
from virtual_run import EPOCH, llm, model, prepared, sampler

from rowmill.store.reading.details import read_details, time_left
from rowmill.store.reading.status import ColumnProgress, RecentRequests, Status, read_status
from rowmill.store.turn import recording

StateOf = Callable[..., RunState]


def _state(path: Path | None = None) -> RunState:
    spec = prepared(sampler(), llm("note", "Write."), models=[model(limit=50)], records=40, row_group_size=10)
    state = RunState(spec, path)
    state.store.say_alive()
    return state


def _usage(state: RunState) -> list[tuple[object, ...]]:
    return state.sql(
        "select model, invocation, requests, succeeded, failed, input_tokens, cost_usd from usage order by all"
    )


def _counted(state: RunState) -> list[tuple[object, ...]]:
    return state.sql(
        "select model, invocation, count(*), count(*) filter (where error_type is null), count(error_type),"
        " sum(input_tokens), sum(cost_usd) from attempt where model is not null group by all order by all"
    )


def test_d4_usage_is_the_sum_of_all_attempts_however_many_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_TOTALLED_TOGETHER", 3)
    with _state() as state:
        tasks = state.of(state.take().tasks, "note")
        for first in range(0, 8, 2):
            good, bad = tasks[first : first + 2]
            outcomes = [
                succeeded(good, "text", requests=[request(tokens=7, cost=0.5), request(tokens=1)]),
                rejected(bad, requests=[request(error="HTTP 400")]),
            ]
            state.take(outcomes, after_s=1)
            assert _usage(state) == _counted(state)
            assert state.violations() == []
        ((summed,),) = state.sql("select sum(attempts) from state.usage_total")
        assert 0 < summed < 12
        (status,) = state.sql("select requests, input_tokens, cost_usd from run_status")
        assert status == (12, 4 * 18, 2.0)


def test_d4_what_a_crashed_invocation_left_is_summed_up_by_the_next(tmp_path: Path) -> None:
    with _state(tmp_path / "run.duckdb") as state:
        first, second = state.of(state.take().tasks, "note")[:2]
        state.take([succeeded(first, "text", requests=[request()])], after_s=1)
        state.crash()
        again = next(task for task in state.of(state.take(after_s=1).tasks, "note") if task.row_id == second.row_id)
        state.take([succeeded(again, "text", requests=[request()])], after_s=1)
        assert state.sql("select sum(attempts) from state.usage_total") == [(1,)]
        assert _usage(state) == _counted(state)
        assert len(_usage(state)) == 2
        assert state.violations() == []


def test_a_wrong_sum_is_a_contradiction() -> None:
    with _state() as state:
        state.sql(
            "insert into state.usage_total values (1, 0, 'x', $now, 1, 1, 0, 1.0, 1, 1, 0.0, $now, 0, 0, 0, 0)",
            now=moment(0),
        )
        assert [row[0] for row in state.violations()] == ["D4: sums of usage that are not those of the attempts"]


# The pace ------------------------------------------------------------------------------------------


def _detailed(state: RunState, now_s: float):  # type: ignore[no-untyped-def]
    status = read_status(state.store.connection)
    return read_details(state.store.connection, status, EPOCH + now_s)


def _finish(state: RunState, row_group: int, finished_s: float, dropped: int = 0) -> None:
    state.sql(
        "insert into state.finished_row_group values ($g, $g * 10, 10, 10 - $dropped, $dropped, $begun, $end)",
        g=row_group,
        dropped=dropped,
        begun=moment(0),
        end=moment(finished_s),
    )


def test_recent_rates_count_what_ended_in_the_window_overall_ones_everything() -> None:
    with _state() as state:
        _finish(state, 0, 100)
        _finish(state, 1, 900, dropped=2)
        pace = _detailed(state, 1000).pace
        assert pace.recent_s == 300
        assert pace.recent_rows_per_s == pytest.approx(8 / 300)
        assert pace.worked_s == 1000
        assert pace.overall_rows_per_s == pytest.approx(18 / 1000)


def test_a_young_invocation_is_measured_by_its_own_time() -> None:
    with _state() as state:
        _finish(state, 0, 5)
        assert _detailed(state, 10).pace.recent_s == 10


def _request(state: RunState, started_s: float, duration_ms: float) -> None:
    state.sql(
        "insert into state.attempt values"
        " (1, 1, 0, 0, 0, 1, 'succeeded', null, null, 'writer', $at, $ms, 1, 1, null, null, 0, 0)",
        at=moment(started_s),
        ms=duration_ms,
    )


def test_requests_count_by_when_they_ended() -> None:
    with _state() as state:
        for started_s, duration_ms in ((100, 650_000), (690, 20_000), (800, 1000)):
            _request(state, started_s, duration_ms)
        pace = _detailed(state, 1000).pace
        assert pace.requests == (RecentRequests("simulated/writer", 2, 2, 10_500.0),)


def test_recent_figures_hold_nothing_of_the_invocation_before_a_crash(tmp_path: Path) -> None:
    with _state(tmp_path / "run.duckdb") as state:
        for second in range(8):
            _request(state, second, 500)
        _finish(state, 0, 8)
        state.now_s = 10
        state.crash()
        state.store.say_alive()
        at_once = _detailed(state, 10.5).pace
        assert (at_once.recent_rows_per_s, at_once.requests, at_once.seconds_left) == (0, (), None)
        _request(state, 11, 1000)
        _finish(state, 1, 13)
        later = _detailed(state, 14).pace
        assert later.recent_s == 4
        assert later.recent_rows_per_s == 10 / 4
        assert later.requests == (RecentRequests("simulated/writer", 1, 1, 1000.0),)
        assert later.seconds_left == 20 / (1 / 4)


def test_the_time_of_a_crashed_invocation_ends_with_the_last_thing_known_of_it(tmp_path: Path) -> None:
    with _state(tmp_path / "run.duckdb") as state:
        task = state.of(state.take().tasks, "note")[0]
        state.take([succeeded(task, "text", requests=[request()])], after_s=5)
        _finish(state, 3, 40)
        state.now_s = 1000
        state.crash()
        state.store.say_alive()
        worked = state.sql("select epoch(ended_at) - epoch(started_at) from state.worked order by invocation")
        assert worked == [(40.0,), (None,)]
        assert _detailed(state, 1010).pace.worked_s == 50


def test_what_fails_most_comes_first() -> None:
    with _state() as state:
        tasks = state.of(state.take().tasks, "note")
        outcomes = [rejected(task) for task in tasks[:3]] + [transient(task) for task in tasks[3:5]]
        state.take(outcomes, after_s=1)
        details = _detailed(state, 2)
        assert [(r.column_name, r.error_type, r.rows) for r in details.drop_reasons] == [("note", "HTTP 400", 3)]
        assert [(r.column_name, r.error_type, r.tasks) for r in details.deferral_reasons] == [("note", "Timeout", 2)]
        assert details.oldest_row_group is not None
        assert details.oldest_row_group.row_group == 0


def test_details_can_be_read_of_a_run_that_has_not_begun() -> None:
    with _state() as state:
        state.sql("delete from state.invocation")
        state.sql("update state.run set state = 'new', started_at = null")
        details = _detailed(state, 0)
        assert (details.pace.seconds_left, details.pace.basis) == (None, "the run has not begun")
        assert details.oldest_row_group is None


# The time left -------------------------------------------------------------------------------------


def _status(state: str = "running", waiting: int = 100, rows: int = 0, resource: str | None = "openai/a") -> Status:
    column = ColumnProgress("note", "note", "cell", 100, 100 - waiting, 0, 0, 0, waiting, resource)
    return Status(
        "x", state, 100, rows, 0, 10, 1, rows // 10, 1, 0, 0, 0, 0.0, None, moment(0), None, (column,), ()
    )  # fmt: skip


_BASIS = "100 answers of openai/a left, 0.5/s in the last 100 s"


@pytest.mark.parametrize(
    ("status", "requests", "rows_settled", "expected"),
    [
        (_status(), [RecentRequests("openai/a", 60, 50, 1.0)], 0, (200, _BASIS)),
        (_status(), [], 50, (None, "openai/a gave no answer in the last 100 s")),
        (_status(resource="local"), [], 50, (200, "100 rows left, 0.5/s in the last 100 s")),
        (_status(resource="local", rows=20), [], 0, (800, "80 rows left, 0.1/s since the run began")),
        (_status(resource=None), [], 0, (None, "no row group is finished yet")),
        (_status("paused"), [], 50, (None, "the run is paused")),
        (_status("stopped"), [], 50, (None, "nothing works on this run; 'rowmill run' goes on")),
        (_status("finished", 0, 100), [], 50, (0, "all rows are settled")),
    ],
)  # fmt: skip
def test_the_time_left_says_what_it_rests_on(
    status: Status, requests: list[RecentRequests], rows_settled: int, expected: tuple[float | None, str]
) -> None:
    assert time_left(status, requests, rows_settled, recent_s=100, worked_s=200) == expected


_BEST = ColumnProgress("best", "best", "dataset", 100, 0, 0, 0, 0, 100, "local")
_LATER = ColumnProgress("later", "later", "cell", 100, 0, 0, 0, 0, 100, "openai/b")
_NOTE = "% of the cells are made, rows wait for column 'best', which looks at all of them"


def test_before_a_barrier_the_endpoint_that_is_asked_decides() -> None:
    before = replace(_status(waiting=50), columns=(*_status(waiting=50).columns, _BEST, _LATER))
    seconds, basis = time_left(before, [RecentRequests("openai/a", 60, 50, 1.0)], 3, 100, 100)
    assert (seconds, basis) == (100, "50 answers of openai/a left, 0.5/s in the last 100 s")


def test_an_endpoint_that_stopped_answering_before_a_barrier_is_named() -> None:
    before = replace(_status(waiting=50), columns=(*_status(waiting=50).columns, _BEST, _LATER))
    assert time_left(before, [], 3, 100, 100) == (None, "openai/a gave no answer in the last 100 s")


def test_while_a_barrier_waits_the_rows_that_were_dropped_are_no_pace() -> None:
    made = replace(_status(waiting=0), columns=(*_status(waiting=0).columns, _BEST, _LATER), rows_dropped=3)
    seconds, basis = time_left(made, [], 3, 100, 100)
    assert (seconds, basis) == (None, f"33 {_NOTE}; what comes after it has no pace yet")


def test_the_endpoint_with_the_most_work_for_its_pace_decides() -> None:
    quick = ColumnProgress("quick", "quick", "cell", 100, 0, 0, 0, 0, 100, "openai/a")
    slow = ColumnProgress("slow", "slow", "cell", 100, 80, 0, 0, 5, 15, "openai/b")
    both = replace(_status(), columns=(quick, slow))
    seconds, basis = time_left(
        both, [RecentRequests("openai/a", 900, 900, 1.0), RecentRequests("openai/b", 10, 10, 1.0)], 0, 100, 100
    )
    assert seconds == 200
    assert basis.startswith("20 answers of openai/b left")
