"""Text that is safe for a terminal: what a stranger wrote moves no cursor and hides nothing."""

from __future__ import annotations


def escaped(text: str) -> str:
    """``text`` on one line, every control character as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
