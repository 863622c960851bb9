"""What must hold of scheduling: no endpoint is wasted, no row is lost. Whole runs in virtual time."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from budget import Budget
from run_state import RunState, rejected, succeeded
from storm import HEALTHY, LATENCY_S, storm
from virtual_run import EPOCH, Finished, Row, custom, expression, llm, model, prepared, sampler

from rowmill.engine.preparation import Prepared
from rowmill.errors import RateLimited, Transient
from rowmill.store.run_store import RunStore
from rowmill.store.turn.error_window import TooManyFailures
from rowmill.task import FinishedRowGroup

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]


async def made(row: Row) -> str:
    return "made"


def asking(work: Callable[[Row], Any]) -> Callable[..., Any]:
    """A function that occupies its model's endpoint while ``work`` runs."""

    async def ask(row: Row, params: dict[str, Any], models: dict[str, Any]) -> Any:
        return await work(row)

    return ask


# A6: an endpoint that answers 429 for ever --------------------------------------------------------


@functools.cache
def alone_s(row_groups: int, **settings: Any) -> float:
    """How long the healthy endpoints take for all of it with nothing beside them, in virtual time."""
    alone = storm(row_groups, with_bad=False, **settings)
    with closing(alone.store):
        return alone.took_s()


def judge_storm(row_groups: int, **settings: Any) -> None:
    beside = storm(row_groups, with_bad=True, idle_s=600.0, **settings)
    with closing(beside.store):
        assert beside.took_s() <= alone_s(row_groups, **settings) / 0.99 + LATENCY_S, "no more than one wave later"
        assert {name: len(beside.answered_at[name]) for name in HEALTHY} == dict.fromkeys(HEALTHY, 20 * row_groups)
        done = dict(beside.sql("select column_name, done from progress where column_name like 'by_%'"))
        assert done == {**{f"by_{name}": 20 * row_groups for name in HEALTHY}, "by_bad": 0}
        assert not beside.has_ended
        assert beside.turns - beside.turns_until_idle <= 2 * beside.idle_s, "it spins"
        assert len([at for at in beside.refused_at if at > beside.refused_at[-1] - 500.0]) >= 100, "it gave up asking"
        assert beside.sql("select rows_dropped from run_status") == [(0,)]
        assert beside.sql("select reason like 'rate limited%' from resource where resource = 'simulated/bad'") == [
            (True,)
        ]
        assert beside.sql("select distinct resource from deferred_task") == [("simulated/bad",)]
        ((scope, by_column),) = beside.sql("select deferred_scope, deferred_by_column from admission")
        assert scope == "simulated/bad"
        assert set(by_column) == {"by_bad"}
        assert beside.sql("from invariant_violation") == []


@pytest.mark.slow
def test_a6_an_endpoint_that_refuses_for_ever_costs_the_others_nothing() -> None:
    """(peer) 79 % of it, then everything stops after three groups."""
    judge_storm(40, max_active_row_groups=16)


def judge_function(row_groups: int, **settings: Any) -> None:
    beside = storm(row_groups, with_bad=False, with_function=True, idle_s=120.0, **settings)
    with closing(beside.store):
        assert beside.took_s() <= alone_s(row_groups, **settings) / 0.99 + LATENCY_S, "no more than one wave later"
        assert {name: len(beside.answered_at[name]) for name in HEALTHY} == dict.fromkeys(HEALTHY, 20 * row_groups)
        done = dict(beside.sql("select column_name, done from progress where column_name like 'by_%'"))
        assert done == {**{f"by_{name}": 20 * row_groups for name in HEALTHY}, "by_function": 0}
        assert not beside.has_ended
        assert beside.turns - beside.turns_until_idle <= 3 * beside.idle_s, "it spins"
        asked = [at for at in beside.refused_at if at > beside.refused_at[-1] - 100.0]
        assert 100 <= len(asked) <= 20 * 60, "it is asked again now and then, with a row group at a time"
        assert beside.sql("select rows_dropped from run_status") == [(0,)]
        assert beside.sql("from invariant_violation") == []


