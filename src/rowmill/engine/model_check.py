"""Model checks: whether each model can be reached, how quickly, what it takes, and what limits it tells.

A few small requests to each: one of one token for reach and latency, then one each for a schema, a tool and a picture.
They belong to no run and are in no ``attempt``. Pictures are never asked for: they cost too much.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio

from rowmill.engine.health import PATIENCE_S, ask, one_token, reason_of
from rowmill.engine.misdirection import advice_on
from rowmill.engine.preparation import Prepared
from rowmill.engine.scheme import watched
from rowmill.errors import ProviderError, Rejected, RowmillError
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import Call
from rowmill.providers.key_ring import KeyRing
from rowmill.providers.opening import open_provider
from rowmill.providers.protocol import ChatAnswer, Describing, Provider
from rowmill.providers.simulated import simulated_picture
from rowmill.secret import hidden
from rowmill.spec.declaration import ModelUse
from rowmill.spec.model import ModelConfig
from rowmill.spec.own_models import own_models, own_models_file

Taken = Literal["yes", "no", "ignored", "unknown", "not asked"]
"""``ignored``: accepted, and nothing came of it; ``unknown``: no answer to tell from."""

_LIMIT = re.compile(r"ratelimit.*limit|ratelimit-limit", re.IGNORECASE)
_NOT_SENT = frozenset({"KeyCommand", "CaFile", "InvalidRequest", "NoEmbeddings", "UnsupportedContent"})
"""Errors of this side: nothing was sent, so that nothing is known of the server."""
_OUTPUT_TOKENS = 200
"""Enough to answer in a form, also for models that think a little."""
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """What was found out about one model; the fields are a contract."""

    alias: str
    provider: str
    model: str
    base_url: str | None
    tried: bool = False
    """Whether anything was asked of it; ``problem`` says why not."""
    reachable: bool = False
    """Whether it answered at all, if only with an error."""
    usable: bool = False
    """Whether it answered what was asked."""
    latency_ms: float | None = None
    """Of the answer of one token."""
    schema: Taken = "not asked"
    """Whether answers follow a JSON Schema in ``response_format``."""
    tools: Taken = "not asked"
    """Whether it calls tools."""
    pictures: Taken = "not asked"
    """Whether it takes pictures in a prompt."""
    context_tokens: int | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    """The rate limits its answers tell, as they are named there."""
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All fields, as JSON has them."""
        return asdict(self)


class ToCheck(NamedTuple):
    """Models, what their aliases are used for (chats unless said), and where relative paths start."""

    models: Sequence[ModelConfig]
    uses: Mapping[str, ModelUse]
    directory: Path


def models_to_check(prepared: Prepared) -> ToCheck:
    """Those of a spec; an alias that chats anywhere is checked with a chat."""
    uses: dict[str, ModelUse] = {}
    for node in prepared.graph.generators:
        for alias, use in node.declaration.models.items():
            if uses.get(alias) != "chat":
                uses[alias] = use
    return ToCheck(prepared.spec.models, uses, prepared.directory)


def own_models_to_check() -> ToCheck:
    """Those of one's own ``models.yaml``. Raises UsageError or SpecError if there is none."""
    return ToCheck(own_models(required=True), {}, own_models_file().parent)


async def check_each(
    models: Sequence[ModelConfig],
    uses: Mapping[str, ModelUse],
    keys: KeyRing,
    *,
    quick: bool = False,
) -> list[CheckedModel]:
    """Checks all models at the same time, in their order. ``uses``: what aliases are used for, chats unless given.

    ``quick``: one request each, for reach and latency alone. Raises nothing that a model or its settings do wrong.
    """
    found: dict[int, CheckedModel] = {}

    async def check(place: int, config: ModelConfig) -> None:
        found[place] = await _checked(config, uses.get(config.alias, "chat"), keys, quick=quick)

    async with anyio.create_task_group() as group:
        for place, config in enumerate(models):
            group.start_soon(check, place, config)
    return [found[place] for place in range(len(models))]


async def _checked(config: ModelConfig, use: ModelUse, keys: KeyRing, *, quick: bool) -> CheckedModel:
    checked = CheckedModel(config.alias, config.provider, config.model, config.effective_base_url())
    limits: dict[str, str] = {}

    def watch(headers: Mapping[str, str]) -> None:
        limits.update({name.lower(): str(value) for name, value in headers.items() if _LIMIT.search(name)})

    try:
        provider = open_provider(config, keys, 1, watch)
    except RowmillError as error:
        return replace(checked, problem=str(error))
    checked = replace(checked, tried=True)
    try:
        model = ModelHandle(config.model_copy(update={"reuse_answers": False}), provider)
        checked = await _reached(checked, model, use, keys)
        if checked.reachable or use == "image":
            checked = await _described(checked, provider, use)
        if checked.usable and use == "chat" and not quick:
            checked = replace(
                checked,
                schema=await _takes_schema(model),
                tools=await _takes_tools(model),
                pictures=await _takes_pictures(model),
            )
    finally:
        await provider.aclose()
    return replace(checked, limits={name: hidden(value)[:100] for name, value in sorted(limits.items())})


