"""Calls that are made elsewhere: which they are, and what an invocation tells those who make them."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from rowmill.dispatch.protocol import Workers
from rowmill.engine.preparation import Prepared
from rowmill.errors import Problem, SpecError
from rowmill.generators.file_directory import FileDirectory
from rowmill.generators.prompting.answer_reuse import KnownAnswers
from rowmill.graph.endpoint import endpoints
from rowmill.spec.declaration import THREADS, Strategy
from rowmill.spec.executor import DEFAULT_GROUP, ExecutorSettings, LocalExecutor
from rowmill.spec.executor import Workers as WorkerSettings
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.spec import Spec
from rowmill.worker import WorkerNews

_MOST_BY_DEFAULT = 8

NoteNews = Callable[[WorkerNews], Coroutine[Any, Any, None]]
"""Keeps what is new of the workers."""


@dataclass(frozen=True)
class Job:
    """What an invocation has for its workers, and does for them."""

    spec: Spec
    directory: Path
    generators: Mapping[int, str]
    """Those whose calls are made elsewhere, and the columns they are named after."""
    several_rows: frozenset[int]
    waiting_only: frozenset[int]
    """Those that run no code of a user's, and do little but wait for a model."""
    resources: Mapping[int, str]
    """What each generator's calls take a place of."""
    users: Mapping[str, frozenset[int]]
    """The generators that share each limit which workers keep to: see :func:`limit_users`."""
    environ: Mapping[str, str]
    arrow_types: Mapping[str, pa.DataType]
    casts_values: bool
    known: KnownAnswers
    files: FileDirectory
    wall_clock: Callable[[], float]
    note: NoteNews


OpenWorkers = Callable[[WorkerSettings, Job], AbstractAsyncContextManager[Workers]]
"""Starts workers, and ends them when left. Raises what keeps them from getting ready."""


def executor_of(prepared: Prepared, given: ExecutorSettings | None) -> WorkerSettings | None:
    """The settings of the workers; None: calls are made in this process. ``given`` wins over the spec."""
    settings = prepared.spec.run.executor if given is None else given
    return None if isinstance(settings, LocalExecutor) else settings


def made_elsewhere(prepared: Prepared) -> frozenset[int]:
    """The generators whose calls workers make: all that are called, but those over the whole dataset."""
    return frozenset(
        node.number
        for node in prepared.graph.generators
        if node.is_task and node.strategy is not Strategy.DATASET and prepared.spec.column_of(node.name) is not None
    )


def waits_only(prepared: Prepared) -> frozenset[int]:
    """The generators that ask a model and run no code of a user's."""
    return frozenset(
        node.number
        for node in prepared.graph.generators
        if node.declaration.models and node.declaration.column_type != "custom"
    )


def resources_elsewhere(prepared: Prepared) -> dict[int, str]:
    """The resource of each generator whose calls workers make."""
    nodes = [prepared.graph.generators[number] for number in sorted(made_elsewhere(prepared))]
    return {node.number: node.declaration.resource or "" for node in nodes}


def limit_users(prepared: Prepared) -> dict[str, frozenset[int]]:
    """The generators that share each limit which workers keep to: of resources, and of single servers of models."""
    nodes = [prepared.graph.generators[number] for number in made_elsewhere(prepared)]
    users = {THREADS: frozenset[int]()}
    for number, resource in resources_elsewhere(prepared).items():
        users[resource] = users.get(resource, frozenset()) | {number}
    for endpoint in endpoints(prepared.spec).values():
        asking = frozenset(node.number for node in nodes if {*node.declaration.models} & {*endpoint.aliases})
        users |= dict.fromkeys(endpoint.servers, asking)
    return users


class PlannedGroup(NamedTuple):
    """A group of workers, and the columns whose calls it makes."""

    worker_group: str
    workers: int
    threads: int
    """Threads for plain functions that each of its workers has."""
    columns: tuple[str, ...]


def planned_groups(prepared: Prepared, settings: WorkerSettings) -> list[PlannedGroup]:
    """The groups that have something to do. Raises SpecError for columns of a group that there is none of."""
    check_groups(prepared.spec, settings)
    group_of = {column.name: column.worker_group for column in prepared.spec.columns}
    names = [prepared.graph.generators[number].name for number in sorted(made_elsewhere(prepared))]
    found = []
    for group, workers in group_sizes(settings).items():
        columns = tuple(name for name in names if group_of[name] == group)
        if columns:
            found.append(PlannedGroup(group, workers, prepared.spec.run.max_local_workers, columns))
    return found


def group_sizes(settings: WorkerSettings) -> dict[str, int]:
    """How many workers each group has."""
    sizes = {DEFAULT_GROUP: settings.workers or default_workers()}
    return sizes | {name: group.workers for name, group in settings.groups.items()}


def default_workers() -> int:
    """How many workers the group ``default`` has if nobody says."""
    return min(_MOST_BY_DEFAULT, os.cpu_count() or 1)


def limits_with(settings: WorkerSettings | None, prepared: Prepared) -> dict[str, int]:
    """The limits of a spec; each worker of a group with plain functions has threads of its own."""
    if settings is None:
        return dict(prepared.limits)
    workers = max(1, workers_of(settings, prepared).get(THREADS, 1))
    return {name: limit * workers if name == THREADS else limit for name, limit in prepared.limits.items()}


def workers_of(settings: WorkerSettings | None, prepared: Prepared) -> dict[str, int]:
    """How many workers make the calls of each resource of which no call is made in this process; and of plain
    functions, whichever else there are."""
    if settings is None:
        return {}
    elsewhere = resources_elsewhere(prepared)
    here = {node.declaration.resource for node in prepared.graph.generators if node.number not in elsewhere}
    group_of = {column.name: column.worker_group for column in prepared.spec.columns}
    sizes = group_sizes(settings)
    found = {}
    for resource, users in limit_users(prepared).items():
        groups = {group_of[prepared.graph.generators[number].name] for number in users}
        if groups and (resource == THREADS or resource not in here):
            found[resource] = sum(sizes.get(group, 0) for group in groups)
    return found


def check_groups(spec: Spec, settings: WorkerSettings) -> None:
    """Raises SpecError for columns of a group of workers that there is none of."""
    known = [DEFAULT_GROUP, *settings.groups]
    problems = [
        Problem(
            f"columns.{index}.worker_group",
            f"There is no group of workers '{column.worker_group}'.{did_you_mean(column.worker_group, known)} "
            "Define it in run.executor.groups.",
        )
        for index, column in enumerate(spec.columns)
        if column.worker_group not in known
    ]
    if problems:
        raise SpecError(problems)
