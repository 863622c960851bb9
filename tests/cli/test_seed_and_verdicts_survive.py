"""A run that is killed goes on from its run database alone: seed rows and verdicts are in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
from command_line import CommandLine
from patient_endpoint import PatientEndpoint, patient_endpoint

pytestmark = pytest.mark.usefixtures("sockets")


@pytest.fixture
def endpoint() -> Iterator[PatientEndpoint]:
    with patient_endpoint() as endpoint:
        yield endpoint


@pytest.mark.slow
def test_a_killed_run_over_documents_goes_on_when_they_are_gone(
    rowmill: CommandLine, endpoint: PatientEndpoint
) -> None:
    documents = rowmill.directory / "docs"
    documents.mkdir()
    for number in range(6):
        (documents / f"{number}.md").write_text(f"document {number}")
    (rowmill.directory / "spec.yaml").write_text(
        f"""
name: docs
records: 6
row_group_size: 2
models: [{{alias: writer, provider: openai, base_url: "{endpoint.url}", model: slow, max_parallel_requests: 2}}]
seed_dataset: {{seed_type: file_contents, path: docs, sampling_strategy: shuffle}}
columns:
  - {{name: short, column_type: llm-text, model_alias: writer, prompt: "Shorten: {{{{ content }}}}"}}
  - {{name: check, column_type: validation, target_columns: [content], validator_type: sql, on_invalid: drop,
     validator_params: {{predicate: "content <> 'document 3'"}}}}
  - {{name: judged, column_type: validation, target_columns: [short], validator_type: json_schema,
     validator_params: {{json_schema: {{type: object}}}}}}
"""
    )
    run = rowmill.start("run", "spec.yaml")
    assert endpoint.asked.wait(30)
    run.kill()
    rowmill.end_of(run)
    shutil.rmtree(documents)
    endpoint.released.set()
    done = rowmill("run", "docs.duckdb")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in rowmill.output_of("export", "--format", "jsonl", "-o", "-").splitlines()]
    assert sorted(row["content"] for row in rows) == [f"document {number}" for number in range(6) if number != 3]
    assert {row["judged"]["is_valid"] for row in rows} == {False}
    (dropped,) = rowmill.output_of(
        "sql", "select reason, column_name from dropped_row", "--format", "jsonl"
    ).splitlines()
    assert json.loads(dropped) == {"reason": "invalid", "column_name": "check"}
    assert rowmill.output_of("sql", "from invariant_violation", "--format", "jsonl") == ""
