"""Change: what another spec would make again in a run database, and roughly what that would cost.

A generator is made again if what shapes its values changed (its fingerprint, V2), and with it everything downstream.
Nothing else is: values of unchanged columns stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rowmill.counted import plural
from rowmill.figures import money
from rowmill.graph.fingerprint import earlier_fingerprint, fingerprint
from rowmill.graph.graph import Graph
from rowmill.spec.declaration import LOCAL_RESOURCES, Declaration, SeedColumn, Strategy
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.layout.seed_content import seed_difference
from rowmill.store.layout.seed_reader import SeedFile

sql = statements_of("reshape/change", "run")


@dataclass(frozen=True, slots=True)
class Remade:
    """A column that would be made again, or for the first time."""

    name: str
    cells: int
    """How many cells, as far as rows were made already."""
    requests: int
    """About how many requests to a model that takes; 0 for a column that asks none."""
    cost_usd: float | None
    """About what they cost, in US dollars; None if nothing is known."""


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
    remade: tuple[Remade, ...] = ()
    stored: tuple[tuple[str, str], ...] = ()
    """Name and fingerprint of every generator in the run database."""

    def __bool__(self) -> bool:
        return bool(
            self.added
            or self.changed
            or self.removed
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
        lines += [f"column {name!r} needs a column that changes" for name in self.downstream]
        lines += [f"column {name!r} is gone" for name in self.removed]
        lines += [f"column {name!r} is marked 'drop'" for name in self.hidden]
        lines += [f"column {name!r} is no longer marked 'drop'" for name in self.shown]
        if self.renumbered and not lines:
            lines.append("the columns have another order")
        return lines

    def __str__(self) -> str:
        return "\n".join([*self.lines(), self.price()])

    def price(self) -> str:
        """What accepting the change takes, in words."""
        if self.is_free:
            return "Nothing would be generated again."
        cells = sum(column.cells for column in self.remade)
        if not cells:
            return "No cell of these columns was made yet: nothing would be generated twice."
        requests = sum(column.requests for column in self.remade)
        parts = ", ".join(
            f"{column.name!r} for {plural(column.cells, 'row')}" for column in self.remade if column.cells
        )
        text = f"Would be generated: {parts}"
        if requests:
            costs = [column.cost_usd for column in self.remade if column.requests]
            known = [cost for cost in costs if cost is not None]
            text += f"; about {plural(requests, 'request')}"
            if known:
                text += f" and {money(sum(known))}" + ("" if len(known) == len(costs) else " or more")
        return f"{text}. All other values stay."


def compare(connection: Connection, spec: Spec, graph: Graph, seed_file: SeedFile | None = None) -> Change:
    """What ``spec``, with the seed data as it is now, would change in the run database.

    O(columns), with a change also O(live rows + attempts). Raises SpecError if changed seed files cannot be read.
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
    roots = {*added, *changed}
    downstream = [number for number in graph.downstream(roots) if number not in roots]
    flags = {output.name: not output.drop for output in graph.outputs if output.name in was_shown}
    change = Change(
        added=_names(graph, added),
        changed=_names(graph, changed),
        removed=tuple(stored),
        downstream=_names(graph, downstream),
        shown=tuple(name for name, shows in flags.items() if shows and not was_shown[name]),
        hidden=tuple(name for name, shows in flags.items() if not shows and was_shown[name]),
        renumbered=renumbered,
        seeds=seeds,
        seed_data=seed_data,
        stored=digests,
    )
    if change.is_free:
        return change
    return _with_price(connection, graph, change, sorted({*roots, *downstream}))


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


def _with_price(connection: Connection, graph: Graph, change: Change, numbers: Sequence[int]) -> Change:
    together = [node.name for node in graph.generators if node.declaration.max_rows_per_call > 1]
    with engine_errors.mapped("estimating the cost of a change"):
        settled = {name: (cells, made) for name, cells, made in connection.execute(sql.settled_cells.text)}
        spent = {name: rest for name, *rest in connection.execute(sql.spent_per_generator.text, {"together": together})}
    most = max((cells for cells, _ in settled.values()), default=0)
    asked = sum(requests for requests, _, _ in spent.values())
    costs = [cost for _, cost, _ in spent.values() if cost is not None]
    average = sum(costs) / asked if costs and asked else None
    remade = []
    for number in numbers:
        node = graph.generators[number]
        count, made = settled.get(node.name, (most, most))
        asks = node.strategy is not Strategy.SQL and node.declaration.resource not in LOCAL_RESOURCES
        requests, cost = 0, None
        if asks and count and node.name in spent:
            had_requests, had_cost, had_cells = spent[node.name]
            requests = round(had_requests / had_cells * made)
            cost = had_cost / had_cells * made if had_cost is not None else None
        elif asks:
            requests = count
        if requests and cost is None and average is not None:
            cost = average * requests
        remade.append(Remade(node.name, count, requests, cost))
    return replace(change, remade=tuple(remade))


def _names(graph: Graph, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(graph.generators[number].name for number in numbers)
