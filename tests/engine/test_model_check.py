"""check-models: reach, latency, what a model takes, what limits it tells; nothing a model does wrong raises."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from loopback_server import LoopbackHandler, LoopbackServer, serving

from rowmill.cli.check_models import print_checked
from rowmill.cli.main import rowmill
from rowmill.engine import model_check, scheme
from rowmill.engine.model_check import CheckedModel, check_each
from rowmill.providers.key_ring import KeyRing
from rowmill.spec.model import ModelConfig

Answers = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


def checked(url: str, *, use: str = "chat", quick: bool = False, **fields: Any) -> CheckedModel:
    config = ModelConfig.model_validate({"alias": "writer", "base_url": url, "model": "small", **fields})
    uses: dict[str, Any] = {"writer": use}
    (found,) = anyio.run(lambda: check_each([config], uses, KeyRing({}), quick=quick))
    return found


def chat(text: str = "OK", **message: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"choices": [{"message": {"content": text, **message}, "finish_reason": "stop"}], "usage": {}}


def server(answers: Answers) -> LoopbackServer:
    class Handler(LoopbackHandler):
        def respond(self, body: bytes) -> None:
            if self.command == "GET":
                self.answer_json({"data": [{"id": "other"}, {"id": "small", "max_model_len": 4096}]})
                return
            status, document = answers(json.loads(body))
            data = json.dumps(document).encode()
            self.answer(status, data, Content_Type="application/json", x_ratelimit_limit_requests="500")

    return LoopbackServer(Handler)


def test_a_model_that_takes_everything_is_said_to() -> None:
    def answers(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "response_format" in asked:
            return chat('{"ok": true}')
        if "tools" in asked:
            call = {"id": "1", "type": "function", "function": {"name": "report", "arguments": "{}"}}
            return chat("", tool_calls=[call])
        return chat()

    with serving(server(answers)) as running:
        found = checked(f"{running.url}/v1")
    assert (found.reachable, found.usable, found.problem) == (True, True, None)
    assert found.latency_ms is not None
    assert (found.schema, found.tools, found.pictures) == ("yes", "yes", "yes")
    assert found.context_tokens == 4096
    assert found.limits == {"x-ratelimit-limit-requests": "500"}


def test_what_is_refused_is_told_from_what_is_ignored() -> None:
    def answers(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        content = asked["messages"][0]["content"]
        return (400, {"error": "no pictures"}) if isinstance(content, list) else chat("Yes, it is.")

    with serving(server(answers)) as running:
        found = checked(f"{running.url}/v1")
    assert (found.schema, found.tools, found.pictures) == ("ignored", "ignored", "no")


def test_quick_asks_one_question() -> None:
    asked: list[dict[str, Any]] = []

    def answers(document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(document)
        return chat()

    with serving(server(answers)) as running:
        found = checked(f"{running.url}/v1", quick=True)
    assert [document["max_tokens"] for document in asked] == [1]
    assert (found.usable, found.schema) == (True, "not asked")


def test_a_model_of_embeddings_is_asked_for_a_vector() -> None:
    with serving(server(lambda asked: (200, {"data": [{"embedding": [1.0]}]}))) as running:
        found = checked(f"{running.url}/v1", use="embedding")
    assert (found.usable, found.schema) == (True, "not asked")


@pytest.mark.parametrize(("model", "usable"), [("small", True), ("unheard-of", False)])
def test_a_model_of_pictures_is_looked_up_and_never_asked(model: str, usable: bool) -> None:
    def answers(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        raise AssertionError(asked)

    with serving(server(answers)) as running:
        found = checked(f"{running.url}/v1", use="image", model=model)
    assert (found.reachable, found.usable) == (True, usable)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (401, {"error": {"message": "bad key"}}, "Check the api_key"),
        (404, {"error": {"message": "model small not found"}}, "does not know the model 'small'"),
        (429, {"error": {"message": "slow down"}}, "slow down"),
        (503, {}, "503"),
    ],
)
def test_an_answer_that_is_an_error_is_reachable_and_not_usable(status: int, body: Any, problem: str) -> None:
    with serving(server(lambda asked: (status, body))) as running:
        found = checked(f"{running.url}/v1")
    assert (found.reachable, found.usable) == (True, False)
    assert problem in str(found.problem)


def test_nobody_there_and_no_key_are_problems_of_their_model_alone() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = checked(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
    assert (found.reachable, found.usable) == (False, False)
    assert "Nobody listens on port" in str(found.problem)
    assert found.tried


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"api_key": "${NOT_SET}"}, "'NOT_SET' is not set"),
        ({"api_key_command": ["false"]}, "The api_key_command 'false' ended with"),
        ({"ca_file": "missing.pem", "base_url": "https://127.0.0.1:9/v1"}, "The ca_file"),
    ],
)
def test_a_model_that_nothing_was_asked_of_is_not_called_unreachable(
    fields: dict[str, Any], problem: str, capsys: Any
) -> None:
    found = checked(fields.pop("base_url", "http://127.0.0.1:9/v1"), **fields)
    assert (found.tried, found.reachable, found.usable) == (False, False, False)
    assert problem in str(found.problem)
    print_checked(found)
    assert ": not tried\n" in capsys.readouterr().out


def test_a_server_of_the_other_scheme_is_not_asked_what_it_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheme, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(model_check, "PATIENCE_S", 40.0)
    with serving(server(lambda asked: chat())) as running:
        found = checked(running.url.replace("http:", "https:") + "/v1")
    assert (found.tried, found.reachable, found.usable) == (True, False, False)
    assert f"Did you mean '{running.url}/v1'?" in str(found.problem)


def test_a_model_of_pictures_whose_server_lists_nothing_was_not_tried() -> None:
    found = checked("http://127.0.0.1:9/v1", use="image")
    assert (found.tried, found.reachable, found.usable) == (False, False, False)
    assert "Pictures cost too much to try one" in str(found.problem)


def test_a_simulated_model_of_pictures_is_in_this_process() -> None:
    config = ModelConfig.model_validate({"alias": "painter", "provider": "simulated", "model": "small"})
    (found,) = anyio.run(lambda: check_each([config], {"painter": "image"}, KeyRing({}), quick=True))
    assert (found.tried, found.usable) == (True, True)


def test_the_command_says_so_and_ends_with_1_if_one_cannot_be_used(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with serving(server(lambda asked: chat())) as running:
        models = [
            {"alias": name, "base_url": url, "model": "small"}
            for name, url in (("here", f"{running.url}/v1"), ("gone", "http://127.0.0.1:9/v1"))
        ]
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"records": 1, "models": models}))
        told = CliRunner().invoke(rowmill, ["check-models", str(spec)])
        assert told.exit_code == 1
        assert "here: openai/small at http" in told.stdout
        assert "gone: openai/small at http://127.0.0.1:9/v1: not reachable" in told.stdout
        assert "limits: context 4096 tokens" in told.stdout.replace(",", "")
        spec.write_text(json.dumps({"records": 1, "models": models[:1]}))
        told = CliRunner().invoke(rowmill, ["check-models", str(spec), "--quick", "--format", "json"])
        assert told.exit_code == 0
        (found,) = json.loads(told.stdout)
        assert (found["alias"], found["usable"], found["tools"]) == ("here", True, "not asked")
    told = CliRunner().invoke(rowmill, ["check-models"], standalone_mode=False)
    assert "models of your own" in str(told.exception)
