"""The first day of a new user: what was stumbled over once, on one small run that lost rows and left some out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import rowmill as library
from rowmill.cli.main import execute
from rowmill.errors import SpecError
from rowmill.ui.now import now_facts
from rowmill.ui.pulse import Look

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


WRITER = {"alias": "writer", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}
QUESTIONS = {
    "type": "object",
    "properties": {"questions": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of a model without a price, each a structured answer with a list in it."""
    path = tmp_path_factory.mktemp("asked") / "asked.duckdb"
    columns = [
        {"name": "id", "column_type": "sampler", "sampler_type": "uuid"},
        {
            "name": "answer",
            "column_type": "llm-structured",
            "model_alias": "writer",
            "prompt": "Ask about {{ id }}",
            "output_format": QUESTIONS,
        },
        {"name": "items", "column_type": "expression", "sql": "answer.questions", "dtype": "VARCHAR[]"},
    ]
    spec = {"name": "asked", "records": 2, "models": [WRITER], "columns": columns}
    assert library.run(spec, path).exit_code == 0
    return path


def test_a_list_inside_a_structured_answer_is_exploded_by_a_column_of_its_own(asked: Path) -> None:
    with library.RunDatabase.open(asked) as database:
        (first,) = database.sql("select sum(len(answer.questions))::int as n from dataset").to_pylist()
    seed = {"seed_type": "run", "path": str(asked), "columns": ["answer"]}
    column = {"name": "words", "column_type": "expression", "expr": "{{ items }}"}
    following = {"name": "second", "records": "all", "columns": [column]}
    with pytest.raises(
        SpecError, match=r"'answer' is a struct; a list inside it needs .* sql: answer\.questions, dtype"
    ):
        library.run(
            {**following, "seed_dataset": {**seed, "explode": "answer.questions"}}, asked.with_name("no.duckdb")
        )
    seed = {"seed_type": "run", "path": str(asked), "columns": ["items"], "explode": "items"}
    assert (
        library.run({**following, "seed_dataset": seed}, asked.with_name("second.duckdb")).rows_finished == first["n"]
    )
    assert first["n"] >= 4


def test_a_model_without_a_price_costs_nothing_that_is_told(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with library.RunDatabase.open(asked) as database:
        ((spec,),) = (row.values() for row in database.sql("select spec from spec_version").to_pylist())
        status = database.status()
    asked.with_name("asked.json").write_text(str(spec))
    assert execute(["plan", str(asked.with_name("asked.json"))]) == 0
    assert execute(["status", str(asked)]) == 0
    assert status.cost_usd is None
    tiles = {tile.label for tile in now_facts(Look(1, 1e9, status))["tiles"]}
    assert ("requests" in tiles, "cost" in tiles) == (True, False)
    shown = capsys.readouterr().out
    assert "$" not in shown
    assert "None" not in shown


def test_no_line_of_a_table_off_a_terminal_is_wider_than_can_be_read(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in ("attempts", "rows", "columns", "invocations", "usage", "resources"):
        assert execute(["show", what, str(asked)]) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if set(line) == {"-", " "}]
    assert max(map(len, headings)) <= 160
