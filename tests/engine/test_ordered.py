"""R10 for users: custom columns that take row groups in order, with a state that is committed with the result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from run_state import RunState
from virtual_run import EPOCH, Finished, Row, custom, model, prepared, sampler

import rowmill
from rowmill.engine.binding import bind_generators
from rowmill.engine.execution import LocalExecutor
from rowmill.engine.preparation import Prepared
from rowmill.errors import GeneratorError, RateLimited, SpecError, Transient
from rowmill.generators.runtime import InvocationRuntime
from rowmill.store.run_store import RunStore
from rowmill.task import Outcome, Task

Run = Callable[..., Finished]


def numbered(rows: pa.Table, first: int) -> pa.Table:
    numbers = pa.array(range(first, first + rows.num_rows), type=pa.int64())
    return pa.table({"row_index": rows["row_index"], "number": numbers})


async def counter(rows: pa.Table, state: Any) -> tuple[pa.Table, Any]:
    """Numbers the rows it sees, over all row groups."""
    first = 0 if state is None else state["next"]
    return numbered(rows, first), {"next": first + rows.num_rows}


def ordered(function: Callable[..., Any], **fields: Any) -> dict[str, Any]:
    return custom(
        "number", function, ["rating"], **{"generation_strategy": "batch", "dtype": "int", "ordered": True, **fields}
    )


def spec_of(function: Callable[..., Any], records: int = 10, row_group_size: int = 2, **fields: Any) -> Prepared:
    return prepared(sampler("rating"), ordered(function, **fields), records=records, row_group_size=row_group_size)


def test_r10_state_goes_from_row_group_to_row_group(run: Run) -> None:
    done = run(spec_of(counter))
    assert done.column("number") == list(range(10))


def test_r10_row_groups_come_in_order_whatever_the_retries(run: Run) -> None:
    calls: list[tuple[int, Any]] = []

    async def flaky(rows: pa.Table, state: Any) -> tuple[pa.Table, Any]:
        first = rows["row_id"][0].as_py()
        calls.append((first, state))
        await anyio.sleep(0.1)
        if first in (2, 6) and [seen for seen, _ in calls].count(first) < 3:
            raise Transient("503", "HTTP 503") if first == 2 else RateLimited("429", 7.0)
        return await counter(rows, state)

    done = run(spec_of(flaky))
    assert done.column("number") == list(range(10))
    assert [first for first, _ in calls] == [0, 2, 2, 2, 4, 6, 6, 6, 8]
    assert [state for first, state in calls if first == 2] == [{"next": 2}] * 3, "a failed call leaves no trace"


def test_r10_one_row_group_at_a_time(run: Run) -> None:
    running: list[int] = []

    async def alone(rows: pa.Table, state: Any) -> tuple[pa.Table, Any]:
        running.append(1)
        assert len(running) == 1
        await anyio.sleep(1.0)
        running.pop()
        return await counter(rows, state)

    done = run(spec_of(alone))
    assert len(done.dataset()) == 10
    assert done.took_s == pytest.approx(5.0, abs=0.3)


def test_r10_state_is_committed_with_the_result_and_handed_back_after_a_crash(run: Run, tmp_path: Path) -> None:
    """(peer) Seed rows repeated after resume."""
    spec = spec_of(counter)
    with closing(RunStore.open(tmp_path / "run.duckdb")) as store:
        store.create(spec.blueprint(), EPOCH)
        store.begin(spec.limits, EPOCH)
        turn = store.turn(spec.spec, spec.graph)
        (first,) = turn.take([], {"local": 4}, EPOCH).tasks
        assert (first.row_group, first.state) == (0, None)
        (second,) = turn.take([executed(spec, first)], {"local": 4}, EPOCH + 1.0).tasks
        assert (second.row_group, second.state) == (1, {"next": 2})
        executed(spec, second)  # its result is lost with the process
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=10.0)
    assert done.column("number") == list(range(10))
    assert done.sql("select row_group, state from state.generator_state") == [(4, '{"next": 10}')]


def executed(spec: Prepared, task: Task) -> Outcome:
    bound = bind_generators(spec, InvocationRuntime(Path()))
    executor = LocalExecutor(bound, frozenset(), lambda: EPOCH)
    (outcome,) = anyio.run(executor.execute, [task], [])
    return outcome


def test_r10_state_goes_on_in_an_extension(run: Run, tmp_path: Path) -> None:
    run(spec_of(counter, records=4), tmp_path / "run.duckdb")
    done = run(spec_of(counter, records=9), tmp_path / "run.duckdb", starts_at_s=10.0)
    assert done.column("number") == list(range(9))


def test_r10_a_function_gets_params_and_models_too(run: Run) -> None:
    async def with_params(rows: pa.Table, state: Any, params: dict[str, Any]) -> tuple[pa.Table, Any]:
        first = params["first"] if state is None else state
        return numbered(rows, first), first + rows.num_rows

    async def with_models(
        rows: pa.Table, state: Any, params: dict[str, Any], models: dict[str, Any]
    ) -> tuple[pa.Table, Any]:
        answer = await models["writer"].chat("go")
        assert answer.text == "yes"
        return await with_params(rows, state, params)

    assert run(spec_of(with_params, generator_params={"first": 7})).column("number") == list(range(7, 17))
    spec = prepared(
        sampler("rating"),
        ordered(with_models, generator_params={"first": 3}, model_aliases=["writer"]),
        models=[model(simulation={"answer": "yes"})],
        records=4,
    )
    done = run(spec)
    assert done.column("number") == [3, 4, 5, 6]
    assert done.sql("select requests from run_status") == [(2,)]


def test_r10_a_sync_function_may_be_ordered_too(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(
        "import rowmill\n"
        "@rowmill.generator(required_columns=['rating'], strategy='batch', ordered=True)\n"
        "def count(rows, state):\n"
        "    first = state or 0\n"
        "    numbers = list(range(first, first + len(rows)))\n"
        "    return {'row_index': rows['row_index'], 'number': numbers}, first + len(rows)\n"
    )
    column = {
        "name": "number",
        "column_type": "custom",
        "generator_function": "functions:count",
        "dtype": "int",
    }
    spec = {"name": "sync", "records": 7, "row_group_size": 3, "columns": [sampler("rating"), column]}
    rowmill.run(spec, tmp_path / "run.duckdb", directory=tmp_path)
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        assert database.to_arrow()["number"].to_pylist() == list(range(7))


def test_r10_a_cell_function_is_ordered_by_row_group_and_keeps_no_state(run: Run) -> None:
    starts: list[int] = []

    async def slow(row: Row) -> int:
        starts.append(row["at"])
        await anyio.sleep(1.0)
        return 0

    place = {"name": "at", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}
    groups: list[int] = []
    spec = prepared(
        place,
        custom("number", slow, ["at"], dtype="int", ordered=True),
        records=12,
        row_group_size=3,
    )
    done = run(spec, on_row_group_finished=lambda group: groups.append(group.row_group))
    in_order = {row["at"]: row["row_id"] // 3 for row in done.dataset()}
    assert [in_order[at] for at in starts] == sorted(in_order.values())
    assert groups == [0, 1, 2, 3]
    assert done.took_s == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize("state", [object(), {1, 2}, float("nan"), b"bytes"])
def test_r10_a_state_that_is_no_json_is_rejected_with_the_reason(run: Run, state: object) -> None:
    async def bad(rows: pa.Table, _: Any) -> tuple[pa.Table, Any]:
        return numbered(rows, 0), state

    done = run(spec_of(bad, records=2))
    assert done.sql("select distinct reason, error_type from dropped_row") == [("rejected", "GeneratorError")]
    assert "cannot be kept as JSON" in done.sql("select message from dropped_row")[0][0]


@pytest.mark.parametrize("shape", ["table", "three", "list"])
def test_r10_a_function_that_does_not_return_a_table_and_a_state_is_rejected(run: Run, shape: str) -> None:
    async def bad(rows: pa.Table, state: Any) -> Any:
        table = numbered(rows, 0)
        return {"table": table, "three": (table, 1, 2), "list": [table, 1]}[shape]

    done = run(spec_of(bad, records=2))
    assert "must return the table and the new state" in done.sql("select message from dropped_row")[0][0]


def test_r10_rows_of_a_rejected_row_group_do_not_change_the_state(run: Run) -> None:
    async def sometimes(rows: pa.Table, state: Any) -> tuple[pa.Table, Any]:
        if rows["row_id"][0].as_py() == 4:
            raise GeneratorError("no")
        return await counter(rows, state)

    done = run(spec_of(sometimes))
    assert done.column("number") == list(range(8))
    assert [row["row_id"] for row in done.dataset()] == [0, 1, 2, 3, 6, 7, 8, 9]


def test_an_ordered_batch_function_without_a_state_is_a_problem_of_the_spec() -> None:
    async def no_state(rows: pa.Table) -> pa.Table:
        return rows

    with pytest.raises(SpecError, match=r"an ordered batch function is fn\(rows, state\)"):
        spec_of(no_state)


def test_a_function_with_four_parameters_that_is_not_ordered_is_a_problem_of_the_spec() -> None:
    async def too_many(rows: pa.Table, state: Any, params: Any, models: Any) -> pa.Table:
        return rows

    with pytest.raises(SpecError, match=r"a generator function is fn\(row\)"):
        spec_of(too_many, ordered=False)


def test_whether_a_column_is_ordered_shapes_its_values(tmp_path: Path) -> None:
    async def cell(row: Row) -> int:
        return 0

    plain = prepared(sampler("rating"), custom("number", cell, ["rating"], dtype="int"))
    in_order = prepared(sampler("rating"), custom("number", cell, ["rating"], dtype="int", ordered=True))
    fingerprints = [spec.graph.generator_of_name("number").declaration.fingerprint for spec in (plain, in_order)]
    assert fingerprints[0] != fingerprints[1]


def test_r10_ordered_tasks_are_handed_out_for_the_lowest_unfinished_row_group_only() -> None:
    with RunState(spec_of(counter)) as state:
        assert state.keys(state.take().tasks) == [("number", 0, None)]
        assert state.ready() == {("number", 0, None)}
