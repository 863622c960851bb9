"""The graph of generators: what each needs, what it makes, and in which order they can run.

Immutable and O(columns): rows are not in it. Every order is the same in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from rowmill.graph.plan import Plan
from rowmill.spec.declaration import Declaration, Output, Strategy

WORD_BITS = 64
"""Bits of one word of the done set."""


@dataclass(frozen=True)
class GeneratorNode:
    """A generator in the graph. ``number`` is its bit in the done set and its position in ``Graph.generators``."""

    number: int
    declaration: Declaration
    upstream: tuple[int, ...]
    """Numbers of the generators whose columns it needs, also for its skip rule; ascending."""
    required: tuple[int, ...]
    """Those of ``upstream`` it needs for more than its skip rule: a skip of one of them propagates (S2)."""
    inputs: tuple[str, ...]
    """The columns it needs, also for its skip rule, under their declared names; each once."""
    kept: tuple[int, ...]
    """Positions in ``declaration.outputs`` of the outputs that become columns: all, except side effects
    whose name a declared column has (R11)."""

    @property
    def name(self) -> str:
        """The generator's name: that of its first column."""
        return self.declaration.name

    @property
    def strategy(self) -> Strategy:
        """How it is called."""
        return self.declaration.strategy

    @property
    def is_task(self) -> bool:
        """True if it is called; false if it is evaluated in the database, row by row or over all rows."""
        return self.strategy is not Strategy.SQL and self.declaration.dataset_sql is None

    @cached_property
    def columns(self) -> tuple[Output, ...]:
        """The columns it makes."""
        return tuple(self.declaration.outputs[position] for position in self.kept)

    @cached_property
    def upstream_mask(self) -> int:
        """``upstream`` as a bit set."""
        return _mask(self.upstream)

    @cached_property
    def required_mask(self) -> int:
        """``required`` as a bit set."""
        return _mask(self.required)


@dataclass(frozen=True, slots=True)
class Stage:
    """The generators between two barriers, and the ``dataset`` generators that end it."""

    number: int
    generators: tuple[int, ...]
    """Numbers of its ``cell``, ``batch`` and ``sql`` generators."""
    barriers: tuple[int, ...]
    """Numbers of the ``dataset`` generators that run when all row groups finished this stage (R6)."""


