"""What a report shows, read from the run database with named statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from rowmill.store.database.statements import Statement, statement
from rowmill.store.reading.reader import Reader
from rowmill.store.reading.status import Status
from rowmill.value.python_value import python_rows

_SPAN = statement("report_span")
_PROGRESS = statement("report_progress")
_REQUESTS = statement("report_requests")
_ERRORS = statement("report_errors")
_RETRIES = statement("report_retries")
_USAGE = statement("report_usage")
_TASK_TIMES = statement("report_task_times")
_DROPS = statement("report_drops")
_GRAPH = statement("report_graph")
_STATISTICS = statement("report_statistics")
_VALUES = statement("report_values")
_HISTOGRAMS = statement("report_histograms")
_SCORES = statement("report_scores")
_SAMPLE_IDS = statement("report_sample_ids")
_SAMPLES = statement("report_samples")

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
class Findings:
    """Everything a report shows. Rows are those of the statements of ``queries/report.sql``."""

    status: Status
    axis: TimeAxis | None
    progress: Rows
    requests: Rows
    errors: Rows
    retries: Rows
    usage: Rows
    task_times: Rows
    drops: Rows
    graph: Rows
    statistics: Rows
    values: Rows
    histograms: Rows
    scores: Rows
    samples: pa.Table


def find(reader: Reader, now: float) -> Findings:
    """Reads all of it. ``now``: seconds since the epoch. O(rows + attempts)."""
    status = reader.detailed_status(now)
    axis = _axis(_rows(reader, _SPAN)[0])
    over_time = {"from_us": axis.from_us, "width_us": axis.width_us} if axis else {}
    return Findings(
        status=status,
        axis=axis,
        progress=_rows(reader, _PROGRESS, over_time) if axis else [],
        requests=_rows(reader, _REQUESTS, over_time) if axis else [],
        errors=_rows(reader, _ERRORS, over_time) if axis else [],
        retries=_rows(reader, _RETRIES),
        usage=_rows(reader, _USAGE),
        task_times=_rows(reader, _TASK_TIMES),
        drops=_rows(reader, _DROPS),
        graph=_rows(reader, _GRAPH),
        statistics=_rows(reader, _STATISTICS),
        values=_rows(reader, _VALUES),
        histograms=_rows(reader, _HISTOGRAMS),
        scores=_rows(reader, _SCORES),
        samples=_samples(reader),
    )


def _samples(reader: Reader) -> pa.Table:
    row_ids = [row["row_id"] for row in _rows(reader, _SAMPLE_IDS, {"samples": SAMPLES})]
    return reader.table(_SAMPLES.text, {"row_ids": row_ids})


def _rows(reader: Reader, query: Statement, parameters: dict[str, int] | None = None) -> Rows:
    found: Rows = list(python_rows(reader.table(query.text, parameters)))
    return found


def _axis(span: dict[str, int | None]) -> TimeAxis | None:
    from_us, until_us = span["from_us"], span["until_us"]
    if from_us is None or until_us is None:
        return None
    width_us = max(-(-(until_us - from_us + 1) // BUCKETS), 1000)
    return TimeAxis(from_us, width_us, (until_us - from_us) // width_us + 1)
