"""A crash at any statement of a verb that changes a stopped run: done again, it ends as if there had been none (D1)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pytest
from budget import Budget
from crashing_connection import CrashingConnection
from scenario import contradictions, copy_of_database
from watched_engine import watched_engine
from watched_files import files_in, put_files, watched_files

from rowmill.engine.change import accept_change, fork
from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.reopening import extend, rerun, retry_dropped
from rowmill.engine.writer import InlineWriter
from rowmill.errors import UsageError, WriteFailed
from rowmill.export.dataset import export_dataset
from rowmill.inspect.steering import steer
from rowmill.store.reading.reader import Reader
from rowmill.store.run_store import RunStore

_SPEC = """
name: changing
records: 14
row_group_size: 4
seed: 4
models:
  - {{alias: writer, provider: simulated, model: flaky, max_parallel_requests: 4,
     simulation: {{latency_ms: 0, rejected: 0.2}}}}
columns:
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b]}}}}
  - {{name: id, column_type: sampler, sampler_type: uuid}}
  - {{name: draft, column_type: llm-text, model_alias: writer, prompt: "{{{{ id }}}}", skip: {{when: "kind = 'b'"}}}}
  - {{name: length, column_type: expression, sql: "length(draft)", dtype: int}}
  - {{name: review, column_type: llm-text, model_alias: writer, prompt: "{wish} {{{{ id }}}}"}}
run: {{max_active_row_groups: 3, max_error_share: 1.0}}
"""
NOW = time.time()

Verb = Callable[[Path, Prepared], Path]
"""Does something to a run database (the spec is the changed one); returns the database to go on with."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Prepared]:
    directory = tmp_path_factory.mktemp("specs")
    found = []
    for wish in ("Review", "Praise"):
        path = directory / f"{wish}.yaml"
        path.write_text(_SPEC.format(wish=wish))
        found.append(prepare(path))
    return found[0], found[1]


def _work(database: Path, prepared: Prepared | None) -> None:
    with CrashingConnection(database) as connection:
        store = RunStore.over(connection)
        anyio.run(partial(work, store, InlineWriter(), prepared, wall_clock=time.time, environ={}))


