"""Building: from a spec to its graph, or to every problem its columns have with each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from pathlib import Path

from rowmill.errors import Problem, SpecError
from rowmill.graph.declaring import AnalyseSql, Declaring
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.graph.processing import dropping, processor_problems
from rowmill.graph.regenerating import regeneration_problems
from rowmill.spec.declaration import Declaration, Output, Reference, SampledValue, SqlExpression, dataset_expressions
from rowmill.spec.name import column_name_problem, fold
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.problems import in_document_order
from rowmill.spec.spec import Spec

_MAX_SUGGESTIONS = 50
"""Unknown names a nearest one is looked for: it takes milliseconds each among thousands of columns."""
_ROW_ID = "row_id"


def build_graph(
    spec: Spec,
    seed_columns: Sequence[tuple[str, str]] | None,
    analyse_sql: AnalyseSql,
    spec_directory: Path | None = None,
    *,
    judges: bool = True,
) -> Graph:
    """The graph of a spec.

    ``seed_columns`` are name and DuckDB type of each column of the seed file, in order; those the spec does
    not declare come first, as generators of their own. None: they cannot be known, and only what is wrong whatever
    they are is found; the graph is of no use then. ``spec_directory`` is where columns look for a
    user's modules. ``judges``: False for a spec that was accepted before, which only has to run (V6).
    Raises :class:`~rowmill.errors.SpecError` with all problems: unknown references, cycles,
    outputs made twice.
    """
    declaring = Declaring(spec, analyse_sql, spec_directory, judges=judges)
    declarations = dropping(declaring.declarations(seed_columns), spec.processors)
    problems = declaring.problems
    knows_all = seed_columns is not None
    problems += processor_problems(declarations, spec.processors, knows_all=knows_all)
    columns = _Columns(declarations, problems, knows_all=knows_all)
    needs = [_needs(position, declaration, columns, problems) for position, declaration in enumerate(declarations)]
    order = _topological_order([need.upstream for need in needs])
    if len(order) < len(declarations):
        problems += _cycles(declarations, needs, set(range(len(declarations))) - set(order))
    if not declarations and not problems and knows_all:
        problems.append(Problem("columns", "The spec has no columns, so there is nothing to generate."))
    elif knows_all and judges and not problems and all(output.drop for each in declarations for output in each.outputs):
        problems.append(
            Problem(
                "columns",
                "No column is left in the dataset: each is marked 'drop' or left out by a processor. Keep one.",
            )
        )
    if problems:
        raise SpecError(in_document_order(problems, spec.model_dump(mode="json", warnings=False)))
    number_of = {position: number for number, position in enumerate(order)}
    nodes = tuple(
        GeneratorNode(
            number=number,
            declaration=declarations[position],
            upstream=tuple(sorted(number_of[other] for other in needs[position].upstream)),
            required=tuple(sorted(number_of[other] for other in needs[position].required)),
            inputs=tuple(needs[position].inputs),
            kept=columns.kept[position],
        )
        for number, position in enumerate(order)
    )
    outputs = (nodes[number_of[position]].columns for position in range(len(declarations)))
    graph = Graph(nodes, tuple(output for made in outputs for output in made))
    problems += regeneration_problems(graph)
    if problems:
        raise SpecError(in_document_order(problems, spec.model_dump(mode="json", warnings=False)))
    return graph


class _Columns:
    """Which declaration makes which column."""

    def __init__(self, declarations: Sequence[Declaration], problems: list[Problem], *, knows_all: bool) -> None:
        self._problems = problems
        self.knows_all = knows_all
        """Whether a column that is not here is nowhere: not if the seed dataset's are unknown."""
        self.maker: dict[str, int] = {}
        """Position of the declaration that makes a column."""
        self.folded: dict[str, str] = {}
        """Declared name of a column, by its name without case."""
        self.suggestions_left = _MAX_SUGGESTIONS
        self._declarations = declarations
        hidden: set[tuple[int, int]] = set()
        for side_effect in (False, True):
            for position, declaration in enumerate(declarations):
                for index, output in enumerate(declaration.outputs):
                    if output.side_effect is side_effect and not self._add(position, output):
                        hidden.add((position, index))
        self.kept = [
            tuple(index for index in range(len(declaration.outputs)) if (position, index) not in hidden)
            for position, declaration in enumerate(declarations)
        ]

    def _add(self, position: int, output: Output) -> bool:
        """Takes a column in. False: it is hidden by a declared one, or a problem."""
        declaration = self._declarations[position]
        other_name = self.folded.get(fold(output.name))
        if other_name is not None:
            other = self._declarations[self.maker[other_name]]
            if output.side_effect and not self._is_side_effect(other, other_name):
                return False  # a declared column of the same name wins (R11)
            self._report_duplicate(output, declaration, other_name, other)
            return False
        broken = column_name_problem(output.name)
        if broken and output.name != declaration.name:  # its own name is checked with the spec
            self._problems.append(
                Problem(declaration.place, f"Column '{declaration.name}' cannot make '{output.name}': {broken}")
            )
        self.folded[fold(output.name)] = output.name
        self.maker[output.name] = position
        return True

    @staticmethod
    def _is_side_effect(declaration: Declaration, name: str) -> bool:
        return any(output.side_effect for output in declaration.outputs if output.name == name)

    def _report_duplicate(self, output: Output, declaration: Declaration, other_name: str, other: Declaration) -> None:
        what = "Side-effect column" if output.side_effect else "Column"
        same = "" if other_name == output.name else f" (as '{other_name}': names must differ by more than case)"
        if other is declaration:
            message = f"{what} '{output.name}' is made twice by column '{declaration.name}'{same}."
        else:
            message = (
                f"{what} '{output.name}' of column '{declaration.name}' is made by column '{other.name}' already{same}."
            )
        self._problems.append(Problem(declaration.place, message))

    def find(self, name: str, ignore_case: bool) -> str | None:
        """The declared name of a column someone refers to."""
        if name in self.maker:
            return name
        return self.folded.get(fold(name)) if ignore_case else None

    def meant(self, references: Iterable[Reference]) -> Iterator[Reference]:
        """The references, in place of ``row`` the columns it stands for, where no column is called so."""
        for reference in references:
            if not reference.row_columns or reference.name in self.maker:
                yield reference
            else:
                yield from (Reference(name, reference.place) for name in reference.row_columns)

    def did_you_mean(self, name: str) -> str:
        """A hint for an unknown name, as long as there are not too many."""
        self.suggestions_left -= 1
        if self.suggestions_left < 0:
            return ""
        return did_you_mean(name, self.maker) or self._part_of_a_name(name)

    def _part_of_a_name(self, name: str) -> str:
        """A hint where it is a word of a column's name that templates take for something else, like ``unit-price``."""
        whole = [each for each in self.maker if not each.isidentifier() and name in re.split(r"\W+", each)]
        return f" Is '{whole[0]}' meant? In Jinja it is {{{{ row[\"{whole[0]}\"] }}}}, in SQL quoted." if whole else ""


