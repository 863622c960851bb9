"""Spans of requests, sent to a collector from what is committed."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from loopback_server import LoopbackHandler, LoopbackServer, serving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import rowmill
from rowmill.engine.interruption import Deadline
from rowmill.engine.invocation import send_the_last
from rowmill.errors import SpecError, UsageError
from rowmill.metrics import spans
from rowmill.spec.run_settings import OtelSettings

SECRET_TEXT = "a text nobody may see"


class Collector(LoopbackServer):
    """Keeps every span it is sent; refuses as often as it is told."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.spans: list[Any] = []
        self.resources: list[Any] = []
        self.paths: set[str] = set()
        self.refusals = 0
        self.bodies = b""
        self.taking = threading.Lock()


class _Handler(LoopbackHandler):
    def respond(self, body: bytes) -> None:
        collector = self.server
        assert isinstance(collector, Collector)
        with collector.taking:
            if collector.refusals:
                collector.refusals -= 1
                self.answer(400, b"")
                return
            plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            request = ExportTraceServiceRequest.FromString(plain)
            collector.bodies += plain
            collector.paths.add(self.path)
            for resource in request.resource_spans:
                collector.resources.append(_values(resource.resource.attributes))
                for scope in resource.scope_spans:
                    collector.spans += scope.spans
        self.answer(200, b"")


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with serving(Collector()) as server:
        yield server


def _spec(collector: Collector | str, records: int = 20, **otel: Any) -> dict[str, Any]:
    url = collector if isinstance(collector, str) else collector.url
    return {
        "name": "traced",
        "records": records,
        "row_group_size": 10,
        "models": [
            {
                "alias": "writer",
                "provider": "simulated",
                "model": "m",
                "simulation": {"latency_ms": 1, "transient": 0.2},
            }
        ],
        "columns": [
            {"name": "colour", "column_type": "sampler", "sampler_type": "uuid"},
            {
                "name": "note",
                "column_type": "llm-text",
                "model_alias": "writer",
                "prompt": SECRET_TEXT + " {{ colour }}",
            },
        ],
        "run": {"otel": {"endpoint": url, **otel}, "backoff_base_s": 0.001, "backoff_max_s": 0.001, "max_attempts": 9},
    }


