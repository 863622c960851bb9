"""The page: findings turned into charts and tables of one HTML file that needs nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup

from rowmill.export.dataset import check_target
from rowmill.export.target import whole_file
from rowmill.report.chart import Series, area_chart, histogram, line_chart, stacked_bars
from rowmill.report.drawing import graph_drawing
from rowmill.report.findings import Findings, OverTime, Rows, TimeAxis, find, find_over_time
from rowmill.store.reading.reader import Reader
from rowmill.value.shown import shown
from rowmill.value.text_column import text_column

_TEMPLATE = Path(__file__).with_name("page.html")
_STYLE = Path(__file__).with_name("page.css")
_LONGEST_CELL = 400
_MOST_SERIES = 6


def write_report(
    reader: Reader, path: Path, *, force: bool = False, database: Path | None = None, mode: int | None = None
) -> int:
    """Writes the report to ``path``, whole or not at all; returns its size in bytes.

    Raises UsageError if the file exists (without ``force``), cannot be written, or is the ``database`` or seed data.
    """
    check_target(path, database, reader.seed_files())
    content = page(find(reader, time.time()), datetime.now(UTC)).encode("utf-8", "replace")
    with whole_file(path, force=force, mode=mode) as file:
        file.write(content)
    return len(content)


def page(findings: Findings, made_at: datetime) -> str:
    """The report as HTML."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["texts"] = _texts
    environment.filters |= {"count": _count, "short": _short, "money": _money, "percent": _percent, "seconds": _seconds}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    status = findings.status
    return template.render(
        style=Markup(style()),
        status=status,
        pace=status.details.pace if status.details else None,
        made_at=f"{made_at:%Y-%m-%d %H:%M} UTC",
        worked=_duration(status.details.pace.worked_s) if status.details else "",
        charts=_charts(findings.over_time),
        usage=findings.usage,
        task_times=findings.task_times,
        retries=findings.retries,
        drops=findings.drops,
        graph=graph_drawing(findings.graph) if findings.graph else None,
        provenance=findings.provenance,
        columns=_columns(findings),
        scores=_scores(findings.scores),
        sample_names=findings.samples.schema.names,
        samples=_samples(findings.samples),
    )


def style() -> str:
    """The style sheet: palette, charts, tables, light and dark."""
    return _STYLE.read_text(encoding="utf-8")


# Charts over time ------------------------------------------------------------------------------------


def charts_over_time(reader: Reader) -> list[tuple[str, str, Markup]]:
    """Title, what it shows, and the drawing of each chart over time. O(row groups + attempts)."""
    return _charts(find_over_time(reader))


def _charts(findings: OverTime) -> list[tuple[str, str, Markup]]:
    axis = findings.axis
    if axis is None:
        return []
    names = axis.names()
    found = []
    if findings.progress:
        rows = [
            Series(kind, list(accumulate(_spread(findings.progress, axis, kind)))) for kind in ("finished", "dropped")
        ]
        rows = [each for each in rows if each.values[-1]]
        found.append(
            ("Progress", "rows, by when their row group was finished", area_chart("Progress", names, rows, _short))
        )
    if findings.requests:
        found += _request_charts(findings.requests, axis, names)
    if findings.errors:
        errors = _by(findings.errors, axis, "kind", "failures")
        found.append(
            ("Failures", "failed requests and calls", stacked_bars("Failures over time", names, errors, _short))
        )
    return found


