"""What columns have whose answers are JSON: how the model is told the schema, by prompt or by ``response_format``."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

from rowmill.generators.prompting.prompt_column import FormattedColumn
from rowmill.spec.model import ModelConfig

INSTRUCTION = "Answer with one JSON value that is valid under this JSON Schema, and with nothing else:"


class JsonColumn(FormattedColumn):
    """The base of columns whose answers are JSON of one schema."""

    @abstractmethod
    def _schema(self) -> Any:
        """The JSON Schema of an answer."""

    def _instruction(self, model: ModelConfig) -> str:
        if model.response_format in ("json_schema", "strict_json_schema"):
            return ""
        return f"\n\n{INSTRUCTION}\n```json\n{json.dumps(self._schema(), ensure_ascii=False)}\n```"

    def _parameters(self, model: ModelConfig) -> dict[str, Any]:
        kind = model.response_format
        if kind == "none":
            return {}
        if kind == "json_object":
            return {"response_format": {"type": "json_object"}}
        described: dict[str, Any] = {"name": _schema_name(self.name), "schema": self._schema()}
        if kind == "strict_json_schema":
            described["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": described}}


def _schema_name(column: str) -> str:
    """The name endpoints want a schema to have: letters, digits, ``_`` and ``-``, at most 64."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in column)[:64]
    return name or "answer"
