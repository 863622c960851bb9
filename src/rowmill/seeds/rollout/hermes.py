"""Hermes Agent: a JSON file for each session of its command line, a line for each message of its gateway."""

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
    tool_call,
)

INDEX_NAME = "sessions.json"


def is_session(path: PurePosixPath) -> bool:
    """``session_….json`` of the command line, ``….jsonl`` of the gateway."""
    return path.suffix == ".jsonl" or (path.suffix == ".json" and path.name.startswith("session_"))


def indexed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The gateway's list of sessions, by session."""
    found = {}
    for key, entry in record.items():
        told = {"session_id": entry} if isinstance(entry, str) else entry
        if isinstance(told, dict) and optional(told.get("session_id")):
            found[told["session_id"]] = {"session_key": key, **told}
    return found


def session(records: Sequence[dict[str, Any]], stem: str, index: Mapping[str, Any]) -> Session:
    """A session of either kind. Raises MalformedSession."""
    if stem.startswith("session_") and len(records) == 1 and "messages" in records[0]:
        return _of_command_line(records[0], stem)
    told = dict(index.get(stem, {}))
    meta = {"session_format": "gateway_transcript", "record_count": len(records), **told}
    return Session(
        stem,
        started_at=optional(told.get("created_at")),
        ended_at=optional(told.get("updated_at")),
        messages=[_message(record) for record in records],
        meta={**meta, "finish_reasons": _finish_reasons(records)},
    )


def _of_command_line(whole: Mapping[str, Any], stem: str) -> Session:
    said = whole.get("messages")
    if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
        raise MalformedSession("the messages are no list of objects")
    prompt = optional(whole.get("system_prompt"))
    tools = [tool for tool in whole.get("tools") or [] if isinstance(tool, dict)]
    names = [tool["function"].get("name") for tool in tools if isinstance(tool.get("function"), dict)]
    meta = {
        "session_format": "cli_session_log",
        "record_count": len(said),
        "finish_reasons": _finish_reasons(said),
        "available_tool_names": names,
        **{name: optional(whole.get(name)) for name in ("model", "base_url", "platform")},
    }
    return Session(
        optional(whole.get("session_id")) or stem.removeprefix("session_"),
        started_at=optional(whole.get("session_start")),
        ended_at=optional(whole.get("last_updated")),
        messages=[*([message("system", prompt)] if prompt else []), *map(_message, said)],
        meta={name: value for name, value in meta.items() if value is not None},
    )


def _message(record: Mapping[str, Any]) -> Message:
    role = record.get("role")
    if role == "tool":
        call_id = required(record.get("tool_call_id"), "tool_call_id of a result")
        return message("tool", record.get("content"), tool_call_id=call_id)
    reasoning = optional(record.get("reasoning"))
    calls = record.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise MalformedSession("the tool_calls of a message are no list of objects")
    made = [_call(call) for call in calls]
    return message(role, record.get("content"), reasoning=[reasoning] if reasoning else [], tool_calls=made)


def _call(call: Mapping[str, Any]) -> Message:
    function = fields_of(call.get("function")) or call
    return tool_call(call.get("id") or call.get("call_id"), function.get("name"), function.get("arguments"))


def _finish_reasons(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(each["finish_reason"] for each in records if optional(each.get("finish_reason"))))
