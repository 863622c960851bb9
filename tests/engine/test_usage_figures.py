"""What requests used and cost: tokens from caches, estimates where the server counts none, costs that nobody knows."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from loopback_server import LoopbackHandler, LoopbackServer, serving

import rowmill
from rowmill.cli import main
from rowmill.store.reading.status_sum import status_sum

PRICES = {"input_usd_per_million_tokens": 10.0, "output_usd_per_million_tokens": 20.0}
USAGES: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    ("openai", {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}}, (60, 0)),
    ("openai", {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 60}, (60, 0)),
    (
        "anthropic",
        {"input_tokens": 30, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10, "output_tokens": 5},
        (60, 10),
    ),
    ("openai", {"prompt_tokens": 100, "completion_tokens": 5}, (0, 0)),
]


def run_with(directory: Path, provider: str, answer: dict[str, Any], records: int = 2, **fields: Any) -> Path:
    """A run of an endpoint that always answers so."""

    class Handler(LoopbackHandler):
        def respond(self, body: bytes) -> None:
            self.answer_json(answer)

    model_fields, run = fields.pop("model", {}), fields.pop("run", {})
    with serving(LoopbackServer(Handler)) as server:
        spec = {
            "name": "used",
            "records": records,
            "run": run,
            "models": [
                {
                    "alias": "m",
                    "provider": provider,
                    "model": "small",
                    "base_url": f"{server.url}/v1",
                    "skip_health_check": True,
                    "max_parallel_requests": 1,
                    **model_fields,
                }
            ],
            "columns": [{"name": "note", "column_type": "llm-text", "model_alias": "m", "prompt": "Twelve signs."}],
        }
        rowmill.run(spec, directory / "used.duckdb")
    return directory / "used.duckdb"


def answered(provider: str, usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    if provider == "anthropic":
        return {
            "type": "message",
            "content": [{"type": "text", "text": "Yes."}],
            "stop_reason": "end_turn",
            "usage": usage,
        }
    choice = {"index": 0, "message": {"content": "Yes, it is."}, "finish_reason": "stop"}
    return {"choices": [choice], **({} if usage is None else {"usage": usage}), **more}


@pytest.mark.parametrize(("provider", "usage", "cached"), USAGES)
def test_tokens_from_caches_are_columns_of_attempt_and_usage_and_part_of_the_status(
    tmp_path: Path, provider: str, usage: dict[str, Any], cached: tuple[int, int]
) -> None:
    prices = {**PRICES, "cached_input_usd_per_million_tokens": 1.0, "cache_write_usd_per_million_tokens": 12.0}
    path = run_with(tmp_path, provider, answered(provider, usage), model=prices)
    each = (100 - sum(cached)) * 10e-6 + cached[0] * 1e-6 + cached[1] * 12e-6 + 5 * 20e-6
    with rowmill.RunDatabase.open(path) as database:
        attempts = database.sql(
            "select input_tokens, cached_tokens, cache_write_tokens, cost_usd from attempt"
        ).to_pylist()
        used = database.sql("select cached_tokens, cache_write_tokens, cost_usd from usage").to_pylist()[0]
        status = database.status()
        text = str(status)
    assert [tuple(row.values()) for row in attempts] == [(100, *cached, pytest.approx(each))] * 2
    assert tuple(used.values()) == (2 * cached[0], 2 * cached[1], pytest.approx(2 * each))
    assert (status.cached_tokens, status.cache_write_tokens) == (2 * cached[0], 2 * cached[1])
    assert ("120 of them from caches" in text) == bool(cached[0])
    assert status_sum([status, status]).cached_tokens == 4 * cached[0]


def test_llama_cpp_says_among_its_timings_what_was_in_its_cache(tmp_path: Path) -> None:
    answer = answered("openai", {"prompt_tokens": 9, "completion_tokens": 2}, timings={"cache_n": 7, "prompt_n": 2})
    with rowmill.RunDatabase.open(run_with(tmp_path, "openai", answer)) as database:
        assert database.status().cached_tokens == 14


@pytest.mark.slow
def test_what_no_price_is_known_of_costs_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    def said(*words: object) -> str:
        assert main.execute([str(word) for word in words]) == 0
        return capsys.readouterr().out

    path = run_with(tmp_path, "openai", answered("openai", {"prompt_tokens": 9, "completion_tokens": 2}))
    with rowmill.RunDatabase.open(path) as database:
        assert database.status().cost_usd is None
        assert database.sql("select cost_usd from run_status")["cost_usd"].to_pylist() == [None]
        assert database.sql("select cost_usd from usage")["cost_usd"].to_pylist() == [None]
        assert "rowmill_cost_usd_total{" not in database.metrics()
        assert "$" not in str(database.status())
        assert status_sum([database.status()] * 2).cost_usd is None
        database.report(tmp_path / "report.html")
    (told,) = json.loads(said("status", path, "--format", "json"))
    assert told["cost_usd"] is None
    assert "$" not in said("status", path)
    assert ">Cost<" not in (tmp_path / "report.html").read_text()


def test_a_price_of_nothing_is_a_price(tmp_path: Path) -> None:
    answer = answered("openai", {"prompt_tokens": 9, "completion_tokens": 2})
    path = run_with(tmp_path, "openai", answer, model={"input_usd_per_million_tokens": 0.0})
    with rowmill.RunDatabase.open(path) as database:
        assert database.status().cost_usd == 0.0
        assert database.sql("select cost_usd from usage")["cost_usd"].to_pylist() == [0.0]


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": None}])
def test_a_budget_holds_where_the_server_counts_no_tokens(
    tmp_path: Path, usage: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        path = run_with(
            tmp_path, "openai", answered("openai", usage), records=50, model=PRICES, run={"max_cost_usd": 0.0005}
        )
    with rowmill.RunDatabase.open(path) as database:
        status = database.status()
        rows = database.sql("select distinct input_tokens, output_tokens, message from attempt").to_pylist()
    assert [record.message for record in caplog.records if "does not say how many tokens" in record.message][1:] == []
    assert "estimated" in caplog.text
    assert status.cost_usd is not None
    assert 0.0005 <= status.cost_usd < 0.0008
    assert status.state == "stopped"
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == [(4, 3)]
    assert "estimate" in rows[0]["message"].lower()
