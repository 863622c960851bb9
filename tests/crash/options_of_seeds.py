"""Seed data as options: sources, strategies, selections."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hub_double import TOKEN
from option import Option, expression

_TABLE = pa.table({"a": list(range(7)), "b": [f"b{number}" for number in range(7)]})
_TURNS = [
    ("user", "Find it."),
    ("assistant", "Looking."),
]


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _lines(*records: Mapping[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


_CSV = "a,b\n" + "".join(f"{row['a']},{row['b']}\n" for row in _TABLE.to_pylist())
SEED_FILES: dict[str, bytes] = {
    "seed.csv": _CSV.encode(),
    "seed.json": json.dumps(_TABLE.to_pylist()).encode(),
    "seed.jsonl": _lines(*_TABLE.to_pylist()).encode(),
    "seed.parquet": _parquet(_TABLE),
    "seed.arrow": _arrow(_TABLE),
}


def _seed(files: Mapping[str, str | bytes], made: str = "a::varchar || b", setup: str = "", /, **seed: Any) -> Option:
    """A run from these files, with an expression over the seed columns."""
    return Option(expression(sql=made), spec={"seed_dataset": seed} if seed else {}, files=files, setup=setup)


def _file(name: str, **seed: Any) -> Option:
    return _seed({name: SEED_FILES[name]}, path=name, **seed)


def _rollout(agent: str, files: Mapping[str, str]) -> Option:
    """Sessions of an agent, one file to be read and one left out."""
    made = "trace_id || ' ' || final_assistant_message || ' ' || message_count || messages[1].role"
    return _seed({f"sessions/{name}": content for name, content in files.items()}, made,
                 seed_type="agent_rollout", format=agent, path="sessions")  # fmt: skip


def _atif(identity: str) -> str:
    steps = [
        {"step_id": number, "source": {"assistant": "agent"}.get(who, who), "message": said}
        for number, (who, said) in enumerate(_TURNS, 1)
    ]
    agent = {"name": "terminus", "version": "2", "model_name": "m"}
    return json.dumps({"schema_version": "ATIF-v1.4", "session_id": identity, "agent": agent, "steps": steps})


def _claude_code(identity: str) -> str:
    return _lines(
        *({"type": who, "sessionId": identity, "message": {"role": who, "content": said}} for who, said in _TURNS)
    )


def _codex(identity: str) -> str:
    said = (
        {
            "type": "response_item",
            "payload": {"type": "message", "role": who, "content": [{"type": "input_text", "text": text}]},
        }
        for who, text in _TURNS
    )
    return _lines({"type": "session_meta", "payload": {"id": identity, "cwd": "/w"}}, *said)


def _hermes(identity: str) -> str:
    return json.dumps(
        {"session_id": identity, "model": "m", "messages": [{"role": who, "content": said} for who, said in _TURNS]}
    )


def _pi(identity: str) -> str:
    said = (
        {"type": "message", "id": str(number), "parentId": str(number - 1) if number > 1 else None,
         "message": {"role": who, "content": text if who == "user" else [{"type": "text", "text": text}]}}
        for number, (who, text) in enumerate(_TURNS, 1)
    )  # fmt: skip
    return _lines({"type": "session", "version": 3, "id": identity, "cwd": "/w"}, *said)


_LETTERS = {
    "docs/a.txt": "größe".encode("latin-1"),
    "docs/b.txt": b"plain",
    "docs/more/c.txt": "über".encode("latin-1"),
}
_MEMORY = """
import fsspec
fsspec.filesystem("memory").pipe("/bucket/seed.csv", Path("content.csv").read_bytes())
"""
_FRAME = "frames.DataFrame({'a': list(range(7)), 'b': [f'b{n}' for n in range(7)]})"

_FIRST_RUN = """
first = {"name": "first", "records": 9, "columns": [
    {"name": "n", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 99}},
    {"name": "words", "column_type": "expression", "sql": "['w' || n, 'v' || n]", "dtype": "VARCHAR[]"},
]}
if not Path("first.duckdb").exists():
    rowmill.run(first, "first.duckdb")
