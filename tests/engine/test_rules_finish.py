"""K1, K2, K4, P1 to P3, P5, D3 and D4: finishing, plans and extensions, what outlives a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from run_state import RunState, rejected, request, succeeded, transient
from virtual_run import Finished, Row, custom, llm, model, prepared, sampler

from rowmill.errors import Damaged, Incompatible, Locked, UsageError
from rowmill.store.run_store import RunStore

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]


async def made(row: Row) -> str:
    return "made"


# K: finishing -------------------------------------------------------------------------------------


def test_k1_a_group_is_finished_when_every_live_row_is_done_by_every_generator(state_of: StateOf) -> None:
    state = state_of(custom("a", made), custom("b", made), records=2, row_group_size=2)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    assert state.take([succeeded(tasks["a", 0, 0], "x"), succeeded(tasks["a", 0, 1], "x")]).finished == []
    assert state.take([succeeded(tasks["b", 0, 0], "x")]).finished == []
    (finished,) = state.take([succeeded(tasks["b", 0, 1], "x")]).finished
    assert (finished.row_group, finished.rows_finished, finished.rows_dropped) == (0, 2, 0)


def test_k1_a_group_is_finished_in_the_turn_of_its_last_row_whatever_became_of_the_others(state_of: StateOf) -> None:
    """Turns look for complete groups when enough rows have ended: tasks that end more than once, too."""
    state = state_of(custom("a", made), custom("b", made), records=6, row_group_size=3)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    assert state.take([succeeded(tasks["a", 0, 0], "x"), transient(tasks["b", 0, 0])]).finished == []
    again = state.take(after_s=60.0).tasks
    assert state.take([succeeded(task, "x") for task in again]).finished == []
    assert state.take([succeeded(tasks[name, 1, 2], "x") for name in "ab"]).finished == []
    assert state.take([succeeded(tasks[name, 0, 1], "x") for name in "ab"]).finished == []
    assert state.take([rejected(tasks["a", 0, 2])]).finished[0].rows_dropped == 1
    assert state.take([rejected(tasks["b", 1, 0])]).finished == []
    (finished,) = state.take([succeeded(tasks[name, 1, 1], "x") for name in "ab"]).finished
    assert (finished.row_group, finished.rows_finished, finished.rows_dropped) == (1, 2, 1)


def test_k1_turns_in_which_no_group_can_become_complete_do_not_look(
    state_of: StateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of(custom("a", made), records=20, row_group_size=10)
    tasks = state.take().tasks
    looked: list[str] = []
    execute = state.store.connection.execute

    def watched(sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        looked.extend(["look"] if "as unfinished" in sql else [])
        return execute(sql, parameters)

    monkeypatch.setattr(state.store.connection, "execute", watched)
    for task in (*tasks[:9], *tasks[10:19]):
        assert state.take([succeeded(task, "x")], free={}).finished == []
    assert looked == []
    assert [len(state.take([succeeded(task, "x")], free={}).finished) for task in (tasks[9], tasks[19])] == [1, 1]
    assert looked == ["look", "look"]


def test_k1_a_group_without_live_rows_is_finished_with_zero_rows(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=4, row_group_size=2)
    tasks = state.take().tasks
    (finished,) = state.take([rejected(task) for task in tasks if task.row_group == 0]).finished
    assert (finished.row_group, finished.rows_finished, finished.rows_dropped) == (0, 0, 2)


def test_k1_a_group_without_survivors_is_not_run_again_by_a_resume(run: Run, tmp_path: Path) -> None:
    """(peer) A group that lost every row was run again on each resume."""
    calls: list[int] = []

    async def failing(row: Row) -> str:
        calls.append(1)
        raise ValueError("no")

    spec = prepared(custom("a", failing), records=4)
    run(spec, tmp_path / "run.duckdb")
    again = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert again.report is not None
    assert (again.report.state, len(calls)) == ("finished", 4)


def test_k2_finishing_moves_the_rows_and_leaves_nothing_behind(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=4, row_group_size=2)
    tasks = state.take().tasks
    state.take([succeeded(task, f"v{task.row_id}") for task in tasks if task.row_group == 0])
    assert state.sql("select row_id from state.active_row order by 1") == [(2,), (3,)]
    assert state.sql("select row_group from state.admitted_row_group") == [(1,)]
    assert [(row["row_id"], row["a"]) for row in state.dataset()] == [(0, "v0"), (1, "v1")]


def test_k2_no_task_in_flight_can_write_to_a_group_after_it_is_finished(state_of: StateOf) -> None:
    state = state_of(custom("a", made), custom("b", made), records=1)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    state.take([rejected(tasks["a", 0, 0])])
    result = state.take([succeeded(tasks["b", 0, 0], "late")])
    assert result.complete
    assert (state.dataset(), list(state.dropped())) == ([], [0])
    assert state.violations() == []


def test_k2_a_group_is_announced_once_after_its_rows_can_be_read(run: Run) -> None:
    """K3, too: the callback runs after the commit, with row counts, also for zero rows."""
    seen: list[tuple[int, int, int]] = []

    async def odd_ones_fail(row: Row) -> str:
        if row["rating"] < 3:
            raise ValueError("low")
        return "made"

    spec = prepared(sampler("rating"), custom("a", odd_ones_fail, ["rating"]), records=20, row_group_size=2)
    done = run(spec)
    seen = [(group.row_group, group.rows_finished, group.rows_dropped) for group in done.groups]
    facts = done.sql("select row_group, rows_finished, rows_dropped from row_group order by 1")
    assert sorted(seen) == facts
    assert len(facts) == 10
    assert {sum(counts[1:]) for counts in facts} == {2}


def test_k4_the_dataset_only_ever_holds_finished_rows_in_row_id_order(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=12, row_group_size=2)
    tasks = state.take().tasks
    for row_group in (4, 1, 5, 0, 3, 2):
        result = state.take([succeeded(task, "x") for task in tasks if task.row_group == row_group])
        rows = [row["row_id"] for row in state.dataset()]
        finished = [group for (group,) in state.sql("select row_group from row_group where state = 'finished'")]
        assert rows == sorted(rows)
        assert {row_id // 2 for row_id in rows} == set(finished)
        assert [group.row_group for group in result.finished] == [row_group]


def test_k4_columns_marked_drop_are_made_and_left_out(run: Run) -> None:
    async def shout(row: Row) -> str:
        return str(row["hidden"]).upper()

    done = run(prepared(custom("hidden", made, drop=True), custom("shown", shout, ["hidden"]), records=2))
    assert done.dataset() == [{"row_id": 0, "shown": "MADE"}, {"row_id": 1, "shown": "MADE"}]


# P: plans -----------------------------------------------------------------------------------------


def groups_of(state: RunState) -> list[tuple[int, int, int]]:
    """(row group, rows, offset) of every group of the plan, as the turn admits them."""
    found: list[tuple[int, int, int]] = []
    result = state.take()
    while result.tasks:
        result = state.take([succeeded(task, "x") for task in result.tasks])
    found = state.sql("select row_group, row_count, first_row from row_group order by 1")
    assert [row["row_id"] for row in state.dataset()] == list(range(len(state.dataset())))
    return found


def test_p1_five_rows_in_groups_of_two(state_of: StateOf) -> None:
    assert groups_of(state_of(custom("a", made), records=5)) == [(0, 2, 0), (1, 2, 2), (2, 1, 4)]


def test_p1_an_extension_never_tops_up_the_last_partial_group(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=5)
    groups_of(state)
    state.store.extend(7, 2, 1_700_000_060.0)
    assert groups_of(state) == [(0, 2, 0), (1, 2, 2), (2, 1, 4), (3, 2, 5)]


def test_p1_two_extensions_make_every_row_once(state_of: StateOf) -> None:
    """(peer) 5 → 6 → 9 made eight rows."""
    state = state_of(custom("a", made), records=5)
    for records in (6, 9):
        state.store.extend(records, 2, 1_700_000_060.0)
    assert groups_of(state) == [(0, 2, 0), (1, 2, 2), (2, 1, 4), (3, 1, 5), (4, 2, 6), (5, 1, 8)]
    assert len(state.dataset()) == 9


def test_p1_extending_before_the_first_groups_are_done_moves_no_offset(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=5, run={"max_active_row_groups": 1})
    tasks = state.take().tasks
    state.store.extend(7, 2, 1_700_000_060.0)
    result = state.take([rejected(task) for task in tasks])
    while result.tasks:
        result = state.take([succeeded(task, "x") for task in result.tasks])
    assert [row["row_id"] for row in state.dataset()] == [2, 3, 4, 5, 6]


def test_p2_an_extension_may_use_another_row_group_size(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=5)
    state.store.extend(15, 4, 1_700_000_060.0)
    assert groups_of(state)[3:] == [(3, 4, 5), (4, 4, 9), (5, 2, 13)]


def test_p2_a_target_below_the_current_one_is_refused(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=5)
    with pytest.raises(UsageError, match="not cut to 4"):
        state.store.extend(4, 2, 1_700_000_060.0)


def test_p2_zero_records_are_a_valid_complete_run(run: Run) -> None:
    done = run(prepared(custom("a", made), records=0))
    assert done.report is not None
    assert (done.report.state, done.report.exit_code, done.dataset(), done.violations()) == ("finished", 0, [], [])


def test_p2_a_run_of_zero_records_can_be_extended(run: Run, tmp_path: Path) -> None:
    run(prepared(custom("a", made), records=0), tmp_path / "run.duckdb")
    done = run(prepared(custom("a", made), records=3), tmp_path / "run.duckdb", starts_at_s=60.0)
    assert done.column("a") == ["made"] * 3


def test_p1_extending_a_finished_run_end_to_end_keeps_its_rows(run: Run, tmp_path: Path) -> None:
    calls: list[int] = []

    async def counted(row: Row) -> str:
        calls.append(row["rating"])
        return f"made {len(calls)}"

    def spec(records: int) -> Any:
        return prepared(sampler("rating"), custom("a", counted, ["rating"]), records=records)

    before = run(spec(5), tmp_path / "run.duckdb").dataset()
    after = run(spec(9), tmp_path / "run.duckdb", starts_at_s=60.0)
    assert after.dataset()[:5] == before
    assert [row["row_id"] for row in after.dataset()] == list(range(9))
    assert len(calls) == 9
    assert after.violations() == []


@pytest.mark.parametrize("row_group", [-1, 3, 10**12])
def test_p3_size_and_offset_of_an_unknown_group_are_errors_that_name_the_known_range(
    state_of: StateOf, row_group: int
) -> None:
    plan = state_of(custom("a", made), records=5).store.plan()
    for ask in (plan.size_of, plan.offset_of):
        with pytest.raises(UsageError, match=r"row groups are 0 to 2"):
            ask(row_group)


@pytest.mark.parametrize(
    "damage",
    [
        "update state.run set next_row_group = next_row_group + 1",
        "update state.run set next_row_group = 99",
        "delete from state.finished_row_group where row_group = 1",
    ],
)
def test_p4_a_plan_that_contradicts_the_finished_row_groups_is_refused_at_open(
    run: Run, tmp_path: Path, damage: str
) -> None:
    spec = prepared(custom("text", made), records=8, row_group_size=2)
    run(spec, tmp_path / "run.duckdb").sql(damage)
    with pytest.raises(Damaged, match=r"contradict each other.*rowmill doctor"):
        run(spec, tmp_path / "run.duckdb")


def test_p4_a_plan_that_contradicts_itself_is_refused_at_open(run: Run, tmp_path: Path) -> None:
    spec = prepared(custom("a", made), records=5)
    with RunState(spec, tmp_path / "run.duckdb") as state:
        state.sql("update state.plan_segment set row_groups = 2")
    with pytest.raises(Damaged, match="contradicts itself"):
        run(spec, tmp_path / "run.duckdb")


def test_p5_the_plan_of_a_billion_row_groups_is_one_row(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=10**9, row_group_size=1)
    assert state.sql("select count(*), any_value(row_groups) from state.plan_segment") == [(1, 10**9)]
    state.take()
    assert state.sql("select row_groups, row_groups_active, rows_finished from run_status") == [(10**9, 64, 0)]


def test_p5_a_turn_near_the_end_of_a_billion_groups_works_like_the_first(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=10**9, row_group_size=1)
    state.sql(f"update state.run set next_row_group = {10**9 - 2}")
    tasks = state.take().tasks
    assert [task.row_id for task in tasks] == [10**9 - 2, 10**9 - 1]
    assert state.take([succeeded(task, "x") for task in tasks]).complete


def test_p5_extending_a_plan_of_a_billion_groups_appends_one_row(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=10**9, row_group_size=1)
    state.store.extend(2 * 10**9 + 1, 7, 1_700_000_060.0)
    assert state.sql("select count(*) from state.plan_segment") == [(2,)]
    assert state.store.plan().offset_of(10**9 + 3) == 10**9 + 21


# D: what outlives a process -----------------------------------------------------------------------


def test_d1_a_run_cut_off_in_the_middle_goes_on_and_repeats_at_most_what_was_in_flight(
    run: Run, tmp_path: Path
) -> None:
    calls: list[str] = []

    class Cut(KeyboardInterrupt):
        """Ends the process as nothing in the engine expects."""

    async def first(row: Row) -> str:
        calls.append(row["id"])
        number = len(calls)
        await anyio.sleep(0.1)
        if number == 15:
            raise Cut
        return str(row["id"])

    spec = prepared(
        sampler("id", sampler_type="uuid", params={}),
        custom("first", first, ["id"]),
        records=30,
        row_group_size=5,
        run={"max_in_flight": 4, "commit_window_ms": 0.0},
    )
    with pytest.raises(Cut):
        run(spec, tmp_path / "run.duckdb")
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert [row["first"] for row in done.dataset()] == [row["id"] for row in done.dataset()]
    assert len(done.dataset()) == 30
    assert len(calls) <= 30 + 4 + 4
    assert done.violations() == []


def test_d1_committed_results_are_not_asked_for_again(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(
        custom("a", made), custom("b", made, ["a"]), records=4, row_group_size=4, path=tmp_path / "run.duckdb"
    )
    tasks = state.take().tasks
    state.take([succeeded(task, f"v{task.row_id}") for task in tasks[:2]])
    state.crash()
    again = state.take().tasks
    assert sorted(state.keys(again)) == [("a", 0, 2), ("a", 0, 3), ("b", 0, 0), ("b", 0, 1)]
    assert [task.inputs for task in state.of(again, "b")] == [{"a": "v0"}, {"a": "v1"}]


def test_d1_an_invocation_that_never_signed_out_is_known_as_crashed(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(custom("a", made), records=1, path=tmp_path / "run.duckdb")
    state.now_s = 30.0
    state.crash()
    rows = state.sql("select invocation, pid, end_reason from invocation order by 1")
    assert rows == [(1, os.getpid(), "crashed"), (2, os.getpid(), None)]


HOLDER = """
import sys
from pathlib import Path
from rowmill.store.run_store import RunStore
store = RunStore.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_d3_a_second_process_is_refused_and_told_who_holds_the_file(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    RunStore.open(database).close()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(Locked, match=str(holder.pid)) as refused:
            RunStore.open(database)
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
    assert (refused.value.exit_code, refused.value.pid) == (4, holder.pid)


def test_d3_the_lock_is_gone_with_the_process_that_held_it(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    RunStore.open(database).close()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    RunStore.open(database).close()


@pytest.mark.slow
def test_d4_usage_accumulates_over_invocations_and_equals_the_sum_of_attempts(run: Run, tmp_path: Path) -> None:
    def spec(records: int) -> Any:
        return prepared(
            sampler("id", sampler_type="uuid", params={}),
            llm("text", "{{ id }}"),
            models=[
                model(
                    simulation={"rate_limited": 0.2, "transient": 0.2, "rejected": 0.1},
                    input_usd_per_million_tokens=2.0,
                    output_usd_per_million_tokens=10.0,
                )
            ],
            records=records,
        )

    first = run(spec(10), tmp_path / "run.duckdb").sql(
        "select requests, input_tokens, output_tokens, cost_usd from run_status"
    )
    done = run(spec(25), tmp_path / "run.duckdb", starts_at_s=7200.0)
    (status,) = done.sql("select requests, input_tokens, output_tokens, cost_usd from run_status")
    (attempts,) = done.sql(
        "select count(*), sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cost_usd) from attempt"
    )
    (usage,) = done.sql(
        "select sum(requests)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cost_usd) from usage"
    )
    assert status == pytest.approx(attempts)
    assert status == pytest.approx(usage)
    assert all(now > before > 0 for now, before in zip(status, first[0], strict=True))
    assert status[3] == pytest.approx((2.0 * status[1] + 10.0 * status[2]) / 1e6)
    assert done.sql("select invocation, sum(requests)::bigint > 0 from usage group by all order by 1") == [
        (1, True),
        (2, True),
    ]


def test_d4_requests_of_virtual_time_are_journaled_in_virtual_time(run: Run) -> None:
    done = run(prepared(llm("text", "go"), models=[model()], records=1))
    assert done.sql("select year(started_at) from attempt") == [(2023,)]


def test_d4_requests_of_retries_count_each(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), models=[model()], records=1)
    (task,) = state.take().tasks
    state.take([transient(task, requests=[request(error="HTTP 503", tokens=3, cost=0.5)])])
    (task,) = state.take(after_s=60.0).tasks
    state.take([succeeded(task, "x", requests=[request(tokens=5, cost=0.25)])])
    assert state.sql("select requests, input_tokens, output_tokens, cost_usd from run_status") == [(2, 8, 16, 0.75)]
    assert state.sql("select attempt, outcome from attempt order by 1") == [(1, "transient"), (2, "succeeded")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"columns": "prompt"}, "column 'text' changed"),
        ({"columns": "new"}, "column 'more' is new"),
        ({"columns": "gone"}, "column 'other' is gone"),
        ({"seed": 12}, "the seed was 0, now it is 12"),
    ],
)
def test_a_database_of_another_spec_is_refused_and_left_alone(
    run: Run, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    columns = [llm("text", "go"), custom("other", made)]
    run(prepared(*columns, models=[model()], records=2), tmp_path / "run.duckdb")
    changed = {
        "prompt": [llm("text", "go on"), custom("other", made)],
        "new": [*columns, custom("more", made)],
        "gone": columns[:1],
    }.get(change.pop("columns", ""), columns)
    with pytest.raises(Incompatible, match=said) as refused:
        run(prepared(*changed, models=[model()], records=2, **change), tmp_path / "run.duckdb", starts_at_s=60.0)
    assert refused.value.exit_code == 5
    store = RunStore.open(tmp_path / "run.duckdb")
    assert store.connection.execute("select count(*) from state.spec_version") == [(1,)]
    store.close()


def test_how_a_run_works_may_change_between_invocations(run: Run, tmp_path: Path) -> None:
    run(prepared(custom("a", made), records=2, run={"max_in_flight": 5}), tmp_path / "run.duckdb")
    done = run(
        prepared(custom("a", made), records=4, run={"max_in_flight": 6}), tmp_path / "run.duckdb", starts_at_s=60.0
    )
    assert done.column("a") == ["made"] * 4
