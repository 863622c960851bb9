"""Answers used again: the very same request is paid for once, and nobody waits for it on the event loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.engine.invocation import RunReport, run
from rowmill.engine.known_answers import AnswerLookup
from rowmill.engine.preparation import prepare
from rowmill.engine.writer import WriterThread
from rowmill.run_database import RunDatabase
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore

KIND = {
    "name": "kind",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["tea", "coffee", "milk"]},
}
NOTE = {"name": "note", "column_type": "llm-text", "model_alias": "writer", "prompt": "On {{ kind }}"}
AGAIN = NOTE | {"name": "again", "prompt": "On {{ kind }}{{ note[:0] }}"}
"""The same prompt, asked when the answer to the first is committed."""


def spec(simulator: RunningSimulator, *columns: dict[str, Any], **changes: Any) -> Spec:
    model = {
        "alias": "writer",
        "base_url": simulator.url,
        "model": "small",
        "max_parallel_requests": 1,
        "reuse_answers": True,
        "output_usd_per_million_tokens": 1.0,
        **changes,
    }
    data = {"records": 12, "seed": 3, "row_group_size": 4, "models": [model], "columns": [KIND, *columns]}
    return Spec.from_data(data | {"run": {"max_error_share": 1.0}})


def started(wanted: Spec, database: Path) -> RunReport:
    async def go() -> RunReport:
        return await run(prepare(wanted, database.parent), database)

    return anyio.run(go)


def asked(database: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(database) as opened:
        assert opened.sql("from invariant_violation").num_rows == 0
        rows: list[dict[str, Any]] = opened.sql(query).to_pylist()
        return rows


def test_an_answer_that_is_kept_is_not_asked_for_again_and_values_are_those_without_reuse(tmp_path: Path) -> None:
    with provider_simulator() as simulator:
        plain = started(spec(simulator, NOTE, AGAIN, reuse_answers=False), tmp_path / "plain.duckdb")
        assert simulator.statistics()["requests"] == 2 * plain.rows_finished == 24
        simulator.reset()
        started(spec(simulator, NOTE, AGAIN), tmp_path / "reused.duckdb")
        assert 3 <= simulator.statistics()["requests"] <= 12
    dataset = "from dataset order by row_id"
    assert asked(tmp_path / "reused.duckdb", dataset) == asked(tmp_path / "plain.duckdb", dataset)
    again = "select distinct outcome from attempt where generator = 'again'"
    assert asked(tmp_path / "reused.duckdb", again) == [{"outcome": "reused"}]


def test_a_later_invocation_reuses_what_is_kept_for_nothing_and_makes_no_request(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator() as simulator:
        first = spec(simulator, NOTE)
        started(first, database)
        simulator.reset()
        started(first.model_copy(update={"records": 40}), database)
        assert simulator.statistics()["requests"] == 0
    assert asked(database, "select count(*) as n from dataset where note is not null") == [{"n": 40}]
    attempts = asked(
        database,
        "select outcome, count(*) as n, sum(input_tokens + output_tokens) as tokens, sum(cost_usd) as paid "
        "from attempt where invocation = 2 group by outcome",
    )
    assert attempts == [{"outcome": "reused", "n": 28, "tokens": 0, "paid": 0}]
    assert asked(database, "from usage where invocation = 2") == []
    made = "select count(*) as requests from attempt where outcome = 'succeeded'"
    assert asked(database, "select requests from run_status") == asked(database, made)


def test_other_parameters_are_another_request(tmp_path: Path) -> None:
    parameters = {"temperature": {"distribution_type": "uniform", "params": {"low": 0.1, "high": 0.9}}}
    with provider_simulator() as simulator:
        started(spec(simulator, NOTE, AGAIN, inference_parameters=parameters), tmp_path / "run.duckdb")
        assert simulator.statistics()["requests"] == 24


def test_an_answer_that_could_not_be_used_is_not_kept(tmp_path: Path) -> None:
    code = NOTE | {"column_type": "llm-code", "code_lang": "python", "max_conversation_correction_steps": 0}
    with provider_simulator(malformed=1) as simulator:
        report = started(spec(simulator, code), tmp_path / "run.duckdb")
        assert simulator.statistics()["requests"] == 12
    assert report.rows_dropped == 12
    assert asked(tmp_path / "run.duckdb", "from attempt where outcome = 'reused'") == []


def test_many_look_ups_at_once_are_few_statements(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator() as simulator:
        started(spec(simulator, NOTE), database)

    async def look_up() -> tuple[list[str | None], int]:
        calls = 0

        class Counting(WriterThread):
            async def call(self, function: Any, *arguments: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                return await super().call(function, *arguments, **named)

        async with Counting() as writer:
            store = await writer.call(RunStore.open, database)
            kept = [
                key for (key,) in store.connection.execute("select answer_key from state.answer order by answer_key")
            ]
            lookup = AnswerLookup(store, writer)
            found: list[str | None] = [None] * 100

            async def find(place: int) -> None:
                found[place] = await lookup.find(kept[place % 3] if place % 2 else place)

            async with anyio.create_task_group() as group:
                for place in range(100):
                    group.start_soon(find, place)
            made = calls
            await writer.call(store.close)
            return found, made

    found, calls = anyio.run(look_up)
    assert [answer is not None for answer in found] == [place % 2 == 1 for place in range(100)]
    assert all(isinstance(json.loads(answer)[0], str) for answer in found if answer is not None)
    assert calls <= 1 + 5


def test_who_gives_up_while_asking_leaves_the_others_their_answers(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator() as simulator:
        started(spec(simulator, NOTE), database)

    async def look_up() -> str | None:
        async with WriterThread() as writer:
            store = await writer.call(RunStore.open, database)
            ((key,), *_) = store.connection.execute("select answer_key from state.answer")
            lookup = AnswerLookup(store, writer)
            found: list[str | None] = []

            async def follow() -> None:
                found.append(await lookup.find(key))

            async with anyio.create_task_group() as others, anyio.create_task_group() as leader:
                leader.start_soon(lookup.find, key)
                await anyio.lowlevel.checkpoint()
                others.start_soon(follow)
                leader.cancel_scope.cancel()
            await writer.call(store.close)
            return found[0]

    assert anyio.run(look_up) is not None
