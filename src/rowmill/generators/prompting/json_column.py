"""What columns have whose answers are JSON: how the model is told the schema, by prompt and by ``response_format``.

Servers that take a schema only use it to constrain what the model writes: the model does not see it. So what names,
descriptions and options say always stands in the prompt, too, unless a column leaves it out.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

from rowmill.generators.prompting.prompt_column import FormattedColumn
from rowmill.spec.model import ModelConfig

_OBJECT = "json_object"
INSTRUCTION = "Answer with one JSON value that is valid under this JSON Schema, and with nothing else:"


class JsonColumn(FormattedColumn):
    """The base of columns whose answers are JSON of one schema."""

    schema_in_prompt: bool = True
    """Add the JSON Schema with its names, descriptions and options to the prompt, whatever ``response_format`` the
    model takes: a server that takes a schema never shows it to the model. ``false``: say all of that yourself."""

    @abstractmethod
    def _schema(self) -> Any:
        """The JSON Schema of an answer."""

    def _instruction(self, model: ModelConfig) -> str:
        if not self.schema_in_prompt:
            return ""
        return f"\n\n{INSTRUCTION}\n```json\n{json.dumps(self._schema(), ensure_ascii=False)}\n```"

    def _parameters(self, model: ModelConfig) -> dict[str, Any]:
        kind = model.response_format
        if kind == "none":
            return {}
        if kind == _OBJECT:
            return {"response_format": {"type": "json_object"}}
        described: dict[str, Any] = {"name": _schema_name(self.name), "schema": self._schema()}
        if kind == "strict_json_schema":
            described["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": described}}

    def _shaping(self, model: ModelConfig | None) -> dict[str, Any]:
        shaping = super()._shaping(model)
        if not self.schema_in_prompt:
            return shaping | {"schema_in_prompt": False}
        if (
            "response_format" in shaping.get("parameters", {})
            and model is not None
            and model.response_format != _OBJECT
        ):
            # Such requests had no instruction once; their fingerprints are those of then, and have the schema anyway.
            return shaping | {"instruction": ""}
        return shaping


def _schema_name(column: str) -> str:
    """The name endpoints want a schema to have: letters, digits, ``_`` and ``-``, at most 64."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in column)[:64]
    return name or "answer"
