"""Columns of type ``llm-text``: a text a model writes from a prompt."""

from __future__ import annotations

from typing import Literal

from rowmill.generators.prompting.conversation import AnswerReader
from rowmill.generators.prompting.prompt_column import PromptColumn
from rowmill.spec.registry import register_column_type


@register_column_type
class LlmTextColumn(PromptColumn):
    """The answer of a model to ``prompt``, a template over other columns. One request a row."""

    column_type: Literal["llm-text"] = "llm-text"

    def _reader(self) -> AnswerReader:
        return str