@dataclass(frozen=True)
class Graph:
    """All generators of a spec, in topological order; ties are in declaration order."""

    generators: tuple[GeneratorNode, ...]
    outputs: tuple[Output, ...]
    """All columns in declaration order: undeclared seed columns first, side effects after their column."""

    @cached_property
    def _by_column(self) -> dict[str, GeneratorNode]:
        return {output.name: node for node in self.generators for output in node.columns}

    @cached_property
    def _by_name(self) -> dict[str, GeneratorNode]:
        return {node.name: node for node in self.generators}

    @cached_property
    def _dependents(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.generators]
        for node in self.generators:
            for number in node.upstream:
                found[number].append(node.number)
        return tuple(map(tuple, found))

    def generator_of_column(self, column: str) -> GeneratorNode:
        """The generator that makes a column. Raises KeyError for an unknown one."""
        return self._by_column[column]

    def generator_of_name(self, name: str) -> GeneratorNode:
        """The generator of that name. Raises KeyError for an unknown one."""
        return self._by_name[name]

    @property
    def words(self) -> int:
        """64-bit words the done set takes; at least 1."""
        return max(1, -(-len(self.generators) // WORD_BITS))

    @staticmethod
    def bit(number: int) -> tuple[int, int]:
        """Word and mask (unsigned, one bit set) of a generator in the done set."""
        word, position = divmod(number, WORD_BITS)
        return word, 1 << position

    def dependents(self, number: int) -> tuple[int, ...]:
        """Numbers of the generators that need a column of this one directly, ascending."""
        return self._dependents[number]

    def downstream(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Numbers of all generators that need one of these, directly or not, ascending."""
        return _reachable(numbers, lambda number: self._dependents[number])

    def all_upstream(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Numbers of all generators these need, directly or not, ascending."""
        return _reachable(numbers, lambda number: self.generators[number].upstream)

    @cached_property
    def depth(self) -> int:
        """Generators on the longest chain."""
        return max(self._levels(lambda node: 1), default=0)

    def _levels(self, cost: Callable[[GeneratorNode], int]) -> list[int]:
        levels: list[int] = []
        for node in self.generators:
            levels.append(cost(node) + max((levels[number] for number in node.upstream), default=0))
        return levels

    def critical_path(self, cost: Callable[[GeneratorNode], float] | None = None) -> tuple[GeneratorNode, ...]:
        """The chain with the greatest sum of costs. Default: :func:`default_cost`; first in order on a tie."""
        cost = cost or default_cost
        best: list[tuple[float, int]] = []
        before: list[int | None] = []
        for node in self.generators:
            longest = max(node.upstream, key=lambda number: (*best[number], -number), default=None)
            here = cost(node)
            total, length = best[longest] if longest is not None else (0.0, 0)
            best.append((total + here, length + 1))
            before.append(longest)
        if not best:
            return ()
        number: int | None = max(range(len(best)), key=lambda candidate: (*best[candidate], -candidate))
        path = []
        while number is not None:
            path.append(self.generators[number])
            number = before[number]
        return tuple(reversed(path))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order: one if nothing is a ``dataset`` generator."""
        stage_of: list[int] = []
        for node in self.generators:
            stage_of.append(max((stage_of[n] + self._is_barrier(n) for n in node.upstream), default=0))
        last = max((stage + self._is_barrier(number) for number, stage in enumerate(stage_of)), default=0)
        members: list[tuple[list[int], list[int]]] = [([], []) for _ in range(last + 1)]
        for number, stage in enumerate(stage_of):
            members[stage][self._is_barrier(number)].append(number)
        if len(members) > 1 and members[-1] == ([], []):
            members.pop()  # nothing comes after the last barrier
        return tuple(Stage(number, tuple(own), tuple(ends)) for number, (own, ends) in enumerate(members))

    @cached_property
    def barriers(self) -> tuple[int, ...]:
        """Numbers of the ``dataset`` generators, in topological order."""
        return tuple(node.number for node in self.generators if node.strategy is Strategy.DATASET)

    @cached_property
    def regenerating(self) -> Mapping[int, tuple[int, ...]]:
        """Per generator that has invalid rows made again, the generators that start: the nearest to its targets,
        looking upstream, that can answer differently."""
        return {
            node.number: self._nearest_that_differ(node.declaration.regeneration.targets)
            for node in self.generators
            if node.declaration.regeneration is not None
        }

    @cached_property
    def spareable(self) -> frozenset[int]:
        """Generators whose cells have the value they had if their inputs do, so that they need not be made again (V8).

        One call makes one of their cells, from nothing but the row. Not what is made again until a verdict is good,
        nor such verdicts: how often that was counts as well. Nor verdicts that drop their row: they are given anew.
        """
        counted = {*self.regenerating}
        for roots in self.regenerating.values():
            counted.update(roots, self.downstream(roots))
        return frozenset(
            node.number
            for node in self.generators
            if node.strategy is Strategy.CELL
            and node.upstream
            and node.number not in counted
            and not node.declaration.is_ordered
            and not node.declaration.drops_invalid
        )

    @cached_property
    def remade_on_retry(self) -> Mapping[int, tuple[int, ...]]:
        """Per generator whose verdict drops rows, what is made again when a person has such a row tried again.

        That is what made its targets, and all that follows. A generator is missing where nothing could come out
        differently, or where its row cannot be made again by itself: a barrier lies between, or something in order.
        """
        found = {}
        for node in self.generators:
            roots = self._nearest_that_differ(node.declaration.judges) if _drops(node) else ()
            remade = {*roots, *self.downstream(roots)}
            between = remade.intersection(self.all_upstream([node.number]))
            is_alone = all(self.generators[number].strategy is not Strategy.DATASET for number in between)
            if roots and is_alone and not any(self.generators[number].declaration.is_ordered for number in remade):
                found[node.number] = tuple(sorted(remade))
        return found

    def _nearest_that_differ(self, columns: Iterable[str]) -> tuple[int, ...]:
        found: set[int] = set()
        open_numbers = [self._by_column[column].number for column in columns]
        while open_numbers:
            number = open_numbers.pop()
            if self.generators[number].declaration.can_answer_differently:
                found.add(number)
            else:
                open_numbers += self.generators[number].upstream
        return tuple(sorted(found))

    def needed(self, open_barriers: Iterable[int]) -> tuple[int, ...]:
        """Generators a row needs while these barriers have not run: all but them and what comes after them (R6)."""
        held = {*open_barriers}
        held.update(self.downstream(held))
        return tuple(node.number for node in self.generators if node.number not in held)

    def _is_barrier(self, number: int) -> bool:
        return self.generators[number].strategy is Strategy.DATASET

    def task_counts(self, plan: Plan) -> dict[int, int]:
        """Tasks of each generator, by number, when no row is dropped or skipped."""
        per_strategy: Mapping[Strategy, int] = {
            Strategy.CELL: plan.rows,
            Strategy.BATCH: plan.row_groups,
            Strategy.DATASET: min(1, plan.rows),
            Strategy.SQL: 0,
        }
        return {node.number: per_strategy[node.strategy] if node.is_task else 0 for node in self.generators}


def default_cost(node: GeneratorNode) -> float:
    """A rough cost of a generator per row: a request to a model outweighs all local work."""
    if not node.is_task:
        return 0.0
    resource = node.declaration.resource
    return 0.001 if resource is None or resource.partition("/")[0] == "local" else 1.0


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def _reachable(numbers: Iterable[int], steps: Callable[[int], Iterable[int]]) -> tuple[int, ...]:
    found: set[int] = set()
    open_numbers = list(numbers)
    while open_numbers:
        for number in steps(open_numbers.pop()):
            if number not in found:
                found.add(number)
                open_numbers.append(number)
    return tuple(sorted(found))


def _drops(node: GeneratorNode) -> bool:
    wanted = node.declaration.regeneration
    return node.declaration.drops_invalid or (wanted is not None and wanted.then_drops)
