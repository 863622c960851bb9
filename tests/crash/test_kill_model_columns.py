"""Each type of model column: a real run over HTTP, killed once with -9, ends as if nobody had killed it (D1, D2)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.run_database import RunDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RECORDS = 48
IN_FLIGHT = 4
LATENCY_MS = 80
TOOL_SERVER = Path(__file__).parent.parent / "tool_server.py"

_HEAD = """
name: killed
records: {records}
row_group_size: 12
seed: 5
models:
  - alias: model
    provider: {provider}
    base_url: "{url}"
    model: small
    max_parallel_requests: {in_flight}
    inference_parameters: {{temperature: {{distribution_type: uniform, params: {{low: 0.2, high: 0.9}}}}}}
  - {{alias: reusing, base_url: "{url}", model: small, max_parallel_requests: {in_flight}, reuse_answers: true}}
run: {{max_in_flight: {in_flight}, backoff_base_s: 0.05}}
columns:
  - {{name: id, column_type: sampler, sampler_type: uuid}}
"""
_COLUMNS: dict[str, str] = {
    "llm-text": """
  - {name: made, column_type: llm-text, model_alias: model, prompt: "Of {{ id }}", system_prompt: "As {{ id }}",
     with_trace: true, extract_reasoning_content: true}
  - {name: after, column_type: expression, expr: "{{ made }} {{ made__reasoning_content }}"}
""",
    "llm-code": """
  - {name: made, column_type: llm-code, model_alias: model, prompt: "Of {{ id }}", code_lang: "sql:postgres"}
  - {name: after, column_type: expression, sql: "length(made)", dtype: int}
""",
    "llm-structured": """
  - name: made
    column_type: llm-structured
    model_alias: model
    prompt: "Of {{ id }}"
    with_trace: all_messages
    output_format:
      type: object
      properties:
        name: {type: string}
        parts: {type: array, minItems: 1, items: {type: object, properties: {count: {type: integer}}}}
        other: {}
      required: [name, parts]
  - {name: after, column_type: expression, expr: "{{ made.name }}: {{ made.parts[0].count }}"}
  - {name: total, column_type: expression, sql: "list_sum(list_transform(made.parts, lambda p: p.count))", dtype: int}
""",
    "llm-judge": """
  - name: made
    column_type: llm-judge
    model_alias: model
    prompt: "Judge {{ id }}"
    scores:
      - {name: helpfulness, description: How helpful it is, options: {1: not at all, 2: a little, 3: very}}
      - {name: tone, description: How it sounds, options: {kind: friendly, cold: distant}}
  - {name: after, column_type: expression, expr: "{{ made.helpfulness.score }} {{ made.tone.score }}"}
  - {name: half, column_type: expression, sql: "made.helpfulness.score / 2", dtype: float}
""",
    "embedding": """
  - {name: made, column_type: embedding, target_column: id, model_alias: model, max_rows_per_call: 2, dimensions: 8}
  - {name: after, column_type: expression, sql: "array_cosine_similarity(made, made)", dtype: float}
  - {name: said, column_type: llm-text, model_alias: model, prompt: "Of {{ id }}"}
""",
    "anthropic": """
  - {name: made, column_type: llm-text, model_alias: model, prompt: "Of {{ id }}", extract_reasoning_content: true}
  - name: judged
    column_type: llm-judge
    model_alias: model
    system_prompt: "You are fair."
    prompt: "Judge {{ made }} {{ made__reasoning_content }}"
    scores: [{name: tone, description: How it sounds, options: {kind: friendly, cold: distant}}]
""",
    "image": """
  - {name: made, column_type: image, model_alias: model, prompt: "Draw {{ id }}"}
  - name: seen
    column_type: llm-text
    model_alias: model
    prompt: "What is this?"
    multi_modal_context: [{modality: image, column_name: made}]
""",
    "multi_modal_context": """
  - {name: sound, column_type: expression, sql: "to_base64(id::blob)"}
  - name: made
    column_type: llm-structured
    model_alias: model
    prompt: "What is this?"
    output_format: {type: object, properties: {what: {type: string}}}
    multi_modal_context:
      - {modality: audio, column_name: sound, data_type: base64, audio_format: mp3}
