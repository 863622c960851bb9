"""From a spec to everything known about it before any work: its graph, its seed file's columns, its limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rowmill.counted import plural
from rowmill.engine.run_seed import open_seed
from rowmill.engine.spec_warnings import spec_warnings
from rowmill.errors import Problem, SeedMissing, SpecError
from rowmill.graph.building import build_graph
from rowmill.graph.endpoint import endpoints
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.spec.declaration import LOCAL, THREADS, SampledValue, SqlExpression, dataset_expressions
from rowmill.spec.loading import LoadedSpec, load_spec
from rowmill.spec.problems import in_document_order
from rowmill.spec.records import ALL
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.file.usable import check_usable
from rowmill.store.layout.blueprint import Blueprint
from rowmill.store.layout.expression import ExpressionAnalyst
from rowmill.store.layout.implicit_cast import own_expression
from rowmill.store.layout.seed_content import kept_seed
from rowmill.store.layout.seed_reader import SeedFile, count_seed_rows, describe_source, used_rows
from rowmill.store.reshape.dataset_sql import bindable
from rowmill.store.run_store import RunStore

_log = logging.getLogger("rowmill.run")


@dataclass(frozen=True)
class Prepared:
    """A spec that was found good, and what follows from it."""

    spec: Spec
    directory: Path
    """Where relative paths and ``module:function`` names of the spec start."""
    graph: Graph
    seed_file: SeedFile | None
    warnings: tuple[Problem, ...] = ()
    """What in the spec file may be meant otherwise than it is read."""

    @property
    def limits(self) -> dict[str, int]:
        """Per resource how many tasks may run at once (C1, C5)."""
        return resource_limits(self.spec)

    def blueprint(self) -> Blueprint:
        """What the store needs to make the run database."""
        return Blueprint(self.spec, self.graph, self.directory.resolve(), self.seed_file, self.limits)


_RUNS_ON = ("records", "row_group_size", "run")
"""What an accepted spec may say anew and still go on: how much is made, and how the run works."""


def prepare(source: Path | str | Spec | LoadedSpec, directory: Path | None = None) -> Prepared:
    """Loads a spec, reads its seed file's columns and builds its graph. Writes nothing.

    ``directory`` is where relative paths start; default: the spec file's, or the current one. Raises
    SpecError with every problem found.
    """
    spec, start, warnings = _loaded(source, directory)
    try:
        config = spec.seed_dataset
        seed_file = describe_source(config, open_seed(config, start)) if config else None
        spec = _with_records(spec, seed_file, None)
    except SpecError as error:
        raise _with_other_problems(error, spec, start) from error
    columns = seed_file.columns if seed_file else ()
    if isinstance(source, LoadedSpec):
        source.refuse_shadowed(name for name, _ in columns)
    prepared = _prepared(spec, start, seed_file, columns)
    return replace(prepared, warnings=(*warnings, *prepared.warnings))


def prepare_to_change(
    source: Path | str | Spec | LoadedSpec, database: Path, directory: Path | None = None
) -> Prepared:
    """:func:`prepare` for a run that takes over what ``database`` holds: seed data it has already is as it is there.

    Raises SpecError with every problem found, Locked, Incompatible or Damaged.
    """
    spec, start, warnings = _loaded(source, directory)
    try:
        seed_file = _seed_file(spec, start, database)
        spec = _with_records(spec, seed_file, database)
    except SpecError as error:
        raise _with_other_problems(error, spec, start) from error
    columns = seed_file.columns if seed_file else ()
    if isinstance(source, LoadedSpec):
        source.refuse_shadowed(name for name, _ in columns)
    prepared = _prepared(spec, start, seed_file, columns)
    return replace(prepared, warnings=(*warnings, *prepared.warnings))


def _loaded(source: Path | str | Spec | LoadedSpec, directory: Path | None) -> tuple[Spec, Path, tuple[Problem, ...]]:
    """The spec, where its relative paths start, and what in its file may be meant otherwise."""
    if isinstance(source, Spec):
        return source, directory or Path.cwd(), ()
    loaded = source if isinstance(source, LoadedSpec) else load_spec(source)
    return loaded.spec, directory or loaded.directory, loaded.warnings


def prepare_to_run(spec: Spec, directory: Path, database: Path) -> Prepared:
    """:func:`prepare` for a run in ``database``, which needs no seed data any more if it has that of the spec.

    Nor is a spec judged that was accepted when it made ``database``: it has to run, that is all (V6). Reads
    ``database`` only if something is wrong. Raises UsageError, SpecError, Locked, Incompatible or Damaged.
    """
    check_usable(database)
    try:
        return _prepared_to_run(spec, directory, database, judges=True)
    except SpecError:
        accepted = _accepted_spec(database)
        if accepted is None or spec.model_copy(update={name: getattr(accepted, name) for name in _RUNS_ON}) != accepted:
            raise
    return _prepared_to_run(spec, directory, database, judges=False)


def _prepared_to_run(spec: Spec, directory: Path, database: Path, *, judges: bool) -> Prepared:
    try:
        seed_file = _seed_file(spec, directory, database)
        spec = _with_records(spec, seed_file, database)
    except SpecError as error:
        kept = _kept_seed_columns(spec, database)
        if kept is None:
            raise _with_other_problems(error, spec, directory) from error
        if isinstance(error, SeedMissing):
            _log.warning("%s The run goes on with the seed rows inside %s.", error.problems[0].message, database)
            return _prepared(_with_records(spec, None, database), directory, None, kept, judges=judges)
        way_out = f"'rowmill run {database}' goes on with the seed rows inside it."
        raise SpecError([*error.problems, Problem("", way_out)]) from error
    return _prepared(spec, directory, seed_file, seed_file.columns if seed_file else (), judges=judges)


def _seed_file(spec: Spec, directory: Path, database: Path) -> SeedFile | None:
    """The seed dataset as the run in ``database`` has it, if its source says the same; else as the source has it."""
    config = spec.seed_dataset
    if config is None:
        return None
    source = open_seed(config, directory)
    if database.exists():
        with Connection(database, read_only=True) as connection:
            store = RunStore.over(connection)
            made_with = None if store.is_new else Spec.from_json(store.stored_spec().text)
            if made_with is not None and made_with.seed == spec.seed and config.reads_like(made_with.seed_dataset):
                kept = kept_seed(connection, config, source, store.seed_columns())
                if kept is not None:
                    return kept
    return describe_source(config, source)


def _with_records(spec: Spec, seed_file: SeedFile | None, database: Path | None) -> Spec:
    """The spec with a number of records where it says ``all``: that of the seed rows. Raises SpecError without any."""
    if spec.records != ALL:
        if spec.seed_dataset is not None and spec.seed_dataset.follow:
            message = "A run that follows another makes a row for each row of that one: say 'records: all'."
            raise SpecError([Problem("records", message)])
        return spec
    if spec.seed_dataset is None:
        message = "'all' takes each seed row once, and there is no seed_dataset. Say how many records there are to be."
        raise SpecError([Problem("records", message)])
    if seed_file is not None and not seed_file.is_kept:
        rows = used_rows(seed_file)
    else:
        assert database is not None  # it is what keeps the seed rows
        with Connection(database, read_only=True) as connection:
            rows = count_seed_rows(connection)
    return spec.model_copy(update={"records": rows})


def seed_use(prepared: Prepared) -> Problem | None:
    """How often each seed row is used, where that is not once. Reads all seed rows, which stay at hand."""
    spec, seed_file = prepared.spec, prepared.seed_file
    if seed_file is None or spec.accepted_records is not None or not spec.planned_records:
        return None
    rows = used_rows(seed_file)
    if rows == spec.planned_records:
        return None
    if spec.planned_records < rows:
        used = f"{plural(spec.planned_records, 'seed row')} of {rows:,} {_are(spec.planned_records)} used"
    else:
        used = f"each seed row is used {_times(spec.planned_records / rows)} ({rows:,} for {spec.planned_records:,})"
    return Problem("records", f"{used[0].upper()}{used[1:]}; 'records: all' takes each once.")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _times(share: float) -> str:
    return f"{share:.3g} times" if share < 1000 else f"{share:,.0f} times"


def _accepted_spec(database: Path) -> Spec | None:
    """The spec a run database was made with, or None if there is none."""
    if not database.exists():
        return None
    with Connection(database, read_only=True) as connection:
        store = RunStore.over(connection)
        return None if store.is_new else Spec.from_json(store.stored_spec().text)


def _kept_seed_columns(spec: Spec, database: Path) -> tuple[tuple[str, str], ...] | None:
    """The columns of the seed rows in a run database; None if it was made from another ``seed_dataset``, or is new."""
    if not database.exists():
        return None
    with Connection(database, read_only=True) as connection:
        store = RunStore.over(connection)
        if store.is_new or Spec.from_json(store.stored_spec().text).seed_dataset != spec.seed_dataset:
            return None
        return store.seed_columns()


def _with_other_problems(error: SpecError, spec: Spec, directory: Path) -> SpecError:
    """The problem with the seed data and all that is wrong with the spec whatever its columns are."""
    analyst = ExpressionAnalyst()
    try:
        build_graph(spec, None, analyst.analyse, directory)
    except SpecError as others:
        document = spec.model_dump(mode="json", warnings=False)
        return SpecError(in_document_order([*error.problems, *others.problems], document))
    finally:
        analyst.close()
    return error


def stored_source(database: Path) -> tuple[Spec, Path]:
    """The spec inside a run database and its directory; nothing of it is looked at. Raises Locked, Damaged, …"""
    with Connection(database, read_only=True) as connection:
        stored = RunStore.over(connection).stored_spec()
    return Spec.from_json(stored.text), stored.directory


def prepare_stored(text: str, directory: Path, seed_columns: tuple[tuple[str, str], ...]) -> Prepared:
    """The same for the spec inside a run database, which holds the seed rows itself and was accepted before (V6)."""
    return _prepared(Spec.from_json(text), directory, None, seed_columns, judges=False)


def _prepared(
    spec: Spec,
    directory: Path,
    seed_file: SeedFile | None,
    seed_columns: tuple[tuple[str, str], ...],
    *,
    judges: bool = True,
) -> Prepared:
    analyst = ExpressionAnalyst(judges=judges)
    try:
        graph = build_graph(spec, seed_columns, analyst.analyse, directory, judges=judges)
        if judges:
            _check_types(graph, analyst, seed_file)
    finally:
        analyst.close()
    warnings = spec_warnings(spec) if judges else ()
    for warning in warnings:
        _log.warning("%s", warning)
    return Prepared(spec, directory, graph, seed_file, warnings)


def resource_limits(spec: Spec) -> dict[str, int]:
    """The limit of every resource of a spec: its endpoints, the event loop, the worker threads."""
    found = endpoints(spec)
    limits = {name: endpoint.limit for name, endpoint in found.items()}
    limits |= {server: endpoint.server_limit for endpoint in found.values() for server in endpoint.servers}
    for column in spec.columns:
        for name, limit in column.own_resources().items():
            limits[name] = min(limit, limits.get(name, limit))
    return {**limits, LOCAL: spec.run.max_in_flight, THREADS: spec.run.max_local_workers}


def _check_types(graph: Graph, analyst: ExpressionAnalyst, seed_file: SeedFile | None) -> None:
    """Binds every SQL expression and skip rule to the types of its columns. Raises SpecError."""
    remarks = {column.name: column.remark for column in seed_file.facts if column.remark} if seed_file else {}
    types = {output.name: output.sql_type for output in graph.outputs}
    problems = []
    for node in graph.generators:
        for place, expression in _bound_sql(node):
            over_dataset = node.declaration.dataset_sql is not None
            problem = analyst.binding_problem(expression, _types_of(node, types), over_dataset=over_dataset)
            if problem:
                problems.append(Problem(place, problem + _doubts(node, remarks, types)))
        own = own_expression(node.declaration.sql, node.declaration.dataset_sql)
        if own is not None and not problems:
            problem = analyst.cast_problem(own.text, _types_of(node, types), node.columns[0].sql_type)
            if problem:
                problems.append(Problem(own.place, problem + _doubts(node, remarks, types)))
        skip = node.declaration.skip
        if skip is not None:
            problem = analyst.value_problem(skip.value, node.columns[0].sql_type)
            if problem:
                problems.append(Problem(skip.place.removesuffix("when") + "value", problem))
    if problems:
        raise SpecError(problems)


def _doubts(node: GeneratorNode, remarks: Mapping[str, str], types: Mapping[str, str]) -> str:
    """What may be wrong with an expression is the guessed type of a seed column."""
    doubtful = [name for name in node.inputs if name in remarks]
    return "".join(f" The seed column '{name}' is guessed to be {types[name]}: {remarks[name]}." for name in doubtful)


def _types_of(node: GeneratorNode, types: Mapping[str, str]) -> dict[str, str]:
    own = {"row_id": "BIGINT"} if node.declaration.dataset_sql is not None else {}
    return {name: types[name] for name in node.inputs} | own


def _bound_sql(node: GeneratorNode) -> list[tuple[str, str]]:
    bound = []
    declaration = node.declaration
    if isinstance(declaration.sql, SqlExpression):
        cast = f"cast(({declaration.sql.text}\n) as {node.columns[0].sql_type})"
        bound.append((declaration.sql.place, cast))
    if isinstance(declaration.sql, SampledValue):
        for condition, _ in declaration.sql.cases:
            bound.append((condition.place, f"cast(({condition.text}\n) as boolean)"))
    bound += [
        (expression.place, bindable(declaration.dataset_sql, expression, node.columns[0].sql_type))
        for expression in dataset_expressions(declaration.dataset_sql)
    ]
    if declaration.skip is not None and declaration.skip.sql is not None:
        bound.append((declaration.skip.place, f"cast(({declaration.skip.sql}\n) as boolean)"))
    return bound
