"""Text that is safe for a terminal: what a stranger wrote moves no cursor, hides nothing and poses as no line of ours.

Names in a spec, values, paths, messages of servers and of users' functions: whatever a command writes for people goes
through :func:`safe` or :func:`safe_message`, as a part of a line through :func:`escaped`. Formats for programs do not.

Shown as its escape (``\\x9b``, ``\\u202e``) is every character that a reader cannot see: controls of both sets, marks
that turn the direction of writing, marks and letters of no width, ends of lines and paragraphs, surrogates, private
use, and what Unicode has not assigned. Text that people write stays as they wrote it: spaces of any width, accents
and vowel signs, joiners where a script or an emoji needs them (``می‌خواهم``, ``क्‍ष``, a family), one variation
selector after the character it is for, and the few signs that Unicode counts as formats although they are seen.
"""

from __future__ import annotations

import unicodedata

_NON_JOINER, _JOINER = "\u200c", "\u200d"
_SEEN_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Signs over or under numbers, the end of a verse, an abbreviation."""
_UNSEEN_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Of no width, though letters or marks by category."""
_MOST_MARKS = 8
"""Marks above and below one character; more of them are a tower over the lines beside it."""
_VIRAMA = 9
"""The combining class of the signs that join consonants."""


def safe(text: str) -> str:
    """Lines as they are, each :func:`escaped`."""
    return "\n".join(map(escaped, text.split("\n")))


def safe_message(text: str) -> str:
    """A message, :func:`safe`; a line that continues it is indented, so that nothing in it poses as another message."""
    first, *others = safe(text).split("\n")
    return "\n".join([first, *(f"  {line}" if line and line[0] != " " else line for line in others)])


def escaped(text: str) -> str:
    """``text`` on one line, every character that could steer a terminal or is not seen as its escape."""
    if text.isascii() and text.isprintable():
        return text
    shown = []
    marks = 0
    for place, character in enumerate(text):
        marks = marks + 1 if not character.isascii() and unicodedata.category(character)[0] == "M" else 0
        is_shown = marks <= _MOST_MARKS and _is_shown(text, place)
        shown.append(character if is_shown else character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def _is_shown(text: str, place: int) -> bool:
    """Whether people see the character there, or the script they write in needs it there."""
    character = text[place]
    if character.isascii():
        return character.isprintable()
    if character in _UNSEEN_LETTERS:
        return False
    if _is_selector(character):
        return (
            place > 0
            and not text[place - 1].isspace()
            and not _is_selector(text[place - 1])
            and _is_seen(text, place - 1)
        )
    if character in {_NON_JOINER, _JOINER}:
        return 0 < place < len(text) - 1 and _joins(text[place - 1], character, text[place + 1])
    return _is_seen(text, place)


def _is_seen(text: str, place: int) -> bool:
    character = text[place]
    return character.isprintable() or character in _SEEN_FORMATS or unicodedata.category(character) == "Zs"


def _joins(before: str, joiner: str, after: str) -> bool:
    """Whether a joiner changes how its neighbours are written: letters that connect, a virama, two emojis."""
    if _VIRAMA in (unicodedata.combining(before), unicodedata.combining(after)):
        return True
    if _connects(before) and _connects(after):
        return True
    return joiner == _JOINER and (_is_emoji(before) or _is_selector(before)) and _is_emoji(after)


def _connects(character: str) -> bool:
    """Letters of Arabic and its relatives, and the marks on them."""
    kind = unicodedata.bidirectional(character)
    return kind in {"AL", "NSM"} and unicodedata.category(character)[0] in "LM" and not _is_selector(character)


def _is_emoji(character: str) -> bool:
    return unicodedata.category(character) == "So" or "\U0001f3fb" <= character <= "\U0001f3ff"


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
