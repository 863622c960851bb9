"""``rowmill run``: start, go on, or say that all is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rowmill.cli.address_space import check_address_space
from rowmill.cli.logs import LogFormat, handler, settings, tell
from rowmill.cli.parameters import keep_values_option, set_option
from rowmill.cli.place import is_run_database
from rowmill.errors import Interrupted, RowmillError, UsageError
from rowmill.store.file.usable import check_exists

if TYPE_CHECKING:
    from rowmill.cli.progress import Display
    from rowmill.engine.ending import RunReport
    from rowmill.engine.preparation import Prepared
    from rowmill.graph.shard import ShardOrder
    from rowmill.spec.executor import ExecutorSettings

_PANEL_INTERVAL_S = 0.5
_LOG_INTERVAL_S = 5.0


def _refuse_records(_context: click.Context, _parameter: click.Parameter, records: str | None) -> None:
    if records is not None:
        number = records if records.isdecimal() else "N"
        raise click.UsageError(
            "How many rows a run makes is said in its spec: 'records'. For more rows of a run database that is there: "
            f"rowmill extend DATABASE --records {number}. For a first look: rowmill preview SPEC -n 5."
        )


def _shard(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, shards = text.partition("/")
    if not slash or not number.isdecimal() or not shards.isdecimal() or not 1 <= int(number) <= int(shards):
        raise click.BadParameter(f"'{text}' is no shard. Say 3/16 for the third of sixteen; the first is 1/16.")
    return int(number), int(shards)


def _rows(context: click.Context, parameter: click.Parameter, text: str | None) -> range | None:
    if text is None:
        return None
    first, dots, end = text.partition("..")
    if not dots:
        _refuse_records(context, parameter, text)
    if not first.isdecimal() or not end.isdecimal() or int(first) > int(end):
        raise click.BadParameter(f"'{text}' are no rows. Say 0..500 for the first five hundred: rows 0 to 499.")
    return range(int(first), int(end))


@click.command()
@click.argument("spec", type=click.Path(path_type=Path), metavar="SPEC|DATABASE")
@click.argument("database", type=click.Path(path_type=Path), required=False, default=None, metavar="[DATABASE]")
@click.option(
    "--accept-changes", is_flag=True, help="Go on with a changed spec: make again what it changes, and nothing else."
)
@keep_values_option
@click.option("--purge", is_flag=True, help="Also give up values that were kept of removed and changed columns.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@set_option
@click.option("--records", "--num-records", "-n", hidden=True, expose_value=False, callback=_refuse_records)
@click.option(
    "--shard", metavar="I/N", callback=_shard, help="Make only the I-th of N parts, counted from 1. Merge them later."
)
@click.option(
    "--rows",
    metavar="A..B",
    callback=_rows,
    help="Make only rows A to B-1, counted from 0: 0..500 and 500..1000 fit together.",
)
@click.option("--ui", "shows_page", is_flag=True, help="Show the run in a browser while it works: see 'rowmill ui'.")
@click.option("--resume", is_flag=True, help="Go on with a run that was paused; otherwise it stays paused.")
@click.option(
    "--executor",
    default=None,
    metavar="KIND",
    help="Where calls are made: local, processes beside this one, or ray, a cluster. Default: where the spec says.",
)
@click.option("--address", default=None, metavar="ADDRESS", help="Of the Ray cluster: auto, local or host:port.")
@click.option("--workers", type=click.IntRange(1, 10_000), default=None, help="How many workers.")
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Serve figures for Prometheus meanwhile, as 'rowmill metrics' prints them. Needs the extra 'metrics'.",
)
@click.pass_context
def command(
    context: click.Context,
    spec: Path,
    database: Path | None,
    accept_changes: bool,
    keep_values: tuple[str, ...],
    purge: bool,
    yes: bool,
    shows_page: bool,
    resume: bool,
    parameters: dict[str, str],
    shard: tuple[int, int] | None,
    rows: range | None,
    executor: str | None,
    address: str | None,
    workers: int | None,
    metrics: str | None,
) -> None:
    """Start the run of a spec, go on where it stopped, or say that it is complete.

    Without DATABASE, the run database is <name>.duckdb in the current directory. A run database alone
    goes on with the spec inside it. Interrupt once to stop after the running calls (75, also before the first one),
    twice to stop now; the same command goes on.

    --shard and --rows make a part of the rows in a run database of their own (by default <name>-3-of-16.duckdb), on
    this machine or another; 'rowmill merge' makes one of them. See 'rowmill help scaling'.

    \b
    Example:
      rowmill run spec.yaml
      rowmill run penguins.duckdb
      rowmill run spec.yaml shard-3.duckdb --shard 3/16
      rowmill run spec.yaml -v --log-format json 2> run.log
      rowmill run spec.yaml --executor ray --address auto --workers 8
    """
    from rowmill.graph.shard import ShardOrder

    check_address_space()
    if keep_values and not accept_changes:
        raise UsageError("--keep-values says how a change is accepted: add --accept-changes.")
    order = ShardOrder.asked(shard, rows)
    try:
        prepared, path = _what(spec, database, parameters, order, needs_seed=accept_changes or purge, yes=yes)
        if accept_changes or purge:
            _accept(prepared, path, keeps=keep_values, purge=purge, yes=yes)
        where = _executor(prepared, executor, address, workers)
        with _served(path, metrics), _page(path) if shows_page else nullcontext():
            display = None if settings().quiet else _display()
            report = _run(prepared, path, display, where, resume=resume, order=order)
    except KeyboardInterrupt:
        # Later ones are taken by the run itself, until it has ended.
        tell("Interrupted while no call ran; what is committed stays. The same command goes on.")
        context.exit(Interrupted.exit_code)
    is_in_spec = str(spec) != "-" and not parameters and order is None
    _summarise(report, [spec, database] if is_in_spec else [path], path)
    context.exit(report.exit_code)


@contextmanager
def _page(path: Path) -> Iterator[None]:
    """A page of the run, in a process of its own: drawing it must not take time from the run's."""
    from rowmill.cli.ui import OpenPage

    page = OpenPage(path)
    tell(f"The page of this run: {page.url}")
    try:
        yield
    finally:
        page.close()


