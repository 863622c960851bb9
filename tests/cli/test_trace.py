"""Where a traced run spends its time (T1), as people see it."""

from __future__ import annotations

import pytest
from command_line import CommandLine


@pytest.mark.slow
def test_t1_status_and_report_say_which_column_is_slow(rowmill: CommandLine) -> None:
    (rowmill.directory / "traced.yaml").write_text("""
name: traced
records: 4
run: {trace: true}
models:
  - {alias: quick, provider: simulated, model: quick, simulation: {latency_ms: 1}}
  - {alias: lame, provider: simulated, model: lame, max_parallel_requests: 1, simulation: {latency_ms: 60}}
columns:
  - {name: idea, column_type: llm-text, model_alias: quick, prompt: "Think."}
  - {name: text, column_type: llm-text, model_alias: lame, prompt: "Write {{ idea }}."}
""")
    rowmill.output_of("run", "traced.yaml")
    status = rowmill.output_of("status", "traced.duckdb")
    lines = [line.split() for line in status.splitlines()]
    heading = next(place for place, line in enumerate(lines) if line[:1] == ["slowest"])
    assert [line[:2] for line in lines[heading + 1 : heading + 3]] == [["text", "4"], ["idea", "4"]]
    assert '"task_times"' in rowmill.output_of("status", "traced.duckdb", "--format", "json")
    rowmill.output_of("report", "traced.duckdb", "--output", "report.html")
    page = (rowmill.directory / "report.html").read_text()
    assert page.index("worked, in all") < page.index(">text</td>", page.index("<h2>Time</h2>"))
