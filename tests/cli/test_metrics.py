"""``rowmill metrics`` and ``run --metrics``: what monitoring hears of a run, from its run database."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as families
from run_state import RunState, request, succeeded
from virtual_run import llm, model, prepared, sampler

import rowmill as package
from rowmill.errors import UsageError
from rowmill.metrics.collector import MetricsFormat, exposition, read_file
from rowmill.metrics.serving import parse_address, serving
from rowmill.metrics.table import METRICS, RUN, UP, WORKERS, Kind
from rowmill.store.reading.status import WorkersStatus

ODD = 'a "quoted"\\ näme'


def _run(path: Path, *, column: str = "note") -> Path:
    """A run that was killed: a finished, a dropped and a deferred row, two requests."""
    spec = prepared(
        sampler(), llm(column, "Write."), models=[model()], records=20, row_group_size=5, run={"max_requests": 10}
    )
    with RunState(spec, path) as state:
        state.take()
        state.write_deferral(column, 0, 1, until_s=60)
        state.write_drop(column, 3)
    return path


def _paid_run(path: Path) -> Path:
    """A run of which one request had a price."""
    spec = prepared(sampler(), llm("note", "Write."), models=[model()], records=20, row_group_size=5)
    with RunState(spec, path) as state:
        first = state.take().tasks[0]
        state.take([succeeded(first, "text", requests=[request(cost=0.5)])])
    return path


def _text(path: Path, form: MetricsFormat = MetricsFormat.PROMETHEUS) -> str:
    return exposition(lambda: read_file(path), form).decode()


def _families(text: str) -> list[Metric]:
    return list(families(text))


def _openmetrics(text: str) -> list[Metric]:
    return list(openmetrics_families(text))  # type: ignore[no-untyped-call]


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in _families(text)
        for sample in family.samples
    }


def _value(text: str, name: str, **labels: str) -> float:
    (value,) = [
        value for (found, its), value in _samples(text).items() if found == name and labels.items() <= dict(its).items()
    ]
    return value


def test_every_metric_has_the_name_kind_and_labels_of_the_table(tmp_path: Path, quick_run: Path) -> None:
    runs = (_run(tmp_path / "killed.duckdb"), _paid_run(tmp_path / "paid.duckdb"), quick_run)
    found = {family.name: family for run in runs for family in _families(_text(run))}
    known = {metric.name: metric for metric in METRICS}
    # Workers are there only while a run works and has some: the next test.
    assert found.keys() == known.keys() - {WORKERS.name}
    for name, family in found.items():
        assert family.type == known[name].kind
        for sample in family.samples:
            own = set(known[name].labels) | (set() if known[name] is UP else {RUN})
            assert set(sample.labels) - {"le"} == own


def test_workers_are_counted_by_group(quick_run: Path) -> None:
    figures = read_file(quick_run)
    assert figures.status.details is not None
    group = WorkersStatus("gpu", "ray", 4, 3, 10, 100, 2, None, None)
    status = replace(figures.status, details=replace(figures.status.details, workers=(group,)))
    text = exposition(lambda: replace(figures, status=status), MetricsFormat.PROMETHEUS).decode()
    states = ("planned", "ready", "lost")
    counts = {state: _value(text, "rowmill_workers", worker_group="gpu", state=state) for state in states}
    assert counts == {"planned": 4, "ready": 3, "lost": 2}


def test_both_formats_hold_the_same(quick_run: Path) -> None:
    plain, other = _families(_text(quick_run)), _openmetrics(_text(quick_run, MetricsFormat.OPENMETRICS))
    assert {each.name: len(each.samples) for each in plain} == {each.name: len(each.samples) for each in other}


def test_figures_are_those_of_the_status(rowmill: CommandLine, quick_run: Path) -> None:
    text = rowmill.output_of("metrics", quick_run)
    (status,) = json.loads(rowmill.output_of("status", quick_run, "--format", "json"))
    assert _value(text, "rowmill_rows", state="finished") == status["rows_finished"] == 20
    assert _value(text, "rowmill_run_state", state="finished") == 1
    assert _value(text, "rowmill_requests_total", outcome="succeeded") == status["requests"]
    tokens = "rowmill_gen_ai_client_token_usage_total"
    assert _value(text, tokens, gen_ai_token_type="input") == status["input_tokens"]
    assert _value(text, tokens, gen_ai_token_type="output") == status["output_tokens"]
    assert _value(text, "rowmill_cells", column="note", state="done") == 20
    duration = "rowmill_gen_ai_client_operation_duration_seconds"
    assert _value(text, f"{duration}_count") == _value(text, f"{duration}_bucket", le="+Inf") == 20


def test_buckets_rise_to_the_number_of_requests(quick_run: Path) -> None:
    name = "rowmill_gen_ai_client_operation_duration_seconds_bucket"
    counts = [value for (found, _), value in _samples(_text(quick_run)).items() if found == name]
    assert counts == sorted(counts)
    assert counts[-1] == 20


def test_a_killed_run_says_what_waits_and_what_was_dropped(tmp_path: Path) -> None:
    text = _text(_run(tmp_path / "x.duckdb"))
    assert _value(text, "rowmill_run_state", state="stopped") == 1
    assert _value(text, "rowmill_rows", state="dropped") == 1
    assert _value(text, "rowmill_rows_dropped", column="note") == 1
    assert _value(text, "rowmill_tasks_deferred", column="note") == 1
    assert _value(text, "rowmill_budget", kind="requests") == 10
    assert _value(text, "rowmill_budget_left", kind="requests") == 10
    assert "rowmill_seconds_left{" not in text, "nobody can tell: nothing works on it"


@pytest.mark.slow
def test_counters_go_on_where_they_stood_when_more_is_asked_for(rowmill: CommandLine, quick_run: Path) -> None:
    before = _text(quick_run)
    rowmill.output_of("rerun", quick_run, "--column", "note", "--where", "row_id < 5", "--yes")
    assert rowmill("run", quick_run).returncode == 0
    counters = {metric.exposed for metric in METRICS if metric.kind is Kind.COUNTER}
    after = _samples(_text(quick_run))
    for key, value in _samples(before).items():
        assert key[0] not in counters or after[key] >= value
    assert _value(_text(quick_run), "rowmill_requests_total", outcome="succeeded") == 25


MOODY = """
name: moody
records: 1500
row_group_size: 50
models:
  - alias: writer
    provider: simulated
    model: moody
    max_parallel_requests: 16
    input_usd_per_million_tokens: 1000
    output_usd_per_million_tokens: 2000
    simulation: {latency_ms: 20, rate_limited: 0.02, transient: 0.05, rejected: 0.03, retry_after_s: 0.1}
