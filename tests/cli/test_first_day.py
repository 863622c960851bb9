"""The first day of a new user: what was stumbled over once, on one small run that lost rows and left some out."""

from __future__ import annotations

import json
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
