"""What the page *Now* says of a look: figures in words, bars, endpoints, failures, charts of the last minutes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from rowmill.counted import beside
from rowmill.figures import count, duration, money, plural, rate, share, short_count
from rowmill.report.chart import Series, line_chart
from rowmill.report.drawing import graph_drawing
from rowmill.store.reading.status import ResourceStatus, Status
from rowmill.ui.pulse import Look, Point
from rowmill.ui.rendering import moment

_CHART_POINTS = 60
MANY_COLUMNS = 14
"""More do not fit beside the rest: they have a box of their own, in which those that are called for come first."""
_RATE_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure: what it is, its value, a word on it, how full it is (0 to 1), whether it deserves attention."""

    label: str
    value: str
    note: str = ""
    filled: float | None = None
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a column is: parts of its cells, as widths out of 1,000."""

    name: str
    column_type: str
    strategy: str
    parts: Sequence[tuple[str, float, float]]
    """Class, where it begins, how wide it is."""
    counts: Sequence[tuple[str, int]]
    running: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model endpoint or worker pool."""

    name: str
    in_flight: int
    limit: str
    filled: float
    pace: str
    explanation: str
    is_cooling: bool


def now_facts(look: Look) -> dict[str, Any]:
    """The values of the template; empty where the run could not be read."""
    status = look.status
    if status is None:
        return {"tiles": [], "bars": [], "endpoints": [], "graph": None, "charts": []}
    now = datetime.fromtimestamp(look.read_at, UTC)
    return {
        "tiles": _tiles(status, now),
        "bars": _bars(status),
        "has_many_columns": len(status.columns) > MANY_COLUMNS,
        "endpoints": [_endpoint(each, status, now) for each in status.resources if _is_used(each, status)],
        "graph": graph_drawing(look.graph) if look.graph else None,
        "charts": _charts(look.history),
    }


def _tiles(status: Status, now: datetime) -> list[Tile]:
    settled = status.rows_finished + status.rows_dropped
    ahead = status.barrier_ahead
    note, part = f"{share(settled, status.records)} settled", settled / status.records if status.records else 1.0
    if ahead is not None:
        part = status.cells_settled / status.cells
        note = f"{status.cells_made} of the cells made, rows wait for '{ahead.column_name}'"
    found = [
        Tile("rows finished", count(status.rows_finished), f"of {count(status.records)}, {note}", part),
        Tile(
            "rows dropped",
            count(status.rows_dropped),
            f"{100 * status.rows_dropped / settled:.3g} % of those settled" if settled else "",
            is_warning=bool(settled and status.rows_dropped > 0.05 * settled),
        ),
        _time_left(status, now),
        _pace(status),
    ]
    if status.requests:
        tokens = f"{short_count(status.input_tokens)} in, {short_count(status.output_tokens)} out"
        found.append(Tile("requests", short_count(status.requests), tokens))
    found += _budget(status)
    if status.answers_cut_off:
        cut = status.details.cut_off if status.details is not None else ()
        note = ", ".join(f"{each.column_name}: {count(each.answers)}" for each in cut)
        found.append(Tile("answers cut off", count(status.answers_cut_off), note, is_warning=True))
    groups = f"of {count(status.row_groups)}, {count(status.row_groups_active)} active"
    found.append(Tile("row groups finished", count(status.row_groups_finished), groups))
    return found


def _time_left(status: Status, now: datetime) -> Tile:
    pace = status.details.pace if status.details is not None else None
    if status.state == "finished":
        worked = f"worked on for {duration(pace.worked_s)}" if pace is not None and pace.worked_s else ""
        return Tile("time left", "none", worked or "the run is complete")
    if pace is None or pace.seconds_left is None:
        return Tile("time left", "–", pace.basis if pace is not None else "")
    if pace.seconds_left > 3e9:
        return Tile("time left", "never", pace.basis)
    until = moment((now + timedelta(seconds=pace.seconds_left)).replace(tzinfo=None))
    return Tile("time left", duration(pace.seconds_left), f"until {until} UTC: {pace.basis}")


def _pace(status: Status) -> Tile:
    pace = status.details.pace if status.details is not None else None
    if pace is None:
        return Tile("rows per second", "–")
    overall = f"{rate(pace.overall_rows_per_s)} overall"
    if status.state != "running" or not pace.recent_s:
        return Tile("rows per second", rate(pace.overall_rows_per_s), "overall")
    requests = f"; {rate(pace.recent_requests_per_s)} requests/s" if pace.recent_requests_per_s else ""
    span = f"{pace.recent_s / 60:.0f} min" if pace.recent_s >= 120 else f"{pace.recent_s:.0f} s"
    return Tile("rows per second", rate(pace.recent_rows_per_s), f"in {span}, {overall}{requests}")


