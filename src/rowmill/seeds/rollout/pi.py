"""Pi coding agent: a header, then entries that form a tree; the session is the branch of the last one."""

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


def is_session(path: PurePosixPath) -> bool:
    """Every file of lines is one session."""
    return path.suffix == ".jsonl"


def session(records: Sequence[dict[str, Any]], stem: str, index: Mapping[str, Any]) -> Session:
    """The branch of a session that was worked on last. Raises MalformedSession."""
    header, entries = records[0], records[1:]
    if header.get("type") != "session":
        raise MalformedSession("its first line is not the header of a session")
    branch = _last_branch(entries)
    said = [entry["message"] for entry in branch if isinstance(entry.get("message"), dict)]
    models = [optional(entry.get("modelId")) for entry in branch if entry.get("type") == "model_change"]
    models += [optional(each.get("model")) for each in said]
    parents = [entry["parentId"] for entry in entries if optional(entry.get("parentId"))]
    meta: dict[str, Any] = {
        "record_count": len(records),
        "entry_types": sorted({str(entry.get("type", "unknown")) for entry in branch}),
        "session_version": header.get("version"),
        "models_used": list(dict.fromkeys(filter(None, models))),
        "stop_reasons": list(dict.fromkeys(filter(None, (optional(each.get("stopReason")) for each in said)))),
        "has_branches": len(parents) != len(set(parents)) or None,
        "parent_session": optional(header.get("parentSession")),
    }
    started_at, ended_at = span(entry.get("timestamp") for entry in records)
    return Session(
        required(header.get("id"), "id of the session"),
        cwd=optional(header.get("cwd")),
        started_at=started_at,
        ended_at=ended_at,
        messages=[each for entry in branch for each in _messages(entry)],
        meta={name: value for name, value in meta.items() if value is not None},
    )


def _last_branch(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From the root to the last entry. Raises MalformedSession when it leads in a circle."""
    known = {entry["id"]: entry for entry in entries if optional(entry.get("id"))}
    branch: list[dict[str, Any]] = []
    entry = entries[-1] if entries else None
    while entry is not None:
        if len(branch) > len(entries):
            raise MalformedSession("its entries lead in a circle")
        branch.append(entry)
        entry = known.get(entry.get("parentId"))
    return branch[::-1]


def _messages(entry: Mapping[str, Any]) -> list[Message]:
    kind = entry.get("type")
    if kind in {"compaction", "branch_summary"}:
        summary = optional(entry.get("summary"))
        return [message("system", summary)] if summary else []
    if kind == "custom_message":
        return [message("system", entry.get("content"))] if entry.get("display") else []
    payload = entry.get("message")
    if kind != "message" or not isinstance(payload, dict):
        return []
    role = payload.get("role")
    if role == "user":
        return [message("user", payload.get("content"))]
    if role == "assistant":
        return [_of_assistant(payload)]
    if role == "toolResult":
        call_id = required(payload.get("toolCallId"), "toolCallId of a result")
        return [message("tool", payload.get("content"), tool_call_id=call_id)]
    if role == "bashExecution":
        return [] if payload.get("excludeFromContext") else _of_shell(payload, str(entry.get("id", "unknown")))
    if role == "custom":
        return [message("system", payload.get("content"))] if payload.get("display") else []
    if role in {"compactionSummary", "branchSummary"}:
        summary = optional(payload.get("summary"))
        return [message("system", summary)] if summary else []
    return []


def _of_assistant(payload: Mapping[str, Any]) -> Message:
    content = payload.get("content")
    said: list[object] = []
    reasoning: list[str] = []
    calls: list[Message] = []
    for block in content if isinstance(content, list) else [content]:
        fields = fields_of(block)
        kind = fields.get("type")
        if kind == "thinking":
            reasoning += filter(None, [optional(fields.get("thinking"))])
        elif kind == "toolCall":
            calls.append(tool_call(fields.get("id"), fields.get("name"), fields.get("arguments")))
        elif block is not None:
            said.append(block)
    return message("assistant", said, reasoning=reasoning, tool_calls=calls)


def _of_shell(payload: Mapping[str, Any], entry_id: str) -> list[Message]:
    """A command the person typed: as if the assistant had called a tool."""
    call_id = f"bash_{entry_id}"
    exit_code = payload.get("exitCode")
    parts = [optional(payload.get("output")), None if exit_code is None else f"[exit code: {exit_code}]"]
    call = tool_call(call_id, "bash", {"command": payload.get("command") or ""})
    output = "\n".join(part for part in parts if part)
    return [message("assistant", "", tool_calls=[call]), message("tool", output, tool_call_id=call_id)]