def _what(
    spec: Path,
    database: Path | None,
    parameters: dict[str, str],
    order: ShardOrder | None,
    *,
    needs_seed: bool,
    yes: bool,
) -> tuple[Prepared | None, Path]:
    if is_run_database(spec):
        if database is not None:
            raise UsageError(f"'{spec}' is a run database; the spec comes first: rowmill run {database} {spec}")
        check_exists(spec)
        if parameters:
            raise UsageError("The spec inside a run database has its values: --set takes the spec file, too.")
        _tell_what_is_inside(spec, yes=yes)
        return None, spec
    from rowmill.cli.trust import agree, started_by
    from rowmill.engine.preparation import prepare_to_change, prepare_to_run
    from rowmill.engine.sharding import default_database
    from rowmill.spec.loading import load_spec

    if database is not None:
        _check_new(database)
    loaded = load_spec(spec, parameters)
    agree(started_by(loaded.spec, loaded.directory), yes=yes)  # before a function's module is imported
    path = database if database is not None else default_database(loaded.spec, order)
    if needs_seed:
        return prepare_to_change(loaded, path), path
    prepared = prepare_to_run(loaded.spec, loaded.directory, path)
    if prepared.seed_file is not None:
        loaded.refuse_shadowed(name for name, _ in prepared.seed_file.columns)
    return prepared, path


def _tell_what_is_inside(database: Path, *, yes: bool) -> None:
    """What starts by the spec inside a run database, if it can be read: what is wrong with it, the run itself says."""
    from rowmill.cli.trust import agree, started_by
    from rowmill.engine.preparation import stored_source

    source = None
    with suppress(RowmillError):
        source = stored_source(database)
    if source is not None:
        agree(started_by(*source), yes=yes)


