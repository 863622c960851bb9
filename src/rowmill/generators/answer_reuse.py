"""Answers that are used again: what identifies one, and how it is kept.

Two requests have the same key if everything that shapes the answer is the same: the model (its fingerprint
without the parameters), the messages, and the parameters as they are sent. Keys, limits, time-outs and URLs
are not among it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from rowmill.providers.protocol import ChatAnswer
from rowmill.spec.model import ModelConfig


class KnownAnswers(Protocol):
    """The answers a run database keeps."""

    async def find(self, key: int) -> str | None:
        """The answer of that key as :func:`written` made it, None if there is none."""
        ...


def answer_key(config: ModelConfig, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> int | None:
    """120 bits that stand for a request; None for one that JSON cannot express."""
    model = {name: value for name, value in config.fingerprint().items() if name != "inference_parameters"}
    try:
        text = json.dumps([model, messages, parameters], sort_keys=True, allow_nan=False, separators=(",", ":"))
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
