"""Columns of type ``llm-text``: a text a model writes from a prompt."""

from __future__ import annotations

from typing import Any, Literal

from rowmill.generators.prompting.conversation import AnswerReader
from rowmill.generators.prompting.prompt_column import PromptColumn
from rowmill.spec.model import ModelConfig
from rowmill.spec.registry import register_column_type

_RETRIES = 2
"""How often a text that was cut off is asked for again."""


@register_column_type
class LlmTextColumn(PromptColumn):
    """The answer of a model to ``prompt``, a template over other columns. One request a row.

    What the model thought aloud in tags like ``<think>…</think>`` is no part of it, unless a prompt names the tag.
    """

    column_type: Literal["llm-text"] = "llm-text"
    on_length: Literal["keep", "retry", "drop"] = "keep"
    """What to do with a text that ended at its limit (``max_tokens``). ``keep``: take it as it is; ``status`` counts
    such texts. ``retry``: tell the model to be shorter and ask again, twice at most, then drop the row. ``drop``: drop
    the row at once. Rows are dropped as ``OutputLimit``."""

    def _reader(self) -> AnswerReader:
        return str

    def _is_text(self) -> bool:
        return True

    def _keeps_cut_off(self) -> bool:
        return self.on_length == "keep"

    def _corrections(self) -> int:
        return _RETRIES if self.on_length == "retry" else 0

    def _shaping(self, model: ModelConfig | None) -> dict[str, Any]:
        return super()._shaping(model) | ({} if self.on_length == "keep" else {"on_length": self.on_length})
