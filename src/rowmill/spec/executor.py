"""Where calls are made: in this process, in processes beside it, or on a cluster. It never changes a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from rowmill.errors import Problem, SpecError, UsageError
from rowmill.spec.column import Items, StrictModel
from rowmill.spec.problems import failing
from rowmill.spec.runtime_environment import RuntimeEnvironment

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


def _without_fields(value: Mapping[str, float]) -> Mapping[str, float]:
    for name, field in {"CPU": "num_cpus", "GPU": "num_gpus"}.items():
        if name in value:
            raise ValueError(f"Write {name} as the field {field}.")
    return value


_Share = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
_Resources = Annotated[
    Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], AfterValidator(_without_fields)
]


class RayGroup(WorkerGroup):
    """Workers on a Ray cluster that are alike: what each of them occupies, and what it needs installed."""

    num_cpus: _Share = 1.0
    """CPUs that each worker occupies, as Ray counts them."""
    num_gpus: _Share = 0.0
    """GPUs that each worker occupies; a share such as ``0.5`` lets two workers use one."""
    accelerator_type: Annotated[str, Field(min_length=1)] | None = None
    """The kind of accelerator a node must have, as Ray names it: ``H100``, ``A100``, ``L4``."""
    resources: _Resources = Field(default_factory=dict)
    """Further resources that each worker occupies, as the nodes were started with: ``{big_disk: 1}``."""
    runtime_env: RuntimeEnvironment = Field(default_factory=dict)
    """Ray's runtime environment: ``{pip: [vllm]}``, ``{env_vars: {OMP_NUM_THREADS: "1"}}``. What looks like a secret is
    refused: Ray logs it in clear text (W8)."""


class RayExecutor(Workers):
    """Calls are made by actors of a Ray cluster. ``rowmill`` runs on one of its nodes; the database stays there."""

    kind: Literal["ray"] = "ray"
    """On a Ray cluster."""
    address: Annotated[str, Field(min_length=1)] = "auto"
    """``auto``: the cluster this machine belongs to, or one of this machine alone, started for the run, if there is
    none. ``host:port``: that cluster. ``local``: always one of this machine alone."""
    num_cpus: _Share = 1.0
    """As in a group, of the group ``default``."""
    num_gpus: _Share = 0.0
    """The same."""
    accelerator_type: Annotated[str, Field(min_length=1)] | None = None
    """The same."""
    resources: _Resources = Field(default_factory=dict)
    """The same."""
    runtime_env: RuntimeEnvironment = Field(default_factory=dict)
    """The same."""
    groups: Mapping[str, RayGroup] = Field(default_factory=dict)
    """Further groups by name, for columns that name one as their ``worker_group``."""
    working_dir: Annotated[str, Field(min_length=1)] = "."
    """The directory that is sent to the workers and becomes their working directory; relative to the spec. Run
    databases, exports, ``.env`` files, ``.git`` and the like stay where they are."""
    excludes: Items[Annotated[str, Field(min_length=1)]] = ()
    """More of it that stays: names or paths in it, with ``*``; for example ``[raw, "*.zip"]``."""
    py_modules: Items[Annotated[str, Field(min_length=1)]] = ()
    """Further modules for the workers to import: Python files or packages, relative to the spec."""

    def group(self, name: str) -> RayGroup | None:
        """The group of that name; the group ``default`` has the fields of the executor itself."""
        if name == DEFAULT_GROUP and name not in self.groups:
            shared = {field: getattr(self, field) for field in RayGroup.model_fields if field != "workers"}
            return RayGroup.model_construct(workers=self.workers or 1, **shared)
        return self.groups.get(name)

    @field_validator("address")
    @classmethod
    def _the_driver_is_in_the_cluster(cls, value: str) -> str:
        if value.startswith("ray://"):
            raise ValueError(CLIENT_REFUSED)
        if "://" in value:
            raise ValueError("Write the address as auto, local, or host:port of the head node.")
        return value


CLIENT_REFUSED = (
    "An address with ray:// means a driver outside of the cluster, whose every call goes through a proxy; Rowmill has "
    "to run on a node of the cluster. Send it there, 'ray job submit --working-dir . -- rowmill run spec.yaml "
    "--executor ray', or give the head's own address: host:6379."
)
"""Why an address is refused."""

ExecutorSettings = LocalExecutor | ProcessesExecutor | RayExecutor


EXECUTOR_KINDS: Mapping[str, type[StrictModel]] = {
    "local": LocalExecutor,
    "processes": ProcessesExecutor,
    "ray": RayExecutor,
}


def _choose(value: object, _handler: ValidatorFunctionWrapHandler) -> Any:
    """The class that ``kind`` names; a word alone is a kind with its defaults."""
    if isinstance(value, tuple(EXECUTOR_KINDS.values())):
        return value
    fields: Mapping[Any, Any] = (
        {"kind": value} if isinstance(value, str) else value if isinstance(value, Mapping) else {}
    )
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in EXECUTOR_KINDS:
        words = ", ".join(EXECUTOR_KINDS)
        text = f"{kind!r} is no executor: one of {words}, or {{kind: processes, workers: 4}}."
        raise failing("executor", [(("kind",) if isinstance(value, Mapping) else (), text)])
    return EXECUTOR_KINDS[kind].model_validate(fields)


Executor = Annotated[ExecutorSettings, WrapValidator(_choose)]


_EXECUTOR: TypeAdapter[ExecutorSettings] = TypeAdapter(Executor)


def executor_settings(value: object) -> ExecutorSettings:
    """The settings that a word or a mapping stands for. Raises SpecError."""
    try:
        return _EXECUTOR.validate_python(value)
    except ValidationError as error:
        problems = [Problem(".".join(["executor", *map(str, each["loc"])]), each["msg"]) for each in error.errors()]
        raise SpecError(problems) from error


def chosen_executor(
    in_spec: ExecutorSettings | None, kind: str | None, address: str | None, workers: int | None
) -> ExecutorSettings | None:
    """Where calls are made if not where the spec says; with the settings of the spec where it says the same kind.

    ``in_spec``: what the spec says; None: it is the one inside the run database. Returns None where nothing else is
    wanted. Raises UsageError or SpecError.
    """
    if address is not None:
        in_spec_kind = None if in_spec is None else in_spec.kind
        if (in_spec_kind if kind is None else kind) != "ray":
            raise UsageError("--address is that of a Ray cluster: --executor ray --address auto.")
    elif kind is None and workers is None:
        return None
    given = {} if address is None else {"address": address}
    if in_spec is None:
        if kind is None:
            raise UsageError("--workers goes with --executor, or with a spec that says what its executor is.")
        return executor_settings({"kind": kind, **given} | ({} if workers is None else {"workers": workers}))
    fields = in_spec.model_dump(exclude_unset=True) if kind in (None, in_spec.kind) else {}
    fields |= {"kind": in_spec.kind if kind is None else kind, **given}
    if workers is not None:
        if fields["kind"] == "local":
            raise UsageError("--workers needs workers: --executor processes --workers N.")
        fields["workers"] = workers
    return executor_settings(fields)
