"""Names that SQL reserves (``check``, ``at``, ``order``): what does not parse is tried with one of its words quoted."""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKENS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|[^\W\d]\w*")
_MOST_WORDS = 50


def quoted_form(text: str, parses: Callable[[str], bool]) -> tuple[str, str] | None:
    """The word that has to be quoted for the text to parse, and the text with it quoted; None if there is none."""
    words = dict.fromkeys(match[0] for match in _TOKENS.finditer(text) if match[0][0] not in "'\"-")
    for word in list(words)[:_MOST_WORDS]:

        def quote(match: re.Match[str], word: str = word) -> str:
            return f'"{match[0]}"' if match[0] == word else match[0]

        quoted = _TOKENS.sub(quote, text)
        if parses(quoted):
            return word, quoted
    return None


def reserved_name_hint(text: str, parses: Callable[[str], bool]) -> str:
    """`` SQL reserves …``: how to write a text that does not parse because of a name, or nothing."""
    found = quoted_form(text, parses) if len(text) <= 10_000 else None
    if found is None:
        return ""
    word, quoted = found
    shown = quoted if len(quoted) <= 120 else f'"{word}"'
    return f" SQL reserves the name '{word}', so it is quoted: {shown}"
