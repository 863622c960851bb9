"""Where calls are made: in this process, in processes beside it, or on a cluster. It never changes a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, field_validator

from rowmill.errors import Problem, SpecError
from rowmill.spec.column import StrictModel
from rowmill.spec.problems import failing

DEFAULT_GROUP = "default"
"""The group of workers that makes the columns which name none."""

_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class WorkerGroup(StrictModel):
    """Workers that are alike, and make the columns whose ``worker_group`` names them."""

    workers: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    """How many."""


class LocalExecutor(StrictModel):
    """Calls are made in the process that runs ``rowmill``. The default."""

    kind: Literal["local"] = "local"
    """In this process."""


class Workers(StrictModel):
    """What all kinds of workers elsewhere have in common."""

    workers: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    """How many workers the group ``default`` has. Default: one for each core, at most 8."""
    groups: Mapping[str, WorkerGroup] = Field(default_factory=dict)
    """Further groups by name, for columns that name one as their ``worker_group``; each with ``workers`` of its own."""
    silence_s: Annotated[float, Field(ge=2.5, le=3600, allow_inf_nan=False)] = 6.0
    """A worker that says nothing for so long is lost, and replaced (W2). Raise it where a function holds up its whole
    process for longer."""
    start_s: _Seconds = 600.0
    """How long a worker may take to get ready; loading a model belongs to it."""
    wait_s: _Seconds = 600.0
    """How long the run waits when no worker is left, until it stops with exit code 75 (W5)."""

    def group(self, name: str) -> WorkerGroup | None:
        """The group of that name; None if there is none. There is always a group ``default``."""
        return self.groups.get(name)

    @field_validator("groups")
    @classmethod
    def _the_default_group_is_named_by_workers(cls, value: Mapping[str, WorkerGroup]) -> Mapping[str, WorkerGroup]:
        for name in value:
            if not name:
                raise ValueError("A group of workers needs a name.")
        return value


class ProcessesExecutor(Workers):
    """Calls are made in processes of this machine: more than one core, and a crash costs a row, not the run."""

    kind: Literal["processes"] = "processes"
    """In processes beside this one."""
    memory_mib: Annotated[int, Field(strict=True, ge=128, le=2**24)] | None = None
    """The most memory a worker may take. What would be more fails with ``MemoryError``, and drops its row. Default: no
    bound."""


ExecutorSettings = LocalExecutor | ProcessesExecutor


_KINDS: Mapping[str, type[StrictModel]] = {"local": LocalExecutor, "processes": ProcessesExecutor}


def _choose(value: object, _handler: ValidatorFunctionWrapHandler) -> Any:
    """The class that ``kind`` names; a word alone is a kind with its defaults."""
    if isinstance(value, tuple(_KINDS.values())):
        return value
    fields: Mapping[Any, Any] = (
        {"kind": value} if isinstance(value, str) else value if isinstance(value, Mapping) else {}
    )
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        words = ", ".join(_KINDS)
        text = f"{kind!r} is no executor: one of {words}, or {{kind: processes, workers: 4}}."
        raise failing("executor", [(("kind",) if isinstance(value, Mapping) else (), text)])
    return _KINDS[kind].model_validate(fields)


Executor = Annotated[ExecutorSettings, WrapValidator(_choose)]


_EXECUTOR: TypeAdapter[ExecutorSettings] = TypeAdapter(Executor)


def executor_settings(value: object) -> ExecutorSettings:
    """The settings that a word or a mapping stands for. Raises SpecError."""
    try:
        return _EXECUTOR.validate_python(value)
    except ValidationError as error:
        problems = [Problem(".".join(["executor", *map(str, each["loc"])]), each["msg"]) for each in error.errors()]
        raise SpecError(problems) from error
