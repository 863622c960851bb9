"""Sessions of agents as seed rows: each format in the shape its agent writes, broken ones refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import rowmill
from rowmill.errors import SpecError
from rowmill.seeds.source import open_source
from rowmill.spec.seed import SeedDatasetConfig


def lines(*records: Mapping[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def sessions(directory: Path, agent: str, files: Mapping[str, str]) -> list[dict[str, Any]]:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    config = SeedDatasetConfig(seed_type="agent_rollout", format=agent, path=".")
    rows = open_source(config, directory).rows
    assert rows is not None
    table = rows.read()
    assert table.schema.equals(rows.schema)
    found: list[dict[str, Any]] = table.to_pylist()
    for row in found:
        row["source_meta"] = json.loads(row["source_meta"])
    return found


def chat(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in row["messages"]]


def calls(row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for each in row["messages"]
        for call in each["tool_calls"]
    ]


ATIF: dict[str, Any] = {
    "schema_version": "ATIF-v1.4",
    "session_id": "s1",
    "agent": {"name": "terminus", "version": "2", "model_name": "m", "extra": {"cwd": "/w", "git_branch": "main"}},
    "steps": [
        {"step_id": 1, "timestamp": "2026-01-01T00:00:02Z", "source": "user", "message": "Find it."},
        {
            "step_id": 2,
            "timestamp": "2026-01-01T00:00:01Z",
            "source": "agent",
            "message": "Looking.",
            "reasoning_content": "Hm.",
            "tool_calls": [{"tool_call_id": "c1", "function_name": "grep", "arguments": {"q": "it"}}],
            "observation": {"results": [{"source_call_id": "c1", "content": "here"}]},
        },
        {"step_id": 3, "source": "agent", "message": "Found."},
    ],
    "notes": "n",
}


def test_an_atif_trajectory_is_one_row(tmp_path: Path) -> None:
    (row,) = sessions(tmp_path, "atif", {"a.json": json.dumps(ATIF)})
    said = [("user", "Find it."), ("assistant", "Looking."), ("tool", "here"), ("assistant", "Found.")]
    assert chat(row) == said
    assert calls(row) == [("c1", "grep", '{"q": "it"}')]
    assert row["messages"][1]["reasoning_content"] == "Hm."
    assert row["messages"][2]["tool_call_id"] == "c1"
    assert (row["trace_id"], row["source_kind"], row["source_path"]) == ("s1", "atif", str(tmp_path / "a.json"))
    assert (row["cwd"], row["project_path"], row["git_branch"]) == ("/w", "/w", "main")
    assert (row["started_at"], row["ended_at"]) == ("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z")
    assert (row["message_count"], row["tool_call_count"], row["final_assistant_message"]) == (4, 1, "Found.")
    meta = row["source_meta"]
    assert (meta["schema_version"], meta["step_count"], meta["agent_name"], meta["notes"]) == (
        "ATIF-v1.4", 3, "terminus", "n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": []}, "no list of steps"),
        ({"session_id": ""}, "session_id is missing"),
        ({"agent": None}, "agent is missing"),
        ({"steps": [{**ATIF["steps"][0], "step_id": 2}]}, "step 1 has the step_id 2"),
        ({"steps": [{**ATIF["steps"][0], "source": "robot"}]}, "source 'robot'"),
        ({"steps": [{**ATIF["steps"][0], "reasoning_content": "x"}]}, "which only the agent's have"),
        (
            {
                "steps": [
                    {
                        "step_id": 1,
                        "source": "agent",
                        "message": "",
                        "observation": {"results": [{"source_call_id": "zz"}]},
                    }
                ]
            },
            "the call 'zz'",
        ),
    ],
)
def test_an_atif_file_that_is_none_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=r"a\.json is not a session of atif") as caught:
        sessions(tmp_path, "atif", {"a.json": json.dumps({**ATIF, **change})})
    assert words in str(caught.value)


CLAUDE: list[dict[str, Any]] = [
    {"type": "summary", "summary": "irrelevant"},
    {
        "type": "user", "sessionId": "s", "cwd": "/w", "gitBranch": "main", "version": "1.0",
        "timestamp": "2026-01-01T00:00:00Z", "message": {"role": "user", "content": "Fix it"},
    },
    {
        "type": "assistant", "sessionId": "s", "timestamp": "2026-01-01T00:00:05Z",
        "message": {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Let me see."},
                {"type": "text", "text": "On it."},
                {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
    },
    {
        "type": "user", "sessionId": "s",
        "message": {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a.py"}]},
                {"type": "text", "text": "and hurry"},
            ],
        },
    },
]  # fmt: skip


def test_a_session_of_claude_code_is_one_row(tmp_path: Path) -> None:
    index = {"entries": [{"sessionId": "s", "projectPath": "/project", "summary": "Mending", "firstPrompt": "Fix it"}]}
    files = {
        "p/s.jsonl": lines(*CLAUDE),
        "p/sessions-index.json": json.dumps(index),
        "history.jsonl": "not json",
        "p/empty.jsonl": "\n",
    }
    (row,) = sessions(tmp_path, "claude_code", files)
    assert chat(row) == [("user", "Fix it"), ("assistant", "On it."), ("user", "and hurry"), ("tool", "a.py")]
    assert calls(row) == [("t1", "Bash", '{"command": "ls"}')]
    assert row["messages"][1]["reasoning_content"] == "Let me see."
    assert (row["trace_id"], row["agent_id"], row["is_sidechain"]) == ("s", None, False)
    assert (row["cwd"], row["project_path"], row["git_branch"]) == ("/w", "/project", "main")
    assert row["source_meta"]["summary"] == "Mending"
    assert row["source_meta"]["claude_versions"] == ["1.0"]


def test_a_sub_agent_of_claude_code_is_a_row_of_its_own(tmp_path: Path) -> None:
    side = [{**record, "agentId": "a7", "isSidechain": True} for record in CLAUDE]
    rows = sessions(tmp_path, "claude_code", {"s.jsonl": lines(*CLAUDE), "s/agent-a7.jsonl": lines(*side)})
    told = [(row["trace_id"], row["root_session_id"], row["is_sidechain"]) for row in rows]
    assert told == [("s", "s", False), ("s:a7", "s", True)]


def item(**payload: Any) -> dict[str, Any]:
    return {"type": "response_item", "payload": payload}


def says(role: str, text: str) -> dict[str, Any]:
    return item(type="message", role=role, content=[{"type": "input_text", "text": text}])


CODEX_META = {
    "id": "cx",
    "timestamp": "2025-12-31T23:59:59Z",
    "cwd": "/w",
    "originator": "cli",
    "git": {"branch": "dev"},
}
CODEX = [
    {"timestamp": "2026-01-01T00:00:00Z", "type": "session_meta", "payload": CODEX_META},
    says("developer", "Be good."),
    says("user", "List"),
    {"type": "event_msg", "payload": {"type": "agent_reasoning", "text": "I list."}},
    item(type="reasoning", summary=[{"type": "summary_text", "text": "I list."}]),
    item(type="function_call", call_id="c", name="shell", arguments='{"cmd":"ls"}'),
    item(type="function_call_output", call_id="c", output="a"),
    {"timestamp": "2026-01-01T00:01:00Z", **says("assistant", "One: a")},
]


def test_a_session_of_codex_is_one_row(tmp_path: Path) -> None:
    (row,) = sessions(tmp_path, "codex", {"2026/rollout-x.jsonl": lines(*CODEX)})
    said = [("system", "Be good."), ("user", "List"), ("assistant", ""), ("tool", "a"), ("assistant", "One: a")]
    assert chat(row) == said
    assert calls(row) == [("c", "shell", '{"cmd":"ls"}')]
    assert row["messages"][2]["reasoning_content"] == "I list."
    assert (row["trace_id"], row["cwd"], row["git_branch"]) == ("cx", "/w", "dev")
    assert (row["started_at"], row["ended_at"]) == ("2025-12-31T23:59:59Z", "2026-01-01T00:01:00Z")


def test_both_kinds_of_sessions_of_hermes_are_rows(tmp_path: Path) -> None:
    call = {"id": "h1", "type": "function", "function": {"name": "web", "arguments": {"q": 1}}}
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "reasoning": "r", "tool_calls": [call], "finish_reason": "tool_calls"},
        {"role": "tool", "tool_call_id": "h1", "content": {"found": 1}},
        {"role": "assistant", "content": "Done", "finish_reason": "stop"},
    ]
    whole = {
        "session_id": "cli1",
        "system_prompt": "Be brief.",
        "model": "m",
        "messages": said,
        "session_start": "2026-01-01T00:00:00",
        "tools": [{"function": {"name": "web"}}],
    }
    files = {
        "session_cli1.json": json.dumps(whole),
        "gw1.jsonl": lines(*said),
        "sessions.json": json.dumps({"key": {"session_id": "gw1", "platform": "chat", "created_at": "2026-02-01"}}),
        "other.json": "not a session",
    }
    gateway, command_line = sessions(tmp_path, "hermes_agent", files)
    turns = [("user", "Hi"), ("assistant", ""), ("tool", '{"found": 1}'), ("assistant", "Done")]
    assert chat(gateway) == turns
    assert chat(command_line) == [("system", "Be brief."), *turns]
    assert calls(gateway) == calls(command_line) == [("h1", "web", '{"q": 1}')]
    assert (gateway["trace_id"], gateway["started_at"]) == ("gw1", "2026-02-01")
    assert gateway["source_meta"]["session_key"] == "key"
    assert command_line["source_meta"]["available_tool_names"] == ["web"]
    assert command_line["source_meta"]["finish_reasons"] == ["tool_calls", "stop"]


def entry(identity: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "id": identity, "parentId": parent, **fields}


def test_the_branch_that_was_worked_on_last_is_the_session_of_pi(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"type": "session", "version": 3, "id": "pi1", "cwd": "/w", "timestamp": "2026-01-01T00:00:00Z"},
        entry("1", None, message={"role": "user", "content": "Go"}),
        entry("2", "1", message={"role": "assistant", "content": [{"type": "text", "text": "abandoned"}]}),
        entry(
            "3",
            "1",
            message={
                "role": "assistant",
                "model": "m",
                "stopReason": "toolUse",
                "content": [
                    {"type": "thinking", "thinking": "t"},
                    {"type": "text", "text": "Going"},
                    {"type": "toolCall", "id": "p1", "name": "read", "arguments": {"path": "x"}},
                ],
            },
        ),
        entry("4", "3", message={"role": "toolResult", "toolCallId": "p1", "content": [{"type": "text", "text": "X"}]}),
        entry("5", "4", message={"role": "bashExecution", "command": "ls", "output": "a", "exitCode": 0}),
        {"type": "compaction", "id": "6", "parentId": "5", "summary": "so far", "timestamp": "2026-01-01T00:09:00Z"},
    ]
    (row,) = sessions(tmp_path, "pi_coding_agent", {"a.jsonl": lines(*entries)})
    assert chat(row) == [
        ("user", "Go"), ("assistant", "Going"), ("tool", "X"), ("assistant", ""), ("tool", "a\n[exit code: 0]"),
        ("system", "so far"),
    ]  # fmt: skip
    assert calls(row) == [("p1", "read", '{"path": "x"}'), ("bash_5", "bash", '{"command": "ls"}')]
    assert row["source_meta"]["has_branches"] is True
    assert row["source_meta"]["models_used"] == ["m"]
    assert (row["trace_id"], row["ended_at"]) == ("pi1", "2026-01-01T00:09:00Z")


@pytest.mark.parametrize(
    ("agent", "name", "content", "words"),
    [
        ("codex", "rollout-1.jsonl", '{"type": 1}\n{"cut', "line 2 is not JSON"),
        ("codex", "rollout-1.jsonl", "[1]\n", "line 1 is not a JSON object"),
        ("claude_code", "s.jsonl", '{"type": "user"}\n', "has no message"),
        ("hermes_agent", "s.jsonl", '{"role": "robot"}\n', "unknown role 'robot'"),
        ("pi_coding_agent", "s.jsonl", '{"type": "message"}\n', "not the header"),
        (
            "pi_coding_agent",
            "s.jsonl",
            lines({"type": "session", "id": "s"}, entry("1", "2"), entry("2", "1")),
            "in a circle",
        ),
    ],
)
def test_a_file_that_is_no_session_is_named_with_what_to_do(
    tmp_path: Path, agent: str, name: str, content: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        sessions(tmp_path, agent, {name: content})
    assert words in str(caught.value)
    assert name in str(caught.value)
    assert "file_pattern" in str(caught.value)


def test_messages_can_be_used_in_templates_and_exploded(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ATIF))
    seed = {"seed_type": "agent_rollout", "format": "atif", "path": str(tmp_path), "explode": "messages"}
    columns = [{"name": "said", "column_type": "expression", "expr": "{{ messages.role }}: {{ messages.content }}"}]
    database = tmp_path / "run.duckdb"
    rowmill.run({"records": 4, "seed_dataset": seed, "columns": columns}, database)
    with rowmill.RunDatabase.open(database) as opened:
        said: Sequence[str] = opened.to_arrow()["said"].to_pylist()
    assert said == ["user: Find it.", "assistant: Looking.", "tool: here", "assistant: Found."]
