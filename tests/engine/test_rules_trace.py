"""T1: every task leaves when it was handed out, started and ended, where it ran and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pyarrow as pa
from virtual_run import EPOCH, Finished, Row, custom, llm, model, prepared, sampler

from rowmill.engine.change import accept_change
from rowmill.errors import GeneratorError, Transient

Run = Callable[..., Finished]

TRACED = {"trace": True, "backoff_base_s": 1.0}


async def slow(row: Row) -> str:
    await anyio.sleep(3)
    return "made"


def test_t1_a_task_leaves_how_long_it_waited_and_worked(run: Run) -> None:
    writer = model("writer", limit=1, simulation={"latency_ms": 2000})
    done = run(prepared(llm("note", "Write."), records=3, row_group_size=3, models=[writer], run=TRACED))
    rows = done.sql(
        "select generator, row_group, row_index, row_id, waiting_ms, working_ms, outcome, worker "
        "from task_trace order by started_at"
    )
    assert [row[:4] for row in rows] == [("note", 0, index, index) for index in range(3)]
    assert [round(row[4]) for row in rows] == [0, 2000, 4000]
    assert [round(row[5]) for row in rows] == [2000, 2000, 2000]
    assert {row[6:] for row in rows} == {("succeeded", "local")}
    ((first,),) = done.sql("select epoch(min(handed_out_at)) from task_trace")
    assert first == EPOCH
    assert done.sql("from task_time") == [("note", 3, 6.0, 6.0, 2.0)]


def test_t1_tasks_that_ask_no_model_leave_a_trace_too_whatever_becomes_of_them(run: Run) -> None:
    tries: dict[int, int] = {}

    async def moody(row: Row) -> str:
        tries[row["place"]] = tries.get(row["place"], 0) + 1
        await anyio.sleep(1)
        if row["place"] == 1:
            raise GeneratorError("never")
        if row["place"] == 2 and tries[2] == 1:
            raise Transient("not now")
        return "made"

    done = run(
        prepared(
            {"name": "place", "column_type": "rank", "sql": "row_number() over (order by row_id)", "dtype": "int"},
            custom("text", moody, ["place"], skip={"when": "{{ place == 3 }}", "value": "none"}),
            records=4,
            row_group_size=4,
            run=TRACED,
        )
    )
    rows = done.sql(
        "select row_id, outcome, round(working_ms), started_at is null from task_trace where generator = 'text' "
        "order by row_id, ended_at"
    )
    assert rows == [
        (0, "rejected", 1000.0, False),
        (1, "transient", 1000.0, False),
        (1, "succeeded", 1000.0, False),
        (2, "skipped", 0.0, True),
        (3, "succeeded", 1000.0, False),
    ]


def test_t1_a_batch_task_is_known_by_its_row_group_in_trace_and_attempts(run: Run) -> None:
    async def halves(table: pa.Table) -> pa.Table:
        if table.column("row_id")[0].as_py() >= 2:
            raise GeneratorError("no")
        return table.append_column("text", pa.array(["a"] * len(table)))

    batch = custom("text", halves, ["rating"], generation_strategy="batch", dtype="str")
    done = run(prepared(sampler("rating"), batch, records=4, row_group_size=2, run=TRACED))
    assert done.sql("select row_group, row_index, row_id, outcome from task_trace order by row_group") == [
        (0, None, None, "succeeded"),
        (1, None, None, "rejected"),
    ]
    assert done.sql("select row_group, row_id from attempt") == [(1, None)]


def test_t1_nothing_is_traced_unless_the_spec_asks_for_it(run: Run) -> None:
    done = run(prepared(custom("text", slow), records=2))
    assert done.sql("from task_trace") == []
    assert done.sql("from task_time") == []


def test_t1_a_trace_goes_on_in_the_next_invocation(run: Run, tmp_path: Path) -> None:
    run(prepared(custom("text", slow), records=2, run=TRACED), tmp_path / "run.duckdb")
    done = run(prepared(custom("text", slow), records=4, run=TRACED), tmp_path / "run.duckdb", starts_at_s=60.0)
    assert done.sql("select invocation, count(*) from task_trace group by all order by all") == [(1, 2), (2, 2)]


def test_t1_a_trace_outlives_a_change_of_the_spec(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    run(prepared(custom("text", slow), records=2, run=TRACED), database).store.close()
    changed = prepared(sampler("mood", ["good"]), custom("text", slow), records=2, run=TRACED)
    accept_change(changed, database, EPOCH + 60)
    done = run(changed, database, starts_at_s=120.0)
    assert done.sql("select generator, count(*) from task_trace group by all") == [("text", 2)]