""",
    "regenerate": """
  - {name: made, column_type: llm-text, model_alias: model, prompt: "Of {{ id }}"}
  - {name: check, column_type: validation, target_columns: [made], validator_type: sql, on_invalid: regenerate,
     validator_params: {predicate: "md5(made) < '8'"}}
  - {name: after, column_type: llm-text, model_alias: model, prompt: "{{ made }} {{ check.is_valid }}"}
""",
    "reuse_answers": """
  - {name: half, column_type: expression, expr: "{{ id[:1] }}"}
  - {name: made, column_type: llm-text, model_alias: model, prompt: "Of {{ id }}"}
  - {name: again, column_type: llm-text, model_alias: reusing, prompt: "Of {{ half }}"}
""",
    "tools": f"""
  - {{name: made, column_type: llm-text, model_alias: model, tool_alias: shop, with_trace: true,
     prompt: "{{{{ id }}}}"}}
mcp_providers: [{{name: local, command: "{sys.executable}", args: ["{TOOL_SERVER}"]}}]
tool_configs: [{{tool_alias: shop, providers: [local], allow_tools: [price]}}]
""",
}
_SIMULATORS: dict[str, dict[str, Any]] = {"llm-text": {"reasoning": "because"}, "anthropic": {"reasoning": "because"}}
_FLAWS = {"malformed": 0.2, "transient": 0.02}


def _spec(directory: Path, kind: str, url: str) -> Path:
    provider = "anthropic" if kind == "anthropic" else "openai"
    text = _HEAD.format(records=RECORDS, url=url, in_flight=IN_FLIGHT, provider=provider) + _COLUMNS[kind].lstrip("\n")
    path = directory / "spec.yaml"
    path.write_text(text)
    return path


def _command(spec: Path, database: Path) -> list[str]:
    return [sys.executable, "-m", "rowmill", "run", "--quiet", str(spec), str(database)]


def _content(database: Path) -> dict[str, Any]:
    with RunDatabase.open(database) as opened:
        assert opened.sql("from invariant_violation").num_rows == 0
        return {
            "schema": str(opened.to_arrow().schema),
            "dataset": opened.to_arrow().to_pylist(),
            "dropped": opened.sql("select row_id, column_name, reason from dropped_row order by row_id").to_pylist(),
        }


def _files(database: Path) -> dict[str, bytes]:
    """What image columns wrote; nothing half-written, nothing that is of no row."""
    directory = Path(f"{database}.files")
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _kill_midway(command: list[str], simulator: RunningSimulator) -> None:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while (answered := simulator.statistics()["answered"]) < RECORDS // 3:
            with pytest.raises(subprocess.TimeoutExpired):
                pytest.fail(f"the run ended by itself, {process.wait(0.01)}, after {answered} answers")
    finally:
        process.kill()
        process.wait(60)


@pytest.mark.parametrize("kind", list(_COLUMNS))
def test_a_model_column_survives_a_kill(kind: str, tmp_path: Path) -> None:
    options = _FLAWS | _SIMULATORS.get(kind, {})
    whole, killed = tmp_path / "whole.duckdb", tmp_path / "killed.duckdb"
    with provider_simulator(**options) as quick:
        done = subprocess.run(_command(_spec(tmp_path, kind, quick.url), whole), check=False, timeout=120)
        assert done.returncode in (0, 3)
    with provider_simulator(latency_ms=LATENCY_MS, **options) as simulator:
        command = _command(_spec(tmp_path, kind, simulator.url), killed)
        _kill_midway(command, simulator)
        assert subprocess.run(command, check=False, timeout=120).returncode == done.returncode
        statistics = simulator.statistics()
    expected = _content(whole)
    assert expected["dataset"]
    assert _content(killed) == expected
    assert _files(killed) == _files(whole)
    # A conversation is one task: up to three requests each are in flight or wait for their commit.
    assert statistics["repeated_bodies"] <= 2 * 3 * IN_FLIGHT
    with RunDatabase.open(killed) as opened:
        (usage,) = opened.sql("select count(*) as requests from attempt where model is not null").to_pylist()
    assert statistics["requests"] - 2 * 3 * IN_FLIGHT <= usage["requests"] <= statistics["requests"]
