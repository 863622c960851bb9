"""What an OpenAI-compatible endpoint answered to a request for a picture, as a value or a typed error. No I/O.

Two forms are read: that of ``/images/generations`` (``b64_json`` or ``url``), and a chat completion whose
message has ``images`` (``image_url`` with a URL or data).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

from rowmill.counted import plural
from rowmill.errors import ProviderError, Rejected, Transient
from rowmill.providers.answer import read_answer
from rowmill.providers.image_format import image_format_of, is_whole
from rowmill.providers.protocol import ImageAnswer
from rowmill.providers.refused import error_in_answer, json_document, start_of
from rowmill.providers.token_usage import TokenUsage, token_usage

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


class Found(NamedTuple):
    """A picture, or where it is to be had; and what it used."""

    content: bytes | None
    url: str | None
    used: TokenUsage


def read_picture(payload: bytes, endpoint: str, model: str) -> Found:
    """The first picture in the body of a 2xx response, as bytes or as a URL.

    Raises what :func:`~rowmill.providers.answer.read_answer` does for a chat without picture,
    :class:`Transient` for anything else that has none.
    """
    document = json_document(payload, endpoint)
    try:
        if "choices" in document:
            images = document["choices"][0]["message"].get("images") or []
            item = {"url": images[0]["image_url"]["url"]} if images else None
        else:
            item = document["data"][0]
        usage = document.get("usage")
        source = None if item is None else item.get("b64_json") or item.get("url")
    except (LookupError, TypeError, AttributeError):
        raise error_in_answer(payload, endpoint, model) or _malformed(payload, endpoint) from None
    used = _used(usage)
    if not isinstance(source, str):
        error = _without_picture(payload, endpoint, model, is_chat="choices" in document)
        used.note_on(error)
        raise error
    if source.startswith(("http://", "https://")):
        return Found(None, source, used)
    try:
        return Found(base64.b64decode(_DATA_URL.sub("", source, count=1), validate=True), None, used)
    except (binascii.Error, ValueError):
        raise _malformed(payload, endpoint) from None


def as_answer(content: bytes, found: Found) -> ImageAnswer:
    """The picture with its format.

    Raises :class:`Rejected` if it is in none of those known, :class:`Transient` if a part is missing (V7).
    """
    name = image_format_of(content)
    if name is None:
        error = Rejected(
            f"The answer is no png, jpg, gif or webp picture; it starts with {content[:12]!r}", "UnknownImageFormat"
        )
        found.used.note_on(error)
        raise error
    if not is_whole(content, name):
        cut_off = Transient(
            f"The answer is a {name} picture that ends early, after {plural(len(content), 'byte')}", "TruncatedAnswer"
        )
        found.used.note_on(cut_off)
        raise cut_off
    return ImageAnswer(content, name, *found.used)


def _used(usage: Any) -> TokenUsage:
    if not isinstance(usage, dict):
        return TokenUsage()
    return token_usage(
        usage,
        ("input_tokens",) if "input_tokens" in usage else ("prompt_tokens",),
        ("output_tokens",) if "output_tokens" in usage else ("completion_tokens",),
    )


def _without_picture(payload: bytes, endpoint: str, model: str, *, is_chat: bool) -> ProviderError:
    if not is_chat:
        return _malformed(payload, endpoint)
    try:
        answer = read_answer(payload, endpoint, model)
    except ProviderError as error:
        return error
    return Rejected(f"The model answered without a picture: {answer.text[:200]}", "NoAnswer")


def _malformed(payload: bytes, endpoint: str) -> Transient:
    return Transient(f"{endpoint} sent an answer without a picture: {start_of(payload)}", "MalformedAnswer")
