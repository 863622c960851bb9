"""A run whose spec was changed ends as a run that was made from the changed spec at once: accept-changes and fork."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rowmill.engine.change import accept_change, fork
from rowmill.engine.preparation import prepare
from rowmill.run_database import RunDatabase, run

NOW = 1_800_000_000.0
_SPEC: dict[str, Any] = {
    "name": "changing",
    "records": 12,
    "row_group_size": 4,
    "seed": 4,
    "models": [{"alias": "writer", "provider": "simulated", "model": "echo", "simulation": {"latency_ms": 0}}],
    "seed_dataset": {"path": "seed.csv"},
    "columns": [
        {"name": "kind", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["a", "b"]}},
        {"name": "draft", "column_type": "llm-text", "model_alias": "writer", "prompt": "Write {{ kind }} {{ city }}"},
        {"name": "length", "column_type": "expression", "sql": "length(draft)", "dtype": "int"},
        {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "Review {{ draft }}"},
    ],
}

Change = Callable[[dict[str, Any]], None]


def _prompt(spec: dict[str, Any]) -> None:
    spec["columns"][1]["prompt"] = "Write more about {{ kind }} {{ city }}"


def _column_added(spec: dict[str, Any]) -> None:
    more = {"name": "more", "column_type": "llm-text", "model_alias": "writer", "prompt": "More of {{ review }}"}
    spec["columns"].append(more)


def _column_removed(spec: dict[str, Any]) -> None:
    del spec["columns"][2]


def _sampler(spec: dict[str, Any]) -> None:
    spec["columns"][0]["params"]["values"] = ["c", "d", "e"]


def _order(spec: dict[str, Any]) -> None:
    spec["columns"].reverse()


def _skip(spec: dict[str, Any]) -> None:
    spec["columns"][3]["skip"] = {"when": "kind = 'a'", "value": "none"}


def _several(spec: dict[str, Any]) -> None:
    _sampler(spec)
    _column_removed(spec)
    _column_added(spec)
    _order(spec)


_CHANGES: dict[str, Change] = {
    "prompt": _prompt,
    "column added": _column_added,
    "column removed": _column_removed,
    "sampler": _sampler,
    "order of columns": _order,
    "skip": _skip,
    "several": _several,
}


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run before any change, beside its spec and its seed data."""
    directory = tmp_path_factory.mktemp("unchanged")
    (directory / "seed.csv").write_text("city\n" + "".join(f"town {number}\n" for number in range(5)))
    (directory / "before.yaml").write_text(yaml.safe_dump(_SPEC, sort_keys=False))
    run(directory / "before.yaml", directory / "old.duckdb")
    return directory


@pytest.mark.parametrize(
    "name", [each if each == "several" else pytest.param(each, marks=pytest.mark.slow) for each in _CHANGES]
)
def test_a_changed_run_and_a_fork_end_as_a_fresh_run_of_the_changed_spec(
    unchanged: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(unchanged, tmp_path, dirs_exist_ok=True)
    changed = copy.deepcopy(_SPEC)
    _CHANGES[name](changed)
    after = tmp_path / "after.yaml"
    after.write_text(yaml.safe_dump(changed, sort_keys=False))
    old, forked, fresh = (tmp_path / f"{each}.duckdb" for each in ("old", "forked", "fresh"))
    run(after, fresh)
    expected = _rows(fresh)
    assert expected != _rows(old)
    fork(prepare(after), old, forked, NOW)
    accept_change(prepare(after), old, NOW)
    for database in (forked, old):
        run(after, database)
        assert _rows(database) == expected, database.name


def _rows(database: Path) -> list[list[tuple[str, Any]]]:
    with RunDatabase.open(database) as opened:
        assert opened.sql("from invariant_violation").to_pylist() == []
        return [list(row.items()) for row in opened.sql("from dataset order by row_id").to_pylist()]