def _check_new(database: Path) -> None:
    """Raises UsageError for a new file whose name was rather meant to set something."""
    field, is_set, value = str(database).partition("=")
    is_field = field.replace(".", "_").replace("-", "_").isidentifier()
    if is_set and is_field and not is_run_database(database) and not database.exists():
        raise UsageError(
            f"'{database}' would be the name of the run database. To set '{field}' to '{value}', write it into the "
            f"spec, or say --set {database} if it is a parameter; a file that is to be called so: ./{database}.duckdb"
        )


def _accept(prepared: Prepared | None, path: Path, *, keeps: tuple[str, ...], purge: bool, yes: bool) -> None:
    """Makes the run database one of the changed spec, after saying what that means."""
    import time

    from rowmill.cli.place import confirm
    from rowmill.engine.change import accept_change, look_at_change
    from rowmill.engine.reopening import prepare_inside

    if not path.exists():
        return
    if prepared is None:
        prepared = prepare_inside(path)
    change = look_at_change(prepared, path, keeps=keeps)
    for line in change.lines():
        tell(f"  {line}")
    if change:
        tell(change.price())
    if purge:
        confirm("Give up the values that were kept of removed and changed columns?", yes)
    elif change.removed:
        confirm(f"Take {', '.join(change.removed)} out of the dataset? The values are kept until --purge.", yes)
    accept_change(prepared, path, time.time(), purge=purge, keeps=keeps)


def _executor(
    prepared: Prepared | None, kind: str | None, address: str | None, workers: int | None
) -> ExecutorSettings | None:
    from rowmill.spec.executor import chosen_executor

    return chosen_executor(None if prepared is None else prepared.spec.run.executor, kind, address, workers)


@contextmanager
def _served(path: Path, address: str | None) -> Iterator[None]:
    """Serves metrics of the run while it works, if an address is given, and says where."""
    if address is None:
        yield
        return
    from rowmill.metrics.serving import serving

    with serving(path, address) as place:
        tell(f"Metrics are at http://{place}/metrics while this runs.")
        yield


def _run(
    prepared: Prepared | None,
    path: Path,
    shown: tuple[Display, float] | None,
    executor: ExecutorSettings | None,
    *,
    resume: bool,
    order: ShardOrder | None,
) -> RunReport:
    from rowmill.engine.event_loop import run_on_event_loop
    from rowmill.engine.invocation import run
    from rowmill.remote.opening import open_workers

    work = partial(
        run,
        prepared,
        path,
        handle_signals=True,
        resume=resume,
        shard=order,
        executor=executor,
        open_workers=open_workers,
    )
    if shown is None:
        return run_on_event_loop(work)
    display, interval_s = shown
    with display:
        return run_on_event_loop(
            partial(work, on_progress=display.show, progress_interval_s=interval_s, on_drain=display.draining)
        )


def _display() -> tuple[Display, float]:
    if settings().log_format is LogFormat.JSON:
        from rowmill.cli.progress import LogRecords

        return LogRecords(handler()), _LOG_INTERVAL_S
    if sys.stderr.isatty():
        from rowmill.cli.panel import Panel

        panel = Panel(sys.stderr)
        handler().write = panel.write
        return panel, _PANEL_INTERVAL_S
    from rowmill.cli.progress import LogLines

    return LogLines(sys.stderr), _LOG_INTERVAL_S


def _summarise(report: RunReport, again: list[Path | None], path: Path) -> None:
    """What came of the run in ``path``, and what may come next; ``again``: the arguments of ``run`` that go on."""
    tell(report.message)
    for reason in report.drop_reasons:
        tell(f"  {reason}")
    steps = []
    if report.exit_code not in {0, 3}:
        steps.append(f"rowmill run {' '.join(str(each) for each in again if each)}    goes on where it stopped")
    if report.rows_dropped:
        steps.append(f"rowmill show dropped {path}    says which rows were dropped and why")
    if report.rows_lost:
        steps.append(f"rowmill retry {path} --dropped    gives them another chance")
    if report.rows_finished:
        steps.append(f"rowmill export {path}    writes the finished rows to a file")
    steps.append(f'rowmill sql {path} "from usage"    answers any question in SQL')
    tell("Next:\n  " + "\n  ".join(steps))
