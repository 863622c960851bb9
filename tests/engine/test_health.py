"""The health check: what every row would fail of stops a run before anything is generated; what passes does not."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from provider_simulator import provider_simulator
from scripted_endpoint import Scripted, answered, response, scripted_endpoint

from rowmill.engine.ending import RunReport
from rowmill.engine.health import check_models
from rowmill.engine.invocation import run
from rowmill.engine.misdirection import advice_on
from rowmill.engine.preparation import prepare
from rowmill.engine.preview import preview
from rowmill.errors import EndpointAway, RunStopping
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.providers.opening import open_provider
from rowmill.run_database import RunDatabase
from rowmill.spec.spec import Spec

Runs = Callable[..., RunReport]

COLUMNS = [
    {"name": "id", "column_type": "sampler", "sampler_type": "uuid"},
    {"name": "note", "column_type": "llm-text", "model_alias": "writer", "prompt": "Of {{ id }}"},
]


def spec(url: str, *columns: dict[str, Any], run: dict[str, Any] | None = None, **model: Any) -> Spec:
    """Six rows; the model may be changed in any way."""
    config = {"alias": "writer", "base_url": url, "model": "small", "api_key": "${KEY}", **model}
    run_settings = {"max_attempts": 1, **(run or {})}
    return Spec.from_data({"records": 6, "models": [config], "columns": [*COLUMNS, *columns], "run": run_settings})


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Runs a spec with health checks on."""

    def started(prepared: Spec, **environ: str) -> RunReport:
        kept = {name: value for name, value in os.environ.items() if name != "ROWMILL_SKIP_HEALTH_CHECKS"}
        environment = {**kept, "KEY": "right", **environ}

        async def go() -> RunReport:
            return await run(prepare(prepared, tmp_path), tmp_path / "run.duckdb", environ=environment)

        return anyio.run(go)

    return started


def test_every_model_in_use_is_asked_once_and_the_question_is_no_attempt(runs: Runs, tmp_path: Path) -> None:
    with provider_simulator(api_key="right") as simulator:
        vector = {"name": "v", "column_type": "embedding", "target_column": "note", "model_alias": "writer"}
        assert runs(spec(simulator.url, vector)).exit_code == 0
        asked = simulator.statistics()["requests"]
    with RunDatabase.open(tmp_path / "run.duckdb") as database:
        (row,) = database.sql("select count(*) as attempts from attempt").to_pylist()
    assert asked == row["attempts"] + 2


@pytest.mark.parametrize(
    ("simulation", "model", "error_type"),
    [
        ({"api_key": "other"}, {}, "Authentication"),
        ({"flags": ["--known-models-only"]}, {}, "UnknownModel"),
        ({"status": 400}, {}, "HTTP 400"),
        ({}, {"provider": "anthropic", "base_url": "URL/wrong"}, "NotFound"),
    ],
)
def test_what_every_row_would_fail_of_stops_at_once(
    simulation: dict[str, Any], model: dict[str, Any], error_type: str, runs: Runs, tmp_path: Path
) -> None:
    with provider_simulator(**simulation) as simulator:
        changed = {name: value.replace("URL", simulator.url) for name, value in model.items()}
        with pytest.raises(RunStopping, match="Model 'writer' cannot be used") as caught:
            runs(spec(simulator.url, **changed))
        assert simulator.statistics()["requests"] <= (2 if error_type == "HTTP 400" else 1)
    assert caught.value.error_type == error_type
    with RunDatabase.open(tmp_path / "run.duckdb") as database:
        (row,) = database.sql("select (select count(*) from attempt) + (select count(*) from cell) as n").to_pylist()
    assert row["n"] == 0