@pytest.fixture(scope="module")
def done(specs: tuple[Prepared, Prepared], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with dropped rows."""
    path = tmp_path_factory.mktemp("done") / "run.duckdb"
    _work(path, specs[0])
    with CrashingConnection(path) as connection:
        assert 0 < connection.count("select count(*) from dropped_row") < 14
    return path


def _outcome(database: Path) -> dict[str, Any]:
    with CrashingConnection(database) as connection:
        assert contradictions(connection) == []
        return {
            "dataset": connection.execute("from dataset order by row_id"),
            "dropped": connection.execute("select row_id, column_name, reason from dropped_row order by row_id"),
            "groups": connection.execute(
                "select row_group, state, first_row, row_count, rows_finished from row_group order by row_group"
            ),
            "progress": connection.execute("select column_name, done, skipped, dropped from progress order by all"),
            "state": connection.execute("select state, records, rows_finished, rows_dropped from run_status"),
        }


def _extend(database: Path, _: Prepared) -> Path:
    extend(database, 17, 2, NOW)
    return database


def _retry(database: Path, _: Prepared) -> Path:
    retry_dropped(database, None, NOW)
    return database


def _rerun(database: Path, _: Prepared) -> Path:
    rerun(database, "draft", "row_id % 3 = 0", NOW)
    return database


def _accept(database: Path, changed: Prepared) -> Path:
    accept_change(changed, database, NOW)
    return database


def _fork(database: Path, changed: Prepared) -> Path:
    target = database.with_name(f"fork_of_{database.name}")
    if target.exists():
        with pytest.raises(UsageError, match="exists already"):
            fork(changed, database, target, NOW)
    else:
        fork(changed, database, target, NOW)
    return target


def _limit(database: Path, _: Prepared) -> Path:
    steer(database, "limit", {"resource": "simulated/flaky", "calls": 2, "spec_calls": 4})
    return database


_VERBS: dict[str, Verb] = {
    "extend": _extend,
    "retry": _retry,
    "rerun": _rerun,
    "accept": _accept,
    "fork": _fork,
    "limit": _limit,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", _VERBS)
@pytest.mark.parametrize(("seconds", "least"), [(3, 5)])
@pytest.mark.slow
def test_a_verb_that_dies_at_any_statement_is_done_again_and_ends_as_if_it_had_not(
    tmp_path: Path, budget: Budget, specs: tuple[Prepared, Prepared], done: Path, name: str, seconds: float, least: int
) -> None:
    verb = _VERBS[name]
    directory = tmp_path / "whole"
    directory.mkdir()
    database = copy_of_database(done, directory / "run.duckdb")
    before = database.read_bytes()
    left_behind: dict[tuple[tuple[str, bytes], ...], str] = {}

    def keep(where: str) -> None:
        left_behind.setdefault(tuple(files_in(directory).items()), where)

    with watched_engine(keep), watched_files(keep):
        result = verb(database, specs[1])
    keep("at the end")
    _work(result, None)
    expected = _outcome(result)
    if name == "fork":
        assert database.read_bytes() == before
    assert len(left_behind) >= 2
    chosen = budget.some_of(list(left_behind.items()), seconds, least=min(least, len(left_behind)))
    for number, (files, where) in enumerate(chosen):
        left = tmp_path / f"left_{number}" / "run.duckdb"
        put_files(left.parent, dict(files))
        with CrashingConnection(left) as connection:
            assert contradictions(connection) == [], where
        again = verb(left, specs[1])
        _work(again, None)
        assert _outcome(again) == expected, where
        shutil.rmtree(left.parent)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", _VERBS)
@pytest.mark.parametrize("shares", [(0.5, 0.85), pytest.param((0.3, 0.7), marks=pytest.mark.slow)])
def test_a_verb_whose_statement_fails_changes_nothing_that_matters(
    tmp_path: Path, specs: tuple[Prepared, Prepared], done: Path, name: str, shares: tuple[float, ...]
) -> None:
    """Raised at a few places over the verb; the run then is as it was before, and the verb can be done."""

    statements = 0

    def count(_: str) -> None:
        nonlocal statements
        statements += 1

    with watched_engine(count):
        verb = _VERBS[name]
        verb(copy_of_database(done, tmp_path / "counted.duckdb"), specs[1])
    before = _outcome(copy_of_database(done, tmp_path / "before.duckdb"))
    for share in shares:
        database = copy_of_database(done, tmp_path / "run.duckdb")
        last = int(statements * share)
        seen = 0
        committed = False

        def fail(where: str, last: int = last) -> None:
            nonlocal seen, committed
            seen += 1
            committed = committed or where == "after commit"
            if seen >= last:
                raise duckdb.IOException("IO Error: No space left on device")

        with pytest.raises((WriteFailed, duckdb.IOException)), watched_engine(fail):
            verb(database, specs[1])
        if not committed or name in {"accept", "fork"}:
            assert _outcome(database) == before, share
        assert _outcome(verb(database, specs[1])) is not None
        assert not list(tmp_path.glob(".run.duckdb*")), "no unfinished file stays"
        for file in tmp_path.glob("*run.duckdb*"):
            file.unlink()


def test_an_export_that_dies_at_any_statement_leaves_no_file_and_the_run_untouched(tmp_path: Path, done: Path) -> None:
    database = copy_of_database(done, tmp_path / "run.duckdb")
    before = database.read_bytes()
    target = tmp_path / "out.parquet"

    def look(where: str) -> None:
        assert not target.exists(), where
        assert database.read_bytes() == before, where

    with watched_engine(look), Reader.open(database) as reader:
        export_dataset(reader, target, database=database)
    assert target.exists()
    assert database.read_bytes() == before
