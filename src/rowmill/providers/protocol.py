"""What a provider is: one request in, one answer or one typed error out.

A provider never retries and never waits for capacity: every request it makes is an attempt in the
run database, and limits belong to the dispatcher. Errors are :class:`~rowmill.errors.RateLimited`,
:class:`~rowmill.errors.Transient`, :class:`~rowmill.errors.Rejected` or
:class:`~rowmill.errors.RunStopping`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rowmill.spec.model import ModelConfig


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion to ask for. ``messages`` are dictionaries with ``role`` and ``content``."""

    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Inference parameters sent as they are: temperature, top_p, max_tokens, seed, stop, …"""
    timeout_s: float = 60.0
    occasion: str = ""
    """Which request of a run this is: its column, its row, how often it was put off, its place in its call. Empty if
    nobody knows. What a simulated model does follows from it."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the model wants called; ``arguments`` are JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A usable answer. ``text`` is never None; token counts are 0 when the endpoint does not say.

    ``finish_reason`` ``length`` says that it is not all there (V7). What the model thought is no part of ``text``.
    """

    text: str
    reasoning_content: str | None = None
    finish_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    """Only of requests that offer tools (``tools`` among the parameters); ``text`` may then be empty."""
    note: str | None = None
    """What was odd about the answer, for the journal."""
    cached_tokens: int = 0
    """Those of the input that the server had in its cache."""
    cache_write_tokens: int = 0
    """Those of the input that it wrote into its cache."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """The vectors of some texts to ask for, in one request."""

    texts: Sequence[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Sent as they are: dimensions, encoding_format, …"""
    timeout_s: float = 60.0
    occasion: str = ""
    """As of a chat."""


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """One vector for each text, in their order, all of one length."""

    vectors: Sequence[Sequence[float]]
    input_tokens: int = 0
    note: str | None = None
    """What was odd about the answer, for the journal."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to ask for."""

    prompt: str
    parts: Sequence[Mapping[str, Any]] = ()
    """Pictures to start from, as parts of a message."""
    in_chat: bool = False
    """Ask in a chat, not at the address for pictures."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 60.0
    occasion: str = ""
    """As of a chat."""


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """A picture: its bytes, and its format as a file ending."""

    content: bytes
    format: str
    input_tokens: int = 0
    output_tokens: int = 0
    note: str | None = None
    """What was odd about the answer, for the journal."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class Provider(Protocol):
    """One model endpoint (one provider, URL and model), open for the length of an invocation."""

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        """Makes exactly one request. Raises one of the four typed errors if there is no answer."""
        ...

    async def aclose(self) -> None:
        """Closes connections. Safe to call twice."""
        ...


@runtime_checkable
class ProviderPlugIn(Provider, Protocol):
    """A provider that a package brings, and how its class is called.

    It may be an :class:`Embedder` and an :class:`Illustrator`, too. ``config`` has ``base_url`` (None if the spec gives
    none), ``model`` and ``max_parallel_requests``; ``api_key`` is the key itself, which belongs into requests only,
    never into an error or a log.
    """

    def __init__(self, config: ModelConfig, api_key: str | None) -> None: ...


@runtime_checkable
class Embedder(Protocol):
    """A provider that also makes vectors of texts."""

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """Makes exactly one request for the vectors of all texts. Raises one of the four typed errors."""
        ...


@runtime_checkable
class Describing(Protocol):
    """A provider that can say what its server tells of a model."""

    async def describe(self, timeout_s: float) -> Mapping[str, Any]:
        """``known``, ``models`` and ``context_tokens``, as far as the server lists them. Raises nothing."""
        ...


@runtime_checkable
class Illustrator(Protocol):
    """A provider that also draws pictures."""

    async def draw(self, request: ImageRequest) -> ImageAnswer:
        """Makes exactly one request for a picture, and fetches it if the answer is a URL. Raises the same errors."""
        ...
