"""Rowmill against llama.cpp's server, from its wheel: text, vectors, both dialects, long prompts, a killed server."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from llama_server import LlamaServer, llama_server, random_model

import rowmill
from rowmill.engine.ending import RunReport
from rowmill.run_database import RunDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("llama"))


def ran(server: LlamaServer, directory: Path, *columns: dict[str, Any], records: int = 6, **fields: Any) -> RunReport:
    return rowmill.run(spec_of(server, *columns, records=records, **fields), directory / "run.duckdb")


def spec_of(server: LlamaServer, *columns: dict[str, Any], records: int, **fields: Any) -> dict[str, Any]:
    config = {
        "alias": "writer",
        "base_url": server.url,
        "model": "random",
        "max_parallel_requests": 2,
        "inference_parameters": {"max_tokens": 8},
        **fields,
    }
    return {
        "name": "run",
        "records": records,
        "row_group_size": 20,
        "models": [config],
        "columns": [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}, *columns],
        "run": {"max_error_share": 1, "error_window": 10_000, "backoff_base_s": 0.05},
    }


def rows_of(directory: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(directory / "run.duckdb") as database:
        rows: list[dict[str, Any]] = database.sql(query).to_pylist()
    return rows


def metrics_of(server: LlamaServer) -> dict[str, float]:
    with urllib.request.urlopen(server.url.removesuffix("/v1") + "/metrics", timeout=10) as response:
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^llamacpp:(\w+) (\S+)$", text, re.MULTILINE)}


TEXT = {"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": "Say {{ n }}"}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_texts_come_in_both_dialects_and_tokens_are_those_of_its_metrics(
    provider: str, model: Path, tmp_path: Path
) -> None:
    with llama_server(model) as server:
        fields: dict[str, Any] = {"provider": provider, "skip_health_check": True}
        assert ran(server, tmp_path, TEXT, **fields).exit_code == 0
        told = metrics_of(server)
    (row,) = rows_of(tmp_path, "select sum(input_tokens) as sent, sum(output_tokens) as got from attempt")
    assert row["got"] == told["tokens_predicted_total"]
    assert row["sent"] == told["prompt_tokens_total"] + told["prompt_tokens_cached_total"]


def test_a_prompt_beyond_its_context_is_known_as_such(model: Path, tmp_path: Path) -> None:
    prompt = {**TEXT, "prompt": "{% for i in range(400) %}word {% endfor %}{{ n }}"}
    with llama_server(model) as server:
        assert ran(server, tmp_path, prompt, records=2).exit_code == 3
    assert {row["error_type"] for row in rows_of(tmp_path, "from attempt")} == {"ContextTooLong"}


@pytest.mark.parametrize("response_format", ["json_schema", "strict_json_schema"])
def test_a_schema_and_the_options_of_a_judge_bind_its_answers(
    response_format: str, model: Path, tmp_path: Path
) -> None:
    columns: list[dict[str, Any]] = [
        {
            "name": "facts",
            "column_type": "llm-structured",
            "model_alias": "writer",
            "prompt": "What of {{ n }}?",
            "output_format": {
                "type": "object",
                "properties": {"mood": {"enum": ["good", "bad"]}, "is_sure": {"type": "boolean"}},
                "required": ["mood", "is_sure"],
                "additionalProperties": False,
            },
        },
        {
            "name": "judge",
            "column_type": "llm-judge",
            "model_alias": "writer",
            "prompt": "Judge {{ n }}.",
            "scores": [{"name": "tone", "description": "How it sounds", "options": {1: "rude", 2: "neutral"}}],
        },
    ]
    # Tokens are bytes, and all are as likely: without a hint a text hardly ever ends with its quotation mark.
    parameters = {"max_tokens": 600, "extra_body": {"logit_bias": {"34": 8}}}
    with llama_server(model, context=8192) as server:
        report = ran(server, tmp_path, *columns, response_format=response_format, inference_parameters=parameters)
    assert (report.exit_code, report.rows_finished) == (0, 6), rows_of(tmp_path, "from dropped_row")
    for row in rows_of(tmp_path, "select facts, judge.tone.score as score from dataset"):
        facts = row["facts"] if isinstance(row["facts"], dict) else json.loads(row["facts"])
        assert facts["mood"] in {"good", "bad"}
        assert isinstance(facts["is_sure"], bool)
        assert int(row["score"]) in {1, 2}


def test_one_text_that_is_too_long_costs_its_own_row_of_a_batch(model: Path, tmp_path: Path) -> None:
    topic = {
        "name": "topic",
        "column_type": "expression",
        "sql": "if(n < '4', repeat(n, 200), 'topic ' || n)",
        "dtype": "str",
    }
    vector = {"name": "v", "column_type": "embedding", "target_column": "topic", "model_alias": "writer"}
    with llama_server(model, "embedding") as server:
        assert ran(server, tmp_path, topic, vector, records=8, inference_parameters={}).exit_code == 3
    kept = rows_of(tmp_path, "select n, v from dataset")
    assert 0 < len(kept) < 8
    assert all(row["n"] >= "4" and len(row["v"]) == 32 for row in kept)
    dropped = rows_of(tmp_path, "select n from dropped_row_value")
    assert len(kept) + len(dropped) == 8
    assert all(row["n"] < "4" for row in dropped)


def test_a_server_that_stands_still_for_a_while_costs_time_and_no_row(model: Path, tmp_path: Path) -> None:
    answered = threading.Event()
    with llama_server(model) as server:

        def stop_and_go_on() -> None:
            answered.wait(30)
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(2.5)
            server.process.send_signal(signal.SIGCONT)

        helper = threading.Thread(target=stop_and_go_on)
        helper.start()
        try:
            spec = spec_of(server, TEXT, records=100, timeout_s=1)
            report = rowmill.run(spec, tmp_path / "run.duckdb", on_row_group_finished=lambda _: answered.set())
        finally:
            answered.set()
            helper.join(30)
    assert (report.exit_code, report.rows_finished, report.rows_dropped) == (0, 100, 0)
    failed = rows_of(tmp_path, "select distinct outcome from attempt where error_type is not null")
    assert failed == [{"outcome": "transient"}]


def test_a_run_that_is_killed_goes_on_and_asks_no_more_again_than_was_in_flight(model: Path, tmp_path: Path) -> None:
    rowmill_command = CommandLine(tmp_path)
    try:
        with llama_server(model) as server:
            (tmp_path / "spec.json").write_text(json.dumps(spec_of(server, TEXT, records=200)))
            run = rowmill_command.start("run", "spec.json")
            give_up_at = time.monotonic() + 40
            while metrics_of(server)["tokens_predicted_total"] < 8 * 40:
                assert time.monotonic() < give_up_at
            run.kill()
            rowmill_command.end_of(run)
            kept = rows_of(tmp_path, "select row_id, text from dataset")
            assert rowmill_command("run", "spec.json").returncode == 0
            told = metrics_of(server)["tokens_predicted_total"]
    finally:
        rowmill_command.close()
    rows = dict_of(rows_of(tmp_path, "select row_id, text from dataset"))
    assert len(rows) == 200
    assert dict_of(kept).items() <= rows.items(), "what was committed stays"
    (paid,) = rows_of(tmp_path, "select sum(output_tokens) as tokens from attempt")
    unseen = (told - float(paid["tokens"])) / 8
    assert 0 <= unseen <= 2 + 20, "calls in flight, and those of the last 50 ms"


def dict_of(rows: list[dict[str, Any]]) -> dict[int, str]:
    return {row["row_id"]: row["text"] for row in rows}


def test_vectors_are_the_same_as_numbers_and_as_base64(model: Path, tmp_path: Path) -> None:
    vector = {"name": "v", "column_type": "embedding", "target_column": "topic", "model_alias": "writer"}
    topic = {"name": "topic", "column_type": "expression", "sql": "'topic ' || (row_number % 3)", "dtype": "str"}
    number = {"name": "row_number", "column_type": "expression", "sql": "len(n)", "dtype": "int"}
    made = []
    with llama_server(model, "embedding") as server:
        for form in ("float", "base64"):
            directory = tmp_path / form
            directory.mkdir()
            fields: dict[str, Any] = {"inference_parameters": {"encoding_format": form}}
            assert ran(server, directory, number, topic, vector, **fields).exit_code == 0
            made.append([row["v"] for row in rows_of(directory, "select v from dataset order by row_id")])
    assert len(made[0][0]) == 32
    for numbers, packed in zip(*made, strict=True):
        assert numbers == pytest.approx(packed, abs=1e-6)


def test_a_server_that_is_killed_and_comes_back_costs_no_row(model: Path, tmp_path: Path) -> None:
    with llama_server(model) as first:
        port, answered = first.port, threading.Event()
        back = threading.Event()

        def kill_and_bring_back() -> None:
            answered.wait(30)
            first.process.kill()
            first.process.wait()
            with llama_server(model, port=port):
                back.set()
                finished.wait(60)

        finished = threading.Event()
        helper = threading.Thread(target=kill_and_bring_back)
        helper.start()
        spec_run = {"max_error_share": 1, "backoff_base_s": 0.05, "unavailable_after_s": 50}
        try:
            report = rowmill.run(
                {
                    "records": 200,
                    "row_group_size": 20,
                    "models": [
                        {
                            "alias": "writer",
                            "base_url": first.url,
                            "model": "random",
                            "inference_parameters": {"max_tokens": 8},
                        }
                    ],
                    "columns": [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}, TEXT],
                    "run": spec_run,
                },
                tmp_path / "run.duckdb",
                on_row_group_finished=lambda _: answered.set(),
            )
        finally:
            answered.set()
            finished.set()
            helper.join(30)
    assert back.is_set()
    assert (report.exit_code, report.rows_finished, report.rows_dropped) == (0, 200, 0)
