"""The health check: one small request to every model a run will ask, before anything is generated.

What every row would fail of (a wrong key, an unknown model, parameters the endpoint refuses) stops the run
at once. An endpoint that is down, busy or slow does not: that passes, and deferral is made for it. A chat is asked for
one token. These requests belong to no row, so that they are not in ``attempt``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

import anyio

from rowmill.engine.misdirection import advice_on
from rowmill.engine.preparation import Prepared
from rowmill.engine.scheme import watched
from rowmill.errors import ProviderError, Rejected, RunStopping, Unavailable
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import Call
from rowmill.spec.declaration import ModelUse
from rowmill.spec.model import ModelConfig

SKIP = "ROWMILL_SKIP_HEALTH_CHECKS"
"""The environment variable that skips all health checks; ``0``, ``false`` and an empty one do not."""
PATIENCE_S = 20.0
"""A model that takes longer to answer is taken to be merely slow."""

_ONE_TOKEN = 1
_BOUNDS = ("max_completion_tokens", "max_output_tokens")
"""What models take that know no ``max_tokens``."""
QUESTION = [{"role": "user", "content": "Reply with the word OK."}]
_logger = logging.getLogger("rowmill.health")


async def check_models(prepared: Prepared, models: Mapping[str, ModelHandle], environ: Mapping[str, str]) -> None:
    """Asks each model the graph uses once, at each of its servers, servers at the same time, models of one server one
    after the other.

    Not asked: simulated models, those with ``skip_health_check``, and models of images, which cost too much. Raises
    :class:`~rowmill.errors.RunStopping` for the first one that every request would fail at.
    """
    if environ.get(SKIP, "").strip().lower() not in ("", "0", "false", "no"):
        return
    uses: dict[str, dict[tuple[str, ModelUse], ModelHandle]] = {}
    for node in prepared.graph.generators:
        for alias, use in node.declaration.models.items():
            config = models[alias].config
            if not (config.skip_health_check or config.provider == "simulated" or use == "image"):
                for one in models[alias].servers:
                    server = f"{config.provider} {one.config.base_url} {config.model}"
                    uses.setdefault(server, {})[alias, use] = one
    failures: list[RunStopping] = []
    async with anyio.create_task_group() as group:
        for asked in uses.values():
            group.start_soon(_check_server, [(model, use) for (_, use), model in asked.items()], environ, failures)
    if failures:
        raise failures[0]


async def _check_server(
    models: list[tuple[ModelHandle, ModelUse]], environ: Mapping[str, str], failures: list[RunStopping]
) -> None:
    for model, use in models:
        alias = model.config.alias
        base_url = model.config.effective_base_url()
        try:
            with anyio.fail_after(PATIENCE_S):
                await watched(partial(ask, model, use), base_url, environ)
        except RunStopping as error:
            failures.append(RunStopping(f"Model '{alias}' cannot be used: {error}", error.error_type))
            return
        except Rejected as error:
            if error.error_type.startswith("HTTP "):
                advice = "Correct its settings; or, if only this small request is refused, set skip_health_check: true"
                failures.append(RunStopping(f"Model '{alias}' cannot be used: {error}. {advice}", error.error_type))
                return
            if error.error_type != "OutputLimit":  # that is what was asked for
                _logger.info("Model '%s' answers its health check: %s", alias, error)
        except Unavailable as error:
            _logger.warning(
                "Model '%s' gave no answer to its health check; going on, and waiting for it: %s.%s Nothing is dropped "
                "meanwhile; run.unavailable_after_s says how long the run waits.",
                alias,
                reason_of(error).rstrip("."),
                await advice_on(base_url, error.error_type),
            )
        except (ProviderError, TimeoutError) as error:
            _logger.warning(
                "Model '%s' gave no answer to its health check; going on: %s.%s",
                alias,
                reason_of(error).rstrip("."),
                await advice_on(base_url, getattr(error, "error_type", "Timeout")),
            )


def reason_of(error: BaseException) -> str:
    """What went wrong, in words: never an empty text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE_S:g} s"
    return str(error).strip() or f"{type(error).__name__} without a message"


async def ask(model: ModelHandle, use: ModelUse) -> None:
    """Asks a model for one token, or for a vector. Raises what its provider raises."""
    call = Call(0, [0])
    if use == "embedding":
        await model.embed(["OK"], call)
    else:
        try:
            await model.chat(QUESTION, call, one_token(model.config))
        except Rejected as error:
            if error.error_type not in ("HTTP 400", "HTTP 422"):
                raise
            # One token may be what is refused (less than a thinking budget, say): what rows will send decides.
            await model.chat(QUESTION, call)


def one_token(config: ModelConfig) -> dict[str, int]:
    """The parameters that ask for one token and no more."""
    given = config.inference_parameters.extra_body
    return {next((name for name in _BOUNDS if name in given), "max_tokens"): _ONE_TOKEN}
