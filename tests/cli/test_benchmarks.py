"""Every benchmark runs in its smallest size and prints the figures it is there for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

_COMMAND = Path(__file__).resolve().parents[2] / "tools" / "benchmark"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def _report(directory: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The JSON a benchmark wrote, and what it printed."""
    file = directory / "figures.json"
    done = subprocess.run(
        [str(_COMMAND), *arguments, "--json", str(file)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert {"python", "cores", "load_before", "load_after"} <= report["machine"].keys()
    return report, done.stdout


def _positive(row: dict[str, Any], *keys: str) -> None:
    for key in keys:
        assert row[key] > 0, key


def test_the_dispatch_benchmark_compares_the_engine_with_the_dispatcher_alone(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "dispatch", "--rows", "300")
    engine, limit, traced = report["tables"]["dispatch"]
    _positive(engine, "cells_per_s", "cpu_us_per_cell", "peak_mib", "turns", "median_turn_ms", "longest_turn_ms")
    _positive(limit, "cells_per_s", "cpu_us_per_cell", "peak_mib", "turns")
    _positive(traced, "cells_per_s", "cpu_us_per_cell", "turns")
    assert engine["share_of_limit"] == pytest.approx(engine["cells_per_s"] / limit["cells_per_s"])
    assert "cells/s" in printed


def test_the_sql_benchmark_compares_the_engine_with_one_plain_insert(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "sql", "--rows", "2000")
    assert "8 columns of samplers of eight kinds" in printed
    for engine, baseline in (report["tables"]["sql"], report["tables"]["samplers"]):
        for row in (engine, baseline):
            _positive(row, "cells_per_s", "cpu_us_per_cell", "peak_mib", "file_mib")
        assert engine["share_of_baseline"] == pytest.approx(engine["cells_per_s"] / baseline["cells_per_s"])
    assert "of baseline" in printed


def test_the_provider_benchmark_gives_the_share_of_the_ideal_with_and_without_ramps(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "provider", "--case", "20:8", "--case", "0:8", "--seconds", "0.2")
    waiting, instant = report["tables"]["provider"]
    for row in (waiting, instant):
        _positive(row, "requests_per_s", "steady_per_s", "bare_per_s", "cpu_us", "bare_cpu_us", "peak_mib")
    _positive(waiting, "share_whole", "share_steady")
    assert "share_steady" not in instant
    assert "of ideal" in printed


def test_the_provider_benchmark_also_measures_the_simulated_provider(tmp_path: Path) -> None:
    report, _ = _report(tmp_path, "provider", "--quick", "--seconds", "0.1")
    assert [row["provider"] for row in report["tables"]["provider"]] == ["HTTP", "HTTP", "in process"]


def test_the_plan_benchmark_prepares_and_resumes_plans_of_very_different_sizes(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "plan", "--row-groups", "10", "--row-groups", "1000000000", "--profile")
    cases = {(row["row_groups"], row["state"]) for row in report["tables"]["times"]}
    assert cases == {(10, "fresh"), (10, "2 left, killed"), (10, "2 left, stopped"), (10**9, "fresh")}
    for row in report["tables"]["times"]:
        _positive(row, "open", "sign_in", "first_turn", "open_to_tasks")
    assert all(row["peak_mib"] > 0 for row in report["tables"]["memory"])
    assert "pull_of_single_generators" in {row["statement"] for row in report["tables"]["statements"]}
    assert "1,000,000,000" in printed


def test_the_live_benchmark_opens_pages_instead_of_readers(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "live", "--rows", "300", "--pages", "2")
    alone, watched = report["tables"]["live"]
    assert (alone["pages"], watched["pages"], watched["readers"]) == (0, 2, 0)
    _positive(watched, "cells_per_s", "reader_cpu_s")
    assert "pages" in printed


def test_the_live_benchmark_compares_a_run_with_readers_to_one_alone(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "live", "--rows", "300", "--readers", "1")
    alone, watched = report["tables"]["live"]
    _positive(alone, "cells_per_s", "cpu_s", "seconds")
    _positive(watched, "cells_per_s", "cpu_s", "seconds", "reader_cpu_s")
    assert watched["share_of_alone"] == pytest.approx(watched["cells_per_s"] / alone["cells_per_s"])
    assert "of alone" in printed


def test_the_turn_benchmark_measures_turns_by_outcomes_and_active_rows(tmp_path: Path) -> None:
    report, printed = _report(
        tmp_path, "turn", "--active-rows", "100", "--outcomes", "1", "--outcomes", "10", "--seconds", "0.1"
    )
    one, ten = report["tables"]["turn"]
    for row in (one, ten):
        _positive(row, "median_ms", "p95_ms", "longest_ms", "us_per_outcome", "peak_mib")
    assert ten["times_baseline"] == pytest.approx(ten["median_ms"] / one["median_ms"])
    assert "µs/outcome" in printed


def test_the_turn_benchmark_says_what_each_statement_costs(tmp_path: Path) -> None:
    report, _ = _report(tmp_path, "turn", "--profile", "10:100", "--seconds", "0.1")
    profile = {row["statement"]: row for row in report["tables"]["profile"]}
    assert {"write_values", "write_values_together"} & profile.keys()
    assert {"pull_ready_tasks", "(commit)", "(Python)", "(turn)"} <= profile.keys()
    assert "(unknown)" not in profile
    assert sum(row["share"] for name, row in profile.items() if name != "(turn)") == pytest.approx(1.0)


def test_json_can_go_to_stdout_with_the_table_beside_it(tmp_path: Path) -> None:
    command = [str(_COMMAND), "turn", "--active-rows", "20", "--outcomes", "1", "--seconds", "0.1", "--json", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["benchmark"] == "turn"
    assert "median ms" in done.stderr


@pytest.mark.slow
def test_the_remote_benchmark_compares_executors_with_this_process_and_with_the_driver_alone(tmp_path: Path) -> None:
    kinds = ("--work", "HTTP", "--work", "CPU-bound", "--work", "waiting")
    report, printed = _report(tmp_path, "remote", "--seconds", "0.05", "--without-ray", "--in-flight", "64", *kinds)
    rows = {(row["work"], row["executor"]): row for row in report["tables"]["remote"]}
    assert {executor for _, executor in rows} == {"local", "1 process", "2 processes", "driver alone"}
    for (work, executor), row in rows.items():
        _positive(row, "calls", "calls_per_s", "driver_us")
        _positive(row, "share_of_ideal" if work == "waiting" else "times_local")
        if executor.endswith(("process", "processes")):
            _positive(row, "worker_us")
        if work == "HTTP":
            _positive(row, "bare_us", "share_of_bare")
    assert "driver µs/call" in printed


def test_the_refusal_benchmark_compares_with_the_run_without_the_refusing_endpoint(tmp_path: Path) -> None:
    report, printed = _report(tmp_path, "refusal", "--row-groups", "2", "--latency-ms", "5")
    alone, beside = report["tables"]["refusal"]
    assert alone["requests"] == beside["requests"] == 2 * 20 * 3
    assert alone["refused"] == 0
    assert beside["refused"] > 0
    assert "beside a refusing endpoint" in printed
