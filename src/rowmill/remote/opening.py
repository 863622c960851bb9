"""Opening workers for an invocation: which groups there are, what they are told, who starts them."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rowmill.engine.elsewhere import Job, check_groups, group_sizes
from rowmill.errors import UsageError
from rowmill.remote.code_digest import code_digests
from rowmill.remote.crew import Crew, CrewSettings, hire
from rowmill.remote.host import Host, python_version
from rowmill.remote.link import Launcher
from rowmill.remote.members import GroupPlan
from rowmill.remote.messages import Open, Question
from rowmill.remote.processes import ProcessLauncher
from rowmill.spec.executor import ProcessesExecutor, RayExecutor, Workers
from rowmill.version import VERSION

_NAMED = re.compile(r"\$\{([A-Za-z_]\w*)\}")


@asynccontextmanager
async def open_workers(settings: Workers, job: Job) -> AsyncIterator[Crew]:
    """Starts the workers of an invocation, and ends them when left.

    Raises SpecError for a group that is not defined, Incompatible for a worker with other code (W6), and what else
    keeps workers from getting ready.
    """
    check_groups(job.spec, settings)
    keys = named_keys(job)
    plans = _plans(settings, job, keys)
    launcher = await _launcher(settings, job, keys)
    answers = _Answers(job)
    crew = Crew(
        launcher,
        plans,
        CrewSettings(settings.silence_s, settings.start_s, settings.wait_s),
        answers.answer,
        job.wall_clock,
        job.note,
        job.waiting_only,
        job.users,
        job.spec.run.max_local_workers,
        job.resources,
    )
    async with hire(crew, launcher):
        yield crew


def named_keys(job: Job) -> dict[str, str]:
    """The environment variables that the spec names as ``${NAME}``, as far as they are set."""
    names = set(_NAMED.findall(job.spec.to_json()))
    return {name: job.environ[name] for name in sorted(names) if name in job.environ}


async def _launcher(settings: Workers, job: Job, keys: dict[str, str]) -> Launcher:
    if isinstance(settings, ProcessesExecutor):
        environ = {name: value for name, value in os.environ.items() if name not in keys}
        return ProcessLauncher(environ, settings.memory_mib)
    if isinstance(settings, RayExecutor):
        from rowmill.remote.ray import connect  # ray is imported only by who asks for it

        return await connect(settings, job.directory, Host)
    raise UsageError(f"There are no workers of kind {type(settings).__name__}.")


def _plans(settings: Workers, job: Job, keys: dict[str, str]) -> list[GroupPlan]:
    columns = {column.name: column.worker_group for column in job.spec.columns}
    plans = []
    kind = "ray" if isinstance(settings, RayExecutor) else "processes"
    for group, workers in group_sizes(settings).items():
        generators = {number: name for number, name in job.generators.items() if columns[name] == group}
        if not generators:
            continue
        by_value = _functions_by_value(settings, job, generators)
        told = Open(
            worker="",
            spec=job.spec.to_json(),
            directory=str(job.directory.resolve()),
            generators=generators,
            several_rows=job.several_rows,
            environ=keys,
            functions=by_value,
            resources={number: job.resources[number] for number in generators},
            arrow_types=job.arrow_types,
            casts_values=job.casts_values,
            log_level=logging.getLogger("rowmill").getEffectiveLevel(),
        )
        digests = code_digests(job.spec, set(generators.values()) - by_value.keys(), job.directory)
        plans.append(GroupPlan(group, workers, told, digests, VERSION, python_version(), kind))
    return plans


def _functions_by_value(settings: Workers, job: Job, generators: dict[int, str]) -> dict[str, bytes]:
    """Per column the function that no other process can import: sent as it is, so it cannot be another one there.

    Raises UsageError where workers cannot take it.
    """
    found = {}
    for name in generators.values():
        function = getattr(job.spec.column_of(name), "generator_function", None)
        if function is None or isinstance(function, str):
            continue
        module, path = getattr(function, "__module__", ""), getattr(function, "__qualname__", "<object>")
        if module != "__main__" and "<" not in path and module in sys.modules:
            continue
        if not isinstance(settings, RayExecutor):
            raise UsageError(
                f"Column '{name}' is made by '{module}:{path}', which other processes cannot import. Put the function "
                "into a module of its own and name it 'module:function', or use executor: local."
            )
        from rowmill.remote.ray import pickled

        found[name] = pickled(function, name)
    return found


class _Answers:
    """What the driver does for workers."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def answer(self, question: Question) -> object:
        """The answer to a question. Raises RowmillError."""
        if question.kind == "find_answers":
            return await self._job.known.find(*question.arguments)
        if question.kind == "write_file":
            return await self._job.files.write(*question.arguments)
        return await self._job.files.read(*question.arguments)
