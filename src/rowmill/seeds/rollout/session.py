"""A session of an agent: who, where, when, and its messages in the shape of a chat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

_FUNCTION = pa.struct([("name", pa.string()), ("arguments", pa.string())])
_TOOL_CALL = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", _FUNCTION)])
_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("reasoning_content", pa.string()),
        ("tool_calls", pa.list_(_TOOL_CALL)),
        ("tool_call_id", pa.string()),
    ]
)
ROLLOUT_SCHEMA = pa.schema(
    [
        ("trace_id", pa.string()),
        ("source_kind", pa.string()),
        ("source_path", pa.string()),
        ("root_session_id", pa.string()),
        ("agent_id", pa.string()),
        ("is_sidechain", pa.bool_()),
        ("cwd", pa.string()),
        ("project_path", pa.string()),
        ("git_branch", pa.string()),
        ("started_at", pa.string()),
        ("ended_at", pa.string()),
        ("messages", pa.list_(_MESSAGE)),
        ("source_meta", pa.string()),
        ("message_count", pa.int64()),
        ("tool_call_count", pa.int64()),
        ("final_assistant_message", pa.string()),
    ]
)

Message = dict[str, Any]
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool", "developer": "system"}


class MalformedSession(ValueError):
    """A file is not what its agent writes. The text says where and what."""


@dataclass
class Session:
    """One session, as it will be one seed row."""

    session_id: str
    agent_id: str | None = None
    is_sidechain: bool = False
    cwd: str | None = None
    project_path: str | None = None
    git_branch: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    messages: list[Message] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    def row(self, kind: str, path: str) -> dict[str, Any]:
        """The seed row, in :data:`ROLLOUT_SCHEMA`."""
        said = (each["content"] for each in reversed(self.messages) if each["role"] == "assistant" and each["content"])
        return {
            "trace_id": f"{self.session_id}:{self.agent_id}" if self.agent_id else self.session_id,
            "source_kind": kind,
            "source_path": path,
            "root_session_id": self.session_id,
            "agent_id": self.agent_id,
            "is_sidechain": self.is_sidechain,
            "cwd": self.cwd,
            "project_path": self.project_path or self.cwd,
            "git_branch": self.git_branch,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "messages": self.messages,
            "source_meta": json.dumps(self.meta, ensure_ascii=False, sort_keys=True),
            "message_count": len(self.messages),
            "tool_call_count": sum(len(each["tool_calls"]) for each in self.messages),
            "final_assistant_message": next(said, None),
        }


def message(
    role: object,
    content: object,
    *,
    reasoning: Sequence[str] = (),
    tool_calls: Sequence[Message] = (),
    tool_call_id: str | None = None,
) -> Message:
    """A chat message. Raises MalformedSession for a role that no chat has."""
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise MalformedSession(f"unknown role {role!r} of a message")
    return {
        "role": known,
        "content": text_of(content),
        "reasoning_content": "\n\n".join(reasoning) or None,
        "tool_calls": list(tool_calls),
        "tool_call_id": tool_call_id,
    }


def tool_call(call_id: object, name: object, arguments: object) -> Message:
    """A call of a tool; arguments that are no text become JSON."""
    text = json_text({} if arguments is None else arguments)
    function = {"name": required(name, "name of a tool"), "arguments": text}
    return {"id": required(call_id, "id of a tool call"), "type": "function", "function": function}


def text_of(content: object) -> str:
    """The text of a message: blocks of text joined by empty lines, other blocks (pictures) as JSON."""
    if content is None:
        return ""
    blocks = content if isinstance(content, list) else [content]
    return "\n\n".join(filter(None, map(_text_of_block, blocks)))


def _text_of_block(block: object) -> str:
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return str(block["text"])
    return json_text(block)


def json_text(value: object) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def required(value: object, what: str) -> str:
    """A text that has to be there. Raises MalformedSession."""
    if not isinstance(value, str) or not value:
        raise MalformedSession(f"the {what} is missing")
    return value


def optional(value: object) -> str | None:
    """A text if there is one."""
    return value if isinstance(value, str) and value else None


def fields_of(value: object) -> Mapping[str, Any]:
    """The fields of an object; none of anything else."""
    return value if isinstance(value, dict) else {}


def span(times: Iterable[object]) -> tuple[str | None, str | None]:
    """The earliest and the latest of ISO 8601 texts, as they are written; a time without zone is UTC."""
    read = sorted((moment, text) for text in times if isinstance(text, str) and (moment := _moment(text)) is not None)
    return (read[0][1], read[-1][1]) if read else (None, None)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
