"""Columns of type ``llm-judge``: scores a model gives, each with its reasoning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, field_validator

from rowmill.generators.json_text import WrittenNumber
from rowmill.generators.json_type import json_type
from rowmill.generators.prompting.answer_json import Wanted, json_value
from rowmill.generators.prompting.conversation import AnswerReader
from rowmill.generators.prompting.json_column import JsonColumn
from rowmill.generators.protocol import UnusableAnswer
from rowmill.spec.column import Items, StrictModel
from rowmill.spec.model import ModelConfig
from rowmill.spec.name import column_name_problem, fold
from rowmill.spec.registry import register_column_type

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,40})(?:\.(?P<fraction>[0-9]{0,40}))?")
_AROUND = "\"'“”„‘’«»`*_"
"""Marks around an option that are no part of it."""
_DASHES = "\u2010\u2011\u2012\u2013\u2212"
_MEANING_IN_FORM = ("<super>", "<sub>", "<fraction>")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


class Score(StrictModel):
    """One thing to judge: what it is about, and what each score means."""

    name: str = Field(min_length=1, max_length=255)
    """Names the score: a field of the column's struct."""
    description: str
    """What it is about, for the model."""
    options: dict[int | str, str] = Field(min_length=1, max_length=1000)
    """From score to meaning. Scores are whole numbers if all of them look like ones, else texts. A score in an answer
    that only one option is like is that option: ``Yes`` for ``yes``, ``3.0`` for 3, whatever blanks are around it."""

    @field_validator("name")
    @classmethod
    def _can_be_a_field(cls, value: str) -> str:
        problem = column_name_problem(value)
        if problem:
            raise ValueError(problem.replace("column name", "score name"))
        return value

    @field_validator("options", mode="before")
    @classmethod
    def _keys_of_one_kind(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if any(isinstance(key, bool) or not isinstance(key, int | str) for key in value):
            raise ValueError("The scores of 'options' are whole numbers or texts; quote other ones.")
        texts = [str(key) for key in value]
        if len(set(texts)) < len(texts):
            raise ValueError("Two scores of 'options' are the same.")
        whole = all(_WHOLE.fullmatch(text) for text in texts)
        return {int(text) if whole else text: meaning for text, meaning in zip(texts, value.values(), strict=True)}

    def schema_part(self) -> dict[str, Any]:
        """The JSON Schema of this score in an answer. Reasoning comes first: it is written before the score."""
        meanings = "; ".join(f"{score}: {meaning}" for score, meaning in self.options.items())
        kind = "integer" if isinstance(next(iter(self.options)), int) else "string"
        return {
            "type": "object",
            "description": self.description,
            "properties": {
                "reasoning": {"type": "string"},
                "score": {"type": kind, "enum": list(self.options), "description": meanings},
            },
            "required": ["reasoning", "score"],
            "additionalProperties": False,
        }


@register_column_type
class LlmJudgeColumn(JsonColumn):
    """A struct with a field per score, each a struct of ``reasoning`` and ``score``: ``{{ judge.style.score }}``."""

    column_type: Literal["llm-judge"] = "llm-judge"
    scores: Items[Score] = Field(min_length=1, max_length=100)
    """What to judge by: one or more scores."""

    @field_validator("scores")
    @classmethod
    def _names_differ(cls, value: tuple[Score, ...]) -> tuple[Score, ...]:
        names = [fold(score.name) for score in value]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(
                    f"Two scores are named '{value[position].name}' (names must differ by more than case)."
                )
        return value

    def _schema(self) -> Any:
        return {
            "type": "object",
            "properties": {score.name: score.schema_part() for score in self.scores},
            "required": [score.name for score in self.scores],
            "additionalProperties": False,
        }

    def _sql_type(self) -> str:
        return json_type(self._schema()).sql_type

    def _reader(self) -> AnswerReader:
        return self._read

    def _read(self, text: str) -> dict[str, dict[str, Any]]:
        answer = json_value(text, Wanted((dict,), frozenset(score.name for score in self.scores)))
        if not isinstance(answer, dict):
            raise UnusableAnswer("It is not a JSON object with a field for each score.")
        return {score.name: _judged(score, _field(answer, score.name)) for score in self.scores}

    def _shaping(self, model: ModelConfig | None) -> dict[str, Any]:
        # The scores as pairs: an option's place may sway a model, and mappings lose their order here.
        scores = [[s.name, s.description, [list(option) for option in s.options.items()]] for s in self.scores]
        return super()._shaping(model) | {"scores": scores}


def _field(answer: dict[str, Any], name: str) -> object:
    """What an answer says of a score: under its name, or the only one that is the same but for case and blanks."""
    if name in answer:
        return answer[name]
    like = [value for key, value in answer.items() if _normalised(key) == _normalised(name)]
    return like[0] if len(like) == 1 else None


def _judged(score: Score, given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise UnusableAnswer(f"It has no object with 'reasoning' and 'score' for '{score.name}'.")
    found = given.get("score")
    chosen = _chosen(score, found)
    if chosen is None:
        options, shown = ", ".join(map(str, score.options)), str(found).strip()[:80]
        raise UnusableAnswer(f"The score of '{score.name}' is {shown!r}; it must be one of {options}.")
    reasoning = given.get("reasoning")
    if not isinstance(reasoning, str):
        raise UnusableAnswer(f"The 'reasoning' of '{score.name}' is missing.")
    return {"reasoning": reasoning.replace("\0", ""), "score": chosen}


def _chosen(score: Score, found: object) -> int | str | None:
    """The option that is meant: the very same text, or the only one that is the same but for case, blanks and marks
    around it, and ``3.0`` for ``3``."""
    if not isinstance(found, str | int | float) or (
        isinstance(found, bool) and isinstance(next(iter(score.options)), int)
    ):
        return None
    text = str(found)
    for option in score.options:
        if str(option) == text.strip():
            return option
    meant = _normalised(_without_exponent(found) if isinstance(found, WrittenNumber) else text)
    like = [option for option in score.options if _normalised(str(option)) == meant]
    return like[0] if len(like) == 1 else None


def _without_exponent(number: WrittenNumber) -> str:
    return format(Decimal(number.text), "f")


def _plain(character: str) -> str:
    """A character as it is commonly written: ``3`` for ``３``. What is raised, lowered or a fraction stays."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if unicodedata.decomposition(character).startswith(_MEANING_IN_FORM):
        return character
    return "-" if character in _DASHES else unicodedata.normalize("NFKC", character)


def _normalised(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(map(_plain, text))).translate(_INVISIBLE)
    text = " ".join(text.casefold().split())
    text = text.strip(_AROUND).strip()
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    whole, fraction = number["whole"].lstrip("0") or "0", (number["fraction"] or "").rstrip("0")
    sign = "-" if number["sign"] == "-" and (whole, fraction) != ("0", "") else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
