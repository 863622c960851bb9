"""The README and the help pages as texts, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
HELP = REPOSITORY / "src" / "rowmill" / "help"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(HELP.glob("*.md"))}
"""Topic → text of its page."""
_OF_THE_SHELL = {"|", "&&", ">", ">>", "2>", "&"}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def block_with(text: str, language: str, words: str) -> str:
    """The one block of that language in which these words stand."""
    (found,) = (block for block in blocks(text, language) if words in block)
    return found


def shell_lines(text: str) -> list[str]:
    """The lines of all shell blocks."""
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line]


def commands(text: str) -> list[list[str]]:
    """The arguments of every line of a shell block that calls ``rowmill``, up to what is the shell's."""
    words = [shlex.split(line, comments=True) for line in shell_lines(text)]
    return [list(takewhile(lambda word: word not in _OF_THE_SHELL, line[1:])) for line in words if line[0] == "rowmill"]


def links(text: str) -> list[str]:
    """The targets of links that lead to files or headings, not to the web."""
    return re.findall(r"\]\((?!https?:)([^)]+)\)", text)