@dataclass
class _Needs:
    """What a generator needs; positions of declarations."""

    upstream: set[int] = field(default_factory=set)
    required: set[int] = field(default_factory=set)
    inputs: dict[str, None] = field(default_factory=dict)


def _needs(position: int, declaration: Declaration, columns: _Columns, problems: list[Problem]) -> _Needs:
    needs = _Needs()
    skip = declaration.skip
    skip_references = set(columns.meant(skip.inputs)) if skip is not None else set()
    # SQL compares names without case, templates do not.
    sql_places = {skip.place} if skip is not None and skip.sql is not None else set()
    if isinstance(declaration.sql, SqlExpression):
        sql_places.add(declaration.sql.place)
    if isinstance(declaration.sql, SampledValue):
        sql_places |= {condition.place for condition, _ in declaration.sql.cases}
    sql_places.update(expression.place for expression in dataset_expressions(declaration.dataset_sql))
    reported: set[tuple[str, str]] = set()
    named = dict.fromkeys((*declaration.inputs, *(skip.inputs if skip is not None else ())))
    for reference in columns.meant(named):
        name = columns.find(reference.name, reference.place in sql_places)
        maker = columns.maker[name] if name is not None else None
        if name is not None and maker is not None and maker != position:
            needs.inputs[name] = None
            needs.upstream.add(maker)
            if reference not in skip_references:
                needs.required.add(maker)
        elif (reference.name, reference.place) not in reported and (name is not None or columns.knows_all):
            reported.add((reference.name, reference.place))
            problems.append(_reference_problem(reference, name, declaration, columns))
    for reference in declaration.requires:
        name = columns.find(reference.name, ignore_case=False)
        maker = columns.maker[name] if name is not None else None
        if maker is None and not columns.knows_all:
            continue
        if maker is None or maker == position:
            problems.append(_reference_problem(reference, name, declaration, columns))
        else:
            needs.upstream.add(maker)
            needs.required.add(maker)
    return needs


def _reference_problem(reference: Reference, name: str | None, declaration: Declaration, columns: _Columns) -> Problem:
    if name is None and fold(reference.name) == _ROW_ID:
        return Problem(
            reference.place,
            f"'{reference.name}' is no column that others can use. SQL over the whole dataset may name it "
            "(column_type: rank), and custom functions that take a table have it unasked; the sampler uuid tells "
            "rows apart, too.",
        )
    if name is None:
        return Problem(
            reference.place, f"Column '{reference.name}' is not defined.{columns.did_you_mean(reference.name)}"
        )
    if name == declaration.name:
        return Problem(reference.place, f"Column '{name}' refers to itself.")
    return Problem(reference.place, f"Column '{declaration.name}' refers to '{name}', which it makes itself.")


def _topological_order(upstream: Sequence[Iterable[int]]) -> list[int]:
    """Positions so that each comes after its upstream, the smallest first; those in or behind a cycle are left out."""
    waiting = [0] * len(upstream)
    dependents: list[list[int]] = [[] for _ in upstream]
    for position, others in enumerate(upstream):
        for other in others:
            waiting[position] += 1
            dependents[other].append(position)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    heapify(ready)
    order = []
    while ready:
        position = heappop(ready)
        order.append(position)
        for dependent in dependents[position]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heappush(ready, dependent)
    return order


def _cycles(declarations: Sequence[Declaration], needs: Sequence[_Needs], stuck: set[int]) -> list[Problem]:
    """One problem for each separate cycle among generators that cannot be ordered."""
    problems = []
    done: set[int] = set()
    for start in sorted(stuck):
        path: list[int] = []
        at: dict[int, int] = {}
        position = start
        while position not in done and position not in at:
            at[position] = len(path)
            path.append(position)
            # Each stuck generator waits for at least one other; the first makes the choice stable.
            position = min(needs[position].upstream & stuck)
        if position in at:
            members = path[at[position] :]
            first = members.index(min(members))
            members = members[first:] + members[:first]
            names = " → ".join(f"'{declarations[member].name}'" for member in [*members, members[0]])
            nothing = " Nothing can start." if len(stuck) == len(declarations) else ""
            problems.append(
                Problem(declarations[members[0]].place, f"Columns need each other in a circle: {names}.{nothing}")
            )
        done.update(path)
    return problems
