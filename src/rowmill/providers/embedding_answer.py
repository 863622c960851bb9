"""What an OpenAI-compatible endpoint answered to a request for embeddings, as a value or a typed error. No I/O."""

from __future__ import annotations

import array
import base64
import json
import math
import sys
from typing import Any

from rowmill.counted import plural
from rowmill.errors import Transient
from rowmill.providers.answer import error_in_answer, token_count
from rowmill.providers.protocol import EmbeddingAnswer


def read_embeddings(payload: bytes, endpoint: str, model: str, *, texts: int) -> EmbeddingAnswer:
    """The vectors in the body of a 2xx response, one for each of the ``texts``, in their order.

    A vector is a list of numbers, or base64 of 32-bit floats in little-endian order. Raises
    :class:`Transient` for anything that is not one finite vector a text, all of one length.
    """
    try:
        document = json.loads(payload)
        items = sorted(document["data"], key=lambda item: item["index"])
        if [item["index"] for item in items] != list(range(texts)):
            raise ValueError(f"it has {plural(len(items), 'vector')} for {plural(texts, 'text')}")
        vectors = [_vector(item["embedding"]) for item in items]
        if len({len(vector) for vector in vectors}) > 1:
            raise ValueError("its vectors differ in length")
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise error_in_answer(payload, endpoint, model) or Transient(
            f"{endpoint} sent an answer without usable embeddings: {type(error).__name__}: {error}", "MalformedAnswer"
        ) from None
    usage = document.get("usage")
    used = token_count(usage.get("prompt_tokens")) if isinstance(usage, dict) else 0
    return EmbeddingAnswer(vectors, used)


def _vector(given: Any) -> list[float]:
    if isinstance(given, str):
        numbers = array.array("f", base64.b64decode(given, validate=True))
        if sys.byteorder == "big":
            numbers.byteswap()
        vector = numbers.tolist()
    else:
        vector = [float(number) for number in given]
    if not vector or not all(map(math.isfinite, vector)):
        raise ValueError("a vector is empty or not finite")
    return vector
