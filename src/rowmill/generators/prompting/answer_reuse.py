"""Answers that are used again: what identifies one, and how it is kept.

Two requests have the same key if everything that shapes the answer is the same: the model (its fingerprint
without the parameters), the messages, and the parameters as they are sent. Keys, limits, time-outs and URLs
are not among it. Of a request for embeddings each text is a question of its own.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from rowmill.providers.protocol import ChatAnswer
from rowmill.spec.model import ModelConfig


class KnownAnswers(Protocol):
    """The answers that are kept."""

    async def find(self, keys: Sequence[int]) -> dict[int, str]:
        """Those of these keys that there are, as :func:`written` or :func:`written_vector` made them."""
        ...


def answer_key(config: ModelConfig, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> int | None:
    """120 bits that stand for a request; None for one that JSON cannot express."""
    model = {name: value for name, value in config.fingerprint().items() if name != "inference_parameters"}
    return _key([model, messages, parameters])


def vector_key(config: ModelConfig, text: str) -> int | None:
    """The same for the vector of a text."""
    return _key(["embedding", config.embedding_fingerprint(), text])


def _key(shaping: list[Any]) -> int | None:
    try:
        text = json.dumps(shaping, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None
    return int.from_bytes(blake2b(text.encode("ascii"), digest_size=15).digest(), "big")


def written(answer: ChatAnswer) -> str:
    """An answer as it is kept; without what it cost, which is paid once."""
    return json.dumps([answer.text, answer.reasoning_content, answer.finish_reason])


def read(kept: str) -> ChatAnswer:
    """The answer :func:`written` was given."""
    text, reasoning_content, finish_reason = json.loads(kept)
    return ChatAnswer(text, reasoning_content, finish_reason)


def written_vector(vector: Sequence[float]) -> str:
    """A vector as it is kept: its numbers exactly, in a third of what they take as text."""
    return json.dumps(b64encode(struct.pack(f"<{len(vector)}d", *vector)).decode("ascii"))


def read_vector(kept: str) -> Sequence[float]:
    """The vector :func:`written_vector` was given."""
    numbers = b64decode(json.loads(kept))
    return struct.unpack(f"<{len(numbers) // 8}d", numbers)
