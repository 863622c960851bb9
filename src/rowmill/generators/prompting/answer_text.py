"""Finding what was asked for in the text of an answer: a block of code, a JSON value.

Models put words around it, fence it, or think aloud first (``<think>…</think>``, which some servers leave
in the text). None of this ever guesses: what is not there, or not all there, raises :class:`UnusableAnswer`.
"""

from __future__ import annotations

from rowmill.generators.prompting.answer_json import json_value
from rowmill.generators.prompting.fence import Block, fenced_blocks
from rowmill.generators.prompting.thoughts import separated
from rowmill.generators.protocol import UnusableAnswer

__all__ = ["Block", "code_block", "fenced_blocks", "json_value"]


def code_block(text: str, labels: frozenset[str], language: str) -> str:
    """The first fenced block with one of these labels outside of thoughts, else the first without a label.

    Raises :class:`UnusableAnswer` when there is neither, or the answer ends before the block does: an
    answer without a fence is never taken for code.
    """
    answer = separated(text)
    blocks = list(fenced_blocks(answer.text))
    block = next((block for block in blocks if block.label in labels), None)
    block = block or next((block for block in blocks if not block.label), None)
    if block is None:
        if answer.is_unfinished:
            raise UnusableAnswer(f"It ends within the model's thoughts, before the {language} code.")
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
