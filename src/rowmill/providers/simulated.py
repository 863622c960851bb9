"""A model without a model: answers, latency, 429s and 5xx made from a hash of the prompt.

The answer depends on model, messages and parameters alone: the same in every process, whatever went
wrong before. So does whether a request is refused for good, together with the seed. 429s and 5xx also
depend on the row and on how often its task was tried, so that retries get through in the end, and a run
can be repeated exactly: in one process or several, in one piece or after a kill.
``tools/provider_simulator.py`` serves the same behaviour over HTTP, where nobody says which row a request
is for: it counts how often each failed.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from rowmill.errors import InternalError, RateLimited, Rejected, Transient
from rowmill.providers.protocol import (
    ChatAnswer,
    ChatRequest,
    EmbeddingAnswer,
    EmbeddingRequest,
    ImageAnswer,
    ImageRequest,
)
from rowmill.providers.simulated_form import formed_answer, text_of, wanted_tool, without_form

if TYPE_CHECKING:
    from rowmill.spec.model import SimulationConfig


class Fate(StrEnum):
    """What becomes of a request."""

    ANSWERED = "answered"
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"
    REJECTED = "rejected"
    TRUNCATED = "truncated"
    """The connection ends in the middle of the answer (only over HTTP)."""
    HANGING = "hanging"
    """No answer ever comes (only over HTTP)."""


class Decision(NamedTuple):
    """What becomes of one request, and after how many seconds."""

    fate: Fate
    latency_s: float


class Fates:
    """Decides the fate of each request, in the shares given and in an order fixed by the seed.

    ``rejected`` is the share of requests refused every time they are made; the others fail by chance
    each time. Of requests without an occasion, those that failed last time are remembered, so memory does
    not grow with those answered. Latency is spread evenly over ``latency_ms`` ± the share ``latency_jitter``.
    """

    def __init__(
        self,
        shares: Mapping[Fate, float],
        *,
        rejected: float = 0.0,
        seed: int = 0,
        latency_ms: float = 0.0,
        latency_jitter: float = 0.0,
    ) -> None:
        self._rejected = rejected
        self._seed = seed
        self._latency_s = latency_ms / 1000.0
        self._jitter = latency_jitter
        self._thresholds: list[tuple[float, Fate]] = []
        threshold = 0.0
        for fate, share in shares.items():
            if share > 0.0:
                threshold += share / (1.0 - rejected) if rejected < 1.0 else 0.0
                self._thresholds.append((threshold, fate))
        self._is_constant = not (self._thresholds or rejected or latency_jitter)
        self._failures: dict[bytes, int] = {}

    def decide(self, digest: bytes, occasion: str = "") -> Decision:
        """The fate of a request with this digest (:func:`request_digest`) on this occasion.

        Without an occasion: of one more request with this digest.
        """
        if self._is_constant:
            return Decision(Fate.ANSWERED, self._latency_s)
        failures = self._failures.get(digest, 0)
        fate = Fate.ANSWERED
        if self._rejected and self._chances(digest, b"always")[0] < self._rejected:
            fate = Fate.REJECTED
        purpose = occasion.encode("utf-8", "surrogatepass") if occasion else b"%d" % failures
        chance, position = self._chances(digest, purpose)
        if fate is Fate.ANSWERED:
            fate = next((fate for threshold, fate in self._thresholds if chance < threshold), Fate.ANSWERED)
            if not occasion:
                self._remember(digest, 0 if fate is Fate.ANSWERED else failures + 1)
        return Decision(fate, self._latency_s * (1.0 + self._jitter * (2.0 * position - 1.0)))

    def _remember(self, digest: bytes, failures: int) -> None:
        if failures:
            self._failures[digest] = failures
        else:
            self._failures.pop(digest, None)

    def _chances(self, digest: bytes, purpose: bytes) -> tuple[float, float]:
        """Two numbers from 0 up to 1, uniform over digests and independent between purposes."""
        bits = int.from_bytes(blake2b(b"%d:%b:%b" % (self._seed, purpose, digest), digest_size=12).digest(), "little")
        return (bits & _MASK_48) / _TWO_48, (bits >> 48) / _TWO_48


class SimulatedProvider:
    """A simulated model in this process; on any event loop anyio knows, virtual clocks included.

    ``seed`` (the run's) and ``simulation.seed`` together choose which requests fail.
    """

    def __init__(self, model: str, simulation: SimulationConfig, seed: int = 0) -> None:
        self._model = model
        self._simulation = simulation
        self._fates = Fates(
            {Fate.RATE_LIMITED: simulation.rate_limited, Fate.TRANSIENT: simulation.transient},
            rejected=simulation.rejected,
            seed=seed * 1_000_003 + simulation.seed,
            latency_ms=simulation.latency_ms,
            latency_jitter=simulation.latency_jitter,
        )
        self._closed = False

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        """Waits the simulated latency, then answers or fails as decided for this request.

        Raises :class:`RateLimited`, :class:`Transient` (also when the latency exceeds
        ``request.timeout_s``) or :class:`Rejected`.
        """
        digest = await self._decided(request.messages, request.parameters, request)
        return simulated_answer(
            digest,
            request.messages,
            request.parameters,
            text=self._simulation.answer,
            output_tokens=self._simulation.output_tokens,
            malformed=self._simulation.malformed,
        )

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """The same for the vectors of some texts."""
        await self._decided(request.texts, request.parameters, request)
        return simulated_embeddings(self._model, request.texts, request.parameters)

    async def draw(self, request: ImageRequest) -> ImageAnswer:
        """The same for a small picture."""
        asked = [request.prompt, *request.parts]
        digest = await self._decided(asked, request.parameters, request)
        return simulated_picture(digest, request.prompt)

    async def _decided(
        self,
        asked: Sequence[Any],
        parameters: Mapping[str, Any],
        request: ChatRequest | EmbeddingRequest | ImageRequest,
    ) -> bytes:
        """The digest of a request, after the simulated latency; raises if it shall fail."""
        if self._closed:
            raise InternalError(f"the provider of model {self._model!r} was asked after it was closed")
        digest = request_digest(self._model, asked, parameters)
        fate, latency_s = self._fates.decide(digest, request.occasion)
        timeout_s = request.timeout_s
        if latency_s > timeout_s:
            await anyio.sleep(timeout_s)
            raise Transient(f"{self._model} gave no answer within {timeout_s:g} s (simulated)", "Timeout")
        await anyio.sleep(latency_s)
        if fate is Fate.ANSWERED:
            return digest
        if fate is Fate.RATE_LIMITED:
            raise RateLimited(f"{self._model} answered 429 (simulated)", self._simulation.retry_after_s)
        if fate is Fate.TRANSIENT:
            raise Transient(f"{self._model} answered 503 (simulated)", "HTTP 503")
        raise Rejected(f"{self._model} answered 400 (simulated)", "HTTP 400")

    async def aclose(self) -> None:
        """Nothing to close; later calls of :meth:`chat` are errors all the same."""
        self._closed = True


def request_digest(model: str, messages: Sequence[Any], parameters: Mapping[str, Any]) -> bytes:
    """16 bytes that stand for model, messages and parameters, in any process and key order.

    Raises :class:`Rejected` for values JSON cannot express, as a real endpoint's client would.
    """
    try:
        canonical = _encode([model, messages, parameters])
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected(f"The request cannot be written as JSON: {error}", "InvalidRequest") from error
    return blake2b(canonical.encode("ascii"), digest_size=16).digest()


def simulated_answer(
    digest: bytes,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    *,
    text: str | None,
    output_tokens: int,
    malformed: float = 0.0,
) -> ChatAnswer:
    """The answer to the request of that digest: ``text``, or one composed from the prompt's words.

    A request for JSON of a schema or for code in a fenced block gets that, except a share ``malformed`` of them.

    A composed answer has about ``output_tokens`` tokens, never more than ``max_tokens`` or
    ``max_completion_tokens`` of the parameters allow (``finish_reason`` is then ``length``). A token
    counts as four characters.
    """
    contents = [text_of(message.get("content")) for message in messages]
    if "tools" in parameters:
        wanted = wanted_tool(digest, messages, parameters)
        if wanted is not None:
            used = sum(4 + (len(content) + 3) // 4 for content in contents)
            return ChatAnswer("", None, "tool_calls", used, 16, (wanted,))
    if text is None:
        prompt = contents[-1] if contents else ""
        text = _composed(digest, without_form(prompt), output_tokens)
        if "response_format" in parameters or any("\n```" in content for content in contents):
            is_malformed = int.from_bytes(blake2b(digest, digest_size=6).digest(), "little") / _TWO_48 < malformed
            text = (None if is_malformed else formed_answer(digest, messages, parameters, text)) or text
    finish_reason = "stop"
    limit = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
    if isinstance(limit, int) and len(text) > 4 * limit:
        text = text[: 4 * limit].rstrip()
        finish_reason = "length"
    return ChatAnswer(
        text=text,
        finish_reason=finish_reason,
        input_tokens=sum(4 + (len(content) + 3) // 4 for content in contents),
        output_tokens=(len(text) + 3) // 4,
    )


def simulated_embeddings(model: str, texts: Sequence[str], parameters: Mapping[str, Any]) -> EmbeddingAnswer:
    """Vectors of length 1 that depend on model and text alone, with ``dimensions`` numbers, else 8."""
    dimensions = parameters.get("dimensions") or 8
    vectors = []
    for text in texts:
        digest = blake2b(f"{model}\0{text}".encode("utf-8", "surrogatepass")).digest()
        blocks = b"".join(blake2b(digest + b"%d" % block).digest() for block in range(-(-4 * dimensions // 64)))
        numbers = [number / 2**31 - 1 for number in struct.unpack(f"<{dimensions}I", blocks[: 4 * dimensions])]
        length = math.hypot(*numbers) or 1.0
        vectors.append([round(number / length, 6) for number in numbers])
    return EmbeddingAnswer(vectors, sum((len(text) + 3) // 4 for text in texts))


def simulated_picture(digest: bytes, prompt: str) -> ImageAnswer:
    """A PNG of 8 × 8 grey dots that depend on the digest alone (PNG specification, third edition, section 5)."""
    dots = blake2b(digest).digest()
    rows = b"".join(b"\0" + dots[8 * row : 8 * row + 8] for row in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return ImageAnswer(content, "png", (len(prompt) + 3) // 4, 0)


def _composed(digest: bytes, prompt: str, output_tokens: int) -> str:
    bits = int.from_bytes(digest, "little")
    words = [word for word in _KEY_WORD.findall(prompt[-_READ_CHARACTERS:]) if word.lower() not in _COMMON]
    words = words or ["this"]
    sentences: list[str] = []
    length = 0
    bits, opening = divmod(bits, len(_OPENINGS))
    bits, position = divmod(bits, len(_SENTENCES))
    bits, stride = divmod(bits, len(_SENTENCES) // 2)
    stride = 2 * stride + 1
    template = _OPENINGS[opening]
    while True:
        bits, first = divmod(bits, len(words))
        bits, second = divmod(bits, len(words))
        sentence = template.format(words[first], words[second])
        sentences.append(sentence)
        length += len(sentence) + 1
        if length >= 4 * output_tokens:
            return " ".join(sentences)
        template = _SENTENCES[position]
        position = (position + stride) % len(_SENTENCES)
        bits = bits or int.from_bytes(blake2b(digest + b"%d" % length, digest_size=16).digest(), "little")


_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False, check_circular=False).encode
_MASK_48 = 2**48 - 1
_TWO_48 = float(2**48)
_READ_CHARACTERS = 2000
_KEY_WORD = re.compile(r"[^\W\d_]{4,24}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
        about after also answer because been before between both could describe does each exactly from give
        have into just list make more most must only other over please review says seen sentence sentences
        short should some such that their them then there these they this those through under using very
        what when where which while will with word words would write your
        """,
    )
)
_OPENINGS = (
    "At first sight {0} is what stands out.",
    "Seen from close by, {0} and {1} belong together.",
    "Most people think of {0} first, and they are right.",
    "There is a good deal to say about {0}.",
    "The short answer is {0}.",
    "It begins with {0}, as so often.",
    "What matters here is {0}.",
    "Everything turns on {0} and {1}.",
)
_SENTENCES = (
    "The part about {0} deserves a second look.",
    "Compared with {1}, {0} holds up well.",
    "Nobody would choose {0} for its own sake.",
    "After a week {0} feels quite natural.",
    "It is hard to imagine {0} without {1}.",
    "Some will find {0} a little too much.",
    "In practice {0} makes the difference.",
    "On balance {0} is worth it.",
    "Careful observers will notice {0} as well.",
    "That leaves {0}, which is another matter.",
    "With {0} there is room to improve.",
    "Taken together, {0} and {1} explain the rest.",
    "Its strength is {0}, its weakness is {1}.",
    "The details of {0} are easy to miss.",
    "For everyday use {0} is enough.",
    "Those who know {1} will recognise {0}.",
)
