"""The content of a message: its text, and apart from it what the model thought. No I/O.

Content comes as a text, or as a list of parts. Parts that are thoughts are recognised by their type (``thinking`` of
Anthropic and Mistral, ``reasoning`` and its kin) or a mark (``thought: true`` of Gemini); they are never glued to the
text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_THOUGHTS = frozenset(
    {"thinking", "reasoning", "thought", "thoughts", "analysis", "redacted_thinking", "reasoning_text", "summary_text"}
)
_TEXTS = frozenset({"text", "output_text", "input_text"})
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thoughts", "reasoning_details", "thinking_blocks")
_DEEPEST = 8


def text_of(content: Any) -> str | None:
    """The text of a message's content, without thoughts; None if it has none."""
    if type(content) is str:
        return content
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, Sequence) or isinstance(parts, bytes):
        return None
    texts = [text for part in parts if (text := _text(part)) is not None]
    return "".join(texts) if texts else None


def thoughts_in(content: Any) -> str | None:
    """What the model thought, of the parts of a message's content; None if there is nothing of the kind."""
    if type(content) is str or not isinstance(content, Sequence | Mapping):
        return None
    parts = [content] if isinstance(content, Mapping) else content
    return _joined([_said(part) for part in parts if isinstance(part, Mapping) and _is_thought(part)])


def reasoning_of(message: Mapping[str, Any]) -> str | None:
    """What the model thought, of the fields endpoints have for it and of the content, each thought once."""
    found: list[str] = []
    for name in _REASONING_FIELDS:
        value = message.get(name)
        said = _said(value) if value else ""
        if said.strip() and not any(said.strip() in other for other in found):
            found.append(said)
    thoughts = thoughts_in(message.get("content"))
    if thoughts and not any(thoughts.strip() in other for other in found):
        found.append(thoughts)
    return "\n\n".join(found) or None


def refusal_in(content: Any) -> str | None:
    """What a part of the content says in refusal."""
    if not isinstance(content, list):
        return None
    refusals = [part.get("refusal") for part in content if isinstance(part, Mapping) and part.get("type") == "refusal"]
    return next((one for one in refusals if isinstance(one, str) and one.strip()), None)


def storable(text: str) -> str:
    """The text with U+FFFD in place of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _is_thought(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    return part.get("thought") is True or (isinstance(kind, str) and kind.partition(".")[0] in _THOUGHTS)


def _text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or _is_thought(part):
        return None
    kind = part.get("type")
    text = part.get("text")
    if isinstance(text, Mapping):  # {"type": "text", "text": {"value": …}}
        text = text.get("value")
    return text if isinstance(text, str) and (kind is None or kind in _TEXTS) else None


def _said(thought: Any, depth: int = 0) -> str:
    """All text of a thought, whatever it is wrapped in."""
    if isinstance(thought, str):
        return thought
    if depth > _DEEPEST:
        return ""
    if isinstance(thought, Mapping):
        for name in ("thinking", "reasoning", "text", "content", "summary", "thought"):
            said = _said(thought.get(name), depth + 1)
            if said:
                return said
        return ""
    if isinstance(thought, Sequence) and not isinstance(thought, bytes):
        return _joined([_said(part, depth + 1) for part in thought]) or ""
    return ""


def _joined(thoughts: Sequence[str]) -> str | None:
    return "".join(thoughts) or None