@pytest.mark.slow
def test_a6_a_function_that_is_rate_limited_for_ever_costs_the_endpoints_nothing() -> None:
    judge_function(40, max_active_row_groups=16)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a6_through_ever_more_row_groups(budget: Budget) -> None:
    sizes = (128, 256, 512, 1024, 2048)
    is_enough = budget.enough(5.0, least=1, what=f"of {sizes} row groups")
    for done, row_groups in enumerate(sizes):
        if is_enough(done):
            break
        judge_storm(row_groups)
        judge_function(row_groups)


# F4: no rounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere_s", [0.05, 2.0])
def test_f4_a_503_on_one_cell_delays_no_other_groups_finish(run: Run, elsewhere_s: float) -> None:
    """(peer) One 503 delayed every finished group from 0.05 s to 2 s."""

    def finish_times(fails: bool) -> dict[int, float]:
        finished_at: dict[int, float] = {}
        failures: list[float] = []

        async def work(row: Row) -> str:
            await anyio.sleep(0.05 if row["number"] < 30 else elsewhere_s)
            if fails and row["number"] == 7 and not failures:
                failures.append(anyio.current_time())
                raise Transient("503", "HTTP 503")
            return "made"

        spec = prepared(
            sampler("rating"),
            custom("number", numbering(), ["rating"], dtype="int"),
            custom("text", work, ["number"]),
            records=32,
            row_group_size=2,
            run={"backoff_base_s": 20.0},
        )
        run(spec, on_row_group_finished=lambda group: finished_at.update({group.row_group: anyio.current_time()}))
        return finished_at

    undisturbed, disturbed = finish_times(fails=False), finish_times(fails=True)
    own = 7 // 2
    assert disturbed.pop(own) > undisturbed.pop(own) + 9.0
    assert disturbed == pytest.approx(undisturbed, abs=0.03)


def numbering() -> Callable[[Row], Any]:
    """A function that counts its calls; called in the order of the rows."""
    numbers = itertools.count()

    async def number(row: Row) -> int:
        return next(numbers)

    return number


# C2: learned limits -------------------------------------------------------------------------------


