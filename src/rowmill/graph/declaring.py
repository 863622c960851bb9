"""Declaring: what every column of a spec says of itself, with its skip rule, and seed columns added."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from rowmill.errors import Problem, SpecError
from rowmill.graph.endpoint import endpoint_of_alias
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import (
    Declaration,
    DeclareContext,
    Output,
    Reference,
    SeedColumn,
    SkipRule,
    SqlAnalysis,
    Strategy,
    named_in,
)
from rowmill.spec.name import column_name_problem, fold
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.spec import Spec
from rowmill.spec.template import compile_condition, is_template

AnalyseSql = Callable[..., SqlAnalysis]
"""Takes a user's SQL, and ``over_dataset=True`` if it may have window functions."""


SEED_PLACE = "seed_dataset"
"""Place of everything that is about the seed file and not about a declared column."""


class Declaring:
    """The context a spec's columns declare themselves in. Collects problems instead of raising them."""

    def __init__(
        self, spec: Spec, analyse_sql: AnalyseSql, spec_directory: Path | None = None, *, judges: bool = True
    ) -> None:
        self._judges = judges
        self.problems: list[Problem] = []
        self.spec_directory = spec_directory
        """Where relative paths and ``module:function`` names of the spec start; None: nowhere in particular."""
        self._spec = spec
        self._index = 0
        self._analyse_sql = analyse_sql
        self._endpoints = endpoint_of_alias(spec)

    @property
    def spec(self) -> Spec:
        """The whole spec."""
        return self._spec

    @property
    def index(self) -> int:
        """The position in ``spec.columns`` of the column that declares itself."""
        return self._index

    def analyse_sql(self, text: str, *, over_dataset: bool = False) -> SqlAnalysis:
        """Parses an SQL expression without running it: a scalar one, or one with window functions ``over_dataset``."""
        return self._analyse_sql(text, over_dataset=True) if over_dataset else self._analyse_sql(text)

    def problem(self, place: str, message: str) -> None:
        """Records something wrong with the spec."""
        self.problems.append(Problem(place, message))

    def judge(self, place: str, message: str) -> None:
        """Records what a new spec must not say; one that was accepted before may go on saying it (V6)."""
        if self._judges:
            self.problem(place, message)

    def endpoint(self, model_alias: str, place: str) -> str | None:
        """The resource name of a model's endpoint; records a problem if there is no such alias."""
        found = self._endpoints.get(model_alias)
        if found is None:
            hint = did_you_mean(model_alias, self._endpoints)
            if not hint:
                hint = (
                    f" Known aliases: {', '.join(self._endpoints)}." if self._endpoints else " The spec has no models."
                )
            self.problem(place, f"Model '{model_alias}' is not defined.{hint}")
        return found

    def declarations(self, seed_columns: Sequence[tuple[str, str]] | None) -> list[Declaration]:
        """The declarations of all columns: seed columns nobody declared first, then those of the spec in order.

        ``seed_columns``: name and SQL type of each; None: unknown.
        """
        declared = []
        seed_types = None if seed_columns is None else dict(seed_columns)
        for index, column in enumerate(self._spec.columns):
            self._index = index
            declaration = self._declaration(column, seed_types)
            if declaration is not None:
                declared += [*column.companions(self), declaration]
        self._check_constraint_targets()
        return self._undeclared_seed_columns(seed_columns or (), declared) + declared

    def _check_constraint_targets(self) -> None:
        for index, constraint in enumerate(self._spec.constraints):
            place = f"constraints.{index}.target_column"
            target = self._spec.column_of(constraint.target_column)
            if target is None:
                hint = did_you_mean(constraint.target_column, [column.name for column in self._spec.columns])
                self.problem(place, f"Column '{constraint.target_column}' is not defined.{hint}")
            elif target.column_type != "sampler":
                self.problem(
                    place,
                    f"Column '{constraint.target_column}' is of type {target.column_type}; constraints are for columns "
                    "of type sampler, whose values can be drawn again.",
                )

    def _declaration(self, column: ColumnConfig, seed_types: dict[str, str] | None) -> Declaration | None:
        try:
            declaration = column.declare(self)
        except SpecError as error:
            self.problems += error.problems
            return None
        skip = skip_rule(column, self, declaration.strategy)
        if skip is not None:
            own = {(reference.name, reference.row_columns) for reference in declaration.inputs}
            further = (each for each in skip.inputs if (each.name, each.row_columns) not in own)
            inputs = (*declaration.inputs, *further)
            declaration = dataclasses.replace(declaration, skip=skip, inputs=inputs)
        place = f"columns.{self._index}.requires"
        requires = tuple(Reference(name, place) for name in column.requires)
        declaration = dataclasses.replace(declaration, weight=column.weight, requires=requires)
        if isinstance(declaration.sql, SeedColumn):
            declaration = self._with_seed_type(declaration, declaration.sql.name, seed_types)
        return declaration

    def _with_seed_type(self, declaration: Declaration, name: str, seed_types: dict[str, str] | None) -> Declaration:
        if self._spec.seed_dataset is None:
            self.problem(
                f"{declaration.place}.column_type", f"Column '{name}' needs a seed_dataset; the spec has none."
            )
        elif seed_types is not None and name not in seed_types:
            hint = did_you_mean(name, seed_types) or f" It has: {', '.join(list(seed_types)[:20]) or 'no columns'}."
            self.problem(f"{declaration.place}.name", f"The seed dataset has no column '{name}'.{hint}")
        sql_type = (seed_types or {}).get(name, "VARCHAR")
        outputs = tuple(dataclasses.replace(output, sql_type=sql_type) for output in declaration.outputs)
        return dataclasses.replace(declaration, outputs=outputs, fingerprint=self._seed_fingerprint(name))

    def _seed_fingerprint(self, name: str) -> dict[str, object]:
        seed = self._spec.seed_dataset
        return {"seed_column": name, "seed_dataset": None if seed is None else seed.fingerprint()}

    def _undeclared_seed_columns(
        self, seed_columns: Sequence[tuple[str, str]], declared: Sequence[Declaration]
    ) -> list[Declaration]:
        taken = {declaration.sql.name for declaration in declared if isinstance(declaration.sql, SeedColumn)}
        others = {
            fold(output.name): declaration
            for declaration in declared
            if not isinstance(declaration.sql, SeedColumn)
            for output in declaration.outputs
            if not output.side_effect
        }
        seen: dict[str, str] = {}
        made = []
        for name, sql_type in seed_columns:
            first = seen.get(fold(name))
            seen.setdefault(fold(name), name)
            if first is not None:
                self.problem(
                    f"{SEED_PLACE}.path",
                    f"The seed dataset has two columns '{first}' and '{name}', whose names differ by nothing but case."
                    if first != name
                    else f"The seed dataset has two columns named '{name}'.",
                )
                continue
            broken = column_name_problem(name)
            if broken:
                self.problem(f"{SEED_PLACE}.path", f"A column of the seed dataset cannot be used: {broken}")
                continue
            other = others.get(fold(name))
            if other is not None:
                self.problem(
                    f"{other.place}.name",
                    f"Column '{other.name}' is a column of the seed dataset, too; rename it, or make it one of type "
                    "seed-dataset.",
                )
            elif name not in taken:
                made.append(
                    Declaration(
                        name=name,
                        column_type="seed-dataset",
                        place=SEED_PLACE,
                        inputs=(),
                        outputs=(Output(name, sql_type),),
                        strategy=Strategy.SQL,
                        reason="read from the seed dataset",
                        sql=SeedColumn(name),
                        fingerprint=self._seed_fingerprint(name),
                    )
                )
        return made


