"""Names: which ones columns, specs and model aliases may have."""

from __future__ import annotations

import re
import unicodedata

RESERVED_COLUMN_NAMES = frozenset({"row_id", "row_group", "row_index"})
"""Columns Rowmill adds to every table of rows."""

_BIT_SET_WORD = re.compile(r"(?:done|skipped)_[0-9]+", re.IGNORECASE)
_SPEC_NAME = re.compile(r"\w(?:[\w.-]{0,98}\w)?")
_MODEL_ALIAS = re.compile(r"\S(?:.{0,98}\S)?")


def fold(name: str) -> str:
    """What two column names must not have in common: DuckDB ignores the case of ASCII letters, and only of those."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def text_problem(text: str) -> str | None:
    """Why a text cannot be stored or sent (NUL, lone surrogate), or None when it can."""
    if "\0" in text:
        return "contains a NUL character, which cannot be stored"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "contains half of a surrogate pair, which is not valid Unicode"
    return None


def column_name_problem(name: str) -> str | None:
    """The rule a column name breaks, in plain words, or None when it is fine.

    Any text will do except an empty one, more than 255 characters, control characters, and the names
    of Rowmill's own columns.
    """
    if not name:
        return "A column name must not be empty."
    if len(name) > 255:
        return f"A column name has at most 255 characters, this one has {len(name)}."
    for character in name:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            return f"A column name must not contain the control character U+{ord(character):04X}."
    if fold(name) in RESERVED_COLUMN_NAMES:
        return f"'{name}' is the name of one of Rowmill's own columns; choose another."
    if _BIT_SET_WORD.fullmatch(name):
        return f"'{name}' is reserved: Rowmill keeps its progress in columns named done_… and skipped_…"
    return None


def spec_name_problem(name: str) -> str | None:
    """Why a spec name cannot be the name of a file, or None when it can."""
    if _SPEC_NAME.fullmatch(name):
        return None
    return (
        f"'{name[:100]}' cannot be the name of a run: use letters, digits, '-', '_' and '.', at most 100, "
        f"starting and ending with a letter or digit, for example '{safe_spec_name(name)}'."
    )


def model_alias_problem(alias: str) -> str | None:
    """Why a text cannot be a model alias, or None when it can."""
    if _MODEL_ALIAS.fullmatch(alias) and alias.isprintable():
        return None
    return "A model alias has 1 to 100 printable characters and no space at its ends."


def safe_spec_name(text: str) -> str:
    """The nearest valid spec name to any text: ``"my spec!"`` becomes ``my-spec``."""
    name = re.sub(r"[^\w.]+", "-", text)[:100].strip("-.")
    return name or "dataset"
