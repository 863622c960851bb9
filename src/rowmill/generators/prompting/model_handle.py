"""A model ready to be asked: its provider, its parameters, and the journal of what was asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import anyio

from rowmill.errors import RateLimited, RunStopping, Unavailable
from rowmill.generators.prompting.answer_reuse import (
    KnownAnswers,
    answer_key,
    read,
    read_vector,
    vector_key,
    written,
    written_vector,
)
from rowmill.generators.protocol import Call
from rowmill.providers.finish_reason import finish_reason
from rowmill.providers.protocol import (
    ChatAnswer,
    ChatRequest,
    Embedder,
    EmbeddingRequest,
    Illustrator,
    ImageAnswer,
    ImageRequest,
    Provider,
)
from rowmill.providers.servers import Servers
from rowmill.providers.token_usage import MOST_TOKENS, TokenUsage, estimated_tokens, token_usage
from rowmill.spec.model import ModelConfig
from rowmill.task import Request, error_type

_Answer = TypeVar("_Answer")

_log = logging.getLogger("rowmill.requests")
_prompts = logging.getLogger("rowmill.prompts")
_PROMPT_LEVEL = 5
"""Below DEBUG: nobody gets prompts and answers into a log without asking for just them."""


_ESTIMATE = "Tokens estimated from the length of the texts: the endpoint does not count them."


class ModelHandle:
    """One model of the spec over an open provider. Every request is recorded in ``call.requests``, failed ones too."""

    def __init__(
        self,
        config: ModelConfig,
        provider: Provider,
        wall_clock: Callable[[], float] = time.time,
        seed: int = 0,
        known: KnownAnswers | None = None,
        servers: Servers | None = None,
        providers: Mapping[str, Provider] | None = None,
        *,
        estimates: bool = False,
    ) -> None:
        """``wall_clock`` gives seconds since the epoch, for the journal; ``seed`` is the run's, for what is drawn;
        ``known`` are the answers to use again if the model is to (``reuse_answers``). ``servers``: it has several, and
        ``providers`` are those of each, by its name; ``provider`` is one of these. ``estimates``: tokens that an
        endpoint does not count are estimated also where they have no price, since they are bounded."""
        self._servers = servers
        self._providers = providers or {}
        self._known = known if config.reuse_answers else None
        self._wall_clock = wall_clock
        self._estimates = estimates or bool(config.cost_usd(1, 1))
        self._has_warned = False
        self._seed = seed
        self._draws = config.inference_parameters.has_distributions
        self._config = config
        self._provider = provider
        self._parameters = config.inference_parameters.request_parameters()

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self._config

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], call: Call, parameters: Mapping[str, Any] | None = None
    ) -> ChatAnswer:
        """Makes exactly one request; ``parameters`` override the model's own. Provider errors pass through."""
        merged = self._drawn(call)
        if parameters:
            merged = {**merged, **parameters}
        key = None
        if self._known is not None and not call.regeneration:
            key = answer_key(self._config, messages, merged)
            kept = {} if key is None else await self._known.find([key])
            if key in kept:
                answer = _with_known_reason(read(kept[key]))
                self._record(call, self._wall_clock(), None, None, is_reused=True, reason=answer.finish_reason)
                return answer
        request = ChatRequest(messages, merged, self._config.timeout_s, call.occasion)
        started_at, given = await self._asked(call, lambda provider: provider.chat(request))
        answer = _with_known_reason(given)
        used = TokenUsage(answer.input_tokens, answer.output_tokens, answer.note)
        if self._estimates:
            used = self._estimated(used, messages, answer)
        counts = used.input_tokens, used.output_tokens
        cached = answer.cached_tokens, answer.cache_write_tokens
        self._record(call, started_at, None, used.note, *counts, cached=cached, reason=answer.finish_reason)
        if _prompts.isEnabledFor(_PROMPT_LEVEL):
            row_id = call.row_ids[0] if len(call.row_ids) == 1 else None
            fields: dict[str, object] = {
                "column": call.column,
                "model": self._config.model,
                "messages": messages,
                "answer": answer.text,
            }
            fields |= {"row_id": row_id, "row_group": call.row_group}
            where = f"row group {call.row_group}" if row_id is None else f"row {row_id}"
            _prompts.log(_PROMPT_LEVEL, "%s, %s: %s → %s", call.column, where, messages, answer.text, extra=fields)
        if key is not None and not answer.tool_calls:
            call.requests[-1] = call.requests[-1]._replace(answers=((key, written(answer)),))
        return answer

    async def embed(self, texts: Sequence[str], call: Call) -> Sequence[Sequence[float]]:
        """Makes one request for the vectors of all texts, or of those that are not known; none if all are.

        Provider errors pass through.
        """
        if self._known is None or call.regeneration:
            return await self._embedded(texts, call)
        keys = [vector_key(self._config, text) for text in texts]
        vectors: dict[str, Sequence[float]] = {}
        kept = await self._known.find([key for key in dict.fromkeys(keys) if key is not None])
        for text, key in zip(texts, keys, strict=True):
            if key in kept:
                vectors[text] = read_vector(kept[key])
        if vectors:
            self._record(call, self._wall_clock(), None, None, is_reused=True)
        missing = {text: key for text, key in zip(texts, keys, strict=True) if text not in vectors}
        if missing:
            made = await self._embedded(list(missing), call)
            vectors |= zip(missing, made, strict=True)
            new = [(key, vector) for key, vector in zip(missing.values(), made, strict=True) if key is not None]
            answers = tuple((key, written_vector(vector)) for key, vector in new if all(map(_is_number, vector)))
            call.requests[-1] = call.requests[-1]._replace(answers=answers)
        return [vectors[text] for text in texts]

    async def _embedded(self, texts: Sequence[str], call: Call) -> Sequence[Sequence[float]]:
        if not isinstance(self._provider, Embedder):
            raise RunStopping(f"Provider '{self._config.provider}' makes no embeddings", "NoEmbeddings")
        parameters = self._config.inference_parameters.embedding_parameters()
        request = EmbeddingRequest(texts, parameters, self._config.timeout_s, call.occasion)
        started_at, answer = await self._asked(call, lambda provider: cast(Embedder, provider).embed(request))
        used = TokenUsage(answer.input_tokens, 0, answer.note)
        if self._estimates and not used.input_tokens:
            used = self._marked(used._replace(input_tokens=sum(map(estimated_tokens, texts))))
        self._record(call, started_at, None, used.note, used.input_tokens)
        return answer.vectors

    async def draw(self, prompt: str, parts: Sequence[Mapping[str, Any]], call: Call) -> ImageAnswer:
        """Makes exactly one request for a picture. Provider errors pass through."""
        if not isinstance(self._provider, Illustrator):
            raise RunStopping(f"Provider '{self._config.provider}' draws no pictures", "NoImages")
        in_chat = self._config.image_route == "chat"
        given = self._config.inference_parameters.extra_body
        again = self._another_seed(call.regeneration) if call.regeneration else {}
        parameters = self._drawn(call) if in_chat else {**given, **again}
        request = ImageRequest(prompt, parts, in_chat, parameters, self._config.timeout_s, call.occasion)
        started_at, answer = await self._asked(call, lambda provider: cast(Illustrator, provider).draw(request))
        counts = answer.input_tokens, answer.output_tokens
        cached = answer.cached_tokens, answer.cache_write_tokens
        self._record(call, started_at, None, answer.note, *counts, cached=cached)
        return answer

    async def _asked(self, call: Call, ask: Callable[[Provider], Awaitable[_Answer]]) -> tuple[float, _Answer]:
        """The answer, and when the request for it began. Provider errors pass through.

        Of several servers the next one is asked at once when one is away, or takes no more; each at most once.
        """
        if self._servers is None:
            return await self._recorded(call, ask(self._provider))
        tries_left = len(self._servers)
        while True:
            tries_left -= 1
            server = await self._servers.take()
            try:
                with self._servers.watching(server):
                    return await self._recorded(call, ask(self._providers[server.name]))
            except (RateLimited, Unavailable) as error:
                if not (tries_left and self._servers.has_another(server)):
                    raise self._servers.told_of_all(error) from error

    async def _recorded(self, call: Call, request: Awaitable[_Answer]) -> tuple[float, _Answer]:
        started_at = self._wall_clock()
        try:
            return started_at, await request
        except BaseException as error:  # recorded as an attempt, and raised again
            self._record_failure(call, started_at, error)
            raise

    @property
    def servers(self) -> tuple[ModelHandle, ...]:
        """The model at each of its servers alone."""
        if self._servers is None:
            return (self,)
        urls = self._config.base_urls()
        return tuple(
            ModelHandle(self._config.at(url), provider, self._wall_clock, self._seed)
            for url, provider in zip(urls, self._providers.values(), strict=True)
        )

    def _estimated(self, used: TokenUsage, messages: Sequence[Mapping[str, Any]], answer: ChatAnswer) -> TokenUsage:
        """The usage with an estimate for each count the endpoint does not give, or gives as 0, and a note of it."""
        sent = sum(estimated_tokens(text) for message in messages for text in _texts(message.get("content")))
        made = [
            answer.text,
            answer.reasoning_content or "",
            *(f"{one.name}{one.arguments}" for one in answer.tool_calls),
        ]
        received = sum(map(estimated_tokens, made))
        found = TokenUsage(used.input_tokens or sent, used.output_tokens or received, used.note)
        return used if found == used else self._marked(found)

    def _marked(self, used: TokenUsage) -> TokenUsage:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "Model '%s' does not say how many tokens its answers take. They are estimated from the length of the "
                "texts, and so are costs and budgets.",
                self._config.alias,
            )
        return used._replace(note=" ".join(part for part in (used.note, _ESTIMATE) if part))

    def _drawn(self, call: Call) -> Mapping[str, Any]:
        """The parameters of a chat for this call, those that differ from row to row, or when asked again, included."""
        again = call.regeneration
        if not self._draws and not again:
            return self._parameters
        purpose = f"{call.column}\0regeneration {again}" if again else call.column
        drawn = self._config.inference_parameters.drawn_parameters(self._seed, purpose, call.draw_id)
        return {**self._parameters, **drawn, **(self._another_seed(again) if again else {})}

    def _another_seed(self, again: int) -> dict[str, int]:
        """What makes an endpoint with a seed answer differently: the seeds that follow the given one."""
        given = self._parameters.get("seed")
        if isinstance(given, int):
            return {"seed": given + again}
        return {"seed": again} if self._config.provider == "simulated" else {}

    def _record_failure(self, call: Call, started_at: float, error: BaseException) -> None:
        if isinstance(error, anyio.get_cancelled_exc_class()):
            self._record(call, started_at, "Cancelled", "given up while waiting for the answer")
        elif isinstance(error, Exception):
            used = getattr(error, "input_tokens", 0), getattr(error, "output_tokens", 0)
            note = getattr(error, "note", None)
            message = f"{error} ({note})" if note else str(error)
            reason = finish_reason(getattr(error, "finish_reason", None))
            cached = getattr(error, "cached_tokens", 0), getattr(error, "cache_write_tokens", 0)
            self._record(call, started_at, error_type(error), message, *used, cached=cached, reason=reason)

    def _record(
        self,
        call: Call,
        started_at: float,
        error: str | None,
        message: str | None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        *,
        cached: tuple[int, int] = (0, 0),
        is_reused: bool = False,
        reason: str | None = None,
    ) -> None:
        """Journals a request; ``reason`` is what its answer ended for, ``message`` the error or a note, ``cached`` the
        parts of the input that were in a cache and went into one."""
        if not (_is_believable(input_tokens) and _is_believable(output_tokens)):  # a plug-in's
            given = {"input_tokens": input_tokens, "output_tokens": output_tokens}
            cached = (0, 0)
            input_tokens, output_tokens, doubt, *_ = token_usage(given, ["input_tokens"], ["output_tokens"])
            message = " ".join(part for part in (message, doubt) if part) or None
        if error is not None:
            fields: dict[str, object] = {"column": call.column, "model": self._config.model, "error_type": error}
            _log.debug("Request of column '%s' failed (%s): %s", call.column, error, message, extra=fields)
        call.requests.append(
            Request(
                model=self._config.model,
                started_at=started_at,
                duration_ms=max(0.0, self._wall_clock() - started_at) * 1000,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_usd=self._config.cost_usd(input_tokens, output_tokens, *cached),
                error_type=error,
                message=message,
                is_reused=is_reused,
                finish_reason=reason,
                cached_tokens=cached[0],
                cache_write_tokens=cached[1],
            )
        )


def _texts(content: object) -> list[str]:
    """The texts of a message, whose content is one, or a list of parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, (list, tuple)) else ()
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53)


def _is_believable(tokens: object) -> bool:
    return type(tokens) is int and 0 <= tokens <= MOST_TOKENS


def _with_known_reason(answer: ChatAnswer) -> ChatAnswer:
    """The answer with its ``finish_reason`` in the spelling Rowmill knows, whatever provider it comes from."""
    reason = finish_reason(answer.finish_reason)
    return answer if reason == answer.finish_reason else replace(answer, finish_reason=reason)
