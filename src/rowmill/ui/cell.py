"""Values as the page shows them: what kind each is, and how much of it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rowmill.providers.image_format import image_format_of
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import quote
from rowmill.value.json_value import json_text
from rowmill.value.shown import shown

SHORT = 240
"""Characters of a cell in a table."""
LONG = 20_000
"""Characters of a cell on the page of its row."""
_AS_THEY_ARE = (
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIME", "TIMESTAMP", "INTERVAL", "UUID",
)  # fmt: skip
_HEAD_BYTES = 16
_IMAGE = "image"
_TRACE = "__trace"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value on its way to the page."""

    kind: str
    """null, number, text, code, json, chat, image, bytes."""
    text: str = ""
    is_cut: bool = False
    size: int = 0
    """Bytes, of binary values."""
    messages: Sequence[Message] = field(default_factory=tuple)
    """Of a chat."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: str
    text: str
    thoughts: str = ""


def shortened(name: str, sql_type: str, characters: int) -> str:
    """The expression that reads no more of a column than is shown; one character more says that there is more."""
    column = quote(name)
    kind = sql_type.upper()
    if kind == "BLOB":
        return f"struct_pack(size := octet_length({column}), head := hex({column}[1:{_HEAD_BYTES}])) as {column}"
    if kind.startswith(_AS_THEY_ARE) and not kind.endswith("]"):
        return column
    if kind == "VARCHAR" or kind.startswith("ENUM"):
        return f"left(cast({column} as varchar), {characters + 1}) as {column}"
    return f"left(cast(to_json({column}) as varchar), {characters + 1}) as {column}"


class Cells:
    """What the columns of a run hold, by the spec."""

    def __init__(self, spec: Spec | None) -> None:
        columns = spec.columns if spec is not None else ()
        self._types = {column.name: column.column_type for column in columns}

    def short(self, name: str, sql_type: str, value: Any) -> Cell:
        """The cell of a table, from what :func:`shortened` read."""
        return self._cell(name, sql_type, value, SHORT)

    def whole(self, name: str, value: Any) -> Cell:
        """The cell of a row's own page, from its value."""
        if isinstance(value, (bytes, bytearray)):
            kind = _IMAGE if image_format_of(bytes(value)) else "bytes"
            return Cell(kind, bytes(value[:256]).hex(" "), len(value) > 256, len(value))
        if isinstance(value, str) and name.endswith(_TRACE):
            messages = _messages(value)
            if messages:
                return Cell("chat", messages=messages)
        if isinstance(value, (dict, list, tuple)):
            text = json_text(value, indent=2)
            return Cell("json", text[:LONG], len(text) > LONG)
        return self._cell(name, "", value, LONG)

    def _cell(self, name: str, sql_type: str, value: Any, characters: int) -> Cell:
        if value is None:
            return Cell("null")
        if isinstance(value, dict):  # what is read of binary values in a table
            kind = _IMAGE if image_format_of(bytes.fromhex(value["head"])) else "bytes"
            return Cell(kind, value["head"].lower(), size=value["size"])
        if isinstance(value, bool):
            return Cell("number", str(value).lower())
        if isinstance(value, (int, float)):
            return Cell("number", str(value))
        text = value if isinstance(value, str) else str(shown(value))
        column_type = self._types.get(name)
        kind = _IMAGE if column_type == _IMAGE else "code" if column_type == "llm-code" else "text"
        if sql_type and not sql_type.upper().startswith((*_AS_THEY_ARE, "VARCHAR", "ENUM")):
            kind = "json"
        return Cell(kind, text[:characters], len(text) > characters)


def _messages(text: str) -> tuple[Message, ...]:
    """The messages of a trace; empty if it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    if not isinstance(found, list) or not all(isinstance(each, dict) and "role" in each for each in found):
        return ()
    return tuple(
        Message(str(each["role"]), _said(each)[:LONG], str(each.get("reasoning_content") or "")[:LONG])
        for each in found
    )


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = [] if content is None else [content] if isinstance(content, str) else list(content)
    texts = [
        part if isinstance(part, str) else str(part["text"]) if isinstance(part, dict) and "text" in part
        else json.dumps(part, ensure_ascii=False)
        for part in parts
    ]  # fmt: skip
    if message.get("tool_calls"):
        texts.append(json.dumps(message["tool_calls"], ensure_ascii=False, indent=2))
    return "\n\n".join(texts)
