"""How a spec's graph lies in the wide tables: columns, bit-set words, and the slots of the templates.

Every piece of SQL that depends on the spec is one of the slots made here. Bit g of the done set is generator g;
each word holds 64 of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rowmill.graph.graph import WORD_BITS, GeneratorNode, Graph
from rowmill.spec.declaration import SampledValue, SamplerCall, SeedColumn, SqlExpression, Strategy
from rowmill.store.database.connection import column_list, quote
from rowmill.store.database.literal import literal
from rowmill.store.database.statements import Statement, statements_of
from rowmill.store.layout.catchable import catchable
from rowmill.store.layout.implicit_cast import ImplicitCast
from rowmill.store.layout.sampling import sampled_value, sampler_call

_INTEGER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
_NUMBER = re.compile(rf"{_INTEGER.pattern}|DOUBLE|FLOAT|REAL|DECIMAL.*")
sql = statements_of("layout/statistics")
_EXACTLY_COMPARED = re.compile(rf"{_INTEGER.pattern}|VARCHAR|JSON|BOOLEAN|DATE|TIMESTAMP|UUID|BLOB")
"""Types whose values are equal only if they are the same."""
_BRANCH_COLUMNS = 100
_ALL_BITS = (1 << WORD_BITS) - 1


@dataclass(frozen=True)
class Layout:
    """The wide tables of one graph."""

    graph: Graph
    seed: int
    casts: Mapping[int, ImplicitCast] = field(default_factory=dict, hash=False, compare=False)
    """By generator, the casts of users' SQL that must not change a value; the others are plain."""

    @cached_property
    def words(self) -> int:
        """How many 64-bit words the done set of a row has; at least one."""
        return self.graph.words

    @cached_property
    def value_columns(self) -> tuple[tuple[str, str], ...]:
        """Name and SQL type of every generated column, generator by generator."""
        return tuple((output.name, output.sql_type) for node in self.graph.generators for output in node.columns)

    @property
    def dataset_types(self) -> dict[str, str]:
        """Name and SQL type of the columns of the dataset."""
        return {output.name: output.sql_type for output in self.graph.outputs if not output.drop}

    def word_masks(self, generators: Iterable[int]) -> list[int]:
        """The bits of some generators, word by word."""
        masks = [0] * self.words
        for number in generators:
            masks[number // WORD_BITS] |= 1 << (number % WORD_BITS)
        return masks

    # Slots over one set of words --------------------------------------------------------------

    def per_word(self, pattern: str, separator: str) -> str:
        """``pattern`` once per word, with # standing for the word's number."""
        return separator.join(pattern.replace("#", str(word)) for word in range(self.words))

    def contains(self, column: str, generators: Iterable[int]) -> str:
        """True where the set ``column`` (``a.done``) holds all of ``generators``."""
        tests = [
            f"({column}_{word} & {mask}) = {mask}" for word, mask in enumerate(self.word_masks(generators)) if mask
        ]
        return " and ".join(tests) or "true"

    def intersects(self, column: str, generators: Iterable[int]) -> str:
        """True where the set ``column`` holds any of ``generators``."""
        tests = [f"({column}_{word} & {mask}) <> 0" for word, mask in enumerate(self.word_masks(generators)) if mask]
        return " or ".join(tests) or "false"

    def lacks(self, column: str, number: int) -> str:
        """True where the set ``column`` does not hold that generator."""
        return f"({column}_{number // WORD_BITS} & {1 << (number % WORD_BITS)}) = 0"

    def add(self, target: str, number: int, source: str | None = None) -> str:
        """The assignment that puts a generator into the set ``target`` (``done``)."""
        word = number // WORD_BITS
        return f"{target}_{word} = {source or ''}{target}_{word} | {1 << (number % WORD_BITS)}"

    def cleared(self, generators: Iterable[int]) -> list[tuple[str, str]]:
        """Per word of the done and skipped sets, its name and its bits without those of ``generators``."""
        masks = self.word_masks(generators)
        kept = [(1 << WORD_BITS) - 1 & ~mask for mask in masks]
        return [
            (f"{kind}_{word}", f"{kind}_{word} & {bits}::ubigint")
            for word, bits in enumerate(kept)
            if masks[word]
            for kind in ("done", "skipped")
        ]

    def forgotten(self, generators: Iterable[int]) -> str:
        """Assignments that take generators out of the done set of an earlier row ``e``."""
        words = [(word, mask) for word, mask in enumerate(self.word_masks(generators)) if mask]
        return ", ".join(f"done_{word} = e.done_{word} & {_ALL_BITS ^ mask}::ubigint" for word, mask in words)

    # Slots of tables and views ------------------------------------------------------------------

    @cached_property
    def table_slots(self) -> dict[str, str]:
        """Slots of ``spec_tables/wide.sql``."""
        return {
            "value_columns": ",\n  ".join(f"{quote(name)} {sql_type}" for name, sql_type in self.value_columns)
            or "no_columns boolean",
            "set_columns": self.per_word("done_# ubigint not null, skipped_# ubigint not null", ", "),
            "mask_columns": self.per_word("own_# ubigint not null, upstream_# ubigint not null", ", "),
        }

    @cached_property
    def view_slots(self) -> dict[str, str]:
        """Slots of the views."""
        dataset = ["row_id", *(quote(output.name) for output in self.graph.outputs if not output.drop)]
        return {
            "set_columns": self.per_word("done_#", ", "),
            "set_columns_of_d": self.per_word("d.done_#", ",\n  "),
            "same_set": self.per_word("a.done_# = d.done_#", " and "),
            "is_done": f"({self.per_word('(d.done_# & g.own_#) = g.own_#', ' and ')})",
            "upstream_done": f"({self.per_word('(d.done_# & g.upstream_#) = g.upstream_#', ' and ')})",
            "group_done": self.per_word("coalesce(bit_and(a.done_#), 0)::ubigint as done_#", ",\n  "),
            "skipped_columns": self.per_word("skipped_#", ", "),
            "is_done_of_a": f"({self.per_word('(a.done_# & g.own_#) = g.own_#', ' and ')})",
            "is_skipped_of_d": self.per_word("(d.skipped_# & g.own_#) = g.own_#", " and "),
            "is_skipped_of_a": self.per_word("(a.skipped_# & g.own_#) = g.own_#", " and "),
            "skipped_is_done": self.per_word("(skipped_# & done_#) = skipped_#", " and "),
            "is_made_of_e": self.per_word("(e.done_# & r.done_#) <> 0", " or "),
            "done_text": self.per_word("d.done_#", " || ':' || "),
            "in_order": self._held_to_place("d", "a") if self.has_ordered else "true",
            "batch_in_order": self._held_to_place("g", "d") if self.has_ordered else "true",
            "ready_tasks": self._ready_tasks,
            "live_columns": ",\n  ".join(f"l.{quote(name)}" for name, _ in self.value_columns) or "null as no_columns",
            "dataset_columns": ",\n  ".join(dataset),
            "dropped_columns": ",\n  ".join(["v.row_id", *self._dropped_values]),
            "taken_back": self._taken_back,
            "needed_columns": self.per_word("coalesce(bit_or(g.own_#), 0)::ubigint as needed_#", ",\n  "),
            "needed_done": self.per_word("(a.done_# & n.needed_#) = n.needed_#", " and "),
            "barrier_tasks": self.one_of("g.generator", self.called_barriers),
            **self._dataset_values,
        }

    @property
    def _taken_back(self) -> str:
        """The bits of a dropped row ``v``, ``d`` that a person wants tried again, if any verdict takes some back."""
        kept: dict[str, list[str]] = {}
        for judge, remade in self.graph.remade_on_retry.items():
            for word, bits in self.cleared(remade):
                kept.setdefault(word, []).append(f"when d.reason = 'invalid' and d.generator = {judge} then v.{bits}")
        taken = [f"case {' '.join(cases)} else v.{word} end as {word}" for word, cases in kept.items()]
        return ", ".join(taken) or "v.done_0 as done_0"

    @property
    def _dropped_values(self) -> Iterator[str]:
        """The columns of the dataset as a dropped row ``v`` has them: null unless their generator is done."""
        for output in self.graph.outputs:
            if not output.drop:
                number = self.graph.generator_of_column(output.name).number
                is_made, column = self.contains("v.done", [number]), quote(output.name)
                yield f"case when {is_made} then v.{column} end as {column}"

    @cached_property
    def _dataset_values(self) -> dict[str, str]:
        """Slots of the views on what the columns hold. Without a column, one that is always null stands in."""
        outputs = [output for output in self.graph.outputs if not output.drop]
        texts = [f"{_as_text(quote(output.name), output.sql_type)} as {quote(output.name)}" for output in outputs]
        measures = [_measured(output.name, output.sql_type) for output in outputs]
        kinds = [_kind(output.name, _measure(output.sql_type)) for output in outputs]
        medians = [_median(output.name) for output in outputs if _measure(output.sql_type) == "value"]
        return {
            "dataset_texts": ",\n    ".join(texts) or "null::varchar as no_column",
            "dataset_names": ", ".join(quote(output.name) for output in outputs) or "no_column",
            "dataset_measures": _branches(
                sql.measured_columns, measures or ["state.measure_nothing('no_column', null)"]
            ),
            "dataset_medians": _branches(sql.median_columns, medians or ["state.measure_median('no_column', null)"]),
            "dataset_kinds": ",\n      ".join(kinds) or _kind("no_column", None),
        }

    @property
    def _ready_tasks(self) -> str:
        """The view of the ready tasks this spec can have: what is not there need not be planned in every turn."""
        if self.called_barriers:
            return "ready_of_any_kind"
        if not self.has_batch:
            return "ready_cell"
        has_cells = any(node.declaration.strategy is Strategy.CELL for node in self.graph.generators)
        return "ready_cell_or_batch" if has_cells else "ready_batch"

    @property
    def regenerating(self) -> Mapping[int, tuple[int, ...]]:
        """Generators that have invalid rows made again, and where that starts."""
        return self.graph.regenerating

    @cached_property
    def regenerated_pairs(self) -> str:
        """Each of those with each generator whose cells it has made again, as rows of VALUES."""
        pairs = (
            (number, remade)
            for number, roots in self.regenerating.items()
            for remade in sorted({*roots, *self.graph.downstream(roots)})
        )
        return ", ".join(f"({number}, {remade})" for number, remade in pairs)

    @property
    def has_ordered(self) -> bool:
        """Does any generator work on one row group at a time (R10)?"""
        return any(node.declaration.is_ordered for node in self.graph.generators)

    @property
    def called_barriers(self) -> tuple[int, ...]:
        """Generators over the whole dataset whose task calls somebody; the others are evaluated in the database."""
        return tuple(number for number in self.graph.barriers if self.graph.generators[number].is_task)

    @staticmethod
    def one_of(column: str, generators: Iterable[int]) -> str:
        """True where ``column`` is one of these generators."""
        numbers = ", ".join(map(str, generators))
        return f"{column} in ({numbers})" if numbers else "false"

    @property
    def has_batch(self) -> bool:
        """Does any generator take whole row groups?"""
        return any(node.declaration.strategy is Strategy.BATCH for node in self.graph.generators)

    @staticmethod
    def _held_to_place(generator: str, row_group: str) -> str:
        place = f"(select o.row_group from state.ordered_place as o where o.generator = {generator}.generator)"
        return f"(not {generator}.is_ordered or {row_group}.row_group = {place})"

    # Slots of the turn's statements -------------------------------------------------------------

    @cached_property
    def all_columns(self) -> str:
        """Every column of active_row, in the order of the table."""
        names = ["row_group", "row_index", "row_id"]
        for word in range(self.words):
            names += [f"done_{word}", f"skipped_{word}"]
        return column_list([*names, *(name for name, _ in self.value_columns)])

    @cached_property
    def all_done(self) -> str:
        """True for a row group whose live rows are done by every generator."""
        return self.contains("done", range(len(self.graph.generators)))

    def assign_values(self, node: GeneratorNode) -> str:
        """Assignments of a generator's outputs from the staged outcome ``o``."""
        return ", ".join(
            f"{quote(output.name)} = o.value_{position}"
            for position, output in zip(node.kept, node.columns, strict=True)
        )

    def assign_together(self, nodes: Sequence[GeneratorNode]) -> str:
        """Assignments of the outputs of several generators from the merged outcome ``o``, each where its bit is new."""
        return ", ".join(
            f"{quote(output.name)} = case when {self.contains('o.done', [node.number])} and "
            f"{self.lacks('a.done', node.number)} "
            f"then cast(o.{quote(output.name)} as {output.sql_type}) else a.{quote(output.name)} end"
            for node in nodes
            for output in node.columns
        )

    def merge_together(self, nodes: Sequence[GeneratorNode]) -> str:
        """The outcomes of several generators for one row: each column has one value at most, the bits add up."""
        values = [
            f"any_value({quote(output.name)}) as {quote(output.name)}" for node in nodes for output in node.columns
        ]
        return ", ".join([*values, self.per_word("bit_or(done_#) as done_#", ", ")])

    def is_new(self, node: GeneratorNode) -> str:
        """True for a row ``t`` that a barrier's decision ``d`` changes: it has not passed yet, or its values differ."""
        differs = [
            f"t.{quote(output.name)} is distinct from cast(d.value_{position} as {output.sql_type})"
            for position, output in zip(node.kept, node.columns, strict=True)
        ]
        return " or ".join([self.lacks("t.done", node.number), *differs])

    def decided(self, node: GeneratorNode) -> str:
        """What replaces columns of a row ``t`` that passes a barrier: the values decided, and that those are made.

        What comes after the barrier is not made any more.
        """
        replaced = [
            f"cast(d.value_{position} as {output.sql_type}) as {quote(output.name)}"
            for position, output in zip(node.kept, node.columns, strict=True)
        ]
        after = self.graph.downstream([node.number])
        for word, (own, cleared) in enumerate(zip(self.word_masks([node.number]), self.word_masks(after), strict=True)):
            kept, never_skipped = _ALL_BITS ^ cleared, _ALL_BITS ^ (cleared | own)
            replaced.append(f"(t.done_{word} & {kept}::ubigint) | {own}::ubigint as done_{word}")
            replaced.append(f"t.skipped_{word} & {never_skipped}::ubigint as skipped_{word}")
        return ",\n  ".join(replaced)

    def same_inputs(self, node: GeneratorNode, one: str, other: str) -> str:
        """True where two rows have the same inputs for a generator, to the bit.

        Of what can be equal without being the same (0.0 and -0.0, 30 days and a month), the texts are compared as well.
        """
        types = dict(self.value_columns)
        tests = [f"{one}.{name} is not distinct from {other}.{name}" for name in map(quote, node.inputs)]
        tests += [
            f"{one}.{quote(name)}::varchar is not distinct from {other}.{quote(name)}::varchar"
            for name in node.inputs
            if not _EXACTLY_COMPARED.fullmatch(types[name].upper())
        ]
        return " and ".join(tests) or "true"

    def same_skips(self, node: GeneratorNode, one: str, other: str) -> str:
        """True where of two rows the same was skipped of what a generator needs."""
        tests = [
            f"({one}.skipped_{word} & {mask}) = ({other}.skipped_{word} & {mask})"
            for word, mask in enumerate(self.word_masks(node.upstream))
            if mask
        ]
        return " and ".join(tests) or "true"

    def assign_skip(self, node: GeneratorNode) -> str:
        """Assignments of a skipped cell: ``skip.value`` for the column, null for its other outputs (S1)."""
        value = node.declaration.skip.value if node.declaration.skip else None
        first, *rest = node.columns
        assignments = [f"{quote(first.name)} = cast({literal(value)} as {first.sql_type})"]
        return ", ".join(assignments + [f"{quote(output.name)} = null" for output in rest])

    @staticmethod
    def own_sql(node: GeneratorNode) -> list[str]:
        """The texts of users' SQL that make the node's value."""
        source = node.declaration.sql
        if isinstance(source, SqlExpression):
            return [source.text]
        return [condition.text for condition, _ in source.cases] if isinstance(source, SampledValue) else []

    def expression(self, node: GeneratorNode) -> str:
        """The SQL of a ``sql`` generator over the columns of one row, cast to its column's type."""
        source = node.declaration.sql
        output = node.columns[0]
        if isinstance(source, SamplerCall):
            return f"cast({sampler_call(source, self.seed, output.name)} as {output.sql_type})"
        if isinstance(source, SampledValue):
            return sampled_value(source, self.seed, output.name, output.sql_type)
        if isinstance(source, SqlExpression):
            cast = self.casts.get(node.number)
            around = cast.around(source.text) if cast is not None else None
            return catchable(around or f"cast(({source.text}\n) as {output.sql_type})")
        if isinstance(source, SeedColumn):
            return quote(source.name)
        raise TypeError(f"generator {node.declaration.name} is not evaluated in SQL")

    def inputs(self, nodes: Iterable[GeneratorNode], names: Iterable[str]) -> str:
        """Input columns of pulled tasks; a column is read only for the generators that need it."""
        users: dict[str, list[int]] = {}
        for node in nodes:
            for name in node.inputs:
                users.setdefault(name, []).append(node.number)
        return ",\n  ".join(
            f"case when i.generator in ({', '.join(map(str, users[name]))}) then a.{quote(name)} end as {quote(name)}"
            for name in names
        )

    # Which generators are evaluated where -------------------------------------------------------

    @cached_property
    def skippable(self) -> frozenset[int]:
        """Generators whose cells can be skipped: by a rule of their own, or because a required one was (S2)."""
        found: set[int] = set()
        for node in self.graph.generators:
            inherits = node.declaration.propagate_skip and any(number in found for number in node.required)
            if node.declaration.skip is not None or inherits:
                found.add(node.number)
        return frozenset(found)

    @cached_property
    def admission_levels(self) -> tuple[tuple[GeneratorNode, ...], ...]:
        """The generators evaluated by the INSERT that admits rows, level by level of the graph."""
        level: dict[int, int] = {}
        for node in self.graph.generators:
            if node.declaration.strategy is not Strategy.SQL or node.number in self.skippable:
                continue
            if all(number in level for number in node.upstream):
                is_seed = isinstance(node.declaration.sql, SeedColumn)
                deepest = max((level[number] for number in node.upstream), default=0)
                level[node.number] = 0 if is_seed else deepest + 1
        depth = max(level.values(), default=0)
        return tuple(
            tuple(node for node in self.graph.generators if level.get(node.number) == wanted)
            for wanted in range(depth + 1)
        )

    @cached_property
    def settled_in_turn(self) -> tuple[GeneratorNode, ...]:
        """Generators with set-wise work after admission: ``sql`` ones that wait for others or can fail, and skips."""
        admitted = {node.number for nodes in self.admission_levels for node in nodes if not self.can_fail(node)}
        return tuple(
            node
            for node in self.graph.generators
            if (node.declaration.strategy is Strategy.SQL and node.number not in admitted)
            or (node.number in self.skippable and node.strategy is not Strategy.DATASET)
        )

    @cached_property
    def set_wise(self) -> tuple[GeneratorNode, ...]:
        """All generators with set-wise work: what a row that comes back may lack of it, in topological order."""
        return tuple(
            node
            for node in self.graph.generators
            if node.declaration.strategy is Strategy.SQL
            or (node.number in self.skippable and node.strategy is not Strategy.DATASET)
        )

    @staticmethod
    def can_fail(node: GeneratorNode) -> bool:
        """Users' SQL can fail for a row, also as a sampler's condition, and so can bounds; nothing else can."""
        source = node.declaration.sql
        return isinstance(source, SqlExpression) or (isinstance(source, SampledValue) and source.can_fail)


def place_of(node: GeneratorNode) -> str:
    """A column and where its SQL stands in the spec, for people."""
    source = node.declaration.sql
    return f"Column {node.name!r} ({source.place if isinstance(source, SqlExpression) else node.declaration.place})"


def _measure(sql_type: str) -> str | None:
    """What is measured of a column's values: themselves, their time, their length as text; of some, nothing."""
    kind = sql_type.upper()
    if kind.endswith("]") or kind in {"BOOLEAN", "BLOB"}:
        return None
    if _NUMBER.fullmatch(kind):
        return "value"
    return "time" if kind.startswith(("DATE", "TIMESTAMP")) else "length"


def _kind(name: str, measure: str | None) -> str:
    return f"struct_pack(column_name := {literal(name)}, measure := {literal(measure)})"


def _measured(name: str, sql_type: str) -> str:
    """A column as the macro of ``views/07_statistics.sql`` that measures it."""
    measure = "integer" if _INTEGER.fullmatch(sql_type.upper()) else _measure(sql_type) or "nothing"
    column = _as_text(quote(name), sql_type) if measure == "length" else quote(name)
    return f"state.measure_{measure}({literal(name)}, {column})"


def _branches(branch: Statement, measures: Sequence[str]) -> str:
    """Measures of all columns, so many at a time."""
    parts = (measures[first : first + _BRANCH_COLUMNS] for first in range(0, len(measures), _BRANCH_COLUMNS))
    return "\nunion all\n".join(branch.fill(measures=",\n    ".join(part)) for part in parts)


def _median(name: str) -> str:
    return f"state.measure_median({literal(name)}, {quote(name)})"


def _as_text(column: str, sql_type: str) -> str:
    """A column as text for statistics: lists and bytes, which nobody reads, as their size; structures as JSON."""
    kind = sql_type.upper()
    if kind.endswith("]"):
        return f"len({column}) || ' values'"
    if kind == "BLOB":
        return f"octet_length({column}) || ' bytes'"
    if kind.startswith(("STRUCT", "MAP", "UNION")):
        return f"to_json({column})::varchar"
    return f"{column}::varchar"
