"""The first day of a new user: what was stumbled over once, on one small run that lost rows and left some out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import rowmill as library
from rowmill.cli.main import execute

SPEC = {
    "name": "day",
    "records": 12,
    "row_group_size": 4,
    "columns": [
        {"name": "note", "column_type": "expression", "expr": "{{ 6 / gap }}"},
        {"name": "best", "column_type": "select", "sql": "row_id >= 6"},
    ],
}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows: one was lost to an error, five were left out, six are there."""
    path = tmp_path_factory.mktemp("day") / "day.duckdb"
    seed = path.with_name("gaps.csv")
    seed.write_text("\n".join(["gap", *(str(number - 3) for number in range(12))]))
    assert library.run({**SPEC, "seed_dataset": {"path": str(seed)}}, path).exit_code == 3
    return path


def _listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[dict[str, object]], str]:
    assert execute(["show", "dropped", "--format", "json", *arguments]) == 0
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_rows_that_were_lost_come_first_and_are_told_from_those_left_out(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, note = _listed(capsys, str(day))
    assert [(row["row_id"], row["lost"]) for row in rows] == [(3, True), *((n, False) for n in (0, 1, 2, 4, 5))]
    assert "1 of 6 rows was lost to errors, the others were left out as wanted" in note


@pytest.mark.parametrize(("where", "count"), [("lost", 1), ("not lost", 5)])
def test_lost_rows_can_be_asked_for_alone(
    where: str, count: int, day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, note = _listed(capsys, str(day), "--where", where, "--columns", "row_id,lost")
    assert ([*rows[0]], len(rows), note) == (["row_id", "lost"], count, "")
    rows, _ = _listed(capsys, str(day), "--where", where, "--values")
    assert len(rows) == count
    assert {"lost", "gap"} <= set(rows[0])


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requests whose prices add up to what no binary number is."""
    price = {"input_usd_per_million_tokens": 0.7, "output_usd_per_million_tokens": 0.03}
    path = tmp_path_factory.mktemp("paid") / "paid.duckdb"
    model = {"alias": "writer", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}, **price}
    columns = [
        {"name": "n", "column_type": "sampler", "sampler_type": "uuid"},
        {"name": "note", "column_type": "llm-text", "model_alias": "writer", "prompt": "Of {{ n }}"},
    ]
    spec = {"name": "paid", "records": 40, "models": [model], "columns": columns, "run": {"max_cost_usd": 0.3}}
    assert library.run(spec, path).exit_code == 0
    return path


@pytest.mark.parametrize(
    "arguments", [("show", "usage"), ("show", "attempts"), ("show", "attempts", "--limit", "0"), ("status",)]
)
def test_no_amount_of_money_shows_the_noise_of_binary_numbers(
    arguments: tuple[str, ...], paid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute([*arguments[:2], str(paid), *arguments[2:], "--format", "jsonl"]) == 0
    amounts = re.findall(r'"cost_usd": ([0-9.e-]+)', capsys.readouterr().out)
    assert amounts
    assert [amount for amount in amounts if len(amount.partition("e")[0]) > 12] == []


def test_metrics_show_no_noise_either(paid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["metrics", str(paid)]) == 0
    (amount,) = re.findall(r"^rowmill_cost_usd_total{.*} (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert len(amount) <= 12


def test_status_and_page_say_the_same_budget(paid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status", str(paid)]) == 0
    assert re.search(r"^cost +\$0\.00\d+ of \$0\.30 \(\d %\)$", capsys.readouterr().out, re.MULTILINE)