def skip_rule(column: ColumnConfig, context: DeclareContext, strategy: Strategy) -> SkipRule | None:
    """The column's ``skip`` as a rule: Jinja if ``when`` contains ``{{`` or ``{%``, an SQL predicate otherwise (S1)."""
    if column.skip is None:
        return None
    place = f"columns.{context.index}.skip.when"
    text = column.skip.when
    if strategy is Strategy.DATASET:
        context.problem(
            place,
            f"Column '{column.name}' looks at all rows at once, so there is no row to skip. Leave 'skip' out, or skip "
            "a column it needs.",
        )
        return None
    if not text.strip():
        context.problem(place, "The condition is empty; leave 'skip' out to never skip.")
        return None
    if not is_template(text):
        analysis = context.analyse_sql(text)
        if analysis.problem is not None:
            hint = " A Jinja condition is written in '{{ … }}'." if strategy is not Strategy.SQL else ""
            context.problem(place, f"{analysis.problem}{hint}")
        inputs = tuple(Reference(name, place) for name in analysis.columns)
        return SkipRule(None, text, column.skip.value, inputs, place, column.skip.on_error)
    if strategy is Strategy.SQL:
        context.problem(
            place,
            f"Column '{column.name}' is evaluated in the database, so its condition must be SQL, not Jinja: "
            "for example 'rating < 3' in place of '{{ rating < 3 }}'.",
        )
        return None
    try:
        inputs = named_in(compile_condition(text, place), place)
    except SpecError as error:
        for problem in error.problems:
            context.problem(problem.place, problem.message)
        return None
    return SkipRule(text, None, column.skip.value, inputs, place, column.skip.on_error)
