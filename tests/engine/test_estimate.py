"""Estimates: what a run takes, told before anything is paid, and by a preview from its own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from provider_simulator import provider_simulator

from rowmill.cli.estimated import in_words
from rowmill.cli.main import execute
from rowmill.engine.estimate import Estimate, estimate_of, plan_estimate
from rowmill.engine.preparation import prepare
from rowmill.engine.preview import preview
from rowmill.spec.spec import Spec

TEXT = {"name": "t", "column_type": "llm-text", "model_alias": "w", "prompt": "{{ n }}" + "x" * 364}


def spec(url: str = "http://127.0.0.1:9/v1", *columns: dict[str, Any], **run: Any) -> Spec:
    """A thousand rows of one request each, whose prompt has 400 characters."""
    model = {
        "alias": "w",
        "base_url": url,
        "model": "small",
        "api_key": "${NOT_SET}",
        "inference_parameters": {"max_tokens": 50},
        "input_usd_per_million_tokens": 1,
        "output_usd_per_million_tokens": 10,
    }
    columns_ = [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}, TEXT, *columns]
    return Spec.from_data({"records": 1000, "models": [model], "columns": columns_, "run": run})


def planned(given: Spec) -> Estimate:
    found = plan_estimate(prepare(given))
    assert isinstance(found, Estimate)
    return found


def test_a_plan_counts_rendered_prompts_and_answers_of_full_length_and_asks_nobody() -> None:
    found = planned(spec())
    assert (found.rows, found.requests, found.seconds) == (1000, 1000, None)
    assert found.input_tokens == pytest.approx(104_000, rel=0.02)
    assert 35_000 < found.output_tokens <= 50_000
    assert found.cost_usd == pytest.approx((found.input_tokens + 10 * found.output_tokens) / 1_000_000, rel=0.01)


def test_a_budget_stands_beside_it() -> None:
    assert "over the budget of $0.20" in in_words(planned(spec(max_cost_usd=0.2)))
    assert "within the budget of $9.00" in in_words(planned(spec(max_cost_usd=9)))


def test_a_plan_runs_no_code_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import rowmill\n@rowmill.generator()\ndef f(row):\n    raise SystemExit(9)\n")
    own = {"name": "c", "column_type": "custom", "generator_function": "own:f", "required_columns": ["n"]}
    found = plan_estimate(prepare(spec("http://127.0.0.1:9/v1", own), tmp_path))
    assert isinstance(found, str)
    assert found.startswith("c would run code")


def test_a_verdict_in_sql_is_no_code_and_leaves_no_row_out_of_the_estimate() -> None:
    verdict = {"name": "c", "column_type": "validation", "target_columns": ["n"], "validator_type": "sql"}
    alone, judged = (
        plan_estimate(prepare(spec("http://127.0.0.1:9/v1", *columns)))
        for columns in ((), ({**verdict, "validator_params": {"predicate": "false"}, "on_invalid": "drop"},))
    )
    assert alone is not None
    assert alone == judged


def test_why_there_is_no_estimate_stands_on_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text("import rowmill\n@rowmill.generator()\ndef f(row):\n    return 1\n")
    own = {"name": "c", "column_type": "custom", "generator_function": "own:f", "required_columns": ["n"]}
    text = spec("http://127.0.0.1:9/v1", own).model_dump_json(by_alias=True, exclude_unset=True)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert execute(["plan", str(tmp_path / "x.yaml")]) == 0
    assert "\nThere is no estimate: c would run code" in capsys.readouterr().out


def test_a_preview_tells_it_from_its_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWMILL_SKIP_HEALTH_CHECKS", "1")
    with provider_simulator(latency_ms=20, output_tokens=20) as simulator:
        prepared = prepare(spec(simulator.url))
        made = preview(prepared, 4, {"NOT_SET": "right"})
    found = estimate_of(prepared.spec, made.attempts, 4)
    assert found is not None
    assert found.requests == 1000
    assert found.output_tokens == 250 * sum(attempt["output_tokens"] for attempt in made.attempts)
    assert found.seconds is not None
    assert found.seconds >= 1000 * 0.02 / 4
    assert in_words(found).startswith("Estimate for 1,000 rows, from 4 rows: about 1,000 requests")


def test_a_spec_without_models_has_no_estimate() -> None:
    columns = [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}]
    assert plan_estimate(prepare(Spec.from_data({"records": 5, "columns": columns}))) is None
