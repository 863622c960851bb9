"""Fenced blocks of Markdown in the text of an answer (CommonMark 0.31, section 4.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

OPENING = r"^[ \t]*(?P<marks>`{3,}|~{3,})[ \t]*(?P<label>[^\s`]*)[^\n`]*$"
"""The line that opens a block, as a regular expression with the flag MULTILINE."""
_OPENING = re.compile(OPENING, re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its label, in lower case, and what is in it. ``closed`` is false if the text ends within it."""

    label: str
    content: str
    closed: bool


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text, in order."""
    position = 0
    while opening := _OPENING.search(text, position):
        block, position = block_at(text, opening)
        yield block


def block_at(text: str, opening: re.Match[str]) -> tuple[Block, int]:
    """The block that a match of :data:`OPENING` opens, and where it ends."""
    marks = opening["marks"]
    closing = re.compile(rf"^[ \t]*{re.escape(marks[0])}{{{len(marks)},}}[ \t]*\r?$", re.MULTILINE)
    start = min(opening.end() + 1, len(text))
    end = closing.search(text, start)
    content = text[start : end.start() if end else len(text)]
    block = Block(opening["label"].lower(), content.removesuffix("\n").removesuffix("\r"), end is not None)
    return block, end.end() if end else len(text)