"""

SEEDS: dict[str, Option] = {
    "local file: csv": _file("seed.csv"),
    "local file: json": _file("seed.json"),
    "local file: jsonl": _file("seed.jsonl"),
    "local file: parquet": _file("seed.parquet"),
    "local file: arrow": _file("seed.arrow"),
    "local file: glob": _seed({"p2.csv": "a,b\n8,x\n", "p1.csv": _CSV}, path="p*.csv"),
    "Hugging Face path": _seed({}, seed_type="hf", path="datasets/someone/birds/data/*.parquet", endpoint="$HUB"),
    "Hugging Face path: token": replace(
        _seed({}, seed_type="hf", path="datasets/someone/birds/data/*.parquet", endpoint="$HUB", token="${HUB_TOKEN}"),
        environment={"HUB_TOKEN": TOKEN},
    ),
    "in-memory DataFrame: pandas": _seed({}, "a::varchar || b", f"import pandas as frames\nseed = {_FRAME}"),
    "in-memory DataFrame: polars": _seed({}, "a::varchar || b", f"import polars as frames\nseed = {_FRAME}"),
    "in-memory DataFrame: Arrow": _seed(
        {"seed.parquet": _parquet(_TABLE)},
        "a::varchar || b",
        "import pyarrow.parquet as pq\nseed = pq.read_table('seed.parquet')",
        seed_type="df",
        sampling_strategy="shuffle",
    ),
    "another run": _seed(
        {},
        "source_row_id || words",
        _FIRST_RUN,
        seed_type="run",
        path="first.duckdb",
        where="n > 9",
        columns=["words"],
        explode="words",
        sampling_strategy="shuffle",
    ),
    "directory listing": _seed(
        _LETTERS, "relative_path || source_path", seed_type="directory", path="docs", file_pattern="*.txt"
    ),
    "directory listing: not those below": _seed(
        _LETTERS, "relative_path || source_path", seed_type="directory", path="docs", recursive=False
    ),
    "file contents (encoding)": _seed(
        _LETTERS, "file_name || content", seed_type="file_contents", path="docs", encoding="latin-1"
    ),
    "agent rollout: ATIF": _rollout("atif", {"a.json": _atif("one"), "b.json": _atif("two")}),
    "agent rollout: Claude Code": _rollout(
        "claude_code", {"a.jsonl": _claude_code("one"), "b.jsonl": _claude_code("two")}
    ),
    "agent rollout: Codex": _rollout("codex", {"rollout-1.jsonl": _codex("one"), "rollout-2.jsonl": _codex("two")}),
    "agent rollout: Hermes": _rollout(
        "hermes_agent", {"session_one.json": _hermes("one"), "session_two.json": _hermes("two")}
    ),
    "agent rollout: Pi": _rollout("pi_coding_agent", {"a.jsonl": _pi("one"), "b.jsonl": _pi("two")}),
    "strategy: ordered": _file("seed.csv", sampling_strategy="ordered"),
    "strategy: shuffle": _file("seed.csv", sampling_strategy="shuffle"),
    "types: csv": _file("seed.csv", types={"a": "DECIMAL(6, 1)", "*": "str"}),
    "types: parquet": _file("seed.parquet", types="str"),
    "selection: IndexRange": _file("seed.csv", selection={"start": 2, "end": 4}),
    "selection: PartitionBlock": _file("seed.csv", selection={"index": 1, "num_partitions": 2}),
    "exhaustion": _file("seed.csv", selection={"start": 6, "end": 6}),
    "explode": _seed(
        {"seed.jsonl": _lines({"a": 1, "b": ["x", "y"]}, {"a": 2, "b": []}, {"a": 3, "b": ["z"]})},
        path="seed.jsonl",
        explode="b",
    ),
    "URL: local files": _seed({"seed.csv": _CSV}, path="file://$DIRECTORY/seed.csv"),
    "URL: memory": _seed({"content.csv": _CSV}, "a::varchar || b", _MEMORY, path="memory://bucket/seed.csv"),
    "URL: storage_options": _seed(
        {"seed.csv": _CSV}, path="file://$DIRECTORY/seed.csv", storage_options={"auto_mkdir": True}
    ),
}
