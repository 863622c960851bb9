"""Every kind of column gives the same in processes as in the process of the run: rows, drops, attempts, usage, files.

Its model fails as real ones do, and what it fails at follows from row and try alone. One run of each executor is made
for all tests.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_server import LoopbackHandler, LoopbackServer, serving

import rowmill
from rowmill import RunDatabase

TOOLS = Path(__file__).parent.parent / "tool_server.py"
KEY = "sk-writers-key"
RECORDS = 24
FUNCTIONS = """
import os

import pyarrow as pa

def plain(row) -> str:
    if row["number"] == 7:
        raise ValueError("seven is not for me")
    return f"{row['number']:05d}"

async def waits(row, params) -> str:
    return row["plain"] * params["times"]

def several(row) -> str:
    return {"several": row["plain"].upper(), "size": len(row["plain"]), "half": row["number"] / 2}

def filtered(rows):
    keep = [index for index, number in zip(rows["row_index"].to_pylist(), rows["number"].to_pylist()) if number % 11]
    return {"row_index": keep[::-1], "filtered": [f"kept {index}" for index in keep[::-1]]}

async def asks(row, params, models) -> str:
    first = await models["writer"].chat(f"First, {row['number']}")
    return (await models["writer"].chat(f"Then, {first.text}")).text

class Loaded:
    def setup(self, params):
        self.offset = params["offset"]

    def generate(self, row) -> int:
        return self.offset + row["number"]

    def close(self):
        self.offset = None

class LoadedBatch:
    def setup(self, params):
        self.offset = params["offset"]

    def generate(self, rows):
        places = [self.offset + number for number in rows["number"].to_pylist()]
        return {"row_index": rows["row_index"], "place": places}

def judged(rows: pa.Table):
    return [{"is_valid": number % 5 != 0} for number in rows["number"].to_pylist()]

def judged_by_key(rows: pa.Table):
    found = zip(rows["row_index"].to_pylist(), rows["number"].to_pylist())
    return [{"row_index": index, "is_valid": number % 5 != 0, "why": "five"} for index, number in found][::-1]

def knows_key(row) -> str:
    return "yes" if os.environ.get("WRITER_KEY") else "no"

def length(rows: pa.RecordBatchReader):
    for batch in rows:
        yield {"row_id": batch["row_id"], "length": [len(text) for text in batch["note"].to_pylist()]}