class Narrow:
    """Work at an endpoint that answers 429 when more than so many calls run at once."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.running = 0
        self.refused = 0
        self.starts: list[tuple[float, int]] = []

    async def __call__(self, row: Row) -> str:
        self.running += 1
        self.starts.append((anyio.current_time(), self.running))
        try:
            if self.running > self.width:
                self.refused += 1
                raise RateLimited("429", 1.0)
            await anyio.sleep(1.0)
            return "made"
        finally:
            self.running -= 1


def narrow_spec(narrow: Narrow, records: int, **fields: Any) -> Any:
    return prepared(
        custom("text", asking(narrow), model_aliases=["writer"]),
        models=[model("writer", 32, **fields)],
        records=records,
        row_group_size=20,
    )


def test_c2_what_was_learned_of_an_endpoint_is_where_the_next_invocation_starts(run: Run, tmp_path: Path) -> None:
    """(peer) Forgotten with every process."""
    first, second = Narrow(4), Narrow(4)
    learned = run(narrow_spec(first, 80), tmp_path / "run.duckdb")
    ((limit,),) = learned.sql("select learned_limit from resource where resource = 'simulated/writer'")
    assert 1 <= limit <= 8
    run(narrow_spec(second, 160), tmp_path / "run.duckdb", starts_at_s=1000.0)
    assert max(running for at, running in second.starts if at < 0.5) <= limit
    assert second.refused < first.refused / 2


@pytest.mark.slow
def test_c2_the_learned_limit_grows_again_and_never_above_the_configured_one(run: Run, tmp_path: Path) -> None:
    run(narrow_spec(Narrow(4), 40), tmp_path / "run.duckdb")
    wide = Narrow(1000)
    done = run(narrow_spec(wide, 1500), tmp_path / "run.duckdb", starts_at_s=1000.0)
    assert done.sql("select learned_limit from resource where resource = 'simulated/writer'") == [(32,)]
    assert max(running for _, running in wide.starts) == 32


def test_c2_a_ramp_lets_requests_in_linearly(run: Run) -> None:
    wide = Narrow(1000)
    run(narrow_spec(wide, 400, ramp_up_s=16.0))
    assert all(running <= max(1, 32 * at / 16.0 + 0.01) for at, running in wide.starts)
    assert max(running for at, running in wide.starts if at < 17.0) >= 28
    assert max(running for _, running in wide.starts) == 32


def test_c2_a_ramp_beside_a_lower_learned_limit_does_not_spin(run: Run) -> None:
    """Found by the simulation: the next step of the ramp lay in the past, and every turn asked for another at once."""
    narrow = Narrow(2)
    done = run(narrow_spec(narrow, 60, ramp_up_s=500.0))
    assert done.report is not None
    assert done.report.turns <= 6 * len(narrow.starts)


def test_a3_admission_goes_on_when_an_endpoint_has_cooled_down_though_a_task_still_waits(run: Run) -> None:
    """A verdict from while it cooled must not outlive that: the deferred task waits for 300 s, nothing else does."""
    calls = itertools.count()
    finished_at: list[float] = []

    async def work(row: Row) -> str:
        number = next(calls)
        await anyio.sleep(0.1)
        if number == 0:
            raise Transient("503", "HTTP 503", 300.0)
        if number == 1:
            raise RateLimited("429", 2.0)
        return "made"

    spec = prepared(
        custom("text", asking(work), model_aliases=["writer"]),
        models=[model("writer", 32)],
        records=200,
        row_group_size=1,
        run={"max_active_rows": 32},
    )
    run(spec, on_row_group_finished=lambda group: finished_at.append(anyio.current_time()))
    assert sorted(finished_at)[-2] < 20.0
    assert max(finished_at) >= 300.0


# C4: weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.5), (3.0, 0.75), (9.0, 0.9)])
def test_c4_an_endpoint_is_shared_by_weight(run: Run, weight: float, share: float) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        async def work(row: Row) -> str:
            order.append(name)
            await anyio.sleep(1.0)
            return name

        return asking(work)

    spec = prepared(
        custom("heavy", noting("heavy"), model_aliases=["writer"], weight=weight),
        custom("light", noting("light"), model_aliases=["writer"]),
        models=[model(limit=4)],
        records=200,
        row_group_size=200,
    )
    run(spec)
    assert Counter(order[:100])["heavy"] / 100 == pytest.approx(share, abs=0.06)
    assert Counter(order) == {"heavy": 200, "light": 200}


def test_c4_within_a_generator_the_lowest_row_group_goes_first(run: Run) -> None:
    finished: list[int] = []
    spec = prepared(
        llm("text", "{{ rating }}"),
        sampler("rating"),
        models=[model(limit=3, simulation={"latency_ms": 1000.0})],
        records=60,
        row_group_size=6,
    )
    run(spec, on_row_group_finished=lambda group: finished.append(group.row_group))
    assert finished == list(range(10))


# F5: siblings of dropped rows ---------------------------------------------------------------------


def test_f5_the_sibling_of_a_dropped_row_is_cancelled_and_its_cost_recorded_once(run: Run) -> None:
    spec = prepared(
        sampler("rating"),
        llm("doomed", "{{ rating }}", "strict"),
        llm("slow", "{{ rating }}", "slow"),
        models=[
            model("strict", 8, simulation={"latency_ms": 1000.0, "rejected": 1.0}),
            model("slow", 2, simulation={"latency_ms": 60_000.0}),
        ],
        records=6,
        row_group_size=6,
    )
    done = run(spec)
    assert done.took_s < 2.0
    assert done.sql("select row_id, column_name, reason from dropped_row order by row_id") == [
        (row_id, "doomed", "rejected") for row_id in range(6)
    ]
    attempts = done.sql("select generator, outcome, error_type, count(*) from attempt group by all order by all")
    assert attempts == [("doomed", "rejected", "HTTP 400", 6), ("slow", "released", "Cancelled", 2)]
    assert done.sql("select model, requests from usage order by model") == [("slow", 2), ("strict", 6)]
    assert done.sql("select rows_dropped, requests from run_status") == [(6, 8)]
    assert done.violations() == []


def test_f5_a_sibling_that_shares_its_call_with_live_rows_goes_on(run: Run) -> None:
    async def doomed(row: Row) -> str:
        await anyio.sleep(1.0)
        if row["rating"] == 3:
            raise ValueError("no")
        return "made"

    slow = {"name": "text", "column_type": "expression", "expr": "{{ rating }}", "dtype": "str"}
    done = run(prepared(sampler("rating"), custom("doomed", doomed, ["rating"]), slow, records=30, row_group_size=30))
    assert done.report is not None
    assert done.report.rows_finished + done.report.rows_dropped == 30
    assert done.column("text") == [str(rating) for rating in done.column("rating")]


# F6: the error window -----------------------------------------------------------------------------


def failing_while(flag: list[bool], share: float = 1.0) -> Callable[..., Any]:
    calls = itertools.count()

    async def work(row: Row) -> str:
        await anyio.sleep(0.1)
        if flag and next(calls) % 10 < share * 10:
            raise ValueError("the endpoint is broken")
        return "made"

    return work


def test_f6_too_many_failures_stop_the_run_and_drop_nothing(run: Run, tmp_path: Path) -> None:
    broken = [True]
    spec = prepared(
        custom("text", failing_while(broken), max_rows_per_call=1),
        records=200,
        row_group_size=50,
        run={"error_window": 20, "max_in_flight": 7},
    )
    stopped = run(spec, tmp_path / "run.duckdb", expects_error=True)
    assert isinstance(stopped.error, TooManyFailures)
    assert stopped.error.exit_code == 1
    assert "20 of the last 20 results failed, 20 of them in column 'text' with ValueError" in str(stopped.error)
    assert stopped.sql("select state, rows_finished, rows_dropped from run_status") == [("stopped", 0, 0)]
    assert stopped.sql("select kind, subject from event where kind = 'stopped'") == [("stopped", "error window")]
    why = [(f"failed: {stopped.error}"[:500],)]
    assert stopped.sql("select reason from run_status") == why
    assert stopped.sql("select end_reason from invocation") == why
    assert stopped.violations() == []
    broken.clear()
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert done.report is not None
    assert (done.report.rows_finished, done.report.rows_dropped, done.report.exit_code) == (200, 0, 0)


@pytest.mark.slow
def test_f6_rows_of_row_groups_that_are_finished_stay_as_they_are(run: Run, tmp_path: Path) -> None:
    """Found by the simulation: they came back into a working set their row group had left."""
    broken = [True]
    spec = prepared(
        custom("text", failing_while(broken, share=0.5), max_rows_per_call=1),
        records=60,
        row_group_size=2,
        run={"error_window": 20, "max_in_flight": 2, "max_error_share": 0.5},
    )
    stopped = run(spec, tmp_path / "run.duckdb", expects_error=True)
    assert isinstance(stopped.error, TooManyFailures)
    assert stopped.violations() == []
    broken.clear()
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=60.0)
    assert done.report is not None
    assert done.report.rows_finished + done.report.rows_dropped == 60
    assert done.violations() == []


@pytest.mark.slow
@pytest.mark.parametrize("waits", [False, True], ids=["on admission", "behind a task"])
def test_f6_failing_sql_stops_the_run_and_drops_nothing(run: Run, tmp_path: Path, waits: bool) -> None:
    async def made(row: Row) -> str:
        return "text"

    def spec(sql: str, share: float = 0.5) -> Prepared:
        column = expression("number", f"case when text = 'text' then {sql} end" if waits else sql)
        settings = {"error_window": 20, "max_error_share": share}
        return prepared(sampler("word", ["1", "x", "y", "z"]), custom("text", made), column, records=200, run=settings)

    database = tmp_path / "run.duckdb"
    stopped = run(spec("cast(word as integer)"), database, expects_error=True)
    assert isinstance(stopped.error, TooManyFailures)
    assert "in column 'number' with SqlError" in str(stopped.error)
    assert stopped.sql("select rows_dropped from run_status") == [(0,)]
    assert stopped.violations() == []
    done = run(spec("cast(word as integer)", share=1.0), database, starts_at_s=60.0)
    assert done.report is not None
    assert done.report.exit_code == 3
    assert 100 < done.report.rows_dropped < 200
    assert done.violations() == []


def test_f6_fewer_failures_than_the_limit_drop_their_rows_and_go_on(run: Run) -> None:
    spec = prepared(
        custom("text", failing_while([True], share=0.2), max_rows_per_call=1),
        records=200,
        row_group_size=50,
        run={"error_window": 20, "max_in_flight": 7},
    )
    done = run(spec)
    assert done.report is not None
    assert (done.report.exit_code, done.report.rows_dropped) == (3, 40)


@pytest.mark.slow
def test_f6_transient_failures_count_only_when_their_attempts_are_used_up(run: Run) -> None:
    failed: set[int] = set()

    async def once(row: Row) -> str:
        if row["number"] not in failed:
            failed.add(row["number"])
            raise Transient("503", "HTTP 503")
        return "made"

    spec = prepared(
        sampler("rating"),
        custom("number", numbering(), ["rating"], dtype="int"),
        custom("text", once, ["number"]),
        records=100,
        row_group_size=100,
        run={"error_window": 20},
    )
    done = run(spec)
    assert done.report is not None
    assert (done.report.rows_finished, len(failed)) == (100, 100)


# F8, K3: callbacks --------------------------------------------------------------------------------


def test_f8_a_callback_that_raises_stops_the_run_with_its_traceback(run: Run) -> None:
    def raising(group: FinishedRowGroup) -> None:
        if group.row_group == 2:
            raise ZeroDivisionError("in the callback")

    spec = prepared(custom("text", made), records=10, row_group_size=2, run={"max_active_row_groups": 1})
    with pytest.raises(ZeroDivisionError, match="in the callback") as raised:
        run(spec, on_row_group_finished=raising)
    assert any(entry.name == "raising" for entry in raised.traceback)


def test_f8_what_was_finished_before_a_callback_raised_is_kept_and_the_same_command_goes_on(
    run: Run, tmp_path: Path
) -> None:
    def raising(group: FinishedRowGroup) -> None:
        raise ZeroDivisionError("in the callback")

    spec = prepared(custom("text", made), records=10, row_group_size=2)
    with pytest.raises(ZeroDivisionError):
        run(spec, tmp_path / "run.duckdb", on_row_group_finished=raising)
    with closing(RunStore.open(tmp_path / "run.duckdb")) as store:
        ((kept,),) = store.connection.execute("select count(*) from dataset")
        assert kept >= 2
        assert store.connection.execute("from invariant_violation") == []
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=10.0)
    assert (len(done.dataset()), done.violations()) == (10, [])


def test_f8_a_progress_callback_that_raises_stops_the_run_with_its_traceback(run: Run) -> None:
    def raising(status: object) -> None:
        raise ZeroDivisionError("in the progress callback")

    with pytest.raises(ZeroDivisionError, match="in the progress callback") as raised:
        run(prepared(custom("text", made), records=10, row_group_size=2), on_progress=raising)
    assert any(entry.name == "raising" for entry in raised.traceback)


def test_k3_every_row_group_is_announced_at_least_once_across_crashes(run: Run, tmp_path: Path) -> None:
    announced: list[int] = []

    def noting(group: FinishedRowGroup) -> None:
        if group.row_group % 3 == 2 and group.row_group not in failed:
            failed.add(group.row_group)
            raise ZeroDivisionError
        announced.append(group.row_group)

    failed: set[int] = set()
    spec = prepared(custom("text", made), records=20, row_group_size=2)
    for attempt in range(10):
        try:
            run(spec, tmp_path / "run.duckdb", starts_at_s=10.0 * attempt, on_row_group_finished=noting)
            break
        except ZeroDivisionError:
            continue
    assert failed == {2, 5, 8}
    assert set(announced) == set(range(10))


def test_k3_what_a_crashed_process_finished_is_announced_by_the_next(run: Run, tmp_path: Path) -> None:
    spec = prepared(custom("text", made), records=6, row_group_size=2)
    with closing(RunStore.open(tmp_path / "run.duckdb")) as store:
        store.create(spec.blueprint(), EPOCH)
        store.begin(spec.limits, EPOCH)
        turn = store.turn(spec.spec, spec.graph, announces=True)
        tasks = turn.take([], {"local": 100}, EPOCH).tasks
        result = turn.take([succeeded(task, "x") for task in tasks[:4]], {}, EPOCH + 1.0)
        assert [group.row_group for group in result.finished] == [0, 1]
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=5.0)
    assert [group.row_group for group in done.groups] == [0, 1, 2]


# S4: errors in skip rules -------------------------------------------------------------------------


BROKEN_RULES = {
    "jinja": "{{ 1 // (rating - 3) == 7 }}",
    "sql": "case when rating = 3 then cast('x' || rating as int) = 3 end",
}


@pytest.mark.parametrize("when", BROKEN_RULES.values(), ids=BROKEN_RULES)
@pytest.mark.parametrize("on_error", ["drop", "skip", "stop"])
def test_s4_an_error_in_a_skip_rule_does_what_on_error_says(run: Run, when: str, on_error: str) -> None:
    skip = {"when": when, "value": "skipped", "on_error": on_error}
    spec = prepared(sampler("rating"), custom("text", made, ["rating"], skip=skip), records=50, row_group_size=10)
    done = run(spec, expects_error=True)
    threes = 50 - len([row for row in done.dataset() if row["rating"] != 3])
    if on_error == "stop":
        assert done.error is not None
        assert "skip" in str(done.error) or "text" in str(done.error)
        assert done.sql("select state, rows_dropped from run_status") == [("stopped", 0)]
    elif on_error == "drop":
        reasons = done.sql("select column_name, reason, count(*) from dropped_row group by all")
        assert reasons == [("text", "rejected", threes)]
        assert set(done.column("text")) == {"made"}
    else:
        assert done.sql("from dropped_row") == []
        assert {row["rating"] for row in done.dataset() if row["text"] == "skipped"} == {3}
        assert done.column("text").count("skipped") == threes
    assert done.violations() == []


# F9: nothing stands still -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 5])
def test_f9_long_stretches_of_row_groups_without_work_end_in_no_contradiction(run: Run, size: int) -> None:
    """Found by the simulation: the last row group a turn let in was never asked for tasks."""
    spec = prepared(
        sampler("rating", values=range(200)),
        llm("text", "{{ rating }}", skip={"when": "rating <> 1", "value": "none"}),
        models=[model(limit=2)],
        records=800,
        row_group_size=size,
    )
    done = run(spec)
    assert done.report is not None
    assert done.report.rows_finished == 800


def test_f6_rows_of_row_groups_that_finished_meanwhile_come_back_too(state_of: StateOf) -> None:
    """Row groups of one row finish, empty, in the turn that drops their row."""
    state = state_of(custom("made", made), records=6, row_group_size=1, run={"error_window": 4, "max_error_share": 1.0})
    tasks = state.take().tasks
    assert state.take([rejected(task) for task in tasks[:3]]).stop is None
    assert state.sql("select count(*) from row_group where state = 'finished'") == [(3,)]
    assert state.take([rejected(tasks[3])], free={}).stop is not None
    assert state.dropped() == {}
    assert state.sql("select state, count(*) from row_group group by state order by state") == [
        ("active", 3),
        ("resting", 3),
    ]
    assert state.violations() == []


def test_f6_a_rejected_batch_is_one_result_however_many_rows_it_has(state_of: StateOf) -> None:
    state = state_of(
        custom("made", made, generation_strategy="batch"), records=20, row_group_size=10, run={"error_window": 4}
    )
    (first, *_) = state.take().tasks
    assert state.take([rejected(first)]).stop is None
    assert len(state.dropped()) == 10