def test_each_attempt_is_a_span_below_its_task_in_the_trace_of_its_row(collector: Collector, tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    assert rowmill.run(_spec(collector, 60), path).exit_code == 0
    with rowmill.RunDatabase.open(path) as database:
        attempts = database.sql("select row_id, outcome, input_tokens from attempt").to_pylist()
    tasks = {span.span_id: span for span in collector.spans if span.name == "column note"}
    requests = [span for span in collector.spans if span.name == "chat m"]
    assert len(tasks) == 60
    assert len(requests) == len(attempts) > 60, "some were tried again"
    assert len(tasks) + len(requests) == len(collector.spans) == len({span.span_id for span in collector.spans})
    for span in requests:
        task = tasks[span.parent_span_id]
        assert task.trace_id == span.trace_id
        assert (
            task.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= task.end_time_unix_nano
        )
    assert len({span.trace_id for span in collector.spans}) == 60
    told = [_values(span.attributes) for span in requests]
    assert sum(each["gen_ai.usage.input_tokens"] for each in told) == sum(each["input_tokens"] for each in attempts)
    failed = [each for each in told if "error.type" in each]
    assert len(failed) == sum(each["outcome"] != "succeeded" for each in attempts)
    assert {each["gen_ai.operation.name"] for each in told} == {"chat"}
    assert collector.paths == {"/v1/traces"}
    assert collector.resources[0]["service.name"] == "rowmill"


def test_no_prompt_no_answer_and_no_message_is_sent(collector: Collector, tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    rowmill.run(_spec(collector), path)
    with rowmill.RunDatabase.open(path) as database:
        texts = database.sql("select note as t from dataset union all select message from attempt").to_pylist()
    assert collector.spans
    for text in [SECRET_TEXT, *(each["t"] for each in texts if each["t"])]:
        assert text.encode() not in collector.bodies


@pytest.mark.slow
def test_a_share_of_the_rows_is_traced_whole(collector: Collector, tmp_path: Path) -> None:
    assert rowmill.run(_spec(collector, 200, share=0.25), tmp_path / "x.duckdb").exit_code == 0
    tasks = [span for span in collector.spans if span.name == "column note"]
    assert 20 < len(tasks) < 90
    traced = {span.trace_id for span in tasks}
    assert traced == {span.trace_id for span in collector.spans}


@pytest.mark.slow
def test_what_a_collector_refuses_is_sent_again_and_nothing_twice(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "x.duckdb"
    spec = _spec(collector)
    assert rowmill.run({**spec, "run": {}}, database).exit_code == 0
    collector.refusals = 1
    sender = spans.SpanSender(database, OtelSettings(endpoint=collector.url), 0)
    while collector.refusals:
        threading.Event().wait(0.01)
    sender.finish()
    assert len([span for span in collector.spans if span.name == "column note"]) == 20
    assert len(collector.spans) == len({span.span_id for span in collector.spans})


@pytest.mark.slow
def test_a_run_that_goes_on_sends_what_is_new(collector: Collector, tmp_path: Path) -> None:
    spec = _spec(collector)
    path = tmp_path / "x.duckdb"
    rowmill.run(spec, path)
    before = {span.span_id for span in collector.spans}
    collector.spans.clear()
    rowmill.run({**spec, "records": 30}, path)
    assert len([span for span in collector.spans if span.name == "column note"]) == 10
    assert not before & {span.span_id for span in collector.spans}


def test_without_a_collector_the_run_is_complete_and_a_warning_says_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Collector()) as gone:
        url = gone.url
    # The first try is the last: what is said during a run, which may take longer than it should, is another line.
    monkeypatch.setattr(spans, "_INTERVAL_S", threading.TIMEOUT_MAX)
    monkeypatch.setattr(spans, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(spans, "_LAST_PATIENCE_S", 2.0)
    assert rowmill.run(_spec(url), tmp_path / "x.duckdb").exit_code == 0
    (said,) = [each.getMessage() for each in caplog.records if each.name == "rowmill.otel"]
    assert "The dataset is not concerned" in said


@pytest.mark.slow
def test_the_end_of_a_run_takes_a_collector_that_never_took_anything_to_be_dead(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "x.duckdb"
    assert rowmill.run({**_spec(collector), "run": {}}, database).exit_code == 0
    monkeypatch.setattr(spans, "_LAST_PATIENCE_S", threading.TIMEOUT_MAX)
    monkeypatch.setattr(spans, "_DEAD_AFTER_S", 0.01)
    with collector.taking:
        spans.SpanSender(database, OtelSettings(endpoint=collector.url), 0).finish()
        with rowmill.RunDatabase.open(database) as free:
            assert free.status().state == "finished"
    (said,) = [each.getMessage() for each in caplog.records if each.name == "rowmill.otel"]
    assert "The last spans were not sent" in said


@pytest.mark.slow
def test_the_second_interrupt_does_not_wait_for_a_collector_that_hangs(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "x.duckdb"
    assert rowmill.run({**_spec(collector), "run": {}}, database).exit_code == 0
    monkeypatch.setattr(spans, "_LAST_PATIENCE_S", threading.TIMEOUT_MAX)
    monkeypatch.setattr(spans, "_HURRIED_PATIENCE_S", 0.01)
    with Deadline(patience_s=threading.TIMEOUT_MAX) as deadline:
        deadline.arm("Interrupted twice")
        with collector.taking:
            anyio.run(send_the_last, spans.SpanSender(database, OtelSettings(endpoint=collector.url), 0), deadline)
    assert "The last spans were not sent" in caplog.text


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'rowmill\[otel\]'"):
        rowmill.run(_spec("http://127.0.0.1:1"), tmp_path / "x.duckdb")


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.5}, {"endpoint": "127.0.0.1:4318"}, {"prompts": True}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    spec = yaml.safe_load(yaml.safe_dump(_spec("http://127.0.0.1:1")))
    spec["run"]["otel"] = wrong
    with pytest.raises(SpecError):
        rowmill.Spec.from_data(spec)
