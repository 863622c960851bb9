"""A status as a program prints it: two lines on the run, then a line for each column and each endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rowmill.figures import money, plural, share
from rowmill.store.reading.status import Status

_COUNTS = ("done", "skipped", "dropped", "deferred", "waiting")
_Column = tuple[str, Sequence[int | str]]


def status_text(status: Status) -> str:
    """The status in lines, the most important first. Columns of a table in which there is nothing are left out."""
    lines = [_rows(status)]
    if status.barrier_note:
        lines.append(_on_one_line(status.barrier_note))
    if status.requests:
        spent = f", {money(status.cost_usd)}" if status.cost_usd else ""
        cached = f" ({status.cached_tokens:,} of them from caches)" if status.cached_tokens else ""
        tokens = f"{status.input_tokens:,} tokens in{cached}, {status.output_tokens:,} out"
        lines.append(f"{plural(status.requests, 'request')}, {tokens}{spent}")
    if status.reason and status.state not in {"running", "finished"}:
        lines.append(_on_one_line(status.reason))
    lines += _table(
        ("column", [_on_one_line(each.column_name) for each in status.columns]),
        *((name, [getattr(each, name) for each in status.columns]) for name in _COUNTS),
    )
    lines += _table(
        ("resource", [_on_one_line(each.resource) for each in status.resources]),
        ("in flight", [each.in_flight for each in status.resources]),
        ("limit", [min(each.learned_limit, each.configured_limit) for each in status.resources]),
        ("cooling until (UTC)", [_time(each.cooling_until) for each in status.resources]),
    )
    reasons = status.details.drop_reasons if status.details is not None else ()
    return "\n".join([*lines, *(_on_one_line(str(reason)) for reason in reasons)])


def _rows(status: Status) -> str:
    finished = share(status.rows_finished, status.records)
    lost = f" ({status.rows_lost:,} of them lost to errors)" if status.rows_lost else ""
    return (
        f"{_on_one_line(status.name)}: {status.state}, {status.rows_finished:,} of {plural(status.records, 'row')} "
        f"finished ({finished}), {status.rows_dropped:,} dropped{lost}"
    )


def _table(*columns: _Column) -> list[str]:
    first, *others = columns
    if not first[1]:
        return []
    shown = [first, *(column for column in others if any(column[1]))]
    sides = [_aligned(name, values) for name, values in shown]
    return ["  " + "  ".join(line).rstrip() for line in zip(*sides, strict=True)]


def _aligned(name: str, values: Sequence[int | str]) -> list[str]:
    """The lines of a column, of one width: texts to the left, numbers to the right."""
    texts = [name, *(f"{value:,}" if isinstance(value, int) else value for value in values)]
    width = max(map(len, texts))
    is_number = isinstance(values[0], int)
    return [text.rjust(width) if is_number else text.ljust(width) for text in texts]


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%H:%M:%S}"


def _on_one_line(text: str) -> str:
    """A text of a stranger: what is no sign that is seen stands as its escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)