def _request_charts(requests: Rows, axis: TimeAxis, names: list[str]) -> list[tuple[str, str, Markup]]:
    for row in requests:
        row["per_s"] = (row["succeeded"] + row["failed"]) / axis.width_s
    throughput = _by(requests, axis, "resource", "per_s")
    latency = []
    for resource in _most(requests, "resource", "per_s")[: _MOST_SERIES // 2]:
        of_it = [row for row in requests if row["resource"] == resource]
        latency.append(Series(f"{resource}, median", _spread(of_it, axis, "median_ms", missing=math.nan)))
        latency.append(Series(f"{resource}, 95 %", _spread(of_it, axis, "slow_ms", missing=math.nan)))
    tokens = [
        Series(name, list(accumulate(_spread(requests, axis, column))))
        for name, column in (("in", "input_tokens"), ("out", "output_tokens"))
    ]
    found = [
        ("Throughput", "requests per second, by endpoint", line_chart("Throughput", names, throughput, _short)),
        ("Latency", "milliseconds, by endpoint", line_chart("Latency", names, latency, _short)),
        ("Tokens", "sent and received, in all", area_chart("Tokens", names, tokens, _short)),
    ]
    if any(row["cost_usd"] for row in requests):
        cost = [Series("cost", list(accumulate(_spread(requests, axis, "cost_usd"))))]
        found.append(("Cost", "US dollars, in all", area_chart("Cost", names, cost, _money)))
    return found


def _spread(rows: Rows, axis: TimeAxis, column: str, missing: float = 0.0) -> list[float]:
    """The column's value in each bucket: its sum, or ``missing`` where there is no row."""
    values = [missing] * axis.buckets
    for row in rows:
        at = min(max(row["bucket"], 0), axis.buckets - 1)
        values[at] = (0.0 if math.isnan(values[at]) else values[at]) + (row[column] or 0)
    return values


def _by(rows: Rows, axis: TimeAxis, key: str, column: str) -> list[Series]:
    """A series for each of the greatest kinds, the others together."""
    kinds = _most(rows, key, column)
    shown = kinds if len(kinds) <= _MOST_SERIES else kinds[: _MOST_SERIES - 1]
    found = [Series(kind, _spread([row for row in rows if row[key] == kind], axis, column)) for kind in shown]
    if len(kinds) > len(shown):
        found.append(Series("others", _spread([row for row in rows if row[key] not in shown], axis, column)))
    return found


def _most(rows: Rows, key: str, column: str) -> list[str]:
    totals: dict[str, float] = {}
    for row in rows:
        totals[row[key]] = totals.get(row[key], 0) + row[column]
    return sorted(totals, key=lambda kind: -totals[kind])


# The dataset -----------------------------------------------------------------------------------------


def _columns(findings: Findings) -> list[dict[str, Any]]:
    """Per column its facts, and either how its values are distributed or which are the most frequent."""
    found = []
    with_fields = [
        each
        for row in findings.statistics
        for each in (row, *(field for field in findings.fields if field["of_column"] == row["column_name"]))
    ]
    for row in with_fields:
        name = row["column_name"]
        bins = [each for each in findings.histograms if each["column_name"] == name]
        values = [each for each in findings.values if each["column_name"] == name]
        filled = row["rows"] - row["nulls"]
        few = 0 < len(values) <= 12 and sum(each["rows"] for each in values) >= 0.5 * filled
        is_spread = len(bins) > 1 and not (few and row["distinct_values"] <= 12)
        found.append(
            {
                "name": name,
                "sql_type": row["sql_type"],
                "facts": _facts(row),
                "measure": "characters" if is_spread and bins[0]["measure"] == "length" else "",
                "histogram": _histogram(name, bins) if is_spread else None,
                "values": [
                    (each["value"], each["rows"], each["rows"] / values[0]["rows"]) for each in values if each["rows"]
                ][:8]
                if few
                else [],
            }
        )
    return found


def _facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("rows", _count(row["rows"]))]
    if row["nulls"]:
        facts.append(("null", f"{_count(row['nulls'])} ({_percent(row['nulls'] / row['rows'])})"))
    facts.append(("different", f"≈ {_count(row['distinct_values'])}"))
    if row["minimum"] is not None:
        is_number = row["mean"] is not None
        for label, text in (("from", row["minimum"]), ("to", row["maximum"])):
            facts.append((label, _figure(float(text)) if is_number else text))
    if row["mean"] is not None:
        facts.append(("mean", _figure(row["mean"])))
        if row["median"] is not None:
            facts.append(("median", f"≈ {_figure(row['median'])}"))
        if row["stddev"] is not None:
            facts.append(("standard deviation", _figure(row["stddev"])))
    if row["mean_length"] is not None:
        facts.append(("length", f"{_count(row['min_length'])} to {_count(row['max_length'])}"))
        facts.append(("mean length", _figure(row["mean_length"])))
    return facts


def _histogram(name: str, bins: Rows) -> Markup:
    lower, upper = bins[0]["lower"], max(each["upper"] for each in bins)
    if bins[0]["measure"] == "time":
        ends = tuple(f"{datetime.fromtimestamp(edge, UTC):%Y-%m-%d}" for edge in (lower, upper))
    else:
        ends = (_figure(lower), _figure(upper))
    return histogram(f"Distribution of {name}", {each["bin"]: each["rows"] for each in bins}, 20, (ends[0], ends[1]))


def _scores(rows: Rows) -> list[tuple[str, str, list[tuple[str, int, float]]]]:
    """Per judge column and score: each answer with its rows and their share of the most frequent one."""
    found: dict[tuple[str, str], Rows] = {}
    for row in rows:
        found.setdefault((row["column_name"], row["score_name"]), []).append(row)
    return [
        (
            column,
            score,
            [(row["score"], row["rows"], row["rows"] / max(each["rows"] for each in answers)) for row in answers],
        )
        for (column, score), answers in found.items()
    ]


def _samples(samples: pa.Table) -> list[list[str | None]]:
    columns: list[list[str | None]] = []
    for column in samples.columns:
        texts: list[str | None] = []
        for chunk in column.chunks:
            texts += text_column(chunk).cast(pa.string()).to_pylist()
        columns.append([text if text is None else _shortened(text) for text in texts])
    return [list(row) for row in zip(*columns, strict=True)]


def _texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The values of a row that are there, as shortened texts."""
    return [(name, _shortened(str(shown(value)))) for name, value in values.items() if value is not None]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


# Figures ---------------------------------------------------------------------------------------------


def _count(number: int) -> str:
    return f"{number:,}"


def _short(number: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            scale = 1e3 if suffix == "k" else size
            return f"{number / scale:.3g}{suffix}"
    return _figure(number)


def _figure(number: float) -> str:
    """Four significant figures, no exponent where people would not write one."""
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:,.4g}" if abs(number) < 1000 else f"{number:,.0f}"


def _money(dollars: float) -> str:
    return f"${dollars:,.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:,.3g} s" if seconds < 120 else _duration(seconds)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