def _budget(status: Status) -> list[Tile]:
    """Cost, and each bound that the spec sets."""
    budget = status.details.budget if status.details is not None else None
    tokens = status.input_tokens + status.output_tokens
    bounds = [
        ("cost", status.cost_usd or 0.0, budget.max_cost_usd if budget is not None else None, money),
        ("tokens", tokens, budget.max_tokens if budget is not None else None, short_count),
        ("budget of requests", status.requests, budget.max_requests if budget is not None else None, short_count),
    ]
    found = []
    for label, used, bound, shown in bounds:
        if bound is not None:
            part = min(used / bound, 1.0) if bound else 1.0
            spent, allowed = beside(used, bound) if label == "cost" else (shown(used), shown(bound))
            found.append(Tile(label, spent, f"of {allowed}", part, is_warning=part >= 0.9))
        elif label == "cost" and used:
            per_row = used / status.rows_finished * 1000 if status.rows_finished else 0.0
            found.append(Tile(label, money(used), f"{money(per_row)} per 1,000 rows" if per_row else ""))
    if budget is not None and budget.deadline is not None:
        found.append(Tile("deadline", budget.deadline))
    return found


def _bars(status: Status) -> list[Bar]:
    in_flight = {resource.resource: resource.in_flight for resource in status.resources}
    tasks_of: dict[str, set[str]] = {}
    for column in status.columns:
        if column.resource is not None and column.waiting + column.deferred:
            tasks_of.setdefault(column.resource, set()).add(column.generator)
    found = []
    for column in status.columns:
        whole = max(column.cells, 1)
        parts, at = [], 0.0
        for kind in ("done", "skipped", "dropped", "deferred"):
            width = 1000 * getattr(column, kind) / whole
            if width:
                parts.append((kind, round(at, 2), round(max(width, 1.0), 2)))
            at += width
        # Only where one column alone uses an endpoint its calls are those of the endpoint.
        alone = column.resource is not None and tasks_of.get(column.resource) == {column.generator}
        counts = [(kind, getattr(column, kind)) for kind in ("done", "skipped", "dropped", "deferred", "waiting")]
        running = in_flight.get(column.resource or "", 0) if alone else 0
        found.append(Bar(column.column_name, column.column_type, column.strategy, parts, counts, running))
    if len(found) > MANY_COLUMNS:
        found.sort(key=lambda bar: bar.strategy == "sql")  # those that take time are what somebody waits for
    return found


def _is_used(resource: ResourceStatus, status: Status) -> bool:
    return bool(resource.in_flight) or any(column.resource == resource.resource for column in status.columns)


def _endpoint(resource: ResourceStatus, status: Status, now: datetime) -> Endpoint:
    pace = status.details.pace if status.details is not None else None
    recent = next((each for each in pace.requests if each.resource == resource.resource), None) if pace else None
    text = ""
    if recent is not None and pace is not None and pace.recent_s and status.state == "running":
        failed = recent.requests - recent.succeeded
        text = f"{rate(recent.requests / pace.recent_s)}/s, {recent.mean_ms:,.0f} ms"
        text += f", {100 * failed / recent.requests:.0f} % failed" if failed else ""
    until = resource.cooling_until
    left_s = (until.replace(tzinfo=UTC) - now).total_seconds() if until is not None else 0.0
    # In words only what the figures do not say.
    explanation = resource.explanation if resource.learned_limit != resource.configured_limit else ""
    if left_s > 0:
        explanation = f"cooling {duration(left_s)}" + (f": {resource.reason}" if resource.reason else "")
    limit = count(resource.learned_limit)
    if resource.learned_limit != resource.configured_limit:
        limit += f" of {count(resource.configured_limit)}"
    return Endpoint(
        resource.resource,
        resource.in_flight,
        limit,
        min(resource.in_flight / max(resource.learned_limit, 1), 1.0),
        text,
        explanation,
        left_s > 0,
    )


def _charts(history: Sequence[Point]) -> list[tuple[str, str, Markup]]:
    """Rates of the last minutes, as the page saw them."""
    if len(history) < 3:
        return []
    step = max(len(history) // _CHART_POINTS, 1)
    at = list(range(0, len(history), step))
    names = [datetime.fromtimestamp(history[place].at, UTC).strftime("%H:%M:%S") for place in at]
    cells = Series("cells/s", [_rate_at(history, place, "cells") for place in at])
    requests = Series("requests/s", [_rate_at(history, place, "requests") for place in at])
    flying = Series("in flight", [float(history[place].in_flight) for place in at])
    span = plural(round(history[-1].at - history[0].at), "second")
    pace = [cells, requests] if history[-1].requests else [cells]
    return [
        ("Pace", f"the last {span}", line_chart("Pace", names, pace, short_count)),
        ("Calls in flight", f"the last {span}", line_chart("Calls in flight", names, [flying], short_count)),
    ]


def _rate_at(history: Sequence[Point], place: int, name: str) -> float:
    """Per second, over the seconds before."""
    end, start = history[place], place
    while start > 0 and end.at - history[start - 1].at <= _RATE_WINDOW_S:
        start -= 1
    began = history[start]
    passed = end.at - began.at
    return max((getattr(end, name) - getattr(began, name)) / passed, 0.0) if passed > 0 else math.nan
