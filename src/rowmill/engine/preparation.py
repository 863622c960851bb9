"""From a spec to everything known about it before any work: its graph, its seed file's columns, its limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rowmill.errors import Problem, SeedMissing, SpecError
from rowmill.graph.building import build_graph
from rowmill.graph.endpoint import endpoints
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.spec.declaration import LOCAL, THREADS, SampledValue, SqlExpression, dataset_expressions
from rowmill.spec.loading import load_spec
from rowmill.spec.problems import in_document_order
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.layout.blueprint import Blueprint
from rowmill.store.layout.expression import ExpressionAnalyst
from rowmill.store.layout.seed_reader import SeedFile, describe_seed
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


def prepare(source: Path | str | Spec, directory: Path | None = None) -> Prepared:
    """Loads a spec, reads its seed file's columns and builds its graph. Writes nothing.

    ``directory`` is where relative paths start; default: the spec file's, or the current one. Raises
    SpecError with every problem found.
    """
    if isinstance(source, Spec):
        spec, start = source, directory or Path.cwd()
        warnings: tuple[Problem, ...] = ()
    else:
        loaded = load_spec(source)
        spec, start, warnings = loaded.spec, directory or loaded.directory, loaded.warnings
    try:
        seed_file = describe_seed(spec.seed_dataset, start) if spec.seed_dataset else None
    except SpecError as error:
        raise _with_other_problems(error, spec, start) from error
    prepared = _prepared(spec, start, seed_file, seed_file.columns if seed_file else ())
    return replace(prepared, warnings=warnings)


def prepare_to_run(spec: Spec, directory: Path, database: Path) -> Prepared:
    """:func:`prepare` for a run in ``database``, which needs no seed data any more if it has that of the spec.

    Reads ``database`` only if the seed data cannot be read. Raises SpecError, Locked, Incompatible or Damaged.
    """
    try:
        seed_file = describe_seed(spec.seed_dataset, directory) if spec.seed_dataset else None
    except SpecError as error:
        kept = _kept_seed_columns(spec, database)
        if kept is None:
            raise _with_other_problems(error, spec, directory) from error
        if isinstance(error, SeedMissing):
            _log.warning("%s The run goes on with the seed rows inside %s.", error.problems[0].message, database)
            return _prepared(spec, directory, None, kept)
        way_out = f"'rowmill run {database}' goes on with the seed rows inside it."
        raise SpecError([*error.problems, Problem("", way_out)]) from error
    return _prepared(spec, directory, seed_file, seed_file.columns if seed_file else ())


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


def prepare_stored(text: str, directory: Path, seed_columns: tuple[tuple[str, str], ...]) -> Prepared:
    """The same for the spec inside a run database, which holds the seed rows itself."""
    return _prepared(Spec.from_json(text), directory, None, seed_columns)


def _prepared(
    spec: Spec, directory: Path, seed_file: SeedFile | None, seed_columns: tuple[tuple[str, str], ...]
) -> Prepared:
    analyst = ExpressionAnalyst()
    try:
        graph = build_graph(spec, seed_columns, analyst.analyse, directory)
        _check_types(graph, analyst)
    finally:
        analyst.close()
    return Prepared(spec, directory, graph, seed_file)


def resource_limits(spec: Spec) -> dict[str, int]:
    """The limit of every resource of a spec: its endpoints, the event loop, the worker threads."""
    limits = {name: endpoint.limit for name, endpoint in endpoints(spec).items()}
    for column in spec.columns:
        for name, limit in column.own_resources().items():
            limits[name] = min(limit, limits.get(name, limit))
    return {**limits, LOCAL: spec.run.max_in_flight, THREADS: spec.run.max_local_workers}


def _check_types(graph: Graph, analyst: ExpressionAnalyst) -> None:
    """Binds every SQL expression and skip rule to the types of its columns. Raises SpecError."""
    types = {output.name: output.sql_type for output in graph.outputs}
    problems = []
    for node in graph.generators:
        for place, expression in _bound_sql(node):
            over_dataset = node.declaration.dataset_sql is not None
            problem = analyst.binding_problem(expression, _types_of(node, types), over_dataset=over_dataset)
            if problem:
                problems.append(Problem(place, problem))
        skip = node.declaration.skip
        if skip is not None:
            problem = analyst.value_problem(skip.value, node.columns[0].sql_type)
            if problem:
                problems.append(Problem(skip.place.removesuffix("when") + "value", problem))
    if problems:
        raise SpecError(problems)


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
