"""Simulated answers in the form that was asked for: JSON of a schema, code in a fenced block.

The form is read from the request as an endpoint sees it: ``response_format``, or a prompt that ends in a
fenced block, which shows what the answer shall look like.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from rowmill.providers.protocol import ToolCall

_DEEPEST = 8


def formed_answer(
    digest: bytes, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], text: str
) -> str | None:
    """``text`` in the form the request asks for; None if it asks for none.

    What is chosen follows from ``digest`` alone.
    """
    schema = _schema_of(parameters)
    if schema is not None:
        return json.dumps(_Maker(digest, text, schema).value(schema, 0), ensure_ascii=False)
    example = next(
        (
            content
            for message in reversed(messages)
            if message.get("role") == "user" and (content := text_of(message.get("content"))).endswith("\n```")
        ),
        None,
    )
    if example is None:
        return None
    fence = example.rfind("\n```", 0, -4)
    label, _, content = example[fence + 4 : -4].partition("\n")
    if label != "json":
        return f"Here it is.\n```{label}\n# {text}\nprint({digest.hex()[:8]!r})\n```"
    try:
        schema = json.loads(content)
    except ValueError:
        return None
    return json.dumps(_Maker(digest, text, schema).value(schema, 0), ensure_ascii=False)


def without_form(prompt: str) -> str:
    """A prompt without the words that ask for a form: answers are about the rest."""
    if not prompt.endswith("\n```"):
        return prompt
    start = prompt.rfind("\n\n", 0, prompt.rfind("\n```", 0, -4))
    return prompt[:start] if start > 0 else prompt


def wanted_tool(digest: bytes, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> ToolCall | None:
    """A call of the first tool offered, with arguments of its schema; None once a tool has answered."""
    if parameters.get("tool_choice") == "none" or not parameters["tools"] or messages[-1].get("role") == "tool":
        return None
    function = parameters["tools"][0]["function"]
    prompt = next((text_of(one.get("content")) for one in reversed(messages) if one.get("role") == "user"), "")
    schema = function.get("parameters") or {"type": "object"}  # a tool may take nothing
    arguments = _Maker(digest, prompt or "nothing", schema).value(schema, 0)
    return ToolCall("call_" + digest.hex()[:12], function["name"], json.dumps(arguments or {}))


def text_of(content: Any) -> str:
    """The text of a message's content, of which there may be parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _schema_of(parameters: Mapping[str, Any]) -> Any:
    asked = parameters.get("response_format")
    described = asked.get("json_schema") if isinstance(asked, Mapping) else None
    return described.get("schema") if isinstance(described, Mapping) else None


class _Maker:
    """Makes a value of a schema; knows the keywords that shape one, not those that only forbid."""

    def __init__(self, digest: bytes, text: str, root: Any) -> None:
        self._digest = digest
        self._text = text
        self._root = root
        self._drawn = 0

    def _draw(self, choices: int) -> int:
        self._drawn += 1
        bits = blake2b(self._digest + b"%d" % self._drawn, digest_size=8).digest()
        return int.from_bytes(bits, "little") % choices

    def value(self, schema: Any, depth: int) -> Any:
        """A value this schema allows."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return None
        if "$ref" in schema:
            return self.value(self._target(str(schema["$ref"])), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._draw(len(schema["enum"]))]
        for combination in ("anyOf", "oneOf", "allOf"):
            if schema.get(combination):
                return self.value(schema[combination][0], depth + 1)
        kind = schema.get("type")
        return self._of_kind(kind[0] if isinstance(kind, list) else kind, schema, depth)

    def _target(self, reference: str) -> Any:
        here = self._root
        for part in reference.split("/")[1:]:
            here = here.get(part) if isinstance(here, Mapping) else None
        return here

    def _of_kind(self, kind: Any, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            return {name: self.value(inner, depth + 1) for name, inner in (schema.get("properties") or {}).items()}
        if kind == "array":
            count = max(int(schema.get("minItems", 0)), min(1 + self._draw(3), int(schema.get("maxItems", 3))))
            return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
        if kind in ("integer", "number"):
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
            high = schema.get("maximum", low + 100)
            return low + self._draw(int(high - low) + 1)
        if kind == "boolean":
            return self._draw(2) == 1
        if kind == "null":
            return None
        words = self._text.split()
        text = " ".join(words[self._draw(len(words)) :][:6])
        return text.ljust(int(schema.get("minLength", 0)), ".")[: schema.get("maxLength", len(text) + 1000)]
