"""What an OpenAI-compatible endpoint answered to a request for embeddings, as a value or a typed error. No I/O."""

from __future__ import annotations

import array
import base64
import math
import sys
from typing import Any

from rowmill.counted import plural
from rowmill.errors import Transient
from rowmill.providers.protocol import EmbeddingAnswer
from rowmill.providers.refused import error_in_answer, json_document
from rowmill.providers.token_usage import token_usage

_NUMBERS = frozenset({int, float})


def read_embeddings(payload: bytes, endpoint: str, model: str, *, texts: int) -> EmbeddingAnswer:
    """The vectors in the body of a 2xx response, one for each of the ``texts``, in their order.

    A vector is a list of numbers, or base64 of 32-bit floats in little-endian order. Vectors without ``index`` are in
    the order of the texts. Raises :class:`Transient` for anything that is not one finite vector a text, all of one
    length.
    """
    try:
        document = json_document(payload, endpoint)
    except Transient as error:
        raise Transient(f"{endpoint} sent an answer without usable embeddings: {error}", error.error_type) from None
    try:
        items = document["data"]
        places = [_place(item.get("index")) for item in items]
        if all(place is None for place in places):
            places = list(range(len(items)))
        if sorted(place for place in places if place is not None) != list(range(texts)) or len(items) != texts:
            raise ValueError(
                f"it has {plural(len(items), 'vector')} for {plural(texts, 'text')}, or numbers them otherwise"
            )
        vectors: list[list[float]] = [[]] * texts
        for place, item in zip(places, items, strict=True):
            vectors[place or 0] = _vector(item["embedding"])
        if len({len(vector) for vector in vectors}) > 1:
            raise ValueError("its vectors differ in length")
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise error_in_answer(payload, endpoint, model) or Transient(
            f"{endpoint} sent an answer without usable embeddings: {type(error).__name__}: {error}", "MalformedAnswer"
        ) from None
    used, _, note, *_ = token_usage(document.get("usage"), ("prompt_tokens",), ())
    return EmbeddingAnswer(vectors, used, note)


def _place(index: Any) -> int | None:
    """The number of a vector; None if it has none. Raises ValueError for what is no number."""
    if index is None:
        return None
    if isinstance(index, str | int | float) and not isinstance(index, bool) and int(index) == float(index):
        return int(index)
    raise ValueError(f"a vector is numbered {str(index)[:40]!r}")


def _vector(given: Any) -> list[float]:
    if isinstance(given, str):
        numbers = array.array("f", base64.b64decode(given, validate=True))
        if sys.byteorder == "big":
            numbers.byteswap()
        vector = numbers.tolist()
    else:
        if not isinstance(given, list) or not _NUMBERS.issuperset(map(type, given)):
            raise ValueError("a vector is no list of numbers")
        vector = [float(number) for number in given]
    if not vector or not all(map(math.isfinite, vector)):
        raise ValueError("a vector is empty or not finite")
    return vector
