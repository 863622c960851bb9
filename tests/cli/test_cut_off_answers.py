"""Answers that ended at their limit, as the user of a run meets them (V7)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from command_line import CommandLine

SPEC = """
name: short
records: 6
models:
  - alias: writer
    provider: simulated
    model: small
    inference_parameters: {{max_tokens: 4}}
    simulation: {{latency_ms: 0, answer: "{answer}"}}
columns:
  - {{name: id, column_type: sampler, sampler_type: uuid, params: {{}}}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "Describe {{{{ id }}}}."{more}}}
"""
LONG = "A beautiful thing of many colours"


def run(rowmill: CommandLine, answer: str = LONG, more: str = "") -> Any:
    (rowmill.directory / "short.yaml").write_text(SPEC.format(answer=answer, more=more))
    return rowmill("run", "short.yaml")


def test_texts_that_were_cut_off_are_kept_counted_and_told_of(rowmill: CommandLine) -> None:
    assert run(rowmill).returncode == 0
    assert json.loads(rowmill.output_of("sql", "select distinct finish_reason from attempt", "--format", "json")) == [
        {"finish_reason": "length"}
    ]
    shown = rowmill.output_of("status")
    assert re.search(r"^cut off +6 answers ended at max_tokens \(note: 6\)$", shown, re.MULTILINE)
    (status,) = json.loads(rowmill.output_of("status", "--format", "json"))
    assert status["answers_cut_off"] == 6
    assert status["cut_off"] == [{"column_name": "note", "answers": 6}]
    assert "finish_reason" in rowmill.output_of("show", "attempts", "--format", "csv").splitlines()[0]


def test_texts_that_were_not_are_not_told_of(rowmill: CommandLine) -> None:
    assert run(rowmill, answer="Nice.").returncode == 0
    assert "cut off" not in rowmill.output_of("status")
    (status,) = json.loads(rowmill.output_of("status", "--format", "json"))
    assert (status["answers_cut_off"], status["cut_off"]) == (0, [])


@pytest.mark.parametrize(("on_length", "requests"), [("drop", 1), ("retry", 3)])
def test_rows_whose_texts_are_cut_off_may_be_dropped(rowmill: CommandLine, on_length: str, requests: int) -> None:
    done = run(rowmill, more=f", on_length: {on_length}")
    assert done.returncode == 3
    assert "raise max_tokens" in done.stderr
    query = "select count(*) as attempts, count(distinct row_id) as rows from attempt where error_type = 'OutputLimit'"
    ((attempts, rows),) = [
        tuple(row.values()) for row in json.loads(rowmill.output_of("sql", query, "--format", "json"))
    ]
    assert attempts == requests * rows
