"""V6: a spec that was accepted stays accepted, whatever a newer version of anything thinks of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rowmill
from rowmill.engine.preparation import prepare, prepare_to_run
from rowmill.errors import Incompatible, SpecError
from rowmill.spec.loading import load_spec
from rowmill.store.layout import expression

SQL = {"name": "shout", "column_type": "expression", "sql": "upper(colour)", "skip": {"when": "lower(colour) = 'blue'"}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(records: int, *more: dict[str, Any], **fields: Any) -> Path:
        colours = {"values": ["red", "blue"]}
        columns = [
            {"name": "colour", "column_type": "sampler", "sampler_type": "category", "params": colours},
            {"name": "kind", "column_type": "validation", "target_columns": ["colour"], "validator_type": "sql",
             "validator_params": {"predicate": "length(colour) > 2"}},
            {"name": "place", "column_type": "rank", "sql": "row_number() over (order by colour, row_id)"},
            SQL,
            *more,
        ]  # fmt: skip
        path = tmp_path / "spec.json"
        path.write_text(json.dumps({"records": records, "columns": columns, **fields}))
        return path

    return write


@pytest.fixture
def a_stricter_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, no function may be used in SQL any more."""

    def make_stricter() -> None:
        monkeypatch.setattr(expression, "is_repeatable", lambda name, arguments: False)

    return make_stricter


@pytest.mark.slow
def test_v6_a_run_goes_on_though_a_newer_version_would_refuse_its_spec(
    write: Callable[..., Path], tmp_path: Path, a_stricter_version: Callable[[], None]
) -> None:
    database = tmp_path / "run.duckdb"
    whole = rowmill.run(write(20), tmp_path / "whole.duckdb")
    assert whole.exit_code == 0
    rowmill.run(write(10), database)
    a_stricter_version()
    with pytest.raises(SpecError, match="does not give the same value"):
        prepare(write(10))
    assert rowmill.run(write(10), database).exit_code == 0
    assert rowmill.run(None, database).exit_code == 0
    report = rowmill.run(write(20, run={"max_active_row_groups": 2}), database)
    assert report.exit_code == 0
    with rowmill.RunDatabase.open(database) as run, rowmill.RunDatabase.open(tmp_path / "whole.duckdb") as other:
        assert run.to_arrow() == other.to_arrow()


def test_v6_what_is_new_in_a_spec_is_judged(
    write: Callable[..., Path], tmp_path: Path, a_stricter_version: Callable[[], None]
) -> None:
    database = tmp_path / "run.duckdb"
    rowmill.run(write(10), database)
    a_stricter_version()
    with pytest.raises(SpecError, match="does not give the same value"):
        rowmill.run(write(10, {"name": "more", "column_type": "expression", "sql": "reverse(colour)"}), database)


def test_v6_a_name_that_is_not_there_is_never_let_through(write: Callable[..., Path], tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    rowmill.run(write(10), database)
    missing = load_spec(write(10, {"name": "more", "column_type": "expression", "sql": "coluor || '!'"}))
    with pytest.raises((SpecError, Incompatible), match="coluor"):
        prepare_to_run(missing.spec, tmp_path, database)
