"""Claude Code: a line for each record of a session; sub-agents have files of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rowmill.seeds.rollout.session import (
    MalformedSession,
    Message,
    Session,
    fields_of,
    message,
    optional,
    required,
    span,
    tool_call,
)

INDEX_NAME = "sessions-index.json"


def is_session(path: PurePosixPath) -> bool:
    """Not the prompt history, nor the stored results of tools."""
    return path.suffix == ".jsonl" and path.name != "history.jsonl" and "tool-results" not in path.parts


def indexed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a list of sessions, by session."""
    entries = record.get("entries")
    if not isinstance(entries, list):
        return {}
    return {each["sessionId"]: each for each in entries if isinstance(each, dict) and optional(each.get("sessionId"))}


def session(records: Sequence[dict[str, Any]], stem: str, index: Mapping[str, Any]) -> Session:
    """A session, or a part of one that a sub-agent worked on. Raises MalformedSession."""
    session_id = _first(records, "sessionId") or stem
    entry = index.get(session_id, {})
    started_at, ended_at = span(record.get("timestamp") for record in records)
    messages: list[Message] = []
    for record in records:
        if record.get("type") in {"user", "assistant"}:
            messages += _messages(record)
    meta: dict[str, Any] = {
        "record_count": len(records),
        "record_types": sorted({str(record.get("type", "unknown")) for record in records}),
        "claude_versions": sorted({record["version"] for record in records if optional(record.get("version"))}),
        "summary": optional(entry.get("summary")),
        "first_prompt": optional(entry.get("firstPrompt")),
    }
    return Session(
        session_id,
        agent_id=_first(records, "agentId"),
        is_sidechain=any(record.get("isSidechain") is True for record in records),
        cwd=_first(records, "cwd"),
        project_path=optional(entry.get("projectPath")),
        git_branch=_first(records, "gitBranch"),
        started_at=started_at,
        ended_at=ended_at,
        messages=messages,
        meta={name: value for name, value in meta.items() if value},
    )


def _first(records: Sequence[Mapping[str, Any]], name: str) -> str | None:
    return next((record[name] for record in records if optional(record.get(name))), None)


def _messages(record: Mapping[str, Any]) -> list[Message]:
    """The message of a record, and those of the tools whose results it carries."""
    payload = record.get("message")
    if not isinstance(payload, dict):
        raise MalformedSession(f"a record of the {record['type']} has no message")
    content = payload.get("content")
    said: list[object] = []
    reasoning: list[str] = []
    calls: list[Message] = []
    results: list[Message] = []
    for block in content if isinstance(content, list) else [content]:
        fields = fields_of(block)
        kind = fields.get("type")
        if kind == "tool_result":
            call_id = required(fields.get("tool_use_id"), "tool_use_id of a result")
            results.append(message("tool", fields.get("content"), tool_call_id=call_id))
        elif kind == "tool_use":
            calls.append(tool_call(fields.get("id"), fields.get("name"), fields.get("input")))
        elif kind == "thinking":
            reasoning += filter(None, [optional(fields.get("thinking"))])
        elif block is not None:
            said.append(block)
    if said or reasoning or calls:
        return [message(record["type"], said, reasoning=reasoning, tool_calls=calls), *results]
    return results
