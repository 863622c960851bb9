"""Answers used again: the very same request is paid for once, and nobody waits for it on the event loop."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.engine.ending import RunReport
from rowmill.engine.invocation import run
from rowmill.engine.known_answers import AnswerLookup
from rowmill.engine.preparation import prepare
from rowmill.engine.writer import WriterThread
from rowmill.errors import UsageError
from rowmill.generators.prompting.answer_directory import AnswerDirectory
from rowmill.run_database import RunDatabase
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore

NOTE = {"name": "note", "column_type": "llm-text", "model_alias": "writer", "prompt": "On {{ kind }}"}
AGAIN = NOTE | {"name": "again", "prompt": "On {{ kind }}{{ note[:0] }}"}
"""The same prompt, asked when the answer to the first is committed."""


def spec(
    simulator: RunningSimulator,
    *columns: dict[str, Any],
    cache: Path | None = None,
    values: Sequence[str] = ("tea", "coffee", "milk"),
    **changes: Any,
) -> Spec:
    model = {
        "alias": "writer",
        "base_url": simulator.url,
        "model": "small",
        "max_parallel_requests": 1,
        "reuse_answers": True,
        "output_usd_per_million_tokens": 1.0,
        **changes,
    }
    drawn = {"column_type": "sampler", "sampler_type": "category", "params": {"values": list(values)}}
    kind = {"name": "kind", **drawn}
    data = {"records": 12, "seed": 3, "row_group_size": 4, "models": [model], "columns": [kind, *columns]}
    shared = {} if cache is None else {"answer_cache": str(cache)}
    return Spec.from_data(data | {"run": {"max_error_share": 1.0, **shared}})


def started(wanted: Spec, database: Path) -> RunReport:
    async def go() -> RunReport:
        return await run(prepare(wanted, database.parent), database)

    return anyio.run(go)


def asked(database: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(database) as opened:
        assert opened.sql("from invariant_violation").num_rows == 0
        rows: list[dict[str, Any]] = opened.sql(query).to_pylist()
        return rows


@pytest.mark.slow
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


@pytest.mark.slow
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
                key = kept[place % 3] if place % 2 else place
                found[place] = (await lookup.find([key])).get(key)

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
                found.append((await lookup.find([key])).get(key))

            async with anyio.create_task_group() as others, anyio.create_task_group() as leader:
                leader.start_soon(lookup.find, [key])
                await anyio.lowlevel.checkpoint()
                others.start_soon(follow)
                leader.cancel_scope.cancel()
            await writer.call(store.close)
            return found[0]

    assert anyio.run(look_up) is not None


# Embeddings ---------------------------------------------------------------------------------------

VECTOR = {
    "name": "vector",
    "column_type": "embedding",
    "model_alias": "writer",
    "target_column": "kind",
    "max_rows_per_call": 4,
}


@pytest.mark.slow
def test_the_vector_of_a_text_is_asked_for_once_and_is_the_one_without_reuse(tmp_path: Path) -> None:
    with provider_simulator() as simulator:
        started(spec(simulator, VECTOR, reuse_answers=False), tmp_path / "plain.duckdb")
        assert simulator.statistics()["requests"] == 3
        simulator.reset()
        wanted = spec(simulator, VECTOR)
        started(wanted, tmp_path / "reused.duckdb")
        started(wanted.model_copy(update={"records": 40}), tmp_path / "reused.duckdb")
        assert simulator.statistics()["requests"] <= 3
    dataset = "from dataset where row_id < 12 order by row_id"
    assert asked(tmp_path / "reused.duckdb", dataset) == asked(tmp_path / "plain.duckdb", dataset)
    later = "select distinct outcome, input_tokens, cost_usd from attempt where invocation = 2"
    assert asked(tmp_path / "reused.duckdb", later) == [{"outcome": "reused", "input_tokens": 0, "cost_usd": 0.0}]


def test_of_a_request_for_vectors_only_texts_nobody_asked_for_are_sent(tmp_path: Path) -> None:
    cache = tmp_path / "answers"
    with provider_simulator() as simulator:
        started(spec(simulator, VECTOR, cache=cache, values=["tea", "coffee"]), tmp_path / "first.duckdb")
        simulator.reset()
        started(spec(simulator, VECTOR, cache=cache), tmp_path / "second.duckdb")
        assert simulator.statistics()["requests"] >= 1
    sent = "select sum(input_tokens) as tokens from attempt where outcome = 'succeeded'"
    milk = asked(tmp_path / "second.duckdb", sent)[0]["tokens"]
    both = asked(tmp_path / "first.duckdb", sent)[0]["tokens"]
    assert 0 < milk < both


# Shared by several runs ---------------------------------------------------------------------------


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.json"))


@pytest.mark.slow
def test_runs_share_their_answers_through_a_directory(tmp_path: Path) -> None:
    cache = tmp_path / "answers"
    with provider_simulator() as simulator:
        started(spec(simulator, NOTE, VECTOR, cache=cache), tmp_path / "first.duckdb")
        assert len(entries(cache)) == 6
        simulator.reset()
        started(spec(simulator, NOTE, VECTOR, cache=cache), tmp_path / "second.duckdb")
        assert simulator.statistics()["requests"] == 0
    outcomes = "select distinct outcome from attempt"
    assert asked(tmp_path / "second.duckdb", outcomes) == [{"outcome": "reused"}]
    dataset = "from dataset order by row_id"
    assert asked(tmp_path / "second.duckdb", dataset) == asked(tmp_path / "first.duckdb", dataset)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert all(entry.stat().st_mode & 0o777 == 0o600 for entry in entries(cache))


@pytest.mark.slow
def test_runs_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    cache = tmp_path / "answers"
    with provider_simulator(latency_ms=2) as simulator, ThreadPoolExecutor(3) as threads:
        wanted = spec(simulator, NOTE, AGAIN, VECTOR, cache=cache, max_parallel_requests=4)
        names = [tmp_path / f"{number}.duckdb" for number in range(3)]
        reports = list(threads.map(lambda database: started(wanted, database), names))
    assert [report.rows_finished for report in reports] == [12, 12, 12]
    datasets = [asked(database, "from dataset order by row_id") for database in names]
    assert datasets[0] == datasets[1] == datasets[2]
    assert len(entries(cache)) == 6
    assert list(cache.glob(".partial-*")) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:40] + b"X" + content[41:],
        lambda content: b"\x00" * len(content),
        lambda content: content + b" ",
    ],
)
def test_a_damaged_entry_is_none_and_is_written_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = tmp_path / "answers"
    with provider_simulator() as simulator:
        started(spec(simulator, NOTE, cache=cache), tmp_path / "first.duckdb")
        whole = {entry: entry.read_bytes() for entry in entries(cache)}
        for entry, content in whole.items():
            entry.write_bytes(damage(content))
        simulator.reset()
        started(spec(simulator, NOTE, cache=cache), tmp_path / "second.duckdb")
        assert simulator.statistics()["requests"] >= 3
    dataset = "from dataset order by row_id"
    assert asked(tmp_path / "second.duckdb", dataset) == asked(tmp_path / "first.duckdb", dataset)
    assert {entry: entry.read_bytes() for entry in entries(cache)} == whole


def test_an_entry_under_the_name_of_another_question_is_none(tmp_path: Path) -> None:
    cache = AnswerDirectory(tmp_path / "answers")
    cache.keep({1: "one", 2: "two"})
    one, two = entries(tmp_path / "answers")
    os.replace(one, two)
    assert cache.find([1, 2]) == {}


def test_a_directory_that_takes_nothing_costs_the_run_nothing(tmp_path: Path) -> None:
    cache = AnswerDirectory(tmp_path / "answers")
    shutil.rmtree(tmp_path / "answers")
    cache.keep({1: "one"})
    assert cache.find([1]) == {}


def test_a_file_in_its_place_is_told_before_anything_is_generated(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("")
    with provider_simulator() as simulator:
        with pytest.raises(UsageError, match="answer_cache cannot be a directory at"):
            started(spec(simulator, NOTE, cache=tmp_path / "answers"), tmp_path / "first.duckdb")
        assert simulator.statistics()["requests"] == 0


def test_what_a_killed_process_left_half_written_goes_away_in_time(tmp_path: Path) -> None:
    AnswerDirectory(tmp_path)
    for name, age_s in (("old", 7200.0), ("new", 0.0)):
        left = tmp_path / f".partial-{name}"
        left.write_bytes(b"half")
        os.utime(left, (left.stat().st_mtime - age_s,) * 2)
    AnswerDirectory(tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == [".partial-new"]
