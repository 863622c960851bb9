"""Rowmill against aimock: both dialects, a round with a tool of an MCP server of others, pictures, 529, and chaos whose
journal is compared with ours."""

from __future__ import annotations

import base64
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mock_server import MockServer, install_mock_server, mock_server
from package_registry import install, skip_without

import rowmill
from rowmill.engine.ending import RunReport
from rowmill.run_database import RunDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_TIME_SERVER = "mcp-server-time"
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504E470D0A1A0A0000000D4948445200000001000000010802000000907753DE0000000C49444154789C63F8CFC00000030101"
        "00C9FE92EF0000000049454E44AE426082"
    )
).decode()
FIXTURES: list[dict[str, Any]] = [
    {
        "match": {"userMessage": "overloaded", "sequenceIndex": 0},
        "response": {"error": {"message": "Overloaded", "type": "overloaded_error"}, "status": 529},
    },
    {
        "match": {"userMessage": "time", "hasToolResult": False},
        "response": {"toolCalls": [{"name": "get_current_time", "arguments": {"timezone": "UTC"}}]},
    },
    {"match": {"userMessage": "time", "hasToolResult": True}, "response": {"content": "It is late."}},
    {"match": {"endpoint": "image"}, "response": {"image": {"b64Json": PIXEL}}},
    {"match": {}, "response": {"content": "A text."}},
]
TEXT = {"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": "Say {{ n }}"}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_mock_server(tmp_path_factory.mktemp("aimock"))


def ran(server: MockServer, directory: Path, *columns: dict[str, Any], records: int = 6, **fields: Any) -> RunReport:
    more = fields.pop("more", {})
    spec = {
        "records": records,
        "models": [{"alias": "writer", "base_url": server.url, "model": "mock", "skip_health_check": True, **fields}],
        "columns": [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}, *columns],
        "run": {"max_error_share": 1, "backoff_base_s": 0.02, "max_attempts": 50},
        **more,
    }
    return rowmill.run(spec, directory / "run.duckdb")


def rows_of(directory: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(directory / "run.duckdb") as database:
        rows: list[dict[str, Any]] = database.sql(query).to_pylist()
    return rows


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_both_dialects_are_understood_and_529_is_tried_again(provider: str, script: Path, tmp_path: Path) -> None:
    overloaded = {**TEXT, "name": "other", "prompt": "You are overloaded, {{ n }}"}
    with mock_server(script, tmp_path, FIXTURES) as server:
        assert ran(server, tmp_path, TEXT, overloaded, provider=provider).exit_code == 0
        assert server.statuses() == {200: 12, 529: 1}
        paths = {entry["path"] for entry in server.entries()}
    assert paths == {"/v1/chat/completions" if provider == "openai" else "/v1/messages"}
    assert {row["text"] for row in rows_of(tmp_path, "from dataset")} == {"A text."}
    attempts = rows_of(tmp_path, "select outcome, count(*) as n, min(output_tokens) as got from attempt group by all")
    failed = "transient" if provider == "openai" else "rate_limited"  # 529 is how this dialect says: too many now
    assert {row["outcome"]: row["n"] for row in attempts} == {"succeeded": 12, failed: 1}
    if provider == "openai":  # in the other dialect it says 0
        assert all(row["got"] > 0 for row in attempts if row["outcome"] == "succeeded")


@pytest.fixture(scope="module")
def time_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packages = tmp_path_factory.mktemp("tools")
    skip_without(_TIME_SERVER, packages / "found")
    install("--no-deps", "--target", str(packages), _TIME_SERVER, "tzlocal")
    return packages


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_model_calls_a_tool_of_a_server_of_others(
    provider: str, script: Path, time_server: Path, tmp_path: Path
) -> None:
    more = {
        "mcp_providers": [
            {
                "name": "clock",
                "command": sys.executable,
                "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"],
                "env": {"PYTHONPATH": str(time_server)},
            }
        ],
        "tool_configs": [{"tool_alias": "clock", "providers": ["clock"], "allow_tools": ["get_current_time"]}],
    }
    asking = {**TEXT, "prompt": "What time is it, {{ n }}?", "tool_alias": "clock", "with_trace": True}
    with mock_server(script, tmp_path, FIXTURES) as server:
        assert ran(server, tmp_path, asking, records=3, provider=provider, more=more).exit_code == 0
        assert server.statuses() == {200: 6}
    for row in rows_of(tmp_path, "from dataset"):
        assert row["text"] == "It is late."
        assert "datetime" in row["text__trace"], "what the tool said was sent back"


def test_pictures_become_files(script: Path, tmp_path: Path) -> None:
    picture = {"name": "picture", "column_type": "image", "model_alias": "writer", "prompt": "Draw {{ n }}"}
    with mock_server(script, tmp_path, FIXTURES) as server:
        assert ran(server, tmp_path, picture, records=3, image_route="images").exit_code == 0
    names = [row["picture"] for row in rows_of(tmp_path, "select picture from dataset")]
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "run.duckdb.files" / name).read_bytes() == base64.b64decode(PIXEL)


def test_what_chaos_broke_is_asked_for_again_exactly_as_often_as_its_journal_says(script: Path, tmp_path: Path) -> None:
    with mock_server(script, tmp_path, FIXTURES) as server:
        server.make_chaos(dropRate=0.15, malformedRate=0.15, rateLimitRate=0.03, disconnectRate=0.15)
        assert ran(server, tmp_path, TEXT, records=60, max_parallel_requests=4).exit_code == 0
        entries = [entry for entry in server.entries() if entry["method"] == "POST"]
    asked = Counter(entry["body"]["messages"][-1]["content"] for entry in entries)
    rows = rows_of(tmp_path, "select n, count(*) as times from dataset inner join attempt using (row_id) group by all")
    assert {f"Say {row['n']}": row["times"] for row in rows} == dict(asked), "row by row"
    counted = rows_of(tmp_path, "select outcome, count(*) as n from attempt group by all")
    outcomes = {row["outcome"]: row["n"] for row in counted}
    assert outcomes["succeeded"] == 60
    assert sum(outcomes.values()) == len(entries) > 60
    assert outcomes.get("rate_limited", 0) == sum(entry["response"]["status"] == 429 for entry in entries)
