"""Migrations: a new database is what an old one becomes, and an old one finishes its run (style 11)."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trial_migration
from crashing_connection import CrashingConnection
from released_run import RELEASED, RELEASED_VERSIONS, finish, released_run, unpacked_run
from scenario import Driver, Specs, contradictions, new_world, outcome_of, write_specs, written_results

from rowmill.engine.migration import migrate, migrate_open, prepare_old
from rowmill.engine.preparation import prepare_stored
from rowmill.errors import Incompatible, UsageError
from rowmill.graph.fingerprint import earlier_fingerprint
from rowmill.run_database import RunDatabase
from rowmill.store.database import statements
from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import from_epoch
from rowmill.store.database.statements import fill_script, script
from rowmill.store.layout import migration, schema
from rowmill.store.layout.layout import Layout
from rowmill.store.run_store import RunStore

NOW = 1_800_001_000.0


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture
def future(tmp_path: Path) -> Iterator[int]:
    """This process knows one migration more; its number."""
    trial_migration.live_in_the_future(trial_migration.write_future_sql(tmp_path / "future"))
    yield schema.newest_version()
    trial_migration.live_in_the_future(trial_migration.REAL())


def catalog(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Everything the catalog says of a database, in an order that does not depend on its history."""
    return {
        what: connection.execute(query)
        for what, query in {
            "schemas": "select schema_name, comment from duckdb_schemas() where not internal order by all",
            "columns": "select schema_name, table_name, column_index, column_name, data_type, is_nullable,"
            " column_default, comment from duckdb_columns()"
            " where not internal and database_name = current_database() order by all",
            "constraints": "select schema_name, table_name, constraint_type, constraint_text"
            " from duckdb_constraints() order by all",
            "tables": "select schema_name, table_name, comment from duckdb_tables() where not temporary order by all",
            "views": "select schema_name, view_name, sql, comment from duckdb_views()"
            " where not internal and not temporary order by all",
            "indexes": "select schema_name, table_name, index_name, sql from duckdb_indexes() order by all",
            "sequences": "select schema_name, sequence_name from duckdb_sequences() order by all",
        }.items()
    }


def fresh_catalog(path: Path, specs: Specs) -> dict[str, list[tuple[Any, ...]]]:
    store = RunStore.open(path)
    try:
        store.create(specs.first.blueprint(), NOW)
        return catalog(store.connection)
    finally:
        store.close()


def version_in(path: Path) -> int:
    with Connection(path, read_only=True) as connection:
        return int(connection.execute("select max(version) from state.schema_version")[0][0])


@pytest.fixture(scope="module")
def uninterrupted(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("uninterrupted") / "run.duckdb"
    with Driver(path, specs, new_world(specs)) as driver:
        driver.drive()
        return outcome_of(driver.connection)


# The migrations themselves ----------------------------------------------------------------------------------------


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _ in schema.migrations()] == list(range(1, schema.newest_version() + 1))


def test_a_database_of_the_first_version_was_released() -> None:
    assert 1 in RELEASED_VERSIONS


@pytest.mark.parametrize("version", RELEASED_VERSIONS)
def test_a_released_database_that_is_migrated_has_the_catalog_of_a_new_one(
    tmp_path: Path, specs: Specs, version: int
) -> None:
    path = released_run(version, tmp_path, specs)
    migrate(path, NOW)
    with Connection(path, read_only=True) as connection:
        assert catalog(connection) == fresh_catalog(tmp_path / "new.duckdb", specs)


@pytest.mark.parametrize("version", RELEASED_VERSIONS)
def test_a_run_begun_before_values_had_to_fit_says_so_once_it_is_migrated(
    tmp_path: Path, specs: Specs, version: int
) -> None:
    path = released_run(version, tmp_path, specs)
    migrate(path, NOW)
    store = RunStore.open(path)
    assert store.casts_values()
    store.close()
    store = RunStore.open(tmp_path / "new.duckdb")
    store.create(specs.first.blueprint(), NOW)
    assert not store.casts_values()
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("version", RELEASED_VERSIONS)
def test_a_run_of_a_released_rowmill_is_migrated_and_finishes_as_if_it_had_never_been_old(
    tmp_path: Path, specs: Specs, uninterrupted: dict[str, Any], version: int
) -> None:
    path = released_run(version, tmp_path, specs)
    with CrashingConnection(path) as connection:
        results = written_results(connection)
    migrate(path, NOW)
    with CrashingConnection(path) as connection:
        assert contradictions(connection) == []
        assert written_results(connection) == results
    assert finish(path, specs) == uninterrupted


