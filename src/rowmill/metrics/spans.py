"""Spans of requests, sent over OTLP while a run works: read back from what is committed, batch by batch.

A trace is a row, a span in it a task of that row, and the spans below a task are its attempts. Names and attributes are
those of OpenTelemetry's conventions for generative AI. No prompt, answer or message is in them. Reading is what any
reader may do beside a run, so no turn waits; a batch that no collector takes is sent again with the next one, for it is
in the run database.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowmill.errors import RowmillError, UsageError
from rowmill.spec.run_settings import OtelSettings
from rowmill.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from rowmill.store.reading.reader import Reader
    from rowmill.store.reading.requests import AttemptRecord

MISSING = "Spans are sent by OpenTelemetry's packages, which are not installed: pip install 'rowmill[otel]'."
_INTERVAL_S = 2.0
_BATCH = 2_000
"""Attempts that are read at once."""
_TIMEOUT_S = 5.0
"""Of one batch on its way to the collector."""
_LAST_PATIENCE_S = 10.0
"""How long the end of a run waits for the last batches."""
_LOOK_S = 0.02
"""How often the end of a run looks whether they are sent."""
_DEAD_AFTER_S = 1.0
"""The same for a collector that has not taken anything yet, or refused the latest: it is taken to be dead."""
_HURRIED_PATIENCE_S = 0.5
"""The same after a second interrupt, whose two seconds are for other things as well."""
_FINAL = ("succeeded", "rejected", "stop")
_OPERATIONS = {"embedding": "embeddings", "image": "generate_content"}
_log = logging.getLogger("rowmill.otel")


@dataclass(slots=True)
class _OpenTask:
    """A task some attempts of which were seen, but not its end."""

    first: AttemptRecord
    last: AttemptRecord


class Spans:
    """Makes the spans of attempts; keeps what it must know of tasks that are tried again."""

    def __init__(self, run: str, made_at: str, share: float) -> None:
        """``run`` and ``made_at`` tell runs apart; ``share`` of the rows are traced, the same ones each time."""
        from opentelemetry.sdk.resources import Resource

        self._run = run
        self._salt = f"{run}\n{made_at}"
        self._share = share
        self._open: dict[tuple[str, int, int], _OpenTask] = {}
        self._resource = Resource.create({"service.name": "rowmill", "service.version": VERSION, "rowmill.run": run})

    def of(self, attempts: Sequence[AttemptRecord]) -> list[ReadableSpan]:
        """The spans of these attempts, and of the tasks that ended with them."""
        return [span for attempt in attempts if self._is_traced(attempt) for span in self._spans_of(attempt)]

    def rest(self) -> list[ReadableSpan]:
        """The spans of tasks whose end was not seen: their rows were dropped, or the run stopped before."""
        found = [self._task_span(each) for each in self._open.values()]
        self._open.clear()
        return found

    def _is_traced(self, attempt: AttemptRecord) -> bool:
        drawn = int.from_bytes(self._digest(attempt, "share")[:8], "big") / 2**64
        return drawn < self._share

    def _spans_of(self, attempt: AttemptRecord) -> Iterator[ReadableSpan]:
        from opentelemetry.trace import SpanKind

        yield self._span(
            attempt,
            _name_of(attempt),
            context=self._context(attempt, attempt.generator, str(attempt.attempt), str(attempt.number)),
            parent=self._context(attempt, attempt.generator),
            kind=SpanKind.CLIENT if attempt.model is not None else SpanKind.INTERNAL,
            begin=attempt,
            attributes=_attributes(attempt),
        )
        key = (attempt.generator, attempt.row_group, attempt.row_index)
        task = self._open.get(key)
        if task is None:
            task = self._open[key] = _OpenTask(attempt, attempt)
        task.last = attempt
        if attempt.outcome in _FINAL:
            del self._open[key]
            yield self._task_span(task)

    def _task_span(self, task: _OpenTask) -> ReadableSpan:
        from opentelemetry.trace import SpanKind

        last = task.last
        return self._span(
            last,
            f"column {last.generator}",
            context=self._context(last, last.generator),
            parent=None,
            kind=SpanKind.INTERNAL,
            begin=task.first,
            attributes={"rowmill.column_type": last.column_type, "rowmill.attempts": last.attempt},
        )

    def _span(
        self,
        attempt: AttemptRecord,
        name: str,
        *,
        context: SpanContext,
        parent: SpanContext | None,
        kind: Any,
        begin: AttemptRecord,
        attributes: dict[str, Any],
    ) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        begun_ns, ended_ns = _bounds_ns(begin)[0], _bounds_ns(attempt)[1]
        own: dict[str, Any] = {"rowmill.column": attempt.generator, "rowmill.row_group": attempt.row_group}
        if attempt.row_id is not None:
            own["rowmill.row_id"] = attempt.row_id
        if attempt.error_type is not None:
            own["error.type"] = attempt.error_type
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes={**own, **attributes},
            kind=kind,
            status=Status(StatusCode.ERROR if attempt.error_type is not None else StatusCode.OK),
            start_time=begun_ns,
            end_time=max(ended_ns, begun_ns),
        )

    def _context(self, attempt: AttemptRecord, *parts: str) -> SpanContext:
        from opentelemetry.trace import SpanContext, TraceFlags

        trace = int.from_bytes(self._digest(attempt, "trace")[:16], "big") or 1
        span = int.from_bytes(self._digest(attempt, "span", *parts)[:8], "big") or 1
        return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def _digest(self, attempt: AttemptRecord, *parts: str) -> bytes:
        text = "\n".join([self._salt, str(attempt.row_group), str(attempt.row_index), *parts])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _bounds_ns(attempt: AttemptRecord) -> tuple[int, int]:
    begun = attempt.started_at.replace(tzinfo=UTC)
    begun_ns = int(begun.timestamp()) * 1_000_000_000 + begun.microsecond * 1000
    return begun_ns, begun_ns + round(attempt.duration_ms * 1_000_000)


def _name_of(attempt: AttemptRecord) -> str:
    if attempt.model is None:
        return f"call {attempt.generator}"
    return f"{_OPERATIONS.get(attempt.column_type, 'chat')} {attempt.model}"


def _attributes(attempt: AttemptRecord) -> dict[str, Any]:
    found: dict[str, Any] = {"rowmill.attempt": attempt.attempt, "rowmill.outcome": attempt.outcome}
    if attempt.model is None:
        return found
    found |= {
        "gen_ai.operation.name": _OPERATIONS.get(attempt.column_type, "chat"),
        "gen_ai.request.model": attempt.model,
        "gen_ai.usage.input_tokens": attempt.input_tokens,
        "gen_ai.usage.output_tokens": attempt.output_tokens,
        "rowmill.endpoint": attempt.endpoint,
    }
    if attempt.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = [attempt.finish_reason]
    if attempt.cost_usd is not None:
        found["rowmill.cost_usd"] = attempt.cost_usd
    return found


class SpanSender:
    """Sends the spans of one invocation from a thread of its own."""

    def __init__(self, database: Path, settings: OtelSettings, first: int) -> None:
        """Begins with the attempt number ``first``. Raises UsageError without OpenTelemetry's packages."""
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
            raise UsageError(MISSING)
        self._database = database
        self._settings = settings
        self._next = first
        self._spans: Spans | None = None
        self._unsent: list[ReadableSpan] = []
        self._ending = threading.Event()
        self._has_warned = False
        self._takes_spans = False
        self._asking_since_s: float | None = None
        self._thread = threading.Thread(target=self._work, name="rowmill-otel", daemon=True)
        self._thread.start()

    def finish(self, *, in_haste: bool = False) -> None:
        """Sends what is left, once the run database is free.

        Waits some seconds at most; about one for a collector that takes nothing, ``in_haste`` half of one.
        """
        began_s = time.monotonic()
        self._ending.set()
        patience_s = _HURRIED_PATIENCE_S if in_haste else _LAST_PATIENCE_S
        while self._thread.is_alive() and time.monotonic() < began_s + patience_s and not self._is_dead(began_s):
            self._thread.join(_LOOK_S)
        if (self._thread.is_alive() or self._unsent) and not self._has_warned:
            _log.warning(
                "The last spans were not sent: the collector at %s does not take them. The dataset is not concerned.",
                _endpoint(self._settings) or "the address OTEL_EXPORTER_OTLP_ENDPOINT names",
            )

    def _is_dead(self, since_s: float) -> bool:
        """Whether a collector that takes nothing kept the end of the run waiting for long enough."""
        asking_since_s = self._asking_since_s
        if asking_since_s is None or self._takes_spans:
            return False
        return time.monotonic() >= max(asking_since_s, since_s) + _DEAD_AFTER_S

    def _work(self) -> None:
        # What OpenTelemetry logs of its own would stand between our lines.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=_endpoint(self._settings), timeout=_TIMEOUT_S)
        try:
            while True:
                is_last = self._ending.wait(_INTERVAL_S)
                self._send_new(exporter, is_last=is_last)
                if is_last:
                    return
        finally:
            exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send_new(self, exporter: OTLPSpanExporter, *, is_last: bool) -> None:
        """Reads and sends batch after batch, until nothing is new or no collector takes it."""
        from rowmill.inspect.opening import open_reader

        if not self._sent(exporter):  # before the file is opened, which nobody else could open meanwhile
            return
        try:
            with open_reader(self._database) as reader:
                while True:
                    attempts = reader.attempts_from(self._next, _BATCH)
                    spans = self._spans_for(reader)
                    self._unsent = spans.of(attempts)
                    self._next += len(attempts)
                    if len(attempts) < _BATCH or not self._sent(exporter):
                        break
                if is_last and not self._unsent and self._spans is not None:
                    self._unsent = self._spans.rest()
        except RowmillError as error:
            self._warn(str(error))
            return
        self._sent(exporter)

    def _spans_for(self, reader: Reader) -> Spans:
        if self._spans is None:
            identity = reader.identity()
            self._spans = Spans(identity.name, identity.made_at, self._settings.share)
        return self._spans

    def _sent(self, exporter: OTLPSpanExporter) -> bool:
        """Sends what waits; whether nothing waits any more."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        if not self._unsent:
            return True
        self._asking_since_s = time.monotonic()
        try:
            self._takes_spans = exporter.export(self._unsent) is SpanExportResult.SUCCESS
        except OSError:  # OpenTelemetry 1.34 raises it where later ones say that it failed
            self._takes_spans = False
        self._asking_since_s = None
        if not self._takes_spans:
            self._warn(f"the collector at {_endpoint(self._settings) or 'its address'} does not take them")
            return False
        if self._has_warned:
            _log.warning("The collector takes spans again.")
        self._has_warned = False
        self._unsent = []
        return True

    def _warn(self, reason: str) -> None:
        """Says that spans are not sent, once until they are again; of what is unsent at the end :meth:`finish` does."""
        if not self._has_warned and not (self._ending.is_set() and self._unsent):
            _log.warning(
                "Spans are not sent now: %s. The run goes on; they are tried again, and a last time at its end.", reason
            )
            self._has_warned = True


def _endpoint(settings: OtelSettings) -> str | None:
    """Where traces go; None: where the variables of OpenTelemetry say."""
    if settings.endpoint is None:
        return None
    base = settings.endpoint.rstrip("/")
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"
