"""The price of a change: what it would make again, what is still to do anyway, and what that costs about.

Told from what the run's own requests took. What is not known is told from the average, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rowmill.counted import plural
from rowmill.figures import money, short_count
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.spec.declaration import LOCAL_RESOURCES, Strategy
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors

sql = statements_of("reshape/change", "turn/outcome")


@dataclass(frozen=True, slots=True)
class Remade:
    """A column that would be made, again or for the first time."""

    name: str
    cells: int
    """How many cells."""
    requests: int
    """About how many requests to a model that takes; 0 for a column that asks none."""
    cost_usd: float | None
    """About what they cost, in US dollars; None if nothing is known."""
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What a change takes."""

    again: tuple[Remade, ...] = ()
    """Cells that were made before."""
    to_do: tuple[Remade, ...] = ()
    """Cells that were not made before, in the rows there are and in those that are planned."""
    spent_usd: float = 0.0
    """By all requests so far."""
    budget_usd: float | None = None
    """What the run may cost in all, as its new spec says."""
    is_most: bool = False
    """It can be less: what depends on a value that comes out as before is not made again (V8)."""
    is_untouched: bool = False
    """No cell was made, and no row dropped, under anything that changes."""

    def in_words(self) -> str:
        """All of it, in words."""
        again = [column for column in self.again if column.cells]
        to_do = [column for column in self.to_do if column.cells]
        parts = [_listed("Again", again) if again else "Nothing would be generated again."]
        if again and self.is_most:
            parts.append("That is the most: what needs a value that comes out as before keeps its own.")
        if to_do:
            parts.append(_listed("Still to do", to_do))
        costs = [column.cost_usd for column in (*again, *to_do) if column.requests]
        known = [cost for cost in costs if cost is not None]
        if known and self.budget_usd is not None:
            total = sum(known) + self.spent_usd
            over = "over" if total > self.budget_usd else "within"
            parts.append(
                f"With {money(self.spent_usd)} spent so far that makes {money(total)} in all, {over} the budget of "
                f"{money(self.budget_usd)} (max_cost_usd)."
            )
        return " ".join([*parts, "All other values stay."])


def _listed(what: str, columns: Sequence[Remade]) -> str:
    cells = ", ".join(f"{each.name!r} for {plural(each.cells, 'row')}" for each in columns)
    text = f"{what}: {cells}"
    requests = sum(each.requests for each in columns)
    if not requests:
        return f"{text}."
    text += f"; about {plural(requests, 'request')}"
    costs = [each.cost_usd for each in columns if each.requests]
    known = [cost for cost in costs if cost is not None]
    if known:
        text += f" and {money(sum(known))}" + ("" if len(known) == len(costs) else " or more")
    tokens = sum(each.input_tokens for each in columns), sum(each.output_tokens for each in columns)
    if any(tokens):
        text += f" ({short_count(tokens[0])} input tokens, {short_count(tokens[1])} output tokens)"
    return f"{text}."


@dataclass(frozen=True, slots=True)
class _Spent:
    """What making the cells of a column once took."""

    requests: int
    cost_usd: float | None
    input_tokens: int
    output_tokens: int
    cells: int


def price_of(
    connection: Connection,
    graph: Graph,
    *,
    added: Collection[str],
    remade: Collection[str],
    removed: Collection[str],
    shows_otherwise: bool,
    records: int | None,
    max_cost_usd: float | None,
) -> Price:
    """The price of making the generators ``remade`` again and ``added`` ones for the first time.

    ``shows_otherwise``: the columns have another order, or others are shown. ``records``: how many rows the new spec
    plans; None: as many as are planned. O(live rows + attempts).
    """
    together = [node.name for node in graph.generators if node.declaration.max_rows_per_call > 1]
    with engine_errors.mapped("estimating the cost of a change"):
        settled = {name: (cells, made) for name, cells, made in connection.execute(sql.settled_cells.text)}
        found = connection.execute(sql.spent_per_generator.text, {"together": together})
        dropped = {name for (name,) in connection.execute(sql.generators_that_dropped.text)}
        planned, rows_dropped = connection.execute(sql.rows_to_price.text)[0]
        spent_usd = float(connection.execute(sql.used_so_far.text)[0][2])
        share = float(connection.execute(sql.budget_share.text)[0][0])
    spent = {name: _Spent(*rest) for name, *rest in found}
    costs = [each.cost_usd for each in spent.values() if each.cost_usd is not None]
    asked = sum(each.requests for each in spent.values())
    average = sum(costs) / asked if costs and asked else None
    most = max((cells for cells, _ in settled.values()), default=0)
    wanted = max(planned, records or 0) - rows_dropped
    again, to_do = [], []
    for node in graph.generators:
        cells, made = settled.get(node.name, (0, 0))
        kept = 0 if node.name in added else cells
        if node.name in remade:
            again.append(_remade(node, cells, made, spent.get(node.name), average))
        left = wanted - kept
        if left > 0 and (node.name in added or node.strategy is not Strategy.SQL):
            likely = round(left * made / cells) if cells else left
            to_do.append(_remade(node, left, likely, spent.get(node.name), average))
    touched: Iterable[str] = [*remade, *removed]
    is_touched = (
        any(settled.get(name, (0, 0))[0] or name in dropped for name in touched)
        or (bool(added) and most > 0)
        or (shows_otherwise and most > 0)
    )
    return Price(
        tuple(again), tuple(to_do), spent_usd, max_cost_usd and max_cost_usd * share, is_untouched=not is_touched
    )


def _remade(node: GeneratorNode, cells: int, made: int, spent: _Spent | None, average: float | None) -> Remade:
    asks = node.strategy is not Strategy.SQL and node.declaration.resource not in LOCAL_RESOURCES
    if not asks or not made:
        return Remade(node.name, cells, 0, None)
    if spent is None or not spent.cells:
        return Remade(node.name, cells, made, average * made if average is not None else None)
    factor = made / spent.cells
    requests = round(spent.requests * factor)
    cost = spent.cost_usd * factor if spent.cost_usd is not None else None
    if cost is None and average is not None:
        cost = average * requests
    return Remade(
        node.name, cells, requests, cost, round(spent.input_tokens * factor), round(spent.output_tokens * factor)
    )
