"""What a report shows, read from the run database with named statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from rowmill.report.fields import field_statistics
from rowmill.store.database.statements import Statement, statements_of
from rowmill.store.reading.reader import Reader
from rowmill.store.reading.status import Status
from rowmill.value.python_value import python_rows

sql = statements_of("reading/report")

BUCKETS = 60
SAMPLES = 12
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Time cut into equal buckets."""

    from_us: int
    width_us: int
    buckets: int

    @property
    def width_s(self) -> float:
        """Seconds of one bucket."""
        return self.width_us / 1e6

    def names(self) -> list[str]:
        """When each bucket begins, in UTC; with the day if there are several."""
        moments = [datetime.fromtimestamp((self.from_us + at * self.width_us) / 1e6, UTC) for at in range(self.buckets)]
        pattern = "%H:%M:%S" if moments[0].date() == moments[-1].date() else "%m-%d %H:%M"
        return [moment.strftime(pattern) for moment in moments]


@dataclass(frozen=True, slots=True)
class OverTime:
    """What happened when, bucket by bucket; no axis where nothing did."""

    axis: TimeAxis | None
    progress: Rows
    requests: Rows
    errors: Rows


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a report shows. Rows are those of the statements of ``queries/report.sql``."""

    status: Status
    over_time: OverTime
    retries: Rows
    usage: Rows
    task_times: Rows
    drops: Rows
    graph: Rows
    provenance: list[str]
    """Where its seed rows come from, if that is another run."""
    statistics: Rows
    fields: Rows
    """The same of the fields of structs."""
    values: Rows
    histograms: Rows
    scores: Rows
    samples: pa.Table


def find(reader: Reader, now: float) -> Findings:
    """Reads all of it. ``now``: seconds since the epoch. O(rows + attempts)."""
    status = reader.detailed_status(now)
    return Findings(
        status=status,
        over_time=find_over_time(reader),
        retries=_rows(reader, sql.report_retries),
        usage=_rows(reader, sql.report_usage),
        task_times=_rows(reader, sql.report_task_times),
        drops=_drops(reader),
        graph=_rows(reader, sql.report_graph),
        provenance=[provenance.told(path) for path, provenance in reader.provenance()],
        statistics=_rows(reader, sql.report_statistics),
        fields=field_statistics(reader, status.rows_finished),
        values=_rows(reader, sql.report_values),
        histograms=_rows(reader, sql.report_histograms),
        scores=_rows(reader, sql.report_scores),
        samples=_samples(reader),
    )


def _drops(reader: Reader) -> Rows:
    """Why rows were dropped; each example has the ``values`` of its row, by column."""
    drops = _rows(reader, sql.report_drops)
    row_ids = [example["row_id"] for drop in drops for example in drop["examples"]]
    table = reader.table(sql.report_drop_values.text, {"row_ids": row_ids})
    held = {values.pop("row_id"): values for values in python_rows(table)}
    for drop in drops:
        for example in drop["examples"]:
            example["values"] = held.get(example["row_id"], {})
    return drops


def find_over_time(reader: Reader) -> OverTime:
    """Reads what the charts over time need. O(row groups + attempts)."""
    axis = _axis(_rows(reader, sql.report_span)[0])
    if axis is None:
        return OverTime(None, [], [], [])
    buckets = {"from_us": axis.from_us, "width_us": axis.width_us}
    return OverTime(
        axis,
        _rows(reader, sql.report_progress, buckets),
        _rows(reader, sql.report_requests, buckets),
        _rows(reader, sql.report_errors, buckets),
    )


def _samples(reader: Reader) -> pa.Table:
    row_ids = [row["row_id"] for row in _rows(reader, sql.report_sample_ids, {"samples": SAMPLES})]
    return reader.table(sql.report_samples.text, {"row_ids": row_ids})


def _rows(reader: Reader, query: Statement, parameters: dict[str, int] | None = None) -> Rows:
    found: Rows = list(python_rows(reader.table(query.text, parameters)))
    return found


def _axis(span: dict[str, int | None]) -> TimeAxis | None:
    from_us, until_us = span["from_us"], span["until_us"]
    if from_us is None or until_us is None:
        return None
    width_us = max(-(-(until_us - from_us + 1) // BUCKETS), 1000)
    return TimeAxis(from_us, width_us, (until_us - from_us) // width_us + 1)
