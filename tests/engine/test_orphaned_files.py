"""Pictures and the rows that name them: a file that belongs to no row is told, and swept; nothing else is touched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from rowmill.cli import main
from rowmill.engine.change import accept_change, fork
from rowmill.engine.doctor import DoctorFinding, diagnose, sweep
from rowmill.engine.invocation import run
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.reopening import extend, rerun
from rowmill.generators.file_directory import files_of
from rowmill.run_database import RunDatabase
from rowmill.spec.spec import Spec

MODEL = {"alias": "painter", "provider": "simulated", "model": "paint", "simulation": {"latency_ms": 0.0}}
KIND = {"name": "kind", "column_type": "sampler", "sampler_type": "uuid"}
PICTURE = {"name": "picture", "column_type": "image", "model_alias": "painter", "prompt": "{{ kind }}"}
HIDDEN = PICTURE | {"name": "sketch", "drop": True}
FIRST_DROPPED = {
    "name": "check",
    "column_type": "validation",
    "target_columns": ["picture"],
    "validator_type": "sql",
    "validator_params": {"predicate": "picture <> 'picture/0.png'"},
    "on_invalid": "drop",
}


def made(directory: Path, *columns: Mapping[str, object]) -> Path:
    """A complete run of four rows."""
    data = {"records": 4, "row_group_size": 2, "models": [MODEL], "columns": [KIND, *columns]}
    database = directory / "run.duckdb"
    anyio.run(run, prepare(Spec.from_data(data), directory), database)
    return database


def files(database: Path) -> set[str]:
    place = files_of(database)
    return {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}


def found(database: Path) -> DoctorFinding:
    (finding,) = [finding for finding in diagnose(database).findings if finding.check == "files"]
    return finding


def test_every_file_of_a_run_belongs_to_a_row_of_dropped_ones_and_of_hidden_columns_too(tmp_path: Path) -> None:
    database = made(tmp_path, PICTURE, HIDDEN, FIRST_DROPPED)
    with RunDatabase.open(database) as opened:
        assert opened.sql("select row_id from dropped_row").to_pylist() == [{"row_id": 0}]
    needed = {f"{column}/{row_id}.png" for column in ("picture", "sketch") for row_id in (1, 2, 3)} | {"picture/0.png"}
    there = files(database)
    # The sketch of the dropped row is kept if its value is: if it was drawn before the row was dropped.
    assert needed <= there <= needed | {"sketch/0.png"}
    assert found(database).state == "ok"
    assert sweep(database) == 0
    assert files(database) == there


def test_what_a_crash_left_behind_is_told_and_swept_and_nothing_else(tmp_path: Path) -> None:
    database = made(tmp_path, PICTURE)
    whole = files(database)
    place = files_of(database)
    left = ["picture/4.png", "picture/17.jpg", "picture/5.png.partial"]
    kept = ["notes.txt", "picture/readme.txt", "thumbnails/1.png"]
    for name in (*left, *kept):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"12345")
    finding = found(database)
    assert finding.state == "warning"
    assert finding.message == (
        "3 files (15 bytes) in run.duckdb.files belong to no row: picture/17.jpg, picture/4.png, picture/5.png.partial"
    )
    assert finding.advice is not None
    assert "--repair" in finding.advice
    assert files(database) == whole | {*left, *kept}, "telling changes nothing"
    assert sweep(database) == 3
    assert files(database) == whole | {*kept}
    assert found(database).state == "ok"


def test_a_run_that_comes_to_its_end_leaves_no_file_of_an_earlier_crash(tmp_path: Path) -> None:
    database = made(tmp_path, PICTURE)
    (files_of(database) / "picture" / "17.jpg").write_bytes(b"")
    extend(database, 6, None, 1_900_000_000.0)
    anyio.run(run, None, database)
    assert files(database) == {f"picture/{row_id}.png" for row_id in range(6)}


def test_the_command_sweeps_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = made(tmp_path, PICTURE)
    (files_of(database) / "picture" / "9.png").write_bytes(b"")
    assert main.execute(["doctor", str(database), "--repair"]) == 0
    printed = capsys.readouterr()
    assert "Removed 1 file that belonged to no row." in printed.err
    assert "4 files in run.duckdb.files, each of a row" in printed.out
    assert main.execute(["doctor", str(database), "--repair"]) == 0
    assert "There is nothing to repair." in capsys.readouterr().err


def test_a_file_that_rows_name_and_that_is_gone_is_told(tmp_path: Path) -> None:
    database = made(tmp_path, PICTURE)
    (files_of(database) / "picture" / "2.png").unlink()
    assert found(database).message == "1 file that rows name are missing in run.duckdb.files: picture/2.png"
    assert sweep(database) == 0
    rerun(database, "picture", "picture = 'picture/2.png'", 1_900_000_000.0)
    anyio.run(run, None, database)
    assert found(database).state == "ok"


@pytest.mark.slow
def test_files_of_a_column_that_was_removed_are_kept_as_long_as_its_values_are(tmp_path: Path) -> None:
    database = made(tmp_path, PICTURE, HIDDEN)
    data = {"records": 4, "row_group_size": 2, "models": [MODEL], "columns": [KIND, PICTURE]}
    without = prepare(Spec.from_data(data), tmp_path)
    other = tmp_path / "other.duckdb"
    fork(without, database, other, 1_900_000_000.0)
    assert (found(other).state, len(files(other))) == ("ok", 8)
    accept_change(without, other, 1_900_000_000.0, purge=True)
    assert "4 files" in found(other).message
    assert sweep(other) == 4
    assert {name.partition("/")[0] for name in files(other)} == {"picture"}
    assert len(files(database)) == 8, "those of the run it was made from are its own"


def test_a_run_without_pictures_has_no_files_to_look_at(tmp_path: Path) -> None:
    database = made(tmp_path)
    assert [finding for finding in diagnose(database).findings if finding.check == "files"] == []


@pytest.mark.slow
def test_pictures_of_the_same_prompt_stay_and_what_looks_at_others_is_made_again(tmp_path: Path) -> None:
    """A picture that is drawn again has the name it had, so that nobody can tell by it (V8)."""

    def drawn(mood: str) -> Prepared:
        columns = [
            {"name": "kind", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["a", "b"]}},
            {"name": "mood", "column_type": "expression", "sql": mood},
            PICTURE | {"prompt": "{{ mood }}"},
            {
                "name": "look",
                "column_type": "llm-text",
                "model_alias": "painter",
                "prompt": "What is it?",
                "multi_modal_context": [{"modality": "image", "column_name": "picture"}],
            },
        ]
        data = {"records": 8, "row_group_size": 4, "models": [MODEL], "columns": columns}
        return prepare(Spec.from_data(data), tmp_path)

    database = tmp_path / "run.duckdb"
    anyio.run(run, drawn("kind"), database)
    changed = drawn("if(kind = 'a', 'c', kind)")
    accept_change(changed, database, 1_900_000_000.0, purge=True)
    assert sweep(database) == 0
    assert found(database).state == "ok"
    anyio.run(run, changed, database)
    with RunDatabase.open(database) as opened:
        asked = opened.sql(
            "select generator, count(*) as rows from attempt where invocation > 1 group by all order by all"
        ).to_pylist()
        redrawn = opened.sql("select count(*) as rows from dataset where kind = 'a'").to_pylist()[0]["rows"]
    assert 0 < redrawn < 8
    assert asked == [{"generator": "look", "rows": 8}, {"generator": "picture", "rows": redrawn}]
    assert found(database).state == "ok"
