"""Change: what another spec would make again in a run database, and roughly what that would cost.

A generator is made again if what shapes its values changed (its fingerprint, V2), and with it everything downstream.
Nothing else is: values of unchanged columns stay.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rowmill.errors import UsageError
from rowmill.graph.fingerprint import earlier_fingerprint, fingerprint
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.spec.declaration import Declaration, SeedColumn
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.layout.seed_content import seed_difference
from rowmill.store.layout.seed_reader import SeedFile
from rowmill.store.reshape.price import Price, Remade, price_of

sql = statements_of("reshape/change", "run")


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between a run database and a spec. Names are those of generators: their first column."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()
    """Made again because something they need is."""
    shown: tuple[str, ...] = ()
    """Columns that are no longer marked ``drop``."""
    hidden: tuple[str, ...] = ()
    """Columns that are now marked ``drop``."""
    renumbered: bool = False
    """Only the order of columns differs."""
    seeds: tuple[int, int] | None = None
    """The old and the new seed of the run, if they differ."""
    seed_data: str | None = None
    """How the rows of the seed data differ, if they do."""
    kept: tuple[str, ...] = ()
    """Changed as well, but their values stay, and with them what they are needed for."""
    costs: Price | None = None
    """What it takes; None if nothing differs and nobody asked."""
    stored: tuple[tuple[str, str], ...] = ()
    """Name and fingerprint of every generator in the run database."""

    def __bool__(self) -> bool:
        return bool(
            self.added
            or self.changed
            or self.removed
            or self.kept
            or self.shown
            or self.hidden
            or self.renumbered
            or self.seeds is not None
        )

    @property
    def made_again(self) -> frozenset[str]:
        """All generators whose values the new spec lacks."""
        return frozenset((*self.added, *self.changed, *self.downstream))

    @property
    def is_free(self) -> bool:
        """Whether accepting it makes nothing again."""
        return not self.made_again

    def lines(self) -> list[str]:
        """The change in words, a line each, ending with what it takes."""
        lines = []
        if self.seeds is not None:
            lines.append(f"the seed was {self.seeds[0]}, now it is {self.seeds[1]}: every sampled value changes")
        if self.seed_data is not None:
            lines.append(self.seed_data)
        lines += [f"column {name!r} is new" for name in self.added]
        if self.seeds is None:
            lines += [f"column {name!r} changed" for name in self.changed]
        lines += [f"column {name!r} changed, and keeps its values" for name in self.kept]
        lines += [f"column {name!r} needs a column that changes" for name in self.downstream]
        lines += [f"column {name!r} is gone" for name in self.removed]
        lines += [f"column {name!r} is marked 'drop'" for name in self.hidden]
        lines += [f"column {name!r} is no longer marked 'drop'" for name in self.shown]
        if self.renumbered and not lines:
            lines.append("the columns have another order")
        return lines

    @property
    def remade(self) -> tuple[Remade, ...]:
        """What is made again, and what is made for the first time in rows that are there."""
        return () if self.costs is None else self.costs.again

    @property
    def is_untouched(self) -> bool:
        """Whether no value was made under anything that changes."""
        return bool(self) and self.costs is not None and self.costs.is_untouched

    def price(self) -> str:
        """What accepting the change takes, in words."""
        return "Nothing would be generated again." if self.costs is None else self.costs.in_words()

    def __str__(self) -> str:
        return "\n".join([*self.lines(), self.price()])


def compare(
    connection: Connection,
    spec: Spec,
    graph: Graph,
    seed_file: SeedFile | None = None,
    *,
    keeps: Collection[str] = (),
    is_priced: bool = False,
) -> Change:
    """What ``spec``, with the seed data as it is now, would change in the run database.

    ``keeps``: columns that keep their values although what makes them changed. ``is_priced``: what is still to do is
    of interest also if nothing changed. O(columns), with a change also O(live rows + attempts). Raises SpecError if
    changed seed files cannot be read, UsageError for a column whose values cannot be kept.
    """
    with engine_errors.mapped("comparing the run database with the spec"):
        stored = {name: (number, digest) for number, name, digest in connection.execute(sql.stored_generators.text)}
        was_shown = dict(connection.execute(sql.stored_columns.text))
        old_seed = int(connection.execute(sql.run_state.text)[0][3])
        seed_data = seed_difference(connection, seed_file) if seed_file is not None else None
    digests = tuple((name, digest) for name, (_, digest) in stored.items())
    seeds = (old_seed, spec.seed) if old_seed != spec.seed else None
    added, changed = [], []
    renumbered = False
    for node in graph.generators:
        known = stored.pop(node.name, None)
        if known is None:
            added.append(node.number)
        elif (
            seeds is not None
            or not is_known_by(node.declaration, known[1])
            or (seed_data is not None and isinstance(node.declaration.sql, SeedColumn))
        ):
            changed.append(node.number)
        else:
            renumbered = renumbered or known[0] != node.number
    to_keep = _generators_of(graph, keeps)
    kept = [number for number in changed if graph.generators[number].name in to_keep]
    roots = {*added, *changed} - {*kept}
    downstream = [number for number in graph.downstream(roots) if number not in roots]
    _check_kept(connection, graph, keeps, kept, {*roots, *downstream})
    flags = {output.name: not output.drop for output in graph.outputs if output.name in was_shown}
    change = Change(
        added=_names(graph, added),
        changed=_names(graph, [number for number in changed if number not in kept]),
        removed=tuple(stored),
        downstream=_names(graph, downstream),
        shown=tuple(name for name, shows in flags.items() if shows and not was_shown[name]),
        hidden=tuple(name for name, shows in flags.items() if not shows and was_shown[name]),
        renumbered=renumbered,
        seeds=seeds,
        seed_data=seed_data,
        stored=digests,
        kept=_names(graph, kept),
    )
    if not (change or is_priced):
        return change
    has_shard = bool(connection.execute(sql.knows_of_shards.text)[0][0] and connection.execute(sql.read_shard.text))
    costs = price_of(
        connection,
        graph,
        added=change.added,
        remade={*change.changed, *change.downstream},
        removed={*change.removed, *change.kept},
        shows_otherwise=bool(change.shown or change.hidden or change.renumbered),
        records=None if has_shard else spec.planned_records,
        max_cost_usd=spec.run.max_cost_usd,
    )
    is_most = any(node.name in change.downstream for node in spareable(graph, change))
    return replace(change, costs=replace(costs, is_most=is_most))


def spareable(graph: Graph, change: Change) -> list[GeneratorNode]:
    """The generators of which a change makes a cell again, if at all, for nothing but its inputs (V8).

    Not those that look at pictures it has drawn again, or that a barrier may have drawn again: the files have the
    names they had.
    """
    pictures = (node for node in graph.generators if node.declaration.column_type == "image")
    drawn = [node.number for node in pictures if graph.barriers or node.name in change.made_again]
    others = {*change.added, *change.changed, *change.kept, *_names(graph, graph.downstream(drawn))}
    return [node for node in graph.generators if node.number in graph.spareable and node.name not in others]


def _generators_of(graph: Graph, columns: Collection[str]) -> set[str]:
    """The generators of these columns. Raises UsageError for one that is not there."""
    known = [output.name for output in graph.outputs]
    for name in columns:
        if name not in known:
            raise UsageError(f"There is no column '{name}'.{did_you_mean(name, known)} It has: {', '.join(known)}.")
    return {graph.generator_of_column(name).name for name in columns}


def _check_kept(
    connection: Connection, graph: Graph, keeps: Collection[str], kept: Sequence[int], remade: Collection[int]
) -> None:
    """Raises UsageError where values would be kept that do not belong to what is there then."""
    types = {name: (sql_type, strategy) for name, sql_type, strategy in connection.execute(sql.stored_types.text)}
    for name in keeps:
        node = graph.generator_of_column(name)
        needed = [graph.generators[number].name for number in node.upstream if number in remade]
        if needed:
            raise UsageError(
                f"Column '{name}' needs '{needed[0]}', which is made again: values that are kept would not belong to "
                f"it. Keep those of '{needed[0]}', too, or of neither."
            )
        if node.number not in kept:
            raise UsageError(f"Column '{name}' did not change: there is nothing to accept, and its values stay anyway.")
        for output in node.columns:
            if types.get(output.name) != (output.sql_type, str(node.strategy)):
                was = "not there" if output.name not in types else " as ".join(types[output.name])
                raise UsageError(
                    f"The values of column '{output.name}' cannot be kept: it was {was}, and is {output.sql_type} as "
                    f"{node.strategy} now."
                )


def is_known_by(declaration: Declaration, digest: str) -> bool:
    """Whether a stored fingerprint is the declaration's: this Rowmill's, or that of one before."""
    return digest in {fingerprint(declaration), earlier_fingerprint(declaration)}


def renew_fingerprints(connection: Connection, graph: Graph) -> None:
    """Has the run database know its generators by the fingerprints of this Rowmill, if it knew them by earlier ones."""
    stored = {name: digest for _, name, digest in connection.execute(sql.stored_generators.text)}
    renewed = {
        node.number: fingerprint(node.declaration)
        for node in graph.generators
        if stored[node.name] == earlier_fingerprint(node.declaration)
    }
    if renewed:
        with engine_errors.mapped("renewing fingerprints"), connection.transaction():
            for number, digest in renewed.items():
                connection.execute(sql.update_fingerprint.text, {"generator": number, "fingerprint": digest})


def _names(graph: Graph, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(graph.generators[number].name for number in numbers)
