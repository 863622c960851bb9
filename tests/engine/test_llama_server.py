"""Rowmill against llama.cpp's server, from its wheel: text, vectors, both dialects, long prompts, a killed server."""

from __future__ import annotations

import re
import threading
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from llama_server import LlamaServer, llama_server, write_random_model

import rowmill
from rowmill.engine.ending import RunReport
from rowmill.run_database import RunDatabase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("gguf") is None,
        reason="needs the packages xllamacpp and gguf: pip install xllamacpp gguf",
    ),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama") / "random.gguf"
    write_random_model(path)
    return path


def ran(server: LlamaServer, directory: Path, *columns: dict[str, Any], records: int = 6, **fields: Any) -> RunReport:
    config = {
        "alias": "writer",
        "base_url": server.url,
        "model": "random",
        "max_parallel_requests": 2,
        "inference_parameters": {"max_tokens": 8},
        **fields,
    }
    spec = {
        "records": records,
        "models": [config],
        "columns": [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}, *columns],
        "run": {"max_error_share": 1, "error_window": 10_000},
    }
    return rowmill.run(spec, directory / "run.duckdb")


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
