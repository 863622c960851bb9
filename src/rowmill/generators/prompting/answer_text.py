"""Finding what was asked for in the text of an answer: a block of code, a JSON value.

Models put words around it, fence it, or think aloud first (``<think>…</think>``, which some servers leave
in the text). None of this ever guesses: what is not there raises :class:`UnusableAnswer`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from rowmill.generators.protocol import UnusableAnswer

_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_OPENING_FENCE = re.compile(r"^[ \t]*(?P<marks>`{3,}|~{3,})[ \t]*(?P<label>[^\s`]*)[^\n`]*$", re.MULTILINE)
_MAX_STARTS = 200
"""Places in a text at which a JSON value is looked for."""


class Block(NamedTuple):
    """A fenced block: its label, in lower case, and what is in it. ``closed`` is false if the text ends within it."""

    label: str
    content: str
    closed: bool


def without_thoughts(text: str) -> str:
    """The text after what the model thought aloud at its start."""
    return _THOUGHT.sub("", text, count=1)


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text in Markdown, in order (CommonMark 0.31, section 4.5)."""
    position = 0
    while opening := _OPENING_FENCE.search(text, position):
        marks = opening["marks"]
        closing = re.compile(rf"^[ \t]*{re.escape(marks[0])}{{{len(marks)},}}[ \t]*$", re.MULTILINE)
        start = min(opening.end() + 1, len(text))
        end = closing.search(text, start)
        content = text[start : end.start() if end else len(text)]
        yield Block(opening["label"].lower(), content.removesuffix("\n"), end is not None)
        position = end.end() if end else len(text)


def code_block(text: str, labels: frozenset[str], language: str) -> str:
    """The first fenced block with one of these labels, else the first without a label.

    Raises :class:`UnusableAnswer` when there is neither, or the answer ends before the block does: an
    answer without a fence is never taken for code.
    """
    blocks = list(fenced_blocks(without_thoughts(text)))
    block = next((block for block in blocks if block.label in labels), None)
    block = block or next((block for block in blocks if not block.label), None)
    if block is None:
        found = ", ".join(sorted({f"'{block.label}'" for block in blocks}))
        raise UnusableAnswer(
            f"It has no fenced block of {language} code"
            + (f", only {found}." if found else ": put it between ``` marks.")
        )
    if not block.closed:
        raise UnusableAnswer("It ends before its block of code does.")
    if not block.content.strip():
        raise UnusableAnswer("Its block of code is empty.")
    return block.content


def json_value(text: str) -> Any:
    """The JSON value of an answer: all of it, or in a fenced block, or the longest object or list in it.

    Raises :class:`UnusableAnswer` when there is none.
    """
    text = without_thoughts(text).strip()
    candidates = [text, *(block.content for block in fenced_blocks(text) if block.label in _JSON_LABELS)]
    for candidate in candidates:
        try:
            return _decoder.decode(candidate.strip())
        except (ValueError, RecursionError):
            continue
    found = _longest_value(text)
    if found is None:
        raise UnusableAnswer("It is not valid JSON" + _where(candidates[-1]))
    return found


def _longest_value(text: str) -> Any:
    longest, best = 0, None
    position = 0
    for _ in range(_MAX_STARTS):
        start = _STRUCTURE.search(text, position)
        if start is None:
            break
        try:
            value, end = _decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.end()
            continue
        if value and end - start.start() > longest:
            longest, best = end - start.start(), value
        position = end
    return best


def _where(text: str) -> str:
    try:
        _decoder.decode(text.strip())
    except json.JSONDecodeError as error:
        return f": {error.msg}, line {error.lineno}, column {error.colno}."
    except (ValueError, RecursionError) as error:
        return f": {error}."
    return "."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_JSON_LABELS = frozenset({"", "json", "jsonc", "json5"})
_STRUCTURE = re.compile(r"[{\[]")