async def _reached(
    checked: CheckedModel, model: ModelHandle, use: ModelUse, environ: Mapping[str, str]
) -> CheckedModel:
    if use == "image":
        is_here = model.config.provider == "simulated"
        return replace(checked, reachable=is_here, usable=is_here)
    began = time.monotonic()
    try:
        with anyio.fail_after(PATIENCE_S):
            await watched(partial(ask, model, use), checked.base_url, environ)
    except Rejected as error:
        if error.error_type in _NOT_SENT:
            return replace(checked, tried=False, problem=reason_of(error))
        if error.error_type == "WrongScheme":  # no request reaches it: neither is it asked what it lists
            return replace(checked, problem=reason_of(error))
        if error.error_type not in ("OutputLimit", "NoAnswer"):
            return replace(checked, reachable=True, problem=reason_of(error))
    except (ProviderError, TimeoutError) as error:
        kind = getattr(error, "error_type", "Timeout" if isinstance(error, TimeoutError) else type(error).__name__)
        advice = await advice_on(checked.base_url, kind)
        answered = kind.startswith(("HTTP", "Malformed", "Truncated", "RateLimited"))
        return replace(
            checked,
            tried=kind not in _NOT_SENT,
            reachable=answered,
            problem=reason_of(error).rstrip(".") + "." + advice,
        )
    return replace(checked, reachable=True, usable=True, latency_ms=round((time.monotonic() - began) * 1000, 1))


async def _described(checked: CheckedModel, provider: Provider, use: ModelUse) -> CheckedModel:
    if not isinstance(provider, Describing):
        return checked
    told = await provider.describe(PATIENCE_S)
    if use == "image":
        known = told.get("known")
        problem = None
        if not told:
            problem = "Pictures cost too much to try one, and the server gave no list of its models."
        elif not known:
            problem = "The model is not in the server's list; it was not asked for a picture."
        checked = replace(checked, tried=bool(told), reachable=bool(told), usable=bool(known), problem=problem)
    return replace(checked, context_tokens=told.get("context_tokens"))


async def _takes_schema(model: ModelHandle) -> Taken:
    if model.config.provider == "anthropic":
        return "no"
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": _SCHEMA}}
    answer = await _answer(model, "Is water wet? Answer with JSON.", {"response_format": form})
    if isinstance(answer, str):
        return "no" if answer == "refused" else "unknown"
    if answer.finish_reason == "length":
        return "unknown"
    try:
        document = json.loads(answer.text)
    except ValueError:
        return "ignored"
    fits = isinstance(document, dict) and list(document) == ["ok"] and isinstance(document["ok"], bool)
    return "yes" if fits else "ignored"


async def _takes_tools(model: ModelHandle) -> Taken:
    tool = {"name": "report", "description": "Takes the answer.", "parameters": _SCHEMA}
    parameters = {"tools": [{"type": "function", "function": tool}], "tool_choice": "auto"}
    answer = await _answer(model, "Call the tool 'report' with ok: true.", parameters)
    if isinstance(answer, str):
        return "no" if answer == "refused" else "unknown"
    return "yes" if answer.tool_calls else "unknown" if answer.finish_reason == "length" else "ignored"


async def _takes_pictures(model: ModelHandle) -> Taken:
    picture = b64encode(simulated_picture(b"rowmill check-models", "").content).decode("ascii")
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    answer = await _answer(model, [part, {"type": "text", "text": "Which colour is it?"}], one_token(model.config))
    if answer == "refused":
        return "no"
    return "unknown" if answer == "unknown" else "yes"


async def _answer(model: ModelHandle, content: Any, parameters: Mapping[str, Any]) -> ChatAnswer | str:
    """The answer; ``refused``, or ``unknown`` for a failure that says nothing about what was asked."""
    bound = dict.fromkeys(one_token(model.config), _OUTPUT_TOKENS)
    try:
        with anyio.fail_after(PATIENCE_S):
            return await model.chat([{"role": "user", "content": content}], Call(0, [0]), {**bound, **parameters})
    except Rejected as error:
        # A server without a feature says so in its own way: also as not implemented, or not found.
        return "unknown" if error.error_type in ("OutputLimit", "NoAnswer", "Authentication") else "refused"
    except ProviderError as error:
        return "refused" if getattr(error, "error_type", "") in ("HTTP 500", "HTTP 501") else "unknown"
    except TimeoutError:
        return "unknown"