@pytest.mark.parametrize("simulation", [{"status": 503}, {"rate_limited": 1, "retry_after": 3600}])
def test_what_passes_does_not_stop_a_run(simulation: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with provider_simulator(**simulation) as simulator:
        prepared = prepare(spec(simulator.url))

        async def check() -> None:
            environ = {"KEY": "right"}
            (config,) = prepared.spec.models
            provider = open_provider(config, environ, 1)
            await check_models(prepared, {"writer": ModelHandle(config, provider)}, environ)
            await provider.aclose()

        anyio.run(check)
        assert simulator.statistics()["requests"] == 1
    assert "gave no answer to its health check; going on" in caplog.text


@pytest.mark.parametrize(
    ("model", "environ"), [({"skip_health_check": True}, {}), ({}, {"ROWMILL_SKIP_HEALTH_CHECKS": "1"})]
)
def test_it_can_be_skipped(model: dict[str, Any], environ: dict[str, str], runs: Runs) -> None:
    with provider_simulator() as simulator:
        assert runs(spec(simulator.url, **model), **environ).exit_code == 0
        assert simulator.statistics()["requests"] == 6


def test_a_run_that_is_complete_asks_nobody(runs: Runs) -> None:
    with provider_simulator() as simulator:
        runs(spec(simulator.url))
        simulator.reset()
        assert runs(spec(simulator.url)).exit_code == 0
        assert simulator.statistics()["requests"] == 0


def test_a_preview_checks_too() -> None:
    with provider_simulator(api_key="right") as simulator, pytest.raises(RunStopping, match="cannot be used"):
        preview(prepare(spec(simulator.url)), 2, {"KEY": "wrong"})


async def _checked(url: str, **model: Any) -> None:
    """Makes the health check of a spec's one model."""
    prepared = prepare(spec(url, **model))
    environ = {"KEY": "right"}
    (config,) = prepared.spec.models
    provider = open_provider(config, environ, 1)
    try:
        await check_models(prepared, {"writer": ModelHandle(config, provider)}, environ)
    finally:
        await provider.aclose()


@pytest.mark.parametrize(
    ("parameters", "bound"),
    [
        ({}, {"max_tokens": 1}),
        ({"max_tokens": 500}, {"max_tokens": 1}),
        ({"extra_body": {"max_completion_tokens": 500}}, {"max_completion_tokens": 1}),
    ],
)
def test_it_asks_for_one_token(parameters: dict[str, Any], bound: dict[str, int]) -> None:
    async def check() -> dict[str, Any]:
        async with scripted_endpoint(answered()) as endpoint:
            await _checked(endpoint.url, inference_parameters=parameters)
        (received,) = endpoint.requests
        document: dict[str, Any] = json.loads(received.body)
        return document

    document = anyio.run(check)
    assert {name: value for name, value in document.items() if name.endswith("tokens")} == bound


def test_where_one_token_is_refused_what_rows_will_send_decides() -> None:
    async def check() -> list[dict[str, Any]]:
        refused = response(400, '{"error": {"message": "max_tokens must be more than budget_tokens"}}')
        async with scripted_endpoint(refused, answered()) as endpoint:
            await _checked(endpoint.url, inference_parameters={"max_tokens": 500})
        return [json.loads(received.body) for received in endpoint.requests]

    assert [document["max_tokens"] for document in anyio.run(check)] == [1, 500]


def test_its_failure_is_never_an_empty_sentence(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowmill.engine.health.PATIENCE_S", 0.2)

    async def check() -> None:
        async with scripted_endpoint(Scripted(then="wait")) as endpoint:
            await _checked(endpoint.url)

    anyio.run(check)
    assert "going on: no answer within 0.2 s." in caplog.text


def test_a_page_where_an_api_should_be_is_said_to_lack_v1(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> str:
        async with scripted_endpoint(response(200, "<html>Chat with me</html>")) as endpoint:
            url = endpoint.url.removesuffix("/v1")
            await _checked(url)
            return url

    url = anyio.run(check)
    assert f"Most servers want '{url}/v1'" in caplog.text


def test_an_endpoint_that_is_not_there_is_said_at_once_with_what_to_look_at(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        report = runs(spec(f"http://127.0.0.1:{port}/v1", run={"unavailable_after_s": 0.3}))
    assert report.exit_code == 75
    assert "gave no answer to its health check; going on, and waiting for it" in caplog.text
    assert f"Nobody listens on port {port} of this machine" in caplog.text


def test_a_name_that_is_nearly_a_known_one_is_said_to_be() -> None:
    assert anyio.run(advice_on, "http://localhots:8000/v1", "NameResolution") == " Did you mean 'localhost'?"
    assert anyio.run(advice_on, "http://models.example:8000/v1", "NameResolution") == ""
    assert anyio.run(advice_on, "http://models.example:8000/v1", "ConnectionRefused") == ""


def test_a_preview_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowmill.engine.preview._PATIENCE_S", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        prepared = prepare(spec(f"http://127.0.0.1:{unused.getsockname()[1]}/v1"))
        with pytest.raises(EndpointAway, match="has been away since"):
            preview(prepared, 2, {"KEY": "right"})
