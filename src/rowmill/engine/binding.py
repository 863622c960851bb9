"""What a spec becomes when an invocation starts: providers opened, generators bound, limits to start from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from rowmill.dispatch.pool import ResourceLimit
from rowmill.dispatch.protocol import Traits
from rowmill.dispatch.settings import DispatchSettings
from rowmill.engine.preparation import Prepared
from rowmill.generators.prompting.answer_reuse import KnownAnswers
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import Generator, Toolbox
from rowmill.generators.runtime import InvocationRuntime
from rowmill.graph.endpoint import endpoints, server_names
from rowmill.graph.graph import Graph
from rowmill.providers.protocol import Provider
from rowmill.providers.servers import Servers
from rowmill.spec.declaration import LOCAL_RESOURCES, THREADS
from rowmill.spec.model import ModelConfig
from rowmill.spec.spec import Spec
from rowmill.spec.template import compile_condition
from rowmill.store.run_store import ResourceMemory
from rowmill.store.turn.control import HandSettings
from rowmill.store.turn.skipping import SkipCondition

OpenProvider = Callable[[ModelConfig, Mapping[str, str], int], Provider]
"""Opens the provider of a model: its configuration, the environment, the limit of its endpoint."""


class OpenModels(NamedTuple):
    """The models of an invocation."""

    by_alias: Mapping[str, ModelHandle]
    servers: tuple[Servers, ...]
    """Of the endpoints that have several (C6)."""


@asynccontextmanager
async def open_models(
    spec: Spec,
    environ: Mapping[str, str],
    wall_clock: Callable[[], float],
    open_provider: OpenProvider,
    known: KnownAnswers,
) -> AsyncIterator[OpenModels]:
    """The models of a spec by alias, and the servers of endpoints that have several. Closed when left."""
    models: dict[str, ModelHandle] = {}
    several: list[Servers] = []
    async with AsyncExitStack() as stack:
        for endpoint in endpoints(spec).values():
            servers = None
            if endpoint.servers:
                servers = Servers(endpoint.servers, endpoint.server_limit, spec.run.rate_limit_cooldown_s)
                several.append(servers)
            for config in endpoint.models:
                opened = {}
                for name, url in zip(server_names(config) or [""], config.base_urls() or [None], strict=True):
                    one = config.at(url) if url is not None else config
                    opened[name] = open_provider(one, environ, endpoint.server_limit)
                    stack.push_async_callback(opened[name].aclose)
                models[config.alias] = ModelHandle(
                    config,
                    next(iter(opened.values())),
                    wall_clock,
                    spec.seed,
                    known,
                    servers,
                    opened,
                    estimates=spec.run.max_tokens is not None,
                )
        yield OpenModels(models, tuple(several))


@asynccontextmanager
async def open_tools(
    spec: Spec, columns: Collection[str], directory: Path, environ: Mapping[str, str]
) -> AsyncIterator[Mapping[str, Toolbox]]:
    """The tools of the aliases that these columns name; their servers are connected until this is left."""
    aliases = {getattr(column, "tool_alias", None) for column in spec.columns if column.name in columns}
    configs = [config for config in spec.tool_configs if config.tool_alias in aliases]
    if not configs:
        yield {}
        return
    from rowmill.providers.mcp_tools import serve_tools

    async with serve_tools(configs, spec.mcp_providers, environ, str(directory)) as tools:
        yield tools


def bind_generators(
    prepared: Prepared, runtime: InvocationRuntime, elsewhere: frozenset[int] = frozenset()
) -> dict[int, Generator]:
    """The generators that do the work of task columns, by number, without those whose calls are made elsewhere."""
    names = task_columns(prepared.graph)
    here = {number: name for number, name in names.items() if number not in elsewhere}
    return bind_columns(prepared.spec, here, runtime)


def bind_columns(spec: Spec, names: Mapping[int, str], runtime: InvocationRuntime) -> dict[int, Generator]:
    """The same for these columns."""
    bound = {}
    for number, name in names.items():
        column = spec.column_of(name)
        if column is not None:
            bound[number] = column.bind(runtime)
    return bound


@asynccontextmanager
async def open_generators(generators: Iterable[Generator]) -> AsyncIterator[None]:
    """Makes generators ready for calls, one after the other; closed when left, also if one of them cannot be opened."""
    async with AsyncExitStack() as stack:
        for generator in generators:
            stack.push_async_callback(generator.aclose)
            await generator.aopen()
        yield


def task_columns(graph: Graph) -> dict[int, str]:
    """The generators that are called, and the columns they are named after."""
    return {node.number: node.name for node in graph.generators if node.is_task}


def traits_of(prepared: Prepared) -> list[Traits | None]:
    """How each generator's tasks are called. Local work without a time-out of its own gets the run's."""
    task_timeout_s = prepared.spec.run.task_timeout_s
    return [
        Traits(
            node.declaration.resource, node.declaration.max_rows_per_call, node.declaration.timeout_s or task_timeout_s
        )
        if node.declaration.resource is not None and node.is_task
        else None
        for node in prepared.graph.generators
    ]


def starting_limits(
    prepared: Prepared, limits: Mapping[str, int], memory: Mapping[str, ResourceMemory], workers: Mapping[str, int]
) -> dict[str, ResourceLimit]:
    """The limits to start from: what the spec and people allow, what was learned before, how gently to begin (C2).

    ``workers``: how many make the calls of a resource, where all are made elsewhere.
    """
    servers = {server for endpoint in endpoints(prepared.spec).values() for server in endpoint.servers}
    ramps = {
        name: max((config.ramp_up_s for config in endpoint.models if config.ramp_up_s is not None), default=None)
        for name, endpoint in endpoints(prepared.spec).items()
    }
    return {
        name: ResourceLimit(
            configured,
            memory[name].learned_limit,
            memory[name].cooling_until,
            cools_down=name not in LOCAL_RESOURCES,
            ramp_up_s=ramps.get(name),
            waits_for_threads=name == THREADS and name in workers,
            workers=workers.get(name, 0) if name != THREADS else 0,
        )
        for name, configured in limits.items()
        if name not in servers
    }


def takes_several_rows(graph: Graph) -> frozenset[int]:
    """The generators of which one call may take several rows."""
    return frozenset(node.number for node in graph.generators if node.declaration.max_rows_per_call > 1)


def column_names(graph: Graph) -> dict[int, str]:
    """The names of the generators, by number."""
    return {node.number: node.name for node in graph.generators}


def skip_conditions(graph: Graph) -> dict[int, SkipCondition]:
    """The Jinja rules for skipping (S1), compiled, by generator."""
    return {
        node.number: compile_condition(node.declaration.skip.template, node.declaration.skip.place)
        for node in graph.generators
        if node.declaration.skip is not None and node.declaration.skip.template is not None
    }


def dispatch_settings(spec: Spec, by_hand: HandSettings) -> DispatchSettings:
    """What the dispatcher keeps to, where people decided otherwise as they said."""
    return DispatchSettings(
        max_in_flight=by_hand.limits.get(None, spec.run.max_in_flight),
        commit_window_s=spec.run.commit_window_ms / 1000,
        cool_down_s=spec.run.rate_limit_cooldown_s,
    )