ENGINES = sorted(file.name.removesuffix(".duckdb.gz") for file in RELEASED.glob("engine_*.duckdb.gz"))


def test_runs_were_begun_with_the_first_engine_and_with_a_later_one() -> None:
    assert {"engine_2.0.0", "engine_2.0.1"} <= set(ENGINES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_v6_a_run_stopped_in_the_middle_goes_on_with_whatever_engine_is_installed(
    tmp_path: Path, specs: Specs, uninterrupted: dict[str, Any], name: str
) -> None:
    packed = gzip.decompress((RELEASED / f"{name}.duckdb.gz").read_bytes())
    assert name.removeprefix("engine_").encode() in packed[:128], "the engine signs its files"
    path = unpacked_run(name, tmp_path, specs)
    if version_in(path) < schema.newest_version():
        migrate(path, NOW)
    with CrashingConnection(path) as connection:
        assert contradictions(connection) == []
        assert 0 < connection.count("select count(*) from dataset") < len(uninterrupted["dataset"])
    assert finish(path, specs) == uninterrupted


@pytest.mark.parametrize(
    "version",
    [
        number if number in {1, 12, schema.newest_version() - 1} else pytest.param(number, marks=pytest.mark.slow)
        for number, _ in schema.migrations()
    ],
)
def test_a_database_of_every_version_that_is_migrated_has_the_catalog_of_a_new_one(
    tmp_path: Path, specs: Specs, version: int
) -> None:
    """Also of versions that were never released: their tables by replaying the migrations, without views.

    From wherever it begins, each migration is the same script: the first, one in the middle and the last begin for all.
    """
    path = tmp_path / "old.duckdb"
    layout = Layout(specs.first.graph, specs.first.spec.seed)
    seed_file = specs.first.seed_file
    assert seed_file is not None
    seed = ", ".join(f'"{name}" {sql_type}' for name, sql_type in seed_file.columns)
    with Connection(path) as connection, connection.transaction():
        schema.migrate_tables(connection, layout, [1], from_epoch(NOW))
        connection.script(fill_script(script("spec_tables", "wide.sql"), **layout.table_slots))
        connection.script(fill_script(script("spec_tables", "seed.sql"), seed_columns=seed))
        for number, _ in schema.migrations():
            if 1 < number <= version:
                schema.migrate_tables(connection, layout, [number], from_epoch(NOW))
    with Connection(path) as connection:
        migration.apply(connection, layout, version, {}, "nowhere", from_epoch(NOW))
        assert catalog(connection) == fresh_catalog(tmp_path / "new.duckdb", specs)


def test_the_catalog_comparison_sees_what_differs(tmp_path: Path, specs: Specs) -> None:
    one = fresh_catalog(tmp_path / "one.duckdb", specs)
    store = RunStore.open(tmp_path / "one.duckdb")
    changes = (
        "alter table state.event alter column kind drop not null",
        "comment on view main.progress is 'another'",
        "alter table state.run alter column state set default 'stopped'",
    )
    for change in changes:
        store.connection.execute(change)
        two = catalog(store.connection)
        assert two != one
        one = two
    store.close()


# A migration of the future --------------------------------------------------------------------------------------


def _old_run(path: Path, specs: Specs) -> Path:
    """A run in the middle, of the version before the future's."""
    trial_migration.live_in_the_future(trial_migration.REAL())
    shutil.copyfile(released_run(1, path.parent, specs), path)
    migrate(path, NOW)
    trial_migration.live_in_the_future(path.parent / "future" / "sql")
    for copy in path.parent.glob("run.duckdb.v*"):
        copy.unlink()
    return path


@pytest.mark.slow
def test_a_migration_may_add_and_replace_tables_and_the_run_finishes(
    tmp_path: Path, specs: Specs, uninterrupted: dict[str, Any], future: int
) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    before = path.read_bytes()
    report = migrate(path, NOW + 1)
    assert (report.from_version, report.to_version) == (future - 1, future)
    assert report.steps == (f"{future:04d}_trial.sql",)
    assert report.kept == tmp_path / f"run.duckdb.v{future - 1}"
    assert report.kept.read_bytes() == before
    with Connection(path, read_only=True) as connection:
        assert catalog(connection) == fresh_catalog(tmp_path / "new.duckdb", specs)
        assert connection.execute("from trial") == [(7,)]
        assert connection.execute("select detail from event where kind = 'migrated' order by \"at\" desc limit 1") == [
            (f"from schema version {future - 1} to {future}; the old file is kept as run.duckdb.v{future - 1}",)
        ]
    assert {name: value for name, value in finish(path, specs).items() if name != "dataset"} == {
        name: value for name, value in uninterrupted.items() if name != "dataset"
    }


def test_a_database_that_is_up_to_date_is_left_alone(tmp_path: Path, specs: Specs) -> None:
    path = released_run(1, tmp_path, specs)
    migrate(path, NOW)
    before = path.read_bytes()
    kept = sorted(file.name for file in tmp_path.iterdir())
    report = migrate(path, NOW)
    assert (report.steps, report.kept) == ((), None)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == kept


def test_a_dry_run_changes_nothing(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    before = {file.name: file.read_bytes() for file in tmp_path.glob("run.duckdb*")}
    assert migrate(path, NOW, dry_run=True).steps == (f"{future:04d}_trial.sql",)
    assert {file.name: file.read_bytes() for file in tmp_path.glob("run.duckdb*")} == before


def test_an_old_database_is_not_worked_on_before_it_is_migrated(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    before = path.read_bytes()
    with pytest.raises(Incompatible, match=rf"'rowmill migrate {path}'"):
        RunStore.open(path)
    assert path.read_bytes() == before


def test_an_old_database_can_be_read_as_far_as_its_views_go(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    before = path.read_bytes()
    with RunDatabase.open(path) as database:
        assert database.sql("select count(*) as n from dataset").to_pylist() == [{"n": 2}]
        assert database.to_arrow().num_rows == 2
        assert database.status().rows_finished == 2
        with pytest.raises(UsageError, match="rowmill migrate"):
            database.sql("from trial")
        with pytest.raises(UsageError, match="nowhere does not exist"):
            database.sql("from nowhere")
    assert path.read_bytes() == before


def test_a_status_that_an_old_database_cannot_give_says_how_to_get_it(
    tmp_path: Path, specs: Specs, future: int
) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    with Connection(path) as connection, connection.transaction():
        connection.execute("drop view main.progress")
    with RunDatabase.open(path) as database, pytest.raises(Incompatible, match="rowmill migrate"):
        database.status()


def test_a_newer_database_is_refused_by_everything_and_stays_as_it_is(
    tmp_path: Path, specs: Specs, future: int
) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    migrate(path, NOW)
    before = path.read_bytes()
    trial_migration.live_in_the_future(trial_migration.REAL())
    for way in (RunStore.open, RunDatabase.open, lambda path: migrate(path, NOW)):
        with pytest.raises(Incompatible, match=rf"has schema version {future}, this Rowmill .* up to {future - 1}"):
            way(path)
    assert path.read_bytes() == before


def test_the_log_of_a_killed_run_is_copied_and_migrated_too(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    with Connection(path) as connection:
        connection.execute("insert into state.event values (timestamp '2030-01-01', 'noted', 'run', 'in the log')")
        killed = tmp_path / "killed.duckdb"
        shutil.copyfile(path, killed)
        shutil.copyfile(tmp_path / "run.duckdb.wal", tmp_path / "killed.duckdb.wal")
    log = (tmp_path / "killed.duckdb.wal").read_bytes()
    kept = migrate(killed, NOW).kept
    assert kept is not None
    assert kept.with_name(kept.name + ".wal").read_bytes() == log
    for file in (killed, kept):
        with Connection(file, read_only=True) as connection:
            assert connection.execute("select subject from event where detail = 'in the log'") == [("run",)]


def test_a_copy_that_is_there_is_never_overwritten(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    before = path.read_bytes()
    (tmp_path / f"run.duckdb.v{future - 1}").write_text("precious")
    (tmp_path / f"run.duckdb.v{future - 1}-2.wal").write_text("precious")
    assert migrate(path, NOW).kept == tmp_path / f"run.duckdb.v{future - 1}-3"
    assert (tmp_path / f"run.duckdb.v{future - 1}").read_text() == "precious"
    shutil.copyfile(tmp_path / f"run.duckdb.v{future - 1}-3", path)
    assert migrate(path, NOW).kept == tmp_path / f"run.duckdb.v{future - 1}-3", "the same content needs no second copy"
    assert (tmp_path / f"run.duckdb.v{future - 1}-3").read_bytes() == before


def test_a_link_to_a_run_database_migrates_the_file_it_leads_to(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.duckdb"
    link.symlink_to(path)
    assert migrate(link, NOW).kept == tmp_path / f"run.duckdb.v{future - 1}"
    assert version_in(path) == future
    assert link.is_symlink()


def test_fingerprints_become_those_of_the_migrating_rowmill(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    with Connection(path) as connection, connection.transaction():
        connection.execute("update state.generator set fingerprint = 'of an older kind' where name <> 'mark'")
        made_by_a_function = specs.first.graph.generator_of_column("mark").declaration
        connection.execute(
            "update state.generator set fingerprint = $digest where name = 'mark'",
            {"digest": earlier_fingerprint(made_by_a_function)},
        )
    migrate(path, NOW)
    store = RunStore.open(path)
    try:
        store.check_fits(specs.first.spec, specs.first.graph)
    finally:
        store.close()


def test_code_that_changed_before_a_migration_is_a_change_after_it(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    with Connection(path) as connection, connection.transaction():
        connection.execute("update state.generator set fingerprint = 'of other code' where name = 'mark'")
    migrate(path, NOW)
    store = RunStore.open(path)
    try:
        with pytest.raises(Incompatible, match="'mark' changed"):
            store.check_fits(specs.first.spec, specs.first.graph)
    finally:
        store.close()


def test_a_spec_whose_files_are_gone_is_named_and_nothing_is_changed(tmp_path: Path, specs: Specs, future: int) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    with Connection(path) as connection, connection.transaction():
        connection.execute("update state.run set spec_directory = '/nowhere/at/all'")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="/nowhere/at/all"):
        migrate(path, NOW)
    assert path.read_bytes() == before
    assert list(tmp_path.glob("run.duckdb.v*")) == []


def test_the_stored_spec_of_a_released_database_loads(tmp_path: Path, specs: Specs) -> None:
    path = released_run(1, tmp_path, specs)
    with Connection(path, read_only=True) as connection:
        version, prepared = prepare_old(connection)
        text, directory = connection.execute("select spec, $directory from state.spec_version", {"directory": "."})[0]
    assert version == 1
    assert json.loads(prepared.spec.to_json())["name"] == json.loads(text)["name"] == "scenario"
    assert prepare_stored(
        text, specs.first.directory, tuple(specs.first.seed_file.columns if specs.first.seed_file else ())
    ).graph.outputs
    assert directory == "."


def test_migrating_over_an_open_connection_is_all_that_a_migration_changes(
    tmp_path: Path, specs: Specs, future: int
) -> None:
    path = _old_run(tmp_path / "run.duckdb", specs)
    with Connection(path) as connection:
        before = connection.execute("from state.attempt order by all")
        version, prepared = prepare_old(connection)
        migrate_open(connection, prepared, version, "nowhere", NOW)
        assert connection.execute("from state.attempt order by all") == before
    assert version_in(path) == future
    assert statements.sql_directory() != trial_migration.REAL()
