"""HTML of the page: templates that escape everything, figures in words, and texts in which nothing is hidden."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from rowmill.figures import count, duration, money, plural, rate, share, short_count, short_duration

_PLACE = Path(__file__).parent
_HIDDEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2069"
    "\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff]"
)
"""Signs that change what is seen of a text, or cannot be seen: controls, directions, halves of pairs."""
_MARK = Markup('<span class="sign" title="{0}">{0}</span>')


def plain(text: str) -> Markup:
    """A text as it is, escaped; signs that nobody could see, or that would turn others around, by their number."""
    parts, at = [], 0
    for found in _HIDDEN.finditer(text):
        parts += [escape(text[at : found.start()]), _MARK.format(f"U+{ord(found[0]):04X}")]
        at = found.end()
    return Markup("").join([*parts, escape(text[at:])])


def moment(when: datetime | None) -> str:
    """A time of the database, which is UTC; with its date unless that is today's."""
    if when is None:
        return ""
    is_today = when.date() == datetime.now(UTC).date()
    return when.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PLACE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "plain": plain,
        "moment": moment,
        "count": count,
        "short": short_count,
        "money": money,
        "rate": rate,
        "duration": duration,
        "seconds": short_duration,
        "plural": plural,
    }
    environment.globals |= {"share": share}
    return environment


def rendered(template: str, **values: Any) -> bytes:
    """A template of the page with these values, as UTF-8."""
    return _environment().get_template(template).render(**values).encode("utf-8", "replace")


def event_of(html: bytes, **facts: Any) -> bytes:
    """A server-sent event that carries a piece of the page, and facts about it."""
    return b"data: " + json.dumps({"html": html.decode(), **facts}).encode() + b"\n\n"


def static_file(name: str) -> bytes:
    """A file of the page."""
    return (_PLACE / "static" / name).read_bytes()
