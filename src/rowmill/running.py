"""Python's way in: running a spec, looking at its first rows, merging shards, trying models."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from anyio import NoEventLoopError
from anyio.lowlevel import current_token

from rowmill.engine import invocation, merging, model_check
from rowmill.engine import preview as engine_preview
from rowmill.engine.change import accept_change
from rowmill.engine.ending import RunReport
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.interruption import is_free_to_take_interrupts
from rowmill.engine.merging import Merged
from rowmill.engine.model_check import CheckedModel, models_to_check
from rowmill.engine.preparation import Prepared, prepare, prepare_to_change, prepare_to_run
from rowmill.engine.preview import Preview
from rowmill.engine.reopening import prepare_inside
from rowmill.engine.sharding import default_database
from rowmill.errors import Problem, SpecError, UsageError
from rowmill.graph.shard import ShardOrder
from rowmill.inspect.opening import said_in_words
from rowmill.providers.key_ring import KeyRing
from rowmill.remote.opening import open_workers
from rowmill.spec.assembling import refuse_shadowed
from rowmill.spec.executor import ExecutorSettings, chosen_executor, executor_settings
from rowmill.spec.loading import LoadedSpec, load_spec, spec_of_data
from rowmill.spec.run_settings import OtelSettings
from rowmill.spec.spec import Spec
from rowmill.store.file.usable import is_run_database
from rowmill.task import FinishedRowGroup

if TYPE_CHECKING:
    from rowmill.store.reading.status import Status

SpecSource = str | Path | Spec | LoadedSpec | Mapping[str, Any]
"""A spec file, a loaded spec, or the spec as objects or plain data."""
OnProgress = Callable[["Status"], None]
OnRowGroupFinished = Callable[[FinishedRowGroup], None]

_log = logging.getLogger("rowmill.run")


async def run_async(
    spec: SpecSource | None,
    path: str | Path | None = None,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
    accept_changes: bool = False,
    keep_values: Collection[str] = (),
    purge: bool = False,
    resume: bool = False,
    shard: tuple[int, int] | None = None,
    rows: range | None = None,
    executor: str | Mapping[str, Any] | ExecutorSettings | None = None,
    address: str | None = None,
    workers: int | None = None,
    metrics: str | None = None,
    otel: Mapping[str, Any] | OtelSettings | None = None,
    ui: bool = False,
    on_progress: OnProgress | None = None,
    progress_interval_s: float = 0.5,
    on_row_group_finished: OnRowGroupFinished | None = None,
    drain_on_interrupt: bool | None = None,
) -> RunReport:
    """Starts the run of ``spec``, goes on where it stopped, or does nothing when it is complete.

    :param spec: a file, objects or plain data; None, or a run database, goes on with the spec inside it.
    :param path: the run database. Default: ``<name>.duckdb`` in the current directory.
    :param directory: where relative paths of a spec start that is no file. Default: the current directory.
    :param seed: the seed rows, as an Arrow table or anything that can hand itself over as one (a frame of pandas or
        polars); they are kept in the run database.
    :param parameters: values for those of the spec (``--set``).
    :param accept_changes: a spec that differs from the one inside the run database replaces it, and what it changes is
        made again; without it such a spec is refused. Without a spec: likewise for functions that changed.
    :param keep_values: columns that keep their values although what makes them changed, and with them what needs them.
    :param purge: also gives up values that were kept of removed and changed columns.
    :param resume: goes on with a run that was paused; otherwise it stays paused.
    :param shard: ``(3, 16)`` makes only the third of sixteen parts, in a run database of its own (see :func:`merge`).
    :param rows: ``range(0, 500)`` makes only those rows, likewise.
    :param executor: where calls are made, if not where the spec says: ``"processes"``, or with settings
        ``{"kind": "processes", "workers": 4}``.
    :param address: of the Ray cluster: auto, local or host:port.
    :param workers: how many workers.
    :param metrics: ``HOST:PORT`` on which figures for Prometheus are served meanwhile.
    :param otel: send spans of requests to a collector, in the words of the spec: ``{"share": 0.1}``.
    :param ui: shows the run in a browser while it works; the log names the address.
    :param on_progress: is called about every ``progress_interval_s`` seconds with the status.
    :param progress_interval_s: seconds.
    :param on_row_group_finished: is called with a :class:`~rowmill.task.FinishedRowGroup` when the commit that finished
        a row group is durable, also if none of its rows is left; after a crash it may be called again for one (at least
        once each).
    :param drain_on_interrupt: whether Ctrl-C drains the run, as on the command line: running calls finish, what they
        gave is committed, and the report says 75. A second one cuts running calls off, and the report says 130; later
        ones are the program's again. Default: in the main thread, where the program does not take Ctrl-C itself.

    Callbacks are called on the event loop; what they raise stops the run. Raises a
    :class:`~rowmill.errors.RowmillError`.
    """
    order = ShardOrder.asked(shard, rows)
    takes_interrupts = is_free_to_take_interrupts() if drain_on_interrupt is None else drain_on_interrupt
    if takes_interrupts and threading.current_thread() is not threading.main_thread():
        raise UsageError("Only the main thread of a program hears of Ctrl-C: leave drain_on_interrupt out here.")
    own_otel = None if otel is None else _otel(otel)
    if isinstance(spec, (str, Path)) and is_run_database(Path(spec)):
        if path is not None:
            raise UsageError(f"'{spec}' is a run database; the spec comes first: rowmill run {path} {spec}")
        spec, path = None, spec
    if keep_values and not accept_changes:
        raise UsageError("--keep-values says how a change is accepted: add --accept-changes.")
    if spec is None:
        if path is None:
            raise UsageError("Neither a spec nor a run database was given.")
        if parameters:
            raise UsageError("The spec inside a run database has its values; give parameters together with the spec.")
        if seed is not None:
            raise UsageError("The run database holds its seed rows; give seed together with the spec, or leave it out.")
        loaded, database = None, Path(path)
    else:
        loaded = await anyio.to_thread.run_sync(loaded_spec, spec, directory, seed, parameters)
        database = Path(path) if path is not None else default_database(loaded[0], order)
    with said_in_words(), ExitStack() as meanwhile:
        prepared = None
        if loaded is not None and (accept_changes or purge):
            prepared = await anyio.to_thread.run_sync(prepare_to_change, loaded[0], database, loaded[1])
        elif loaded is not None:
            prepared = await anyio.to_thread.run_sync(prepare_to_run, *loaded[:2], database)
        if prepared is not None and loaded is not None and prepared.seed_file is not None:
            refuse_shadowed(loaded[2], [name for name, _ in prepared.seed_file.columns])
        if (accept_changes or purge) and database.exists():
            changed = prepared if prepared is not None else await anyio.to_thread.run_sync(prepare_inside, database)
            accept = partial(accept_change, purge=purge, keeps=keep_values)
            await anyio.to_thread.run_sync(accept, changed, database, time.time())
        where = _executor(prepared, executor, address, workers)
        if metrics is not None:
            place = meanwhile.enter_context(_metrics(database, metrics))
            _log.info("Metrics are at http://%s/metrics while this runs.", place)
        if ui:
            meanwhile.enter_context(_page(database))
        return await invocation.run(
            prepared,
            database,
            on_progress=on_progress,
            progress_interval_s=progress_interval_s,
            on_row_group_finished=on_row_group_finished,
            takes_interrupts=takes_interrupts,
            resume=resume,
            shard=order,
            executor=where,
            otel=own_otel,
            open_workers=open_workers,
        )


def run(
    spec: SpecSource | None,
    path: str | Path | None = None,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
    accept_changes: bool = False,
    keep_values: Collection[str] = (),
    purge: bool = False,
    resume: bool = False,
    shard: tuple[int, int] | None = None,
    rows: range | None = None,
    executor: str | Mapping[str, Any] | ExecutorSettings | None = None,
    address: str | None = None,
    workers: int | None = None,
    metrics: str | None = None,
    otel: Mapping[str, Any] | OtelSettings | None = None,
    ui: bool = False,
    on_progress: OnProgress | None = None,
    progress_interval_s: float = 0.5,
    on_row_group_finished: OnRowGroupFinished | None = None,
    drain_on_interrupt: bool | None = None,
) -> RunReport:
    """:func:`run_async` on an event loop of its own. Raises UsageError inside a running one, as in a notebook."""
    _refuse_event_loop("run_async")
    return run_on_event_loop(
        partial(
            run_async,
            spec,
            path,
            directory=directory,
            seed=seed,
            parameters=parameters,
            accept_changes=accept_changes,
            keep_values=keep_values,
            purge=purge,
            resume=resume,
            shard=shard,
            rows=rows,
            executor=executor,
            address=address,
            workers=workers,
            metrics=metrics,
            otel=otel,
            ui=ui,
            on_progress=on_progress,
            progress_interval_s=progress_interval_s,
            on_row_group_finished=on_row_group_finished,
            drain_on_interrupt=is_free_to_take_interrupts() if drain_on_interrupt is None else drain_on_interrupt,
        )
    )


def merge(whole: str | Path, shards: Iterable[str | Path], *, allow_holes: bool = False) -> Merged:
    """Makes the run database ``whole`` of all shards of a run, which are only read.

    ``allow_holes``: also if shards are missing or unfinished; ``run(None, whole)`` makes the rest. Raises a
    :class:`~rowmill.errors.RowmillError`; then there is no ``whole``.
    """
    with said_in_words():
        return merging.merge(Path(whole), [Path(shard) for shard in shards], time.time(), allow_holes=allow_holes)


async def merge_async(whole: str | Path, shards: Iterable[str | Path], *, allow_holes: bool = False) -> Merged:
    """:func:`merge` in a worker thread."""
    return await anyio.to_thread.run_sync(partial(merge, whole, list(shards), allow_holes=allow_holes))


async def preview_async(
    spec: SpecSource,
    rows: int = 5,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
) -> Preview:
    """Makes the first ``rows`` rows of a spec, with the requests a run would make for them; writes no file.

    The arguments are those of :func:`run_async`. A notebook shows the result as a table; ``rows`` of it is an Arrow
    table. Raises what a run raises.
    """
    prepared = await anyio.to_thread.run_sync(_prepared, spec, directory, seed, parameters)
    return await engine_preview.preview_async(prepared, rows)


def preview(
    spec: SpecSource,
    rows: int = 5,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
) -> Preview:
    """:func:`preview_async` on an event loop of its own. Raises UsageError inside a running one, as in a notebook."""
    _refuse_event_loop("preview_async")
    return run_on_event_loop(partial(preview_async, spec, rows, directory=directory, seed=seed, parameters=parameters))


async def check_models_async(
    spec: SpecSource | None = None,
    *,
    directory: str | Path | None = None,
    parameters: Mapping[str, object] | None = None,
    quick: bool = False,
) -> list[CheckedModel]:
    """Tries each model of a spec, or of one's own ``models.yaml``: reach, latency, what it takes, limits.

    At most four small requests to each; ``quick``: one. What is wrong with a model is the ``problem`` of what is
    returned, and raises nothing.
    """
    found = await anyio.to_thread.run_sync(_to_check, spec, directory, parameters)
    models, uses, start = found
    return await model_check.check_each(models, uses, KeyRing(os.environ, start), quick=quick)


def check_models(
    spec: SpecSource | None = None,
    *,
    directory: str | Path | None = None,
    parameters: Mapping[str, object] | None = None,
    quick: bool = False,
) -> list[CheckedModel]:
    """:func:`check_models_async` on an event loop of its own. Raises UsageError inside a running one."""
    _refuse_event_loop("check_models_async")
    return run_on_event_loop(partial(check_models_async, spec, directory=directory, parameters=parameters, quick=quick))


def _to_check(
    spec: SpecSource | None, directory: str | Path | None, parameters: Mapping[str, object] | None
) -> model_check.ToCheck:
    if spec is None:
        return model_check.own_models_to_check()
    if isinstance(spec, (str, Path)) and is_run_database(Path(spec)):
        return models_to_check(prepare_inside(Path(spec)))
    loaded, start, names = loaded_spec(spec, directory, None, parameters)
    if not loaded.columns:
        return model_check.ToCheck(loaded.models, {}, start)
    return models_to_check(_with_names(prepare(loaded, start), names))


def _prepared(
    spec: SpecSource, directory: str | Path | None, seed: object, parameters: Mapping[str, object] | None
) -> Prepared:
    loaded, start, names = loaded_spec(spec, directory, seed, parameters)
    return _with_names(prepare(loaded, start), names)


def _with_names(prepared: Prepared, names: tuple[str, ...]) -> Prepared:
    """The same, once no seed column has the name of a parameter."""
    if prepared.seed_file is not None:
        refuse_shadowed(names, [name for name, _ in prepared.seed_file.columns])
    return prepared


def _executor(
    prepared: Prepared | None,
    executor: str | Mapping[str, Any] | ExecutorSettings | None,
    address: str | None,
    workers: int | None,
) -> ExecutorSettings | None:
    if executor is None or isinstance(executor, str):
        return chosen_executor(None if prepared is None else prepared.spec.run.executor, executor, address, workers)
    if address is not None or workers is not None:
        raise UsageError("An executor with settings of its own says address and workers among them.")
    return executor_settings(executor)


def _otel(given: Mapping[str, Any] | OtelSettings) -> OtelSettings:
    if isinstance(given, OtelSettings):
        return given
    found = Spec.from_data({"records": 0, "run": {"otel": dict(given)}}).run.otel
    assert found is not None
    return found


@contextmanager
def _metrics(database: Path, address: str) -> Iterator[str]:
    from rowmill.metrics.serving import serving  # not for those who do not ask for it

    with serving(database, address) as place:
        yield place


@contextmanager
def _page(database: Path) -> Iterator[None]:
    from rowmill.ui.server import PageServer  # not for those who never look

    page = PageServer(database)
    _log.warning("The page of this run: %s", page.url)
    try:
        yield
    finally:
        page.close()


def _refuse_event_loop(twin: str) -> None:
    if _is_in_event_loop():
        raise UsageError(f"An event loop is running here (a notebook?): use 'await rowmill.{twin}(…)'.")


def _is_in_event_loop() -> bool:
    try:
        current_token()
    except NoEventLoopError:
        return False
    return True


def loaded_spec(
    spec: SpecSource, directory: str | Path | None, seed: object, parameters: Mapping[str, object] | None = None
) -> tuple[Spec, Path, tuple[str, ...]]:
    """The spec, where its relative paths start, and the names of its parameters."""
    if isinstance(spec, (str, Path)):
        spec = load_spec(spec, parameters)
        parameters = None
    if parameters and isinstance(spec, (LoadedSpec, Spec)):
        raise UsageError("A spec that is loaded has its values; give parameters to load_spec, or with a file.")
    if isinstance(spec, LoadedSpec):
        return _with_seed(spec.spec, seed), spec.directory, tuple(spec.parameters)
    start = Path(directory) if directory is not None else Path.cwd()
    made, names = (spec, ()) if isinstance(spec, Spec) else spec_of_data(spec, start, parameters)
    return _with_seed(made, seed), start, names


def _with_seed(spec: Spec, seed: object) -> Spec:
    """The spec with seed rows given from Python. Raises SpecError if it names others, or they are no table."""
    if seed is None:
        return spec
    known = spec.seed_dataset
    if known is not None and known.seed_type != "df":
        raise SpecError(
            [Problem("seed_dataset", "The spec names seed data of its own; say seed_type: df, or no seed=.")]
        )
    fields = known.model_dump(exclude_unset=True) if known is not None else {}
    data = {"seed_dataset": {**fields, "seed_type": "df", "df": seed}}
    seeded = Spec.from_data({"records": 0, **data}).seed_dataset
    return spec.model_copy(update={"seed_dataset": seeded})
