"""Finding the JSON value of an answer: the one complete value that is it, or nothing (V7).

=============================================  ====================================================================
the text                                       its value
=============================================  ====================================================================
is JSON                                        that
has values in fenced blocks of JSON            that of the last one
has values between words                       the last one: "first …, finally …"
has values one after the other                 none: nobody can tell which is meant
ends within a value, a block or a thought      none: nothing inside it is the answer
has a value that is no JSON as the last one    none: nothing inside it, and none before it, is the answer
=============================================  ====================================================================

What is in thoughts (:mod:`rowmill.generators.prompting.thoughts`) does not count. Nothing is mended: single quotes,
trailing commas, comments, ``None``, names that stand twice in an object and numbers beyond 64-bit floats are no JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from rowmill.generators.json_text import DECODER
from rowmill.generators.prompting.fence import OPENING, Block, block_at
from rowmill.generators.prompting.thoughts import (
    TAG,
    closing_tag,
    is_mention,
    separated,
    stray_closing_tag,
    tag_of,
)
from rowmill.generators.protocol import UnusableAnswer

_LABELS = frozenset({"json", "jsonc", "json5", "application/json"})
_NO_VALUE_YET = "It ends within the model's thoughts, before the JSON value."
_MAX_STARTS = 200
"""Places in a text at which a JSON value is looked for."""
_TOKEN = re.compile(rf"(?P<fence>{OPENING})|(?P<tag>{TAG})|(?P<start>[{{\[])", re.MULTILINE | re.IGNORECASE)
_LOOKS_LIKE_OBJECT = re.compile(r"\{\s*([\"'}“”]|/[/*]|[A-Za-z_$][\w$]*\s*:|\Z)")
_LOOKS_LIKE_LIST = re.compile(r"\[\s*([\"'{\[\]“”]|/[/*]|-?\d|(true|false|null|True|False|None)\b|\Z)")
_STEP = re.compile(r"\"(?:[^\"\\]|\\.)*+(?P<end>\"?)|[{}\[\]]", re.DOTALL)
_BETWEEN = re.compile(r"[\s,;]*")
_AROUND = "\ufeff\u200b\u200c\u200d\u2060\u00ad\u0000"
"""What is invisible around an answer, beside blanks."""


class Wanted(NamedTuple):
    """What is known of the value that is asked for: where a text has several, those unlike it are passed over."""

    kinds: tuple[type, ...] = ()
    """Its Python types; none: any."""
    names: frozenset[str] = frozenset()
    """The names of its fields, if it is an object; none: any."""


class _Found(NamedTuple):
    """A value, or why there is none where one begins."""

    start: int
    end: int
    value: Any
    kind: type | None
    """Its Python type; None: it cannot be told of what is no value, or this can never be passed over."""
    fault: str | None = None
    fenced: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The names of an object's fields."""
        return frozenset(self.value) if isinstance(self.value, dict) else frozenset()


_NOTHING = _Found(0, 0, None, None)


def json_value(text: str, wanted: Wanted = Wanted()) -> Any:  # noqa: B008  immutable
    """The JSON value of an answer, see above. Raises :class:`UnusableAnswer` when there is none."""
    text = _bare(text)
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        whole = error
    if "<|" in text or text.startswith("analysis"):
        channels = separated(text)
        if channels.is_unfinished and not channels.text.strip():
            raise UnusableAnswer(_NO_VALUE_YET)
        if channels.text != text and not channels.is_unfinished:
            return json_value(channels.text, wanted)
    found = _like(wanted, _values(text))
    if not found:
        raise UnusableAnswer("It is not valid JSON" + _where(whole))
    last = found[-1]
    if last.fault is not None:
        raise UnusableAnswer(last.fault)
    if len(found) > 1 and not (last.fenced or found[-2].fenced) and not _words_between(text, found[-2], last):
        raise UnusableAnswer("It holds several JSON values one after the other, and only one was asked for.")
    return last.value


def _like(wanted: Wanted, found: list[_Found]) -> list[_Found]:
    """Those of the values that can be the answer or a draft of it; what is none by a fault always can."""
    fenced = [one for one in found if one.fenced]
    if fenced:
        # Words in brackets behind a block do not count, an object of its kind does.
        behind = [one for one in found if one.start >= fenced[-1].end and one.kind is dict]
        found = [*fenced, *(one for one in behind if fenced[-1].kind is dict)]
    if wanted.kinds:
        found = [one for one in found if one.kind is None or issubclass(one.kind, wanted.kinds)] or found
    if not fenced and list not in wanted.kinds:
        found = [one for one in found if not _is_citation(one)] or found
    names = wanted.names or max((one for one in found), key=lambda one: one.end - one.start, default=_NOTHING).names
    return [one for one in found if one.fault is not None or not names or names & one.names] or found


