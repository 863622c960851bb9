"""Codex: a line for each event of a session, its kind in ``type`` and the rest in ``payload``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rowmill.seeds.rollout.session import Message, Session, message, optional, required, span, tool_call

_CALLS = frozenset({"function_call", "custom_tool_call", "apply_patch_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output", "apply_patch_call_output"})
_KEPT = ("originator", "cli_version", "model_provider", "source")


def is_session(path: PurePosixPath) -> bool:
    """Its files are called ``rollout-….jsonl``."""
    return path.suffix == ".jsonl" and path.name.startswith("rollout-")


def session(records: Sequence[dict[str, Any]], stem: str, index: Mapping[str, Any]) -> Session:
    """A session. Raises MalformedSession."""
    about = next((_payload(record) for record in reversed(records) if record.get("type") == "session_meta"), {})
    messages, left_over = _messages(records)
    started_at, ended_at = span([about.get("timestamp"), *(record.get("timestamp") for record in records)])
    git = about.get("git")
    branch = optional(about.get("git_branch")) or optional(git.get("branch") if isinstance(git, dict) else None)
    items = {str(_payload(record).get("type")) for record in records if record.get("type") == "response_item"}
    meta: dict[str, Any] = {
        "record_count": len(records),
        "record_types": sorted({str(record.get("type", "unknown")) for record in records}),
        "response_item_types": sorted(items),
        **{name: optional(about.get(name)) for name in _KEPT},
        "unattached_reasoning": left_over,
    }
    return Session(
        optional(about.get("id")) or stem,
        cwd=optional(about.get("cwd")),
        git_branch=branch,
        started_at=optional(about.get("timestamp")) or started_at,
        ended_at=ended_at,
        messages=messages,
        meta={name: value for name, value in meta.items() if value},
    )


def _messages(records: Sequence[Mapping[str, Any]]) -> tuple[list[Message], list[str]]:
    """The messages, and reasoning that no message followed."""
    messages: list[Message] = []
    reasoning: list[str] = []
    for record in records:
        payload = _payload(record)
        kind = payload.get("type")
        if record.get("type") == "event_msg":
            if kind == "agent_reasoning":
                reasoning += filter(None, [optional(payload.get("text"))])
        elif record.get("type") != "response_item":
            continue
        elif kind == "reasoning":
            # An agent_reasoning event tells the same just before: each text counts once.
            reasoning += [text for text in _summaries(payload) if text not in reasoning]
        elif kind == "message":
            role = payload.get("role")
            messages.append(message(role, payload.get("content"), reasoning=reasoning if role == "assistant" else ()))
            reasoning = []
        elif kind in _CALLS:
            arguments = payload["arguments"] if "arguments" in payload else payload.get("input")
            call = tool_call(payload.get("call_id"), payload.get("name"), arguments)
            messages.append(message("assistant", "", reasoning=reasoning, tool_calls=[call]))
            reasoning = []
        elif kind in _RESULTS:
            call_id = required(payload.get("call_id"), "call_id of a result")
            messages.append(message("tool", payload.get("output"), tool_call_id=call_id))
    return messages, reasoning


def _payload(record: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = record.get("payload")
    return payload if isinstance(payload, dict) else {}


def _summaries(payload: Mapping[str, Any]) -> list[str]:
    summaries = payload.get("summary")
    if not isinstance(summaries, list):
        return []
    return [each["text"] for each in summaries if isinstance(each, dict) and optional(each.get("text"))]
