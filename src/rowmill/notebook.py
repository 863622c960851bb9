"""What notebooks show of an object: plain HTML that takes its colours from the page, light or dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from rowmill.counted import plural
from rowmill.value.json_value import json_text
from rowmill.value.shown import shown

_LONGEST_CELL = 300
_CELL = "padding:.2em .7em;border-bottom:1px solid rgba(128,128,128,.35);vertical-align:top"
_BAR = "background:linear-gradient(90deg,rgba(80,140,230,.35) {share:.1f}%,transparent {share:.1f}%)"


class Share(float):
    """A part of a whole, 0 to 1, shown as a bar."""


def page(title: str, facts: Iterable[tuple[str, object]], *tables: str) -> str:
    """A heading, figures in one line, and tables. Values are escaped."""
    said = " · ".join(f"{escape(name)} <b>{_text(value)}</b>" for name, value in facts)
    return f"<div><p><b>{escape(title)}</b></p><p>{said}</p>{''.join(tables)}</div>"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML. Numbers stand to the right; null, bytes and long texts are shortened to what they are."""
    head = "".join(f'<th style="{_CELL};text-align:left">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<table style="border-collapse:collapse;background:none"><tr>{head}</tr>{body}</table>'


def note(text: str) -> str:
    """A line of text below a table."""
    return f"<p>{_text(text)}</p>"


def _cell(value: object) -> str:
    style = f"{_CELL};text-align:left;white-space:pre-wrap"
    if isinstance(value, Share):
        style = f"{_CELL};text-align:right;{_BAR.format(share=100 * value)}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        style = f"{_CELL};text-align:right"
    return f'<td style="{style}">{_text(value)}</td>'


def _text(value: object) -> str:
    if value is None:
        return '<i style="opacity:.6">null</i>'
    if isinstance(value, Share):
        return f"{100 * value:.0f} %"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return plural(len(value), "byte")
    text = value if isinstance(value, str) else _written(value)
    cut = len(text) > _LONGEST_CELL
    return escape(text[:_LONGEST_CELL]) + ("…" if cut else "")


def _written(value: Any) -> str:
    return json_text(value) if isinstance(value, (dict, list)) else str(shown(value))
