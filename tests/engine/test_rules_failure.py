"""F1 to F4, F7 and F9: what each kind of failure costs, and whom. By single turns, and end to end in virtual time."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from run_state import RunState, moment, rate_limited, rejected, request, succeeded, transient
from virtual_run import EPOCH, Finished, Row, custom, llm, model, prepared, sampler

from rowmill.engine.steady_clock import SteadyClock
from rowmill.errors import GeneratorError, InternalError, RateLimited, Rejected, RunStopping, Transient
from rowmill.task import Outcome, OutcomeKind, Task

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]


async def made(row: Row) -> str:
    return "made"


async def whole(rows: pa.Table) -> pa.Table:
    return pa.table({"row_index": rows.column("row_index"), "whole": ["x"] * rows.num_rows})


def deferral(state: RunState) -> tuple[Any, ...]:
    (row,) = state.sql("select attempts, not_before, error_type from deferred_task")
    return row


def retried(state: RunState, fail: Callable[[Task], Outcome], task: Task) -> Task | None:
    """Reports the failure, waits as long as asked, and returns the task if it is handed out again."""
    wake_at = state.take([fail(task)]).next_not_before
    if wake_at is None:
        return None
    (again,) = state.take(after_s=wake_at - EPOCH - state.now_s).tasks
    return again


# F1: rate limited ---------------------------------------------------------------------------------


def test_f1_a_rate_limited_task_waits_as_long_as_retry_after_says(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1)
    (task,) = state.take().tasks
    result = state.take([rate_limited(task, retry_after_s=37.0)], after_s=1.0)
    assert (result.tasks, result.next_not_before) == ([], EPOCH + 38.0)
    assert state.take(after_s=36.9).tasks == []
    assert len(state.take(after_s=0.1).tasks) == 1


def test_f1_a_rate_limited_task_waits_for_the_cool_down_when_the_endpoint_does_not_say(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1, run={"rate_limit_cooldown_s": 7.0})
    (task,) = state.take().tasks
    assert state.take([rate_limited(task)]).next_not_before == EPOCH + 7.0


def test_f1_a_429_cools_the_whole_endpoint_down(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), models=[model("writer")], records=2)
    state.take([rate_limited(state.take().tasks[0], retry_after_s=30.0)])
    assert state.sql("select cooling_until from resource where resource = 'simulated/writer'") == [(moment(30),)]


def test_f1_being_rate_limited_never_counts_against_the_attempts(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1, run={"max_attempts": 2})
    task: Task | None = state.take().tasks[0]
    for _ in range(8):
        assert task is not None
        assert task.attempts == 0
        task = retried(state, lambda found: rate_limited(found, 1.0), task)
    assert task is not None
    task = retried(state, transient, task)
    assert task is not None, "the first transient failure of two"
    assert retried(state, transient, task) is None
    assert state.sql("select reason, attempts from dropped_row") == [("retries_exhausted", 2)]


@pytest.mark.slow
def test_f1_a_run_whose_endpoint_answers_429_for_hours_drops_no_row(run: Run) -> None:
    opens_at_s = 4 * 3600.0

    async def refusing(row: Row) -> str:
        if anyio.current_time() < opens_at_s:
            raise RateLimited("429", 600.0)
        return "made"

    done = run(prepared(custom("text", refusing), records=6, row_group_size=6))
    assert done.report is not None
    assert (done.report.rows_finished, done.report.rows_dropped) == (6, 0)
    assert opens_at_s <= done.took_s <= opens_at_s + 600.0
    assert len(done.sql("from attempt where outcome = 'rate_limited'")) >= 4 * 6


def test_f1_give_up_after_bounds_the_patience_with_a_rate_limited_task(run: Run) -> None:
    async def refusing(row: Row) -> str:
        raise RateLimited("429", 10.0)

    done = run(prepared(custom("text", refusing), records=2, run={"give_up_after_s": 95.0}))
    assert done.sql("select row_id, reason, error_type from dropped_row order by all") == [
        (0, "given_up", "RateLimited"),
        (1, "given_up", "RateLimited"),
    ]
    assert 95.0 <= done.took_s <= 115.0


PATIENT = {"give_up_after_s": 50.0}


def test_f1_patience_runs_from_the_first_refusal_of_the_endpoint_for_all_who_wait(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), models=[model("writer", 1)], records=4, row_group_size=4, run=PATIENT)
    (first,) = state.take(free={"simulated/writer": 1}).tasks
    state.take([rate_limited(first, 60.0)], free={"simulated/writer": 0})
    (second,) = state.take(after_s=60.0, free={"simulated/writer": 1}).tasks
    assert state.dropped() == {}, "the endpoint may have come back"
    state.take([rate_limited(second, 60.0)], free={"simulated/writer": 0})
    assert state.dropped() == dict.fromkeys(range(4), "given_up")
    assert state.sql("select distinct error_type, message, attempts from dropped_row") == [
        ("RateLimited", "slow down", 0)
    ]


def test_f1_an_answer_of_the_endpoint_begins_its_patience_anew(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), models=[model("writer", 2)], records=4, row_group_size=4, run=PATIENT)
    one, two = state.take(free={"simulated/writer": 2}).tasks
    state.take([rate_limited(one, 30.0)], free={"simulated/writer": 0})
    state.take([succeeded(two, "made")], after_s=30.0, free={"simulated/writer": 0})
    for wait_s in (10.0, 49.0):
        (task,) = state.take(after_s=wait_s, free={"simulated/writer": 1}).tasks
        state.take([rate_limited(task, 1.0)], free={"simulated/writer": 0})
        assert state.dropped() == {}
    (task,) = state.take(after_s=1.0, free={"simulated/writer": 1}).tasks
    state.take([rate_limited(task, 1.0)], free={"simulated/writer": 0})
    assert state.dropped() == {row: "given_up" for row in range(4) if row != two.row_id}


def test_f1_calls_under_way_are_left_to_their_answer_when_patience_is_at_an_end(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), models=[model("writer", 2)], records=3, row_group_size=3, run=PATIENT)
    slow, quick = state.take(free={"simulated/writer": 2}).tasks
    state.take([rate_limited(quick, 60.0)], free={"simulated/writer": 0})
    (again,) = state.take(after_s=60.0, free={"simulated/writer": 1}).tasks
    state.take([rate_limited(again, 60.0)], free={"simulated/writer": 0})
    assert state.dropped() == {row: "given_up" for row in range(3) if row != slow.row_id}
    state.take([succeeded(slow, "made")])
    assert [row["text"] for row in state.dataset()] == ["made"]


def test_f1_a_row_that_may_be_skipped_is_not_given_up_before_its_rule_is_asked(state_of: StateOf) -> None:
    skip = {"when": "{{ rating == 2 }}"}
    state = state_of(
        sampler("rating", values=[1]),
        llm("text", "go {{ rating }}", skip=skip),
        models=[model("writer", 1)],
        records=3,
        row_group_size=3,
        run=PATIENT,
    )
    for wait_s in (0.0, 60.0):
        (task,) = state.take(after_s=wait_s, free={"simulated/writer": 1}).tasks
        state.take([rate_limited(task, 60.0)], free={"simulated/writer": 0})
    assert set(state.dropped().values()) == {"given_up"}
    assert len(state.dropped()) < 3


@pytest.mark.slow
def test_f1_twenty_row_groups_behind_an_endpoint_that_refuses_for_ever_share_one_patience(run: Run) -> None:
    """Beside one that answers."""
    spec = prepared(
        llm("good", "go", "one"),
        llm("bad", "go", "two"),
        models=[model("one", 4), model("two", 4, simulation={"rate_limited": 1.0, "retry_after_s": 30.0})],
        records=60,
        row_group_size=3,
        run={"give_up_after_s": 600.0, "max_active_row_groups": 4},
    )
    done = run(spec)
    assert done.report is not None
    assert (done.report.state, done.report.rows_dropped) == ("finished", 60)
    assert done.sql("select distinct column_name, reason, error_type from dropped_row") == [
        ("bad", "given_up", "RateLimited")
    ]
    assert 600.0 <= done.took_s <= 2 * 600.0
    assert done.violations() == []


def test_f1_the_patience_with_a_function_outlives_the_process(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(custom("text", made), records=1, run=PATIENT, path=tmp_path / "run.duckdb")
    for wait_s, given_up in ((0.0, 0), (30.0, 0), (30.0, 1)):
        (task,) = state.take(after_s=wait_s).tasks
        state.take([rate_limited(task, 30.0)])
        assert len(state.dropped()) == given_up
        state.crash()


def test_f1_the_patience_with_an_endpoint_outlives_the_process_without_the_time_in_which_nobody_worked(
    state_of: StateOf, tmp_path: Path
) -> None:
    path = tmp_path / "run.duckdb"
    state = state_of(llm("text", "go"), models=[model("writer", 1)], records=2, run=PATIENT, path=path)
    for wait_s, given_up in ((0.0, 0), (30.0, 0), (30.0, 2)):
        (task,) = state.take(after_s=wait_s, free={"simulated/writer": 1}).tasks
        state.take([rate_limited(task, 30.0)], free={"simulated/writer": 0})
        assert len(state.dropped()) == given_up
        state.now_s += 86_400.0
        state.crash()


def test_f1_without_give_up_after_patience_has_no_end(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1)
    task: Task | None = state.take().tasks[0]
    for _ in range(8):
        assert task is not None
        task = retried(state, lambda found: rate_limited(found, 86_400.0), task)
    assert state.dropped() == {}


# F2: transient ------------------------------------------------------------------------------------


def test_f2_a_transient_failure_is_retried_and_the_result_of_the_retry_counts(run: Run) -> None:
    calls: Counter[int] = Counter()

    async def flaky(row: Row) -> str:
        calls[row["rating"]] += 1
        if calls[row["rating"]] <= 2:
            raise Transient("503", "HTTP 503")
        return f"attempt {calls[row['rating']]}"

    done = run(prepared(sampler("rating", values=[1]), custom("text", flaky, ["rating"]), records=1))
    assert done.column("text") == ["attempt 3"]
    assert done.sql("select attempt, outcome, error_type from attempt order by attempt") == [
        (1, "transient", "HTTP 503"),
        (2, "transient", "HTTP 503"),
    ]


def test_f2_a_row_is_dropped_as_retries_exhausted_after_max_attempts(run: Run) -> None:
    calls: list[float] = []

    async def failing(row: Row) -> str:
        calls.append(anyio.current_time())
        raise Transient("503", "HTTP 503")

    done = run(prepared(custom("text", failing), records=1))
    assert len(calls) == 4
    assert done.sql("select reason, error_type, attempts from dropped_row") == [("retries_exhausted", "HTTP 503", 4)]


@pytest.mark.slow
def test_f2_the_waits_grow_exponentially_with_jitter_below_the_ceiling(run: Run) -> None:
    calls: dict[str, list[float]] = defaultdict(list)

    async def failing(row: Row) -> str:
        calls[row["id"]].append(anyio.current_time())
        raise Transient("503")

    spec = prepared(
        sampler("id", sampler_type="uuid", params={}),
        custom("text", failing, ["id"]),
        records=8,
        row_group_size=8,
        run={"max_attempts": 6, "backoff_base_s": 2.0, "backoff_max_s": 10.0},
    )
    run(spec)
    waits = [[after - before for before, after in itertools.pairwise(times)] for times in calls.values()]
    for place, ceiling in enumerate([2.0, 4.0, 8.0, 10.0, 10.0]):
        step = [row[place] for row in waits]
        assert all(0.5 * ceiling <= wait <= ceiling + 0.1 for wait in step)
        assert len({round(wait, 6) for wait in step}) > 5, "jitter spreads the retries"


def test_f2_the_same_run_waits_the_same(run: Run) -> None:
    async def failing(row: Row) -> str:
        raise Transient("503")

    spec = prepared(custom("text", failing), records=3)
    assert run(spec).took_s == run(spec).took_s


def test_f2_a_call_over_its_deadline_is_cut_off_and_counts_as_transient(run: Run) -> None:
    calls: list[float] = []

    async def hanging(row: Row) -> str:
        calls.append(anyio.current_time())
        if len(calls) == 1:
            await anyio.sleep_forever()
        return "made"

    done = run(prepared(custom("text", hanging, timeout_s=5.0), records=1))
    assert done.column("text") == ["made"]
    assert calls[1] >= 5.0
    assert done.sql("select outcome, error_type, duration_ms from attempt") == [("transient", "Timeout", 5000.0)]


def test_f2_the_attempts_of_a_task_outlive_the_process(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(custom("text", made), records=1, path=tmp_path / "run.duckdb")
    (task,) = state.take().tasks
    state.take([transient(task)])
    state.crash()
    (task,) = state.take(after_s=60.0).tasks
    assert task.attempts == 1


def test_f2_a_batch_task_that_exhausts_its_retries_drops_the_rows_of_its_group(run: Run) -> None:
    async def failing(rows: pa.Table) -> pa.Table:
        if 3 in rows.column("row_id").to_pylist():
            raise Transient("503")
        return await whole(rows)

    done = run(prepared(custom("whole", failing, generation_strategy="batch"), records=6, row_group_size=2))
    assert dict(done.sql("select row_id, reason from dropped_row")) == {2: "retries_exhausted", 3: "retries_exhausted"}
    assert [row["row_id"] for row in done.dataset()] == [0, 1, 4, 5]


# F3: rejected -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad row"), "ValueError"),
        (Rejected("too long", "ContextTooLong"), "ContextTooLong"),
        (GeneratorError("wrong", "EmptyPrompt"), "EmptyPrompt"),
        (KeyError("name"), "KeyError"),
        (SystemExit(3), "GeneratorError"),
    ],
)
def test_f3_a_rejected_row_is_dropped_at_once_with_its_typed_error(run: Run, error: BaseException, kind: str) -> None:
    calls: Counter[int] = Counter()

    async def failing(row: Row) -> str:
        calls[row["rating"]] += 1
        if row["rating"] == 3:
            raise error
        return "made"

    done = run(prepared(sampler("rating"), custom("text", failing, ["rating"]), records=40))
    dropped = done.sql("select column_name, reason, error_type, attempts from dropped_row")
    assert set(dropped) == {("text", "rejected", kind, 1)}
    assert len(dropped) == calls[3]
    assert 3 not in done.column("rating")


def test_f3_nothing_of_a_dropped_row_is_called_for_any_more(run: Run) -> None:
    async def failing(row: Row) -> str:
        raise ValueError("no")

    async def after(row: Row) -> str:
        raise AssertionError("called for a dropped row")

    done = run(prepared(custom("first", failing), custom("second", after, ["first"]), records=5))
    assert done.report is not None
    assert (done.report.rows_dropped, done.report.exit_code) == (5, 3)
    assert {column for (column,) in done.sql("select column_name from dropped_row")} == {"first"}


def test_f3_a_rejected_batch_drops_the_rows_of_its_group_and_no_other(run: Run) -> None:
    async def failing(rows: pa.Table) -> pa.Table:
        if 3 in rows.column("row_id").to_pylist():
            raise ValueError("no")
        return await whole(rows)

    done = run(prepared(custom("whole", failing, generation_strategy="batch"), records=6, row_group_size=2))
    assert dict(done.sql("select row_id, reason from dropped_row")) == {2: "rejected", 3: "rejected"}


@pytest.mark.parametrize("result", [None, 5, "text", {"whole": ["x"]}, {"row_index": [0, 1]}])
def test_f3_a_malformed_return_of_a_batch_generator_is_rejected(run: Run, result: object) -> None:
    async def malformed(rows: pa.Table) -> object:
        return result

    done = run(prepared(custom("whole", malformed, generation_strategy="batch"), records=2))
    assert done.sql("select reason, error_type from dropped_row") == [("rejected", "GeneratorError")] * 2


def test_f3_authentication_and_unknown_model_errors_stop_the_run_and_drop_nothing(run: Run) -> None:
    async def refused(row: Row) -> str:
        await anyio.sleep(1.0)
        raise RunStopping("401: the key is wrong", "HTTP 401")

    spec = prepared(custom("text", refused), records=10)
    stopped = run(spec, expects_error=True)
    assert isinstance(stopped.error, RunStopping)
    assert stopped.sql("select state, rows_dropped from run_status") == [("stopped", 0)]
    assert stopped.violations() == []


def test_f3_a_run_that_was_stopped_goes_on_when_the_cause_is_gone(run: Run, tmp_path: Path) -> None:
    key_is_wrong = True

    async def refused(row: Row) -> str:
        if key_is_wrong:
            raise RunStopping("401", "HTTP 401")
        return "made"

    spec = prepared(custom("text", refused), records=10)
    run(spec, tmp_path / "run.duckdb", expects_error=True)
    key_is_wrong = False
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert done.report is not None
    assert (done.report.rows_finished, done.report.exit_code) == (10, 0)


def test_f3_results_that_arrived_before_the_run_stopped_are_kept(run: Run, tmp_path: Path) -> None:
    calls: Counter[int] = Counter()
    stops = True

    async def sometimes(row: Row) -> str:
        calls[row["rating"]] += 1
        await anyio.sleep(row["rating"])
        if stops and row["rating"] == 5:
            raise RunStopping("401", "HTTP 401")
        return "made"

    spec = prepared(sampler("rating"), custom("text", sometimes, ["rating"]), records=50, row_group_size=10)
    run(spec, tmp_path / "run.duckdb", expects_error=True)
    before = calls.copy()
    stops = False
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert done.report is not None
    assert done.report.rows_finished == 50
    assert {rating: calls[rating] - before[rating] for rating in range(1, 5)} == dict.fromkeys(range(1, 5), 0)


# F4: no rounds ------------------------------------------------------------------------------------


def test_f4_a_retry_of_one_row_never_delays_another_rows_group(run: Run) -> None:
    """(peer) One 503 delayed every finished group from 0.05 s to 2 s."""
    failed: list[float] = []
    finished_at: dict[int, float] = {}

    async def flaky(row: Row) -> str:
        await anyio.sleep(0.05)
        if row["id"] == "slow" and not failed:
            failed.append(anyio.current_time())
            raise Transient("503", "HTTP 503")
        return "made"

    async def first_is_slow(row: Row) -> str:
        return "slow" if not failed and not finished_at and row["rating"] else "quick"

    spec = prepared(
        sampler("rating"),
        custom("id", first_is_slow, ["rating"], max_rows_per_call=1),
        custom("text", flaky, ["id"]),
        records=20,
        row_group_size=2,
        run={"backoff_base_s": 30.0, "backoff_max_s": 60.0},
    )
    done = run(spec, on_row_group_finished=lambda group: finished_at.update({group.row_group: anyio.current_time()}))
    late = [row_group for row_group, at in finished_at.items() if at > 0.5]
    assert len(late) == 1
    assert done.took_s >= 15.0
    assert done.column("text") == ["made"] * 20


def test_f4_two_deferred_tasks_come_back_each_at_its_own_time(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=2, row_group_size=2)
    first, second = state.take().tasks
    state.take([rate_limited(first, 10.0), rate_limited(second, 20.0)])
    assert state.keys(state.take(after_s=10.0).tasks) == [("text", 0, 0)]
    assert state.keys(state.take(after_s=10.0).tasks) == [("text", 0, 1)]


def test_f4_a_turn_says_when_the_next_deferred_task_is_due_also_when_the_clock_was_set_back(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=3)
    first, second, third = state.take().tasks

    def due_after(after_s: float, *outcomes: Outcome) -> float | None:
        due = state.take(outcomes, after_s=after_s, free=0).next_not_before
        return None if due is None else due - EPOCH

    assert due_after(0.0, rate_limited(first, 10.0), rate_limited(second, 20.0)) == 10.0
    assert due_after(9.0) == 10.0
    assert due_after(1.0) == 20.0
    assert due_after(5.0) == 20.0
    assert due_after(-10.0) == 10.0
    assert due_after(1.0, rate_limited(third, 2.0)) == 8.0
    assert due_after(15.0) is None


def test_f4_a_deferral_is_over_when_its_task_ends_and_only_then(state_of: StateOf) -> None:
    batch_column = custom("whole", whole, ["rating"], generation_strategy="batch")
    state = state_of(sampler("rating"), batch_column, custom("a", made), records=2, run={"max_attempts": 10})
    for _ in range(3):
        tasks = state.take(after_s=60.0).tasks
        state.take([transient(task) for task in tasks if state.is_batch(task) or task.row_index == 1])
        assert len(state.sql("from deferred_task")) == 2
    answered = [task for task in state.take(after_s=60.0).tasks if state.is_batch(task) or task.row_index == 1]
    assert len(state.sql("from deferred_task")) == 2
    (batch,) = state.of(answered, "whole")
    (cell,) = state.of(answered, "a")
    state.take([succeeded(cell, "x")])
    assert state.sql("select generator from deferred_task") == [("whole",)]
    state.take([succeeded(batch, pa.table({"row_index": [0, 1], "whole": ["x", "y"]}))])
    assert state.sql("from deferred_task") == []


def test_f4_a_deferred_task_goes_on_waiting_in_the_next_invocation(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(custom("text", made), records=1, path=tmp_path / "run.duckdb")
    state.take([rate_limited(state.take().tasks[0], 100.0)])
    state.crash()
    assert state.take(after_s=99.0).tasks == []
    assert len(state.take(after_s=1.0).tasks) == 1


def test_f4_a_deferral_never_waits_longer_than_it_was_to_when_the_clock_went_back_by_days(
    state_of: StateOf, tmp_path: Path
) -> None:
    state = state_of(custom("text", made), records=2, path=tmp_path / "run.duckdb")
    first, second = state.take().tasks
    state.take([rate_limited(first, 100.0)])
    state.take([rate_limited(second, 30.0)], after_s=10.0)
    state.now_s -= 3 * 86_400.0
    state.crash()
    assert state.take(after_s=29.0).tasks == []
    assert state.keys(state.take(after_s=1.0).tasks) == [("text", 0, 1)]
    assert state.keys(state.take(after_s=70.0).tasks) == [("text", 0, 0)]
    assert state.sql("select count(*) as n from invariant_violation") == [(0,)]


def test_f4_a_deferral_is_over_when_the_clock_went_forward_by_days(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(custom("text", made), records=1, path=tmp_path / "run.duckdb")
    state.take([rate_limited(state.take().tasks[0], 100.0)])
    state.now_s += 3 * 86_400.0
    state.crash()
    assert state.keys(state.take().tasks) == [("text", 0, 0)]


@pytest.mark.parametrize("days", [-3, 3])
def test_f4_a_living_process_counts_its_time_whatever_the_clock_is_set_to(days: int) -> None:
    wall_s, passed_s = EPOCH, 500.0
    clock = SteadyClock(lambda: wall_s, lambda: passed_s)
    wall_s, passed_s = EPOCH + days * 86_400.0, 510.0
    assert clock() == EPOCH + 10.0


def test_f4_rows_that_are_done_are_in_the_dataset_while_another_groups_retry_waits(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=4, row_group_size=2)
    tasks = state.take().tasks
    result = state.take([rate_limited(tasks[0], 3600.0), *[succeeded(task, "x") for task in tasks[1:]]])
    assert [group.row_group for group in result.finished] == [1]
    assert [row["row_id"] for row in state.dataset()] == [2, 3]


# F7 and F9 ----------------------------------------------------------------------------------------


def test_f7_a_failed_write_stops_the_run_with_the_reason_and_loses_no_group(run: Run, tmp_path: Path) -> None:
    spec = prepared(custom("text", made), records=6, row_group_size=2, run={"max_active_row_groups": 1})
    database = tmp_path / "run.duckdb"
    with RunState(spec, database) as state:
        state.store.connection.script(
            "create table state.strict as from state.dataset_row; drop table state.dataset_row;"
            "create table state.dataset_row (row_group bigint, row_index bigint, row_id bigint check (row_id <> 3),"
            " done_0 ubigint, skipped_0 ubigint, text varchar)"
        )
    failed = run(spec, database, starts_at_s=10.0, expects_error=True)
    assert isinstance(failed.error, InternalError)
    assert "CHECK constraint" in str(failed.error)
    assert failed.sql("select state, rows_finished, rows_dropped from run_status") == [("stopped", 2, 0)]
    assert "CHECK constraint" in failed.sql("select end_reason from invocation order by invocation desc limit 1")[0][0]
    failed.store.connection.script(
        "insert into state.strict from state.dataset_row; drop table state.dataset_row;"
        "alter table state.strict rename to dataset_row"
    )
    done = run(spec, database, starts_at_s=20.0)
    assert [row["row_id"] for row in done.dataset()] == list(range(6))
    assert done.violations() == []


def test_f7_a_turn_that_fails_writes_nothing_and_keeps_the_outcomes_of_the_next_one_apart(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=2, row_group_size=2)
    first, second = state.take().tasks
    misfit = Outcome(OutcomeKind.SUCCEEDED, second._replace(generator=99), ["x"])
    with pytest.raises(IndexError):
        state.take([succeeded(first, "a"), misfit])
    assert state.cells("text") == {0: "ready", 1: "ready"}
    assert state.take([succeeded(first, "a"), succeeded(second, "b")]).complete


def test_f9_a_run_that_cannot_go_on_stops_with_the_contradiction(run: Run, tmp_path: Path) -> None:
    spec = prepared(custom("text", made), custom("more", made, ["text"]), records=4, row_group_size=4)
    with RunState(spec, tmp_path / "run.duckdb") as state:
        state.sql("update state.generator set upstream_0 = 3")  # everything waits for itself
    stuck = run(spec, tmp_path / "run.duckdb", starts_at_s=1.0, expects_error=True)
    assert isinstance(stuck.error, InternalError)
    assert "Nothing is ready, in flight or deferred, with 1 row group unfinished" in str(stuck.error)
    assert stuck.sql("select state from run_status") == [("stopped",)]


def test_f9_the_message_prints_what_invariant_violation_says(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=2, row_group_size=2)
    state.write_row_group(0)
    state.sql("delete from state.active_row where row_id = 1")
    state.sql("update state.generator set upstream_0 = 1")
    with pytest.raises(InternalError, match="row of an unfinished row group is missing"):
        state.take()


@pytest.mark.parametrize("limits", [{"max_active_row_groups": 1}, {"max_active_rows": 1}, {}])
def test_f9_a_run_of_which_every_row_fails_ends(run: Run, limits: dict[str, int]) -> None:
    async def failing(row: Row) -> str:
        raise ValueError("no")

    done = run(prepared(custom("text", failing), records=30, run=limits))
    assert done.report is not None
    assert (done.report.state, done.report.rows_dropped, done.report.exit_code) == ("finished", 30, 3)


@pytest.mark.slow
def test_f9_a_run_of_which_every_row_fails_while_it_is_admitted_ends(run: Run) -> None:
    broken = {"name": "number", "column_type": "expression", "sql": "cast('x' || rating as integer)", "dtype": "int"}
    settings = {"error_window": 1000}
    done = run(prepared(sampler("rating"), broken, custom("text", made, ["number"]), records=300, run=settings))
    assert done.report is not None
    assert (done.report.state, done.report.rows_dropped) == ("finished", 300)


@pytest.mark.slow
def test_f9_a_storm_of_every_kind_of_failure_ends_with_every_row_accounted_for(run: Run) -> None:
    spec = prepared(
        sampler("id", sampler_type="uuid", params={}),
        llm("first", "{{ id }}"),
        llm("second", "{{ first }}", "critic"),
        models=[
            model("writer", simulation={"rate_limited": 0.3, "transient": 0.3, "rejected": 0.1, "latency_jitter": 0.5}),
            model("critic", simulation={"rate_limited": 0.2, "transient": 0.4, "rejected": 0.1, "retry_after_s": 9.0}),
        ],
        records=40,
        row_group_size=10,
    )
    done = run(spec)
    assert done.report is not None
    assert done.report.rows_finished + done.report.rows_dropped == 40
    assert done.report.rows_dropped > 0
    assert done.violations() == []
    assert done.sql("from state.deferred_task") == []


def test_d4_every_request_of_a_failed_call_is_in_the_journal(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), models=[model()], records=1)
    (task,) = state.take().tasks
    state.take([rejected(task, requests=[request(error="HTTP 503"), request(error="HTTP 400")])])
    assert state.sql("select outcome, error_type, attempt from attempt order by outcome desc") == [
        ("transient", "HTTP 503", 1),
        ("rejected", "HTTP 400", 1),
    ]