def _values(text: str) -> list[_Found]:
    """The outermost values of a text outside of its thoughts, and the places where one begins that is none."""
    found: list[_Found] = []
    position = starts = 0
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token["fence"] is not None:
            position = _take_block(text, token, found)
        elif token["tag"] is not None:
            if is_mention(text, token):
                continue
            tag = tag_of(token)
            if tag.closes:
                found.clear()  # all before it was thought
                continue
            closing = closing_tag(text, tag.kind, token.end())
            if closing is None:
                raise UnusableAnswer(_NO_VALUE_YET)
            position = closing.end()
        else:
            starts += 1
            if starts > _MAX_STARTS:
                raise UnusableAnswer("It is not one JSON value: it has too many brackets between other words.")
            position = _take_value(text, token.start(), found)
    return found


def _take_block(text: str, opening: re.Match[str], found: list[_Found]) -> int:
    """Takes what a fenced block holds; returns where to go on."""
    block, end = block_at(text, opening)
    content = _bare(block.content)
    if block.label not in _LABELS and (block.label or content[:1] not in ("{", "[")):
        return end if block.closed else opening.end()
    try:
        value = DECODER.decode(content)
        found.append(_Found(opening.start(), end, value, type(value), fenced=True))
    except (ValueError, RecursionError) as error:
        if block.closed:
            fault = "Its block is not valid JSON" + _where(error)
            found.append(_Found(opening.start(), end, None, _kind_by(content[:1]), fault, fenced=True))
            return end
        return _cut_block(text, opening, block, found)
    return end


def _cut_block(text: str, opening: re.Match[str], block: Block, found: list[_Found]) -> int:
    closing = stray_closing_tag(text, opening.end())
    if closing is not None:  # it was opened within a thought
        found.clear()
        return closing.end()
    start = len(text) - len(block.content.lstrip())
    try:
        value, end = DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        end = None
    if end is not None and text[end:].lstrip().startswith(opening["marks"]):  # closed, with words on the same line
        found.append(_Found(opening.start(), end, value, type(value), fenced=True))
        return end + len(text[end:]) - len(text[end:].lstrip()) + len(opening["marks"])
    fault = "It is not valid JSON: it ends in the middle of its block."
    found.append(_Found(opening.start(), len(text), None, None, fault, fenced=True))
    return len(text)


def _take_value(text: str, start: int, found: list[_Found]) -> int:
    """Takes the value that begins here, if one does; returns where to go on."""
    try:
        value, end = DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        looks = _LOOKS_LIKE_OBJECT if text[start] == "{" else _LOOKS_LIKE_LIST
        is_value = looks.match(text, start) is not None
        matching = _matching_bracket(text, start)
        if matching is not None:
            if is_value:
                fault = "It is not valid JSON" + _where(error)
                found.append(_Found(start, matching, None, _kind_by(text[start]), fault))
            return matching
        if not is_value:
            return start + 1
        closing = stray_closing_tag(text, start)
        if closing is not None:
            found.clear()
            return closing.end()
        fault = "It is not valid JSON: it ends in the middle of a value" + _where(error)
        found.append(_Found(start, len(text), None, None, fault))
        return len(text)
    found.append(_Found(start, end, value, type(value)))
    return end


def _matching_bracket(text: str, start: int) -> int | None:
    """Behind the bracket that closes the one at ``start``; None if there is none, or it closes another."""
    expected: list[str] = []
    for step in _STEP.finditer(text, start):
        mark = step[0]
        if mark == "{" or mark == "[":
            expected.append("}" if mark == "{" else "]")
        elif mark[0] != '"':
            if expected.pop() != mark:
                return None
            if not expected:
                return step.end()
    return None


def _bare(text: str) -> str:
    return text.strip().strip(_AROUND).strip()


def _words_between(text: str, first: _Found, second: _Found) -> bool:
    return _BETWEEN.fullmatch(text, first.end, second.start) is None


def _is_citation(one: _Found) -> bool:
    return isinstance(one.value, list) and bool(one.value) and all(type(item) is int for item in one.value)


def _kind_by(bracket: str) -> type | None:
    return {"{": dict, "[": list}.get(bracket)


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f": {error.msg}, line {error.lineno}, column {error.colno}."
    return f": {error}."