columns:
  - {name: colour, column_type: sampler, sampler_type: category, params: {values: [red, green, blue]}}
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "Describe a {{ colour }} thing."}
run: {max_cost_usd: 1000, max_tokens: 100000000, max_error_share: 1, backoff_base_s: 0.05}
"""
_SUMS = """
select
  sum(input_tokens) as sent, sum(output_tokens) as received, sum(cost_usd) as cost,
  count(*) as requests, sum(duration_ms) / 1000 as took_s
from attempt where model is not null
"""


def _is_true_to_the_views(database: package.RunDatabase, text: str) -> None:
    """Every figure that does not depend on the time of asking is what a view says."""

    def rows(query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = database.sql(query).to_pylist()
        return found

    (run,) = rows("from run_status")
    for state in ("finished", "dropped"):
        assert _value(text, "rowmill_rows", state=state) == run[f"rows_{state}"]
    assert _value(text, "rowmill_rows", state="planned") == run["records"]
    for state in ("active", "finished"):
        assert _value(text, "rowmill_row_groups", state=state) == run[f"row_groups_{state}"]
    assert _value(text, "rowmill_row_groups", state="planned") == run["row_groups"]
    assert _value(text, "rowmill_run_state", state=run["state"]) == 1
    assert _value(text, "rowmill_invocations_total") == run["invocations"]
    committed = run["updated_at"].replace(tzinfo=UTC).timestamp()
    assert _value(text, "rowmill_last_commit_timestamp_seconds") == pytest.approx(committed, abs=1e-3)
    assert 0 <= _value(text, "rowmill_last_commit_age_seconds") <= time.time() - committed + 1
    for column in rows("from progress"):
        for state in ("done", "skipped", "dropped", "deferred", "waiting"):
            assert _value(text, "rowmill_cells", column=column["column_name"], state=state) == column[state]
    for reason in rows("select column_name, reason, error_type, count(*) as n from dropped_row group by all"):
        labels = {"column": reason["column_name"], "reason": reason["reason"], "error_type": reason["error_type"]}
        assert _value(text, "rowmill_rows_dropped", **labels) == reason["n"]
    for waiting in rows("select generator, error_type, count(*) as n from deferred_task group by all"):
        labels = {"column": waiting["generator"], "error_type": waiting["error_type"]}
        assert _value(text, "rowmill_tasks_deferred", **labels) == waiting["n"]
    outcomes = rows("select outcome, count(*) as n from attempt where model is not null group by all")
    for each in outcomes:
        assert _value(text, "rowmill_requests_total", outcome=each["outcome"]) == each["n"]
    assert sum(each["n"] for each in outcomes) == run["requests"]
    (sums,) = rows(_SUMS)
    tokens = "rowmill_gen_ai_client_token_usage_total"
    assert _value(text, tokens, gen_ai_token_type="input") == sums["sent"] == run["input_tokens"]
    assert _value(text, tokens, gen_ai_token_type="output") == sums["received"] == run["output_tokens"]
    assert _value(text, "rowmill_cost_usd_total") == pytest.approx(sums["cost"])
    duration = "rowmill_gen_ai_client_operation_duration_seconds"
    assert _value(text, f"{duration}_count") == sums["requests"]
    assert _value(text, f"{duration}_sum") == pytest.approx(sums["took_s"])
    assert _value(text, "rowmill_budget_left", kind="usd") == pytest.approx(1000 - sums["cost"])
    spent = sums["sent"] + sums["received"]
    assert _value(text, "rowmill_budget_left", kind="tokens") == 100_000_000 - spent
    for resource in rows("from resource where resource like 'simulated%'"):
        for kind in ("configured", "learned"):
            labels = {"endpoint": resource["resource"], "kind": kind}
            assert _value(text, "rowmill_call_limit", **labels) == resource[f"{kind}_limit"]


@pytest.mark.slow
def test_every_figure_is_what_the_views_say_after_a_kill_and_a_restart(rowmill: CommandLine) -> None:
    (rowmill.directory / "moody.yaml").write_text(MOODY)
    path = rowmill.directory / "moody.duckdb"
    run = rowmill.start("run", "moody.yaml")
    give_up_at = time.monotonic() + 40
    finished = 0.0
    while finished < 150:
        assert time.monotonic() < give_up_at
        with suppress(UsageError):  # there is no run in it yet
            finished = _value(_text(path), "rowmill_rows", state="finished")
    run.kill()
    rowmill.end_of(run)
    killed = _text(path)
    assert _value(killed, "rowmill_run_state", state="stopped") == 1
    assert _value(killed, "rowmill_commit_lag_seconds_count") > 0
    with package.RunDatabase.open(path) as database:
        _is_true_to_the_views(database, killed)
    assert rowmill("run", path).returncode == 3
    whole = _text(path)
    with package.RunDatabase.open(path) as database:
        _is_true_to_the_views(database, whole)
        (second,) = database.sql("select count(*) as n from attempt where invocation = 2").to_pylist()
    counters = {metric.exposed for metric in METRICS if metric.kind is Kind.COUNTER}
    after = _samples(whole)
    for key, value in _samples(killed).items():
        assert key[0] not in counters or after[key] >= value
    lags = "rowmill_commit_lag_seconds_count"
    assert _value(whole, lags) - _value(killed, lags) == second["n"], (
        "each call made one request, and each was committed"
    )


def test_a_name_of_any_characters_stays_one_label(tmp_path: Path) -> None:
    text = _text(_run(tmp_path / "x.duckdb", column=ODD))
    assert _value(text, "rowmill_rows_dropped", column=ODD) == 1


def test_a_file_for_a_collector_is_replaced_whole_and_readable_by_it(rowmill: CommandLine, quick_run: Path) -> None:
    file = rowmill.directory / "quick.prom"
    file.write_text("old")
    file.chmod(0o600)
    assert rowmill.output_of("metrics", quick_run, "--output", file) == ""
    assert file.stat().st_mode & 0o777 == 0o644
    assert _value(file.read_text(), "rowmill_rows", state="finished") == 20


@pytest.mark.slow
def test_metrics_are_served_while_a_run_works_and_not_longer(rowmill: CommandLine) -> None:
    (rowmill.directory / "slow.yaml").write_text(
        "name: slow\nrecords: 4000\n"
        "models: [{alias: w, provider: simulated, model: m, max_parallel_requests: 2, simulation: {latency_ms: 200}}]\n"
        "columns: [{name: note, column_type: llm-text, model_alias: w, prompt: Write.}]\n"
    )
    run = rowmill.start("run", "slow.yaml", "--metrics", "127.0.0.1:0")
    assert run.stderr is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/metrics", run.stderr.readline())
    assert found is not None
    run.stderr.readline()  # its first line of progress
    with urllib.request.urlopen(found[0], timeout=30) as answer:
        text = answer.read().decode()
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert _value(text, "rowmill_run_state", state="running") == 1
    asked = urllib.request.Request(found[0], headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert _openmetrics(answer.read().decode())
    run.send_signal(signal.SIGINT)
    assert rowmill.end_of(run).returncode == 75
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(found[0], timeout=30)


def test_a_run_database_that_cannot_be_read_is_not_up(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "none.duckdb", "127.0.0.1:0") as place,
        urllib.request.urlopen(f"http://{place}/metrics", timeout=30) as answer,
    ):
        assert _samples(answer.read().decode()) == {("rowmill_up", ()): 0}


def test_a_port_that_is_taken_is_said_before_anything_is_made(rowmill: CommandLine, quick_spec: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = rowmill("run", quick_spec, "--metrics", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "Name another port" in done.stderr
    assert not (rowmill.directory / "quick.duckdb").exists()


@pytest.mark.parametrize(
    "address", ["", "x", "127.0.0.1", "127.0.0.1:", ":9464", "host:99999", "::1:9464", "[::1]", "1:-1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        parse_address(address)


def test_addresses() -> None:
    assert parse_address("9464") == ("127.0.0.1", 9464)
    assert parse_address("[::1]:9464") == ("::1", 9464)
    assert parse_address("0.0.0.0:0") == ("0.0.0.0", 0)


def test_without_prometheus_client_it_says_what_to_install(quick_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"pip install 'rowmill\[metrics\]'"):
        _text(quick_run)


def _expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["expr"]] if "expr" in value else [e for inner in value.values() for e in _expressions(inner)]
    return [e for inner in value for e in _expressions(inner)] if isinstance(value, list) else []


def test_the_dashboard_asks_for_metrics_and_labels_that_exist(rowmill: CommandLine) -> None:
    dashboard = json.loads(rowmill.output_of("metrics", "--dashboard"))
    known = {metric.exposed: {*metric.labels, RUN, "le"} for metric in METRICS}
    known |= {
        f"{m.name}{end}": known[m.name]
        for m in METRICS
        if m.kind is Kind.HISTOGRAM
        for end in ("_bucket", "_sum", "_count")
    }
    asked = _expressions(dashboard)
    assert len(asked) > 10
    for expression in asked:
        names = re.findall(r"\browmill_\w+", expression)
        assert names
        labels = re.findall(r"(\w+)\s*(?:=~|=)", expression)
        labels += [one for by in re.findall(r"\bby \(([^)]*)\)", expression) for one in by.split(", ")]
        for name in names:
            assert name in known, expression
            assert set(labels) <= set().union(*(known[each] for each in names)), expression
