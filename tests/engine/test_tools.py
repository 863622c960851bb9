"""Tools through MCP: real servers, over standard input and output and over HTTP; every turn is an attempt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.engine.ending import RunReport
from rowmill.engine.invocation import run
from rowmill.engine.preparation import prepare
from rowmill.errors import RunStopping, SpecError
from rowmill.run_database import RunDatabase
from rowmill.spec.spec import Spec

SERVER = Path(__file__).parent.parent / "tool_server.py"
ID = {"name": "id", "column_type": "sampler", "sampler_type": "uuid"}


def local(**env: str) -> dict[str, Any]:
    return {"name": "shop", "command": sys.executable, "args": [str(SERVER)], "env": env}


@contextmanager
def served_over(kind: str) -> Iterator[dict[str, Any]]:
    """The server over HTTP or SSE, as a provider of a spec; it ends with the block."""
    process = subprocess.Popen([sys.executable, str(SERVER), f"--{kind}"], stdin=-1, stdout=-1, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        endpoint = {"name": "shop", "endpoint": process.stdout.readline().strip(), "api_key": "${TOOL_KEY}"}
        yield endpoint | ({"provider_type": "sse"} if kind == "sse" else {})
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def spec(url: str, provider: dict[str, Any], *tools: str, turns: int = 5, **column: Any) -> Spec:
    note = {
        "name": "note",
        "column_type": "llm-text",
        "model_alias": "writer",
        "tool_alias": "shopping",
        "prompt": "Of {{ id }}",
        "with_trace": True,
        **column,
    }
    return Spec.from_data(
        {
            "records": 3,
            "models": [{"alias": "writer", "base_url": url, "model": "small", "max_parallel_requests": 2}],
            "mcp_providers": [provider],
            "tool_configs": [
                {
                    "tool_alias": "shopping",
                    "providers": ["shop"],
                    "allow_tools": list(tools) or None,
                    "max_tool_call_turns": turns,
                }
            ],
            "columns": [ID, note],
            "run": {"backoff_base_s": 0.01},
        }
    )


def started(wanted: Spec, database: Path, **environ: str) -> RunReport:
    async def go() -> RunReport:
        environment = {"ROWMILL_SKIP_HEALTH_CHECKS": "1", "TOOL_KEY": "sk-tool", **environ}
        return await run(prepare(wanted, database.parent), database, environ=environment)

    return anyio.run(go)


def traces(database: Path) -> list[list[dict[str, Any]]]:
    with RunDatabase.open(database) as opened:
        rows = opened.sql("select note__trace from dataset order by row_id").to_pylist()
    return [json.loads(row["note__trace"]) for row in rows]


def attempts(database: Path) -> list[dict[str, Any]]:
    with RunDatabase.open(database) as opened:
        rows: list[dict[str, Any]] = opened.sql(
            "select row_id, outcome, error_type from attempt where model is not null"
        ).to_pylist()
        return rows


def run_over(simulator: RunningSimulator, database: Path, kind: str) -> RunReport:
    if kind == "anthropic":
        wanted = spec(simulator.url, local(), "price")
        model = wanted.models[0].model_copy(update={"provider": "anthropic"})
        return started(wanted.model_copy(update={"models": (model,)}), database)
    if kind == "stdio":
        return started(spec(simulator.url, local(), "price"), database)
    with served_over(kind) as provider:
        return started(spec(simulator.url, provider, "price"), database)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stdio", "http", "sse", "anthropic"])
def test_a_model_calls_a_tool_and_answers_with_what_it_said(kind: str, tmp_path: Path) -> None:
    with provider_simulator() as simulator:
        assert run_over(simulator, tmp_path / "run.duckdb", kind).exit_code == 0
        assert simulator.statistics()["requests"] == 6
    for trace in traces(tmp_path / "run.duckdb"):
        assert [message["role"] for message in trace] == ["user", "assistant", "tool", "assistant"]
        (wanted,) = trace[1]["tool_calls"]
        product = json.loads(wanted["function"]["arguments"])["product"]
        assert trace[2] == {
            "role": "tool",
            "tool_call_id": wanted["id"],
            "content": f"{product} costs {sum(product.encode())} cents",
        }
    assert [row["outcome"] for row in attempts(tmp_path / "run.duckdb")] == ["succeeded"] * 6


def test_what_a_tool_fails_with_is_told_to_the_model(tmp_path: Path) -> None:
    with provider_simulator() as simulator:
        assert started(spec(simulator.url, local(), "fail"), tmp_path / "run.duckdb").exit_code == 0
    assert all("today" in trace[2]["content"] for trace in traces(tmp_path / "run.duckdb"))


@pytest.mark.slow
def test_a_server_that_dies_is_started_again_and_the_row_tried_again(tmp_path: Path) -> None:
    provider = local(TOOL_MARKER=str(tmp_path / "died"))
    with provider_simulator() as simulator:
        report = started(spec(simulator.url, provider, "die"), tmp_path / "run.duckdb")
    assert report.rows_finished == 3
    assert all("lives" in trace[2]["content"] for trace in traces(tmp_path / "run.duckdb"))
    with RunDatabase.open(tmp_path / "run.duckdb") as opened:
        lost = opened.sql("select distinct error_type from attempt where outcome = 'transient'").to_pylist()
    assert lost == [{"error_type": "ToolServer"}]


@pytest.mark.slow
def test_a_secret_reaches_its_server_and_neither_spec_nor_database(tmp_path: Path) -> None:
    provider = local(WANTED="${TOOL_KEY}")
    with provider_simulator() as simulator:
        started(spec(simulator.url, provider, "has_secret"), tmp_path / "run.duckdb", TOOL_KEY="sk-very-secret")
    assert all(trace[2]["content"] == "14 characters" for trace in traces(tmp_path / "run.duckdb"))
    assert b"sk-very-secret" not in (tmp_path / "run.duckdb").read_bytes()
    with pytest.raises(SpecError, match="never written into a spec"):
        spec("http://h/v1", {"name": "shop", "endpoint": "http://127.0.0.1/mcp", "api_key": "sk-plain"})
    with pytest.raises(SpecError, match="'NOT_SET' is not set"):
        started(spec("http://127.0.0.1:1/v1", local(WANTED="${NOT_SET}")), tmp_path / "other.duckdb")


@pytest.mark.parametrize(
    ("provider", "tools", "reason"),
    [
        ({"name": "shop", "command": "/nowhere/at-all"}, (), "MCP server 'shop' cannot be used"),
        ({"name": "shop", "command": sys.executable, "args": ["-c", ""]}, (), "MCP server 'shop' cannot be used"),
        ({"name": "shop", "endpoint": "http://127.0.0.1:1/mcp"}, (), "MCP server 'shop' cannot be used"),
        (
            {"name": "shop", "endpoint": "http://127.0.0.1:1/sse", "provider_type": "sse"},
            (),
            "MCP server 'shop' cannot be used",
        ),
        (local(), ("prize",), "has a tool 'prize'. There are: die, fail, has_secret, price"),
    ],
)
def test_a_server_or_tool_that_is_not_there_stops_before_anything_is_asked(
    provider: dict[str, Any], tools: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    with provider_simulator() as simulator:
        with pytest.raises(RunStopping, match=reason):
            started(spec(simulator.url, provider, *tools), tmp_path / "run.duckdb")
        assert simulator.statistics()["requests"] == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tool_alias": "shoping"}, "Tools 'shoping' are not defined in tool_configs. Did you mean 'shopping'"),
        ({"tool_alias": ""}, "Must not be empty"),
    ],
)
def test_a_column_names_tools_that_are_there(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=reason):
        prepare(spec("http://127.0.0.1:1/v1", local(), **changes), tmp_path)


def test_a_configuration_names_servers_that_are_there() -> None:
    with pytest.raises(SpecError, match=r"MCP provider 'shop' is not defined\. Did you mean 'shops'"):
        spec("http://127.0.0.1:1/v1", local() | {"name": "shops"})
