"""What a spec adds to the requests of a model: headers, a query, the command that prints its token."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rowmill.spec.secret_reference import has_secret_reference, sounds_secret

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_OF_THE_CLIENT = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_MOST = 100
_LONGEST = 8_000


def _words(value: Any) -> Any:
    """A text is split into words as a shell does; there is no shell."""
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"The command cannot be split into words: {error}.") from None


CommandWords = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1, max_length=_MOST),
    BeforeValidator(_words, json_schema_input_type=str | list[str]),
]
"""A command and its arguments, as a list or as a text with quotes; no shell reads it."""


def checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers. Raises ValueError for one that cannot be sent, is not for a spec to set, or holds a secret."""
    seen: set[str] = set()
    for name, text in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"'{name[:100]}' is no name of a header.")
        if name.lower() in _OF_THE_CLIENT:
            raise ValueError(f"The header '{name}' is set by Rowmill and cannot be given.")
        if name.lower() in seen:
            raise ValueError(f"The header '{name}' is given twice: case makes no difference.")
        seen.add(name.lower())
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            raise ValueError(f"The header '{name}' has a line break, a space at an end, or a character outside ASCII.")
        _check("header", name, text)
    return headers


def checked_query(query: dict[str, str]) -> dict[str, str]:
    """The query. Raises ValueError for a part that holds a secret, or cannot be written into a URL."""
    for name, text in query.items():
        if not name.strip() or not (name + text).isprintable():
            raise ValueError(f"{name[:100]!r} cannot be part of a URL.")
        _check("query parameter", name, text)
    return query


def _check(noun: str, name: str, text: str) -> None:
    if len(text) > _LONGEST:
        raise ValueError(f"The {noun} '{name}' is longer than {_LONGEST} characters.")
    if text and sounds_secret(name) and not has_secret_reference(text):
        variable = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") or "MY_KEY"
        raise ValueError(
            f"The {noun} '{name}' sounds like a secret, which is never written into a spec. Refer to an environment "
            f"variable, for example '${{{variable}}}'."
        )
