"""Seed rows from everywhere they may come from: the right rows in a finished run, or an error that helps."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_run import assert_helps, run_spec

import rowmill
from rowmill.errors import Incompatible, RowmillError, SpecError, UsageError
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.spec.seed_selection import IndexRange

MADE = [{"name": "made", "column_type": "expression", "sql": "1", "dtype": "int"}]
ROWS: list[dict[str, Any]] = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": None}]
TABLE = pa.Table.from_pylist(ROWS)


def seeded(directory: Path, records: int = 3, **seed: Any) -> list[dict[str, Any]]:
    """The seed values of a finished run."""
    rows = run_spec(directory, MADE, seed_dataset=seed, records=records).rows
    return [{name: value for name, value in row.items() if name not in {"row_id", "made"}} for row in rows]


def refused(directory: Path, **seed: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        seeded(directory, **seed)
    assert not (directory / "run.duckdb").exists() or (directory / "run.duckdb").stat().st_size < 100_000
    return caught.value


def arrow_bytes(table: pa.Table, *, stream: bool = False) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) if stream else pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_arrow_files_of_both_kinds_are_read(tmp_path: Path, stream: bool) -> None:
    (tmp_path / "seed.arrow").write_bytes(arrow_bytes(TABLE, stream=stream))
    assert seeded(tmp_path, path="seed.arrow") == ROWS


def test_a_glob_of_arrow_files_is_read_in_sorted_order(tmp_path: Path) -> None:
    for name, part in (("p2.feather", TABLE.slice(1)), ("p1.feather", TABLE.slice(0, 1))):
        (tmp_path / name).write_bytes(arrow_bytes(part))
    assert seeded(tmp_path, path="p*.feather") == ROWS


@pytest.mark.parametrize("content", [b"", b"nonsense", b"ARROW1" + bytes(90)], ids=["empty", "text", "cut off"])
def test_a_broken_arrow_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seed.arrow").write_bytes(content)
    assert_helps(refused(tmp_path, path="seed.arrow"), "seed.arrow", "not a whole Arrow file")


def test_arrow_files_whose_columns_differ_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p1.arrow").write_bytes(arrow_bytes(TABLE))
    (tmp_path / "p2.arrow").write_bytes(arrow_bytes(TABLE.select(["a"])))
    assert_helps(refused(tmp_path, path="p*.arrow"), "p2.arrow", "other columns")


def test_a_directory_in_place_of_a_file_is_told_what_to_say(tmp_path: Path) -> None:
    (tmp_path / "docs.csv").mkdir()
    assert_helps(refused(tmp_path, path="docs.csv"), "is a directory", "file_contents")


# Selection and explode ----------------------------------------------------------------------------


def test_a_range_includes_both_ends_and_goes_round(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "seed.parquet")
    assert seeded(tmp_path, path="seed.parquet", selection={"start": 1, "end": 2}) == [ROWS[1], ROWS[2], ROWS[1]]


def test_the_last_block_takes_the_remainder(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "seed.parquet")
    block = {"index": 1, "num_partitions": 2}
    assert seeded(tmp_path, records=2, path="seed.parquet", selection=block) == [ROWS[1], ROWS[2]]


@pytest.mark.parametrize(
    ("selection", "words"),
    [({"start": 1, "end": 3}, "the last one is 2"), ({"index": 0, "num_partitions": 4}, "cannot be cut into 4")],
)
def test_a_selection_beyond_the_rows_says_how_many_there_are(
    tmp_path: Path, selection: dict[str, int], words: str
) -> None:
    pq.write_table(TABLE, tmp_path / "seed.parquet")
    assert_helps(refused(tmp_path, path="seed.parquet", selection=selection), "3 rows", words)


LISTS = [{"k": "x", "tags": ["a", "b"]}, {"k": "y", "tags": []}, {"k": "z", "tags": None}, {"k": "w", "tags": ["c"]}]


def test_a_list_column_becomes_a_row_for_each_element(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(LISTS), tmp_path / "seed.parquet")
    assert seeded(tmp_path, path="seed.parquet", explode="tags") == [
        {"k": "x", "tags": "a"},
        {"k": "x", "tags": "b"},
        {"k": "w", "tags": "c"},
    ]


def test_the_selection_counts_rows_of_the_file_not_elements(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(LISTS), tmp_path / "seed.parquet")
    rows = seeded(tmp_path, 2, path="seed.parquet", explode="tags", selection={"start": 0, "end": 0})
    assert [row["tags"] for row in rows] == ["a", "b"]


def test_lists_of_objects_of_a_json_file_explode_into_structs_for_templates(tmp_path: Path) -> None:
    (tmp_path / "seed.jsonl").write_text('{"k": 1, "turns": [{"who": "a", "n": 1}, {"who": "b", "n": 2}]}\n')
    columns = [{"name": "said", "column_type": "expression", "expr": "{{ turns.who }}{{ turns.n }}"}]
    ran = run_spec(tmp_path, columns, seed_dataset={"path": "seed.jsonl", "explode": "turns"}, records=2)
    assert ran.column("said") == ["a1", "b2"]


@pytest.mark.parametrize(
    ("explode", "words"), [("tagz", "Did you mean 'tags'?"), ("k", "only a list"), ("empty", "no seed row is left")]
)
def test_a_column_that_cannot_be_exploded_is_told(tmp_path: Path, explode: str, words: str) -> None:
    empty = pa.array([[]] * 4, type=pa.list_(pa.string()))
    pq.write_table(pa.Table.from_pylist(LISTS).append_column("empty", empty), tmp_path / "seed.parquet")
    assert_helps(refused(tmp_path, path="seed.parquet", explode=explode), words, "seed_dataset.explode")


def test_shuffled_elements_are_a_permutation(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [list(range(20)), list(range(20, 40))]}), tmp_path / "seed.parquet")
    rows = seeded(tmp_path, 40, path="seed.parquet", explode="n", sampling_strategy="shuffle")
    values = [row["n"] for row in rows]
    assert sorted(values) == list(range(40))
    assert values != list(range(40))


# Directories --------------------------------------------------------------------------------------


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "more").mkdir(parents=True)
    (tmp_path / "docs" / "b.md").write_text("bee")
    (tmp_path / "docs" / "a.txt").write_text("no")
    (tmp_path / "docs" / "more" / "a.md").write_bytes("größe".encode("latin-1"))
    return tmp_path


def test_a_directory_gives_a_row_for_each_file_that_fits_the_pattern(documents: Path) -> None:
    rows = seeded(documents, 2, seed_type="directory", path="docs", file_pattern="*.md")
    docs = documents / "docs"
    assert rows == [
        {
            "source_kind": "directory_file",
            "source_path": str(docs / name),
            "relative_path": name,
            "file_name": Path(name).name,
        }
        for name in ("b.md", "more/a.md")
    ]


def test_a_directory_is_read_without_those_below_it_if_asked(documents: Path) -> None:
    rows = seeded(documents, 2, seed_type="directory", path="docs", recursive=False)
    assert [row["file_name"] for row in rows] == ["a.txt", "b.md"]


def test_contents_come_with_their_encoding(documents: Path) -> None:
    rows = seeded(documents, 2, seed_type="file_contents", path="docs", file_pattern="*.md", encoding="latin-1")
    assert [row["content"] for row in rows] == ["bee", "größe"]


def test_a_file_in_another_encoding_is_named(documents: Path) -> None:
    error = refused(documents, seed_type="file_contents", path="docs")
    assert_helps(error, "more/a.md", "utf-8", "seed_dataset.encoding")


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        ({"path": "doc"}, "does not exist"),
        ({"path": "docs/b.md"}, "is a file"),
        ({"path": "docs", "file_pattern": "*.pdf"}, "'*.pdf'"),
    ],
)
def test_a_directory_without_such_files_is_told(documents: Path, seed: dict[str, str], words: str) -> None:
    assert_helps(refused(documents, seed_type="directory", **seed), words, "seed_dataset.")


# Tables and frames --------------------------------------------------------------------------------


def run_with(seed: object, directory: Path, records: int = 3, **fields: Any) -> list[dict[str, Any]]:
    spec = {"name": "given", "records": records, "columns": MADE, **fields}
    rowmill.run(spec, directory / "run.duckdb", seed=seed)
    with rowmill.RunDatabase.open(directory / "run.duckdb") as database:
        rows = database.to_arrow().to_pylist()
    return [{name: value for name, value in row.items() if name not in {"row_id", "made"}} for row in rows]


def test_an_arrow_table_is_the_seed_data(tmp_path: Path) -> None:
    assert run_with(TABLE, tmp_path) == ROWS


def test_a_table_can_stand_in_the_spec_object(tmp_path: Path) -> None:
    config = SeedDatasetConfig(seed_type="df", df=TABLE, selection=IndexRange(start=2, end=2))
    spec = rowmill.Spec.from_data({"records": 1, "seed_dataset": config, "columns": MADE})
    rowmill.run(spec, tmp_path / "run.duckdb")
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        assert database.to_arrow()["a"].to_pylist() == [3]


def test_a_spec_says_how_the_given_rows_are_used(tmp_path: Path) -> None:
    rows = run_with(TABLE, tmp_path, seed_dataset={"seed_type": "df", "selection": {"start": 1, "end": 1}})
    assert rows == [ROWS[1]] * 3


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_is_the_seed_data(tmp_path: Path, library: str) -> None:
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({"a": [0, 1, 2, 3], "b": ["w", "x", "y", None], "none": [None] * 4})
    filtered = frame[frame["a"] > 0] if library == "pandas" else frame.filter(frame["a"] > 0)
    assert run_with(filtered, tmp_path) == [row | {"none": None} for row in ROWS]


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pandas", "polars", "fsspec", "huggingface_hub"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_a_table_needs_no_library_but_arrow(tmp_path: Path) -> None:
    code = (
        "import rowmill, pyarrow as pa\n"
        f"rowmill.run({{'records': 1, 'columns': {MADE!r}}}, 'run.duckdb', seed=pa.table({{'a': [1]}}))\n"
    )
    subprocess.run([sys.executable, "-c", WITHOUT + code], cwd=tmp_path, check=True, timeout=50)


def test_a_run_with_given_rows_goes_on_without_them(tmp_path: Path) -> None:
    run_with(TABLE, tmp_path)
    assert rowmill.run(None, tmp_path / "run.duckdb").exit_code == 0


def test_a_spec_without_its_table_says_how_to_go_on(tmp_path: Path) -> None:
    spec = {"records": 3, "columns": MADE, "seed_dataset": {"seed_type": "df"}}
    with pytest.raises(SpecError) as caught:
        rowmill.run(spec, tmp_path / "run.duckdb")
    assert_helps(caught.value, "seed=table", "rowmill run DATABASE")


@pytest.mark.parametrize("seed", [[1, 2], "seed.csv", {"a": [1]}], ids=["list", "text", "dict"])
def test_what_is_no_table_is_refused(tmp_path: Path, seed: object) -> None:
    with pytest.raises(SpecError) as caught:
        run_with(seed, tmp_path)
    assert_helps(caught.value, "polars from 1.3", type(seed).__name__)


def test_a_table_beside_a_path_or_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="seed data of its own"):
        run_with(TABLE, tmp_path, seed_dataset={"path": "a.csv"})
    with pytest.raises(UsageError, match="holds its seed rows"):
        rowmill.run(None, tmp_path / "run.duckdb", seed=TABLE)


def test_a_table_without_rows_or_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    for table, words in ((TABLE.slice(0, 0), "holds no rows"), (pa.table([[1], [2]], names=["a", "a"]), "'a'")):
        with pytest.raises(SpecError, match=words):
            run_with(table, tmp_path)


# Gone or broken when a run goes on ---------------------------------------------------------------


def spec_of(path: str, **fields: Any) -> dict[str, Any]:
    return {"name": "run", "records": 3, "columns": MADE, "seed_dataset": {"path": path}, **fields}


@pytest.mark.parametrize("records", [3, 5])
def test_a_run_goes_on_with_its_spec_and_the_seed_rows_inside_it_when_the_file_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, records: int
) -> None:
    (tmp_path / "seed.csv").write_text("a\n1\n2\n")
    database = tmp_path / "run.duckdb"
    rowmill.run(spec_of("seed.csv"), database, directory=tmp_path)
    (tmp_path / "seed.csv").unlink()
    report = rowmill.run(spec_of("seed.csv", records=records), database, directory=tmp_path)
    assert report.exit_code == 0
    assert "goes on with the seed rows inside" in caplog.text
    with rowmill.RunDatabase.open(database) as opened:
        assert opened.to_arrow()["a"].to_pylist() == [1, 2, 1, 2, 1][:records]


def test_another_seed_dataset_that_is_not_there_is_refused_beside_a_run(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("a\n1\n")
    database = tmp_path / "run.duckdb"
    rowmill.run(spec_of("seed.csv"), database, directory=tmp_path)
    (tmp_path / "seed.csv").unlink()
    for spec, accept in ((spec_of("sede.csv"), False), (spec_of("seed.csv"), True)):
        with pytest.raises(SpecError, match="There is no file"):
            rowmill.run(spec, database, directory=tmp_path, accept_changes=accept)


def test_seed_data_that_cannot_be_read_any_more_says_how_to_go_on_without_it(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("a\n1\n")
    database = tmp_path / "run.duckdb"
    rowmill.run(spec_of("seed.csv"), database, directory=tmp_path)
    (tmp_path / "seed.csv").write_text("")
    with pytest.raises(SpecError) as caught:
        rowmill.run(spec_of("seed.csv"), database, directory=tmp_path)
    assert_helps(caught.value, "is empty", f"'rowmill run {database}' goes on")


# URLs ---------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[Any]:
    """A file system that is gone after the test."""
    fsspec = pytest.importorskip("fsspec")
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/bucket/p1.csv", b"a,b\n1,x\n2,y\n")
    filesystem.pipe("/bucket/p2.csv", b"a,b\n3,\n")
    filesystem.pipe("/bucket/table.arrow", arrow_bytes(TABLE))
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    filesystem.pipe("/bucket/table.parquet", sink.getvalue())
    yield filesystem
    filesystem.rm("/bucket", recursive=True)


@pytest.mark.parametrize("name", ["p*.csv", "table.arrow", "table.parquet"])
def test_files_behind_a_url_are_read(memory: Any, tmp_path: Path, name: str) -> None:
    assert seeded(tmp_path, path=f"memory://bucket/{name}") == ROWS


def test_a_directory_behind_a_url_is_listed(memory: Any, tmp_path: Path) -> None:
    rows = seeded(tmp_path, 2, seed_type="file_contents", path="memory://bucket", file_pattern="p*.csv")
    assert [(row["relative_path"], row["content"][:3]) for row in rows] == [("p1.csv", "a,b"), ("p2.csv", "a,b")]


def test_local_files_behind_a_url_are_read(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    pq.write_table(TABLE, tmp_path / "seed.parquet")
    assert seeded(tmp_path, path=f"file://{tmp_path}/seed.parquet") == ROWS


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        ({"path": "memory://bucket/none.csv"}, "There is no file"),
        ({"path": "memory://bucket/q*.csv"}, "There is no file"),
        ({"path": "nonsense://bucket/a.csv"}, "'nonsense://'"),
        ({"path": "memory://bucket/p1.csv", "storage_options": {"api_key": "${ROWMILL_NOT_SET}"}}, "ROWMILL_NOT_SET"),
        ({"seed_type": "directory", "path": "memory://other"}, "no directory"),
    ],
)
def test_a_url_that_leads_nowhere_is_named(memory: Any, tmp_path: Path, seed: dict[str, Any], words: str) -> None:
    assert_helps(refused(tmp_path, **seed), words, "seed_dataset.")


# Change of content (V2) ---------------------------------------------------------------------------


def go_on(directory: Path, **fields: Any) -> Any:
    return run_spec(directory, MADE, seed_dataset={"path": "s*.csv", **fields}, records=3)


def test_v2_a_seed_file_that_changed_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "s1.csv").write_text("a\n1\n")
    (tmp_path / "s2.csv").write_text("a\n2\n")
    go_on(tmp_path)
    (tmp_path / "s2.csv").write_text("a\n3\n")
    with pytest.raises(Incompatible) as caught:
        go_on(tmp_path)
    assert_helps(caught.value, "s2.csv changed")
    assert "s1.csv" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_v2_a_file_more_or_less_is_a_change_with_its_rows(tmp_path: Path) -> None:
    (tmp_path / "s1.csv").write_text("a\n1\n")
    go_on(tmp_path)
    (tmp_path / "s2.csv").write_text("a\n2\n")
    with pytest.raises(Incompatible, match=r"from 1 to 2 rows: .*s2\.csv is new"):
        go_on(tmp_path)


def test_v2_a_touched_or_moved_file_with_the_same_rows_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "s1.csv").write_text("a\n1\n2\n")
    go_on(tmp_path)
    os.utime(tmp_path / "s1.csv", (1, 1))
    go_on(tmp_path)
    shutil.move(tmp_path / "s1.csv", tmp_path / "s9.csv")
    go_on(tmp_path)


@pytest.mark.slow
def test_v2_files_with_the_same_size_and_time_are_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "s1.csv"

    def write(content: str, time_s: int) -> None:
        file.write_text(content)
        os.utime(file, (time_s, time_s))

    write("a\n1\n2\n", 1)
    go_on(tmp_path)
    write("a\n1\n3\n", 1)  # nobody could know without reading it
    go_on(tmp_path)
    write("a\n1\n2\n", 2)
    go_on(tmp_path)  # read, found to be the same, and its new time kept
    write("a\n1\n4\n", 2)
    go_on(tmp_path)
    write("a\n1\n4\n", 3)
    with pytest.raises(Incompatible):
        go_on(tmp_path)


def test_v2_rows_outside_the_selection_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "s1.csv").write_text("a\n1\n2\n")
    go_on(tmp_path, selection={"start": 0, "end": 0})
    (tmp_path / "s1.csv").write_text("a\n1\n5\n")
    go_on(tmp_path, selection={"start": 0, "end": 0})


@pytest.mark.parametrize("content", ["a\n2\n1\n", "a\n1\n2\n2\n", "b\n1\n2\n", "a\n1.0\n2.0\n"], ids=str)
def test_v2_order_number_names_and_types_are_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "s1.csv").write_text("a\n1\n2\n")
    go_on(tmp_path)
    (tmp_path / "s1.csv").write_text(content)
    with pytest.raises(RowmillError) as caught:
        go_on(tmp_path)
    assert caught.value.exit_code == 5


def test_v2_another_table_is_refused_the_same_one_goes_on(tmp_path: Path) -> None:
    run_with(TABLE, tmp_path)
    run_with(TABLE, tmp_path)
    with pytest.raises(Incompatible, match="table given from Python"):
        run_with(TABLE.slice(1), tmp_path)
    assert rowmill.run(None, tmp_path / "run.duckdb").exit_code == 0