"""
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {"type": "integer"}}},
    "required": ["name", "parts"],
}
SCORES = [{"name": "tone", "description": "How it sounds", "options": {"kind": "friendly", "cold": "distant"}}]


class Judge(LoopbackHandler):
    """Judges numbers."""

    def respond(self, body: bytes) -> None:
        rows = [int(number) for number in re.findall(rb'"number": ?(\d+)', body)]
        self.answer_json({"data": [{"is_valid": number % 3 != 0, "seen": number} for number in rows]})


def _custom(name: str, function: str, needs: list[str], **fields: Any) -> dict[str, Any]:
    reference = f"functions:{function}"
    return {"name": name, "column_type": "custom", "generator_function": reference, "required_columns": needs, **fields}


def _chat(name: str, prompt: str, column_type: str = "llm-text", **fields: Any) -> dict[str, Any]:
    return {"name": name, "column_type": column_type, "model_alias": "writer", "prompt": prompt, **fields}


def _validation(name: str, kind: str, **params: Any) -> dict[str, Any]:
    given = {"column_type": "validation", "validator_type": kind, "target_columns": ["number"], "batch_size": 4}
    return {"name": name, **given, "validator_params": params}


def _spec(judge: str) -> dict[str, Any]:
    fails = {"transient": 0.05, "rate_limited": 0.05, "rejected": 0.01, "malformed": 0.1, "retry_after_s": 0.02}
    writer = {"alias": "writer", "provider": "simulated", "model": "small", "simulation": {"latency_ms": 1, **fails}}
    return {
        "name": "kinds",
        "records": RECORDS,
        "row_group_size": 8,
        "seed": 11,
        "seed_dataset": {"path": "seed.csv", "sampling_strategy": "shuffle"},
        "models": [
            {
                **writer,
                "api_key": "${WRITER_KEY}",
                "input_usd_per_million_tokens": 1,
                "output_usd_per_million_tokens": 2,
            },
            {"alias": "vectors", "provider": "simulated", "model": "embed", "simulation": {"latency_ms": 1}},
        ],
        "mcp_providers": [{"name": "shop", "command": sys.executable, "args": [str(TOOLS)], "env": {"WANTED": "x"}}],
        "tool_configs": [{"tool_alias": "shopping", "providers": ["shop"], "allow_tools": ["price"]}],
        "columns": [
            {"name": "drawn", "column_type": "sampler", "sampler_type": "gaussian", "params": {"mean": 0, "stddev": 1}},
            _chat("note", "Write of {{ number }} and {{ drawn }}", with_trace=True, extract_reasoning_content=True),
            _chat("form", "Of {{ number }}", "llm-structured", output_format=SCHEMA),
            _chat("code", "Program {{ number }}", "llm-code", code_lang="python"),
            _chat("verdict", "Judge {{ note }}", "llm-judge", scores=SCORES),
            _chat("skipped", "Again {{ note }}", skip={"when": "number % 2 = 0", "value": "none"}),
            _chat("priced", "What does {{ number }} cost?", tool_alias="shopping", with_trace=True),
            _chat("picture", "Draw {{ number }}", "image"),
            {
                "name": "vector",
                "column_type": "embedding",
                "model_alias": "vectors",
                "target_column": "note",
                "max_rows_per_call": 4,
            },
            _custom("plain", "plain", ["number"]),
            _custom("waits", "waits", ["plain"], generator_params={"times": 2}),
            _custom("several", "several", ["plain", "number"], output_columns={"size": "int", "half": "float"}),
            _custom("filtered", "filtered", ["number"], generation_strategy="batch", may_drop_rows=True),
            _custom("asked", "asks", ["number"], model_aliases=["writer"]),
            _custom("loaded", "Loaded", ["number"], dtype="int", generator_params={"offset": 100}),
            _custom(
                "place",
                "LoadedBatch",
                ["number"],
                dtype="int",
                generation_strategy="batch",
                generator_params={"offset": 7},
            ),
            _custom("key", "knows_key", ["number"]),
            _validation("by_place", "local_callable", validation_function="functions:judged"),
            _validation("by_key", "local_callable", validation_function="functions:judged_by_key"),
            _validation("by_schema", "json_schema", json_schema={"type": "integer", "maximum": 20}),
            _validation("by_sql", "sql", predicate="number < 15"),
            _validation("afar", "remote", endpoint_url=judge),
            _custom("length", "length", ["note"], generation_strategy="dataset", dtype="int"),
            _chat("last", "At the end {{ length }} of {{ number }}"),
        ],
        "processors": [{"name": "parts", "processor_type": "split", "shares": {"train": 0.8, "test": 0.2}}],
        "run": {"backoff_base_s": 0.01, "rate_limit_cooldown_s": 0.02, "max_error_share": 1.0, "max_attempts": 3},
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def runs(directory: Path) -> Iterator[tuple[RunDatabase, RunDatabase]]:
    (directory / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    (directory / "seed.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(RECORDS)))
    with pytest.MonkeyPatch.context() as patch, serving(LoopbackServer(Judge)) as judge:
        patch.setenv("WRITER_KEY", KEY)
        patch.setenv("ROWMILL_SKIP_HEALTH_CHECKS", "1")
        spec = _spec(judge.url)
        for name, executor in (("local", "local"), ("elsewhere", {"kind": "processes", "workers": 2})):
            report = rowmill.run(spec, directory / f"{name}.duckdb", directory=directory, executor=executor)
            assert report.exit_code == 3, report.message
        budget = {**spec, "run": {**spec["run"], "max_requests": 150}}
        begun = rowmill.run(
            budget, directory / "both.duckdb", directory=directory, executor={"kind": "processes", "workers": 1}
        )
        assert (begun.exit_code, begun.rows_finished) == (75, 0), begun.message
        report = rowmill.run(spec, directory / "both.duckdb", directory=directory, executor="local")
        assert report.exit_code == 3, report.message
    with (
        RunDatabase.open(directory / "local.duckdb") as local,
        RunDatabase.open(directory / "elsewhere.duckdb") as elsewhere,
    ):
        yield local, elsewhere


def _same(runs: tuple[RunDatabase, RunDatabase], query: str) -> list[dict[str, Any]]:
    """What a query gives in both, if that is the same."""
    found: list[list[dict[str, Any]]] = [run.sql(query).to_pylist() for run in runs]
    here, elsewhere = found
    assert elsewhere == here
    return here


@pytest.mark.slow
def test_the_rows_are_the_same(runs: tuple[RunDatabase, RunDatabase]) -> None:
    rows = _same(runs, "select * exclude (picture) from dataset order by row_id")
    assert RECORDS // 2 < len(rows) < RECORDS
    assert {row["key"] for row in rows} == {"yes"}
    assert {row["afar"]["is_valid"] for row in rows} == {True, False}


@pytest.mark.slow
def test_the_pictures_are_the_same(runs: tuple[RunDatabase, RunDatabase], directory: Path) -> None:
    found = []
    for name, run in zip(("local", "elsewhere"), runs, strict=True):
        pictures = run.sql("select picture from dataset order by row_id").to_pylist()
        paths = [directory / f"{name}.duckdb.files" / row["picture"] for row in pictures]
        found.append([path.read_bytes() for path in paths])
    assert len(found[0]) > RECORDS // 2
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_same_rows_are_dropped(runs: tuple[RunDatabase, RunDatabase]) -> None:
    """For which of several reasons a row is dropped, and by which column, is a matter of which comes first."""
    assert len(_same(runs, "select row_id from dropped_row order by row_id")) > 4


@pytest.mark.slow
def test_no_row_was_asked_for_otherwise(runs: tuple[RunDatabase, RunDatabase]) -> None:
    """Of rows that are kept every attempt is the same, but those of calls that take whichever rows are ready."""
    attempts = _same(
        runs,
        "select row_id, generator, outcome, error_type, message, model, input_tokens, output_tokens, count(*) as times"
        " from attempt where generator not in ('vector', 'afar') and row_id in (select row_id from dataset)"
        " group by all order by all",
    )
    assert {"rate_limited", "transient"} <= {row["outcome"] for row in attempts}


@pytest.mark.slow
def test_what_the_finished_rows_cost_is_the_same(runs: tuple[RunDatabase, RunDatabase]) -> None:
    costs = _same(
        runs,
        "select model, count(*) as requests, sum(input_tokens) as sent, sum(output_tokens) as received,"
        " round(sum(cost_usd), 9) as cost_usd from attempt"
        " where model = 'small' and row_id in (select row_id from dataset) group by all order by all",
    )
    assert costs[0]["requests"] > 5 * RECORDS // 2


@pytest.mark.slow
def test_nothing_contradicts_itself_and_usage_is_the_sum_of_attempts(runs: tuple[RunDatabase, RunDatabase]) -> None:
    for run in runs:
        assert run.sql("from invariant_violation").num_rows == 0
        requests = "select count(*) as requests from attempt where model is not null"
        used = "select sum(requests)::bigint as requests from usage"
        assert run.sql(requests).to_pylist() == run.sql(used).to_pylist()


@pytest.mark.slow
def test_a_run_that_was_begun_elsewhere_and_goes_on_in_one_process_gives_the_same_rows(
    runs: tuple[RunDatabase, RunDatabase], directory: Path
) -> None:
    with RunDatabase.open(directory / "both.duckdb") as both:
        _same((runs[0], both), "select * exclude (picture) from dataset order by row_id")
        _same((runs[0], both), "select row_id from dropped_row order by row_id")
        workers = both.sql("select state, done > 0 as has_worked from worker").to_pylist()
    assert workers == [{"state": "ended", "has_worked": True}]
