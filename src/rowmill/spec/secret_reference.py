"""Secrets in a spec: ``${NAME}``, the name of an environment variable, whose value is read when a run starts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rowmill.errors import Problem, SpecError
from rowmill.secret import keep_secret

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_WORDS = frozenset(
    {
        "apikey",
        "authorization",
        "cookie",
        "credential",
        "credentials",
        "key",
        "passwd",
        "password",
        "secret",
        "signature",
        "token",
    }
)
LITERAL_SECRET = (
    "A key is never written into a spec. Put it into an environment variable and refer to it, "
    "for example '${MY_API_KEY}'."
)


def is_secret_reference(text: str) -> bool:
    """Is it ``${NAME}``?"""
    return _REFERENCE.fullmatch(text) is not None


def has_secret_reference(text: str) -> bool:
    """Is there a ``${NAME}`` in it?"""
    return _REFERENCE.search(text) is not None


def sounds_secret(name: str) -> bool:
    """Whether what has this name is likely to be a secret."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z]+", " ", name).lower()
    return not _SECRET_WORDS.isdisjoint(parted.split())


def resolve_secret(text: str, environ: Mapping[str, str], place: str = "") -> str:
    """The value of a ``${NAME}`` reference. Errors name the variable, never a value.

    Raises :class:`~rowmill.errors.SpecError` when the text is no reference, the variable is not set or
    empty, or its value cannot travel in an HTTP header.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise SpecError([Problem(place, LITERAL_SECRET)])
    return _value_of(match[1], environ, place)


def resolve_secrets_in(text: str, environ: Mapping[str, str], place: str = "") -> str:
    """The text with every ``${NAME}`` in it replaced; raises as :func:`resolve_secret` does."""
    found = _REFERENCE.sub(lambda match: _value_of(match[1], environ, place), text)
    if found != text:
        keep_secret(found)
    return found


def _value_of(name: str, environ: Mapping[str, str], place: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SpecError([Problem(place, f"The environment variable '{name}' is not set. Set it and run again.")])
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise SpecError(
            [
                Problem(
                    place,
                    f"The environment variable '{name}' has a line break, a space at an end, or other "
                    "characters that cannot be sent in a header.",
                )
            ]
        )
    keep_secret(value)
    return value
