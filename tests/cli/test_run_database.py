"""The Python interface: running a spec, reading its run database, in both colours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pyarrow as pa
import pytest
from pyarrow import parquet

import rowmill
from rowmill.errors import UsageError

SPEC = {
    "name": "quick",
    "records": 6,
    "row_group_size": 4,
    "models": [{"alias": "m", "provider": "simulated", "model": "quick", "simulation": {"latency_ms": 0}}],
    "columns": [
        {"name": "n", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}},
        {"name": "note", "column_type": "llm-text", "model_alias": "m", "prompt": "About {{ n }}."},
    ],
}


def test_a_spec_runs_from_plain_data_and_its_rows_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    report = rowmill.run(SPEC, path)
    assert (report.exit_code, report.rows_finished) == (0, 6)
    with rowmill.RunDatabase.open(path) as database:
        assert database.status().rows_finished == 6
        table = database.to_arrow()
        assert table.column_names == ["row_id", "n", "note"]
        assert table["row_id"].to_pylist() == list(range(6))
        assert database.sql("select count(*) as n from dataset").to_pylist() == [{"n": 6}]
        exported = database.export(tmp_path / "x.parquet")
        assert (exported.rows, exported.path) == (6, tmp_path / "x.parquet")
        assert parquet.read_table(tmp_path / "x.parquet").equals(table)
        with pytest.raises(UsageError, match="exists already"):
            database.export(tmp_path / "x.parquet")
        with pytest.raises(UsageError, match="xlsx"):
            database.export(tmp_path / "x", format="xlsx")


def test_a_spec_object_and_a_spec_file_and_the_database_alone_go_on_with_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    assert rowmill.run(rowmill.Spec.from_data(SPEC), path).rows_finished == 6
    (tmp_path / "quick.json").write_text(json.dumps(SPEC))
    assert rowmill.run(tmp_path / "quick.json", path).rows_finished == 6
    assert rowmill.run(rowmill.load_spec(tmp_path / "quick.json"), path).rows_finished == 6
    assert rowmill.run(None, path).rows_finished == 6
    with rowmill.RunDatabase.open(path) as database:
        assert database.status().requests == 6


def test_neither_a_spec_nor_a_database_is_an_error() -> None:
    with pytest.raises(UsageError):
        rowmill.run(None)


def test_a_wrong_spec_is_a_spec_error_and_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(rowmill.SpecError):
        rowmill.run({**SPEC, "recrods": 1}, tmp_path / "x.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_a_progress_callback_sees_the_run_and_one_that_raises_stops_it(tmp_path: Path) -> None:
    seen: list[int] = []
    rowmill.run(SPEC, tmp_path / "x.duckdb", on_progress=lambda status: seen.append(status.rows_finished))
    assert seen[-1] == 6

    def fails(status: object) -> None:
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        rowmill.run({**SPEC, "name": "other"}, tmp_path / "y.duckdb", on_progress=fails)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_twins_do_the_same(tmp_path: Path, backend: str) -> None:
    async def everything() -> pa.Table:
        spec = {**SPEC, "columns": SPEC["columns"]}
        report = await rowmill.run_async(spec, tmp_path / "x.duckdb")
        assert report.exit_code == 0
        async with await rowmill.AsyncRunDatabase.open(tmp_path / "x.duckdb") as database:
            assert (await database.status()).rows_finished == 6
            assert (await database.sql("from progress")).num_rows == 2
            await database.export(tmp_path / "x.csv")
            return await database.to_arrow()

    assert anyio.run(everything, backend=backend).num_rows == 6
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 7


def test_the_names_of_the_package_are_there() -> None:
    for name in rowmill.__all__:
        assert getattr(rowmill, name) is not None
        assert name in dir(rowmill)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rowmill.nonsense  # noqa: B018


def test_importing_the_package_alone_gives_its_modules_and_loads_nothing_that_is_not_asked_for() -> None:
    program = (
        "import sys\n"
        "import rowmill\n"
        "assert not {'duckdb', 'pyarrow', 'pydantic', 'anyio', 'aiohttp', 'jinja2'} & set(sys.modules), sys.modules\n"
        "assert issubclass(rowmill.errors.Transient, rowmill.RowmillError)\n"
        "assert not {'duckdb', 'pyarrow', 'pydantic'} & set(sys.modules), sys.modules\n"
        "assert rowmill.config.Spec is rowmill.Spec\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
