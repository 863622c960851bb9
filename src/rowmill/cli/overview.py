"""What a status says, in words and small tables: the same for the panel, for plain text and for any width.

Times are UTC and say so. Nothing here knows of terminals.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from rowmill.cli.figures import beside, count, duration, money, plural, rate, share, short_count, short_duration
from rowmill.cli.terminal_text import escaped

if TYPE_CHECKING:
    from rowmill.cli.pace import Pace as LivePace
    from rowmill.store.reading.status import Details, ResourceStatus, Status

_LONGEST_MESSAGE = 200


class Fact(NamedTuple):
    """One line of an overview: what it is about, what it says, and whether it deserves attention."""

    label: str
    text: str
    is_warning: bool = False


class EndpointLine(NamedTuple):
    """One line on a model endpoint or worker pool."""

    name: str
    in_flight: str
    limit: str
    pace: str
    state: str


def facts(status: Status, now: datetime, live: LivePace | None = None, elapsed_s: float | None = None) -> list[Fact]:
    """The run in lines, most important first. ``live``: the pace seen meanwhile; ``elapsed_s``: of this process."""
    finished = share(status.rows_finished, status.records)
    found = [
        Fact(
            "rows",
            f"{count(status.rows_finished)} of {count(status.records)} finished ({finished}),"
            f" {count(status.rows_dropped)} dropped",
        ),
        Fact("waiting", escaped(status.barrier_note)),
        Fact("pace", _pace(status, live)),
        Fact("time left", _time_left(status, now, live)),
        Fact("usage", _usage(status)),
        Fact("cut off", _cut_off(status), is_warning=True),
        Fact("kept", _kept(status)),
        Fact("cost", _cost(status)),
    ]
    if status.details is not None:
        found += [fact for fact in (_budget(status, status.details),) if fact is not None]
    if status.reason and status.state not in {"running", "finished"}:
        found.append(Fact("stopped", escaped(status.reason), is_warning=status.reason.startswith("failed")))
    if status.details is not None and status.state != "finished":
        admission = status.details.admission
        if status.details.follows is not None:
            found.append(Fact("follows", escaped(status.details.follows)))
        found.append(Fact("admission", escaped(admission.explanation), is_warning=admission.reason == "deferred tasks"))
    found += _workers(status, now)
    found.append(Fact("row groups", _row_groups(status, now)))
    found.append(Fact("time", _times(status, elapsed_s)))
    return [fact for fact in found if fact.text]


def _workers(status: Status, now: datetime) -> list[Fact]:
    """Who makes the calls, where that is not the process itself; and what the run waits for if nobody is left (W5)."""
    found = []
    for group in status.details.workers if status.details is not None else ():
        name = f"{escaped(group.worker_group)} ({group.kind})"
        lost = f", {count(group.lost)} lost" if group.lost else ""
        if group.empty_since is not None and group.waits_until is not None:
            since, until = moment(_aware(group.empty_since), now), moment(_aware(group.waits_until), now)
            text = f"{name}: none of {count(group.workers)} is left since {since}{lost}; the run waits until {until}"
        else:
            text = f"{name}: {count(group.ready)} of {count(group.workers)} ready{lost}"
        found.append(Fact("workers", text, is_warning=group.ready == 0))
    return found


def _pace(status: Status, live: LivePace | None) -> str:
    parts = []
    details = status.details
    if live is not None and live.cells_per_s:
        parts.append(f"{rate(live.rows_per_s)} rows/s, {rate(live.cells_per_s)} cells/s now")
    if details is not None:
        pace = details.pace
        if status.state == "running" and pace.recent_s:
            parts.append(
                f"{_speed(pace.recent_rows_per_s, pace.recent_requests_per_s)} in the last {span(pace.recent_s)}"
            )
        if pace.worked_s:
            parts.append(f"{_speed(pace.overall_rows_per_s, pace.overall_requests_per_s)} overall")
    return "; ".join(parts)


def _speed(rows_per_s: float, requests_per_s: float) -> str:
    requests = f", {rate(requests_per_s)} requests/s" if requests_per_s else ""
    return f"{rate(rows_per_s)} rows/s{requests}"


def _time_left(status: Status, now: datetime, live: LivePace | None) -> str:
    pace = status.details.pace if status.details is not None else None
    if status.state == "finished":
        return "none: the run is complete"
    if pace is not None and pace.seconds_left is not None:
        left_s, basis = pace.seconds_left, pace.basis
    elif live is not None and live.seconds_left is not None:
        left_s, basis = live.seconds_left, "at the pace of the last half minute"
    else:
        return f"unknown: {escaped(pace.basis)}" if pace is not None else "unknown"
    until = moment(now + timedelta(seconds=left_s), now) if left_s < 3e9 else "never"
    return f"{duration(left_s)}, until {until} ({escaped(basis)})"


def _usage(status: Status) -> str:
    if not status.requests:
        return ""
    cached = f" ({short_count(status.cached_tokens)} of them from caches)" if status.cached_tokens else ""
    return (
        f"{plural(status.requests, 'request')}, {short_count(status.input_tokens)} tokens in{cached},"
        f" {short_count(status.output_tokens)} out, in {plural(status.invocations, 'invocation')}"
    )


def _cut_off(status: Status) -> str:
    """How many answers ended at their limit: they are not all there, and whoever looks at the data should know."""
    if not status.answers_cut_off:
        return ""
    found = status.details.cut_off if status.details is not None else ()
    named = ", ".join(f"{escaped(each.column_name)}: {count(each.answers)}" for each in found)
    return f"{plural(status.answers_cut_off, 'answer')} ended at max_tokens" + (f" ({named})" if named else "")


def _kept(status: Status) -> str:
    """How many cells a change of the spec left as they were, though something they need was made again."""
    found = status.details.kept if status.details is not None else ()
    named = ", ".join(f"{escaped(each.column_name)}: {count(each.cells)}" for each in found)
    return f"{plural(sum(each.cells for each in found), 'cell')} whose inputs are as before ({named})" if found else ""


def _cost(status: Status) -> str:
    bound = status.details.budget.max_cost_usd if status.details is not None else None
    cost_usd = status.cost_usd or 0.0
    if bound is not None:
        part = 100 * cost_usd / bound if bound else 0.0
        # Never 100 % before all is spent, as beside rows.
        used = f" ({min(part, 99) if cost_usd < bound else part:.0f} %)" if bound else ""
        spent, allowed = beside(cost_usd, bound)
        return f"{spent} of {allowed}{used}"
    return money(cost_usd) if cost_usd else ""


def _budget(status: Status, details: Details) -> Fact | None:
    budget = details.budget
    tokens = status.input_tokens + status.output_tokens
    parts = []
    nearly = budget.max_cost_usd is not None and (status.cost_usd or 0.0) >= 0.9 * budget.max_cost_usd
    for used, bound, noun in (
        (tokens, budget.max_tokens, "tokens"),
        (status.requests, budget.max_requests, "requests"),
    ):
        if bound is not None:
            parts.append(f"{short_count(used)} of {short_count(bound)} {noun}")
            nearly = nearly or used >= 0.9 * bound
    if budget.deadline is not None:
        parts.append(f"deadline {escaped(budget.deadline)}")
    return Fact("budget", ", ".join(parts), nearly) if parts or nearly else None


def _row_groups(status: Status, now: datetime) -> str:
    text = (
        f"{count(status.row_groups_finished)} of {count(status.row_groups)} finished,"
        f" {count(status.row_groups_active)} active"
    )
    oldest = status.details.oldest_row_group if status.details is not None else None
    if oldest is not None:
        since = moment(_aware(oldest.admitted_at), now)
        text += f"; oldest unfinished: {count(oldest.row_group)}, {oldest.state}, entered {since}"
    return text


def _times(status: Status, elapsed_s: float | None) -> str:
    if status.started_at is None:
        return "not started"
    parts = [f"started {_full(status.started_at)}", f"last change {_full(status.updated_at)}"]
    if elapsed_s is not None:
        parts = [f"{duration(elapsed_s)} elapsed", *parts[:1]]
    if status.details is not None and status.details.pace.worked_s:
        parts.append(f"worked on for {duration(status.details.pace.worked_s)}")
    return ", ".join(parts)


def endpoints(status: Status, now: datetime) -> list[EndpointLine]:
    """A line for each model endpoint, and for local work while some of it runs."""
    pace = status.details.pace if status.details is not None else None
    found = []
    for resource in status.resources:
        recent = next((each for each in pace.requests if each.resource == resource.resource), None) if pace else None
        text = ""
        if recent is not None and pace is not None and pace.recent_s and status.state == "running":
            failed = recent.requests - recent.succeeded
            text = f"{rate(recent.requests / pace.recent_s)}/s, {recent.mean_ms:,.0f} ms"
            text += f", {100 * failed / recent.requests:.0f} % failed" if failed else ""
        limit = count(resource.learned_limit)
        if resource.learned_limit != resource.configured_limit:
            limit += f" of {count(resource.configured_limit)}"
        found.append(
            EndpointLine(escaped(resource.resource), count(resource.in_flight), limit, text, _cooling(resource, now))
        )
    return found


class ColumnTime(NamedTuple):
    """One line on where a traced run spends its time."""

    column: str
    tasks: str
    waited: str
    worked: str
    longest: str


def task_times(status: Status) -> list[ColumnTime]:
    """A line for each generator of a traced run, the slowest first: how long one task waits and works on average."""
    return [
        ColumnTime(
            escaped(time.generator),
            count(time.tasks),
            short_duration(time.waiting_s / time.tasks),
            short_duration(time.working_s / time.tasks),
            short_duration(time.longest_s),
        )
        for time in (status.details.task_times if status.details is not None else ())
    ]


def _cooling(resource: ResourceStatus, now: datetime) -> str:
    if resource.cooling_until is None:
        return ""
    left_s = (_aware(resource.cooling_until) - now).total_seconds()
    if left_s <= 0:
        return ""
    reason = f": {escaped(resource.reason)[:120]}" if resource.reason else ""
    return f"cooling {left_s:.1f} s{reason}" if left_s < 60 else f"cooling {duration(left_s)}{reason}"


def failures(status: Status) -> list[Fact]:
    """The most frequent reasons why rows were dropped and tasks wait."""
    details = status.details
    if details is None:
        return []
    found = [Fact("dropped", _shortened(str(reason)), is_warning=True) for reason in details.drop_reasons]
    for reason in details.deferral_reasons:
        text = f"{count(reason.tasks)} × column {reason.column_name!r} ({reason.error_type}): {reason.message}"
        found.append(Fact("deferred", _shortened(text)))
    return found


def _shortened(text: str) -> str:
    plain = escaped(text)
    return plain if len(plain) <= _LONGEST_MESSAGE else plain[: _LONGEST_MESSAGE - 1] + "…"


def span(seconds: float) -> str:
    """``30 s``, ``5 min``."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def moment(when: datetime, now: datetime) -> str:
    """A time, in UTC; with its date unless that is today's."""
    when = when.astimezone(UTC)
    pattern = "%H:%M:%S" if when.date() == now.astimezone(UTC).date() else "%Y-%m-%d %H:%M"
    return f"{when.strftime(pattern)} UTC"


def _full(when: datetime) -> str:
    return f"{when.isoformat(sep=' ', timespec='seconds')} UTC"


def _aware(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC)


_PLAIN = str.maketrans({"×": "x", "…": "~", "·": "-", "–": "-", "—": "-", "→": "->", "’": "'"})


def in_ascii(text: str) -> str:
    """``text`` in ASCII: our own signs as their plain relatives, all else as escapes."""
    return text.translate(_PLAIN).encode("ascii", "backslashreplace").decode("ascii")
