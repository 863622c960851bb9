"""``rowmill export`` with processors, into directories, appended to, and to a double of the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import CommandLine
from hub_double import TOKEN, Hub, hub

import rowmill as package
from rowmill.errors import UsageError
from rowmill.export.exported import data_files
from rowmill.export.format import ExportFormat

PROCESSORS = [
    {"name": "away", "processor_type": "drop_columns", "column_names": ["scratch_*"]},
    {
        "name": "chat",
        "processor_type": "schema_transform",
        "format": "chat",
        "parts": {"system": "Be kind.", "user": "A {{ colour }} thing?", "assistant": "{{ note }}"},
    },
    {"name": "broken", "processor_type": "schema_transform", "template": {"x": "{{ 1 / (size - 3) }}"}},
]
COLUMNS: list[dict[str, Any]] = [
    {"name": "colour", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["red", "a/b ü"]}},
    {"name": "size", "column_type": "expression", "sql": "row_id % 5", "dtype": "int"},
    {"name": "scratch_1", "column_type": "expression", "sql": "1", "dtype": "int"},
    {"name": "note", "column_type": "llm-text", "model_alias": "w", "prompt": "{{ colour }} {{ scratch_1 }}"},
]
MODEL = {"alias": "w", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}


def grow(directory: Path, records: int, **fields: Any) -> Path:
    """Runs the spec up to so many records."""
    spec = {
        "name": "things",
        "records": records,
        "row_group_size": 10,
        "seed": 3,
        "models": [MODEL],
        "columns": [*COLUMNS[:1], {**COLUMNS[1], "sql": "length(colour)"}, *COLUMNS[2:]],
        "processors": PROCESSORS,
        **fields,
    }
    path = directory / "things.duckdb"
    assert package.run(spec, path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def _thirty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return grow(tmp_path_factory.mktemp("things"), 30).read_bytes()


@pytest.fixture
def things(rowmill: CommandLine, _thirty: bytes) -> Path:
    """A finished run of 30 rows in the command line's directory."""
    path = rowmill.directory / "things.duckdb"
    path.write_bytes(_thirty)
    return path


def rows_in(directory: Path, file_format: ExportFormat = ExportFormat.PARQUET) -> list[int]:
    """The row_ids of all files, in the order of the files' names."""
    found: list[int] = []
    for path in data_files(directory, file_format):
        if file_format is ExportFormat.PARQUET:
            found += pq.ParquetFile(path).read()["row_id"].to_pylist()
        else:
            found += [json.loads(line)["row_id"] for line in path.read_text().splitlines()]
    return found


# Processors ---------------------------------------------------------------------------------------


def test_a_transform_gives_the_export_its_shape(rowmill: CommandLine, things: Path) -> None:
    lines = rowmill.output_of("export", "--processor", "chat", "--format", "jsonl", "-o", "-").splitlines()
    first = json.loads(lines[0])
    assert list(first) == ["messages"]
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant"]
    assert first["messages"][1]["content"] in {"A red thing?", "A a/b ü thing?"}
    assert len(lines) == 30


def test_dropped_columns_are_in_no_export(rowmill: CommandLine, things: Path) -> None:
    rowmill.output_of("export", "-o", "x.parquet")
    assert pq.read_schema(rowmill.directory / "x.parquet").names == ["row_id", "colour", "size", "note"]


def test_a_processor_that_fails_exports_nothing_and_says_which_row(rowmill: CommandLine, things: Path) -> None:
    done = rowmill("export", "--processor", "broken", "-o", "x.jsonl")
    assert done.returncode == 2
    assert "Processor 'broken' fails for row " in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert not (rowmill.directory / "x.jsonl").exists()


def test_an_unknown_processor_is_told_which_there_are(rowmill: CommandLine, things: Path) -> None:
    assert "Did you mean 'chat'?" in rowmill("export", "--processor", "chatt", "-o", "x.jsonl").stderr


def test_a_split_is_a_column_and_the_same_in_every_format(rowmill: CommandLine, things: Path) -> None:
    split = ("--split", "train=0.7,test=0.3")
    rowmill.output_of("export", *split, "-o", "x.parquet")
    lines = rowmill.output_of("export", *split, "--format", "jsonl", "-o", "-").splitlines()
    parts = pq.read_table(rowmill.directory / "x.parquet")["split"].to_pylist()
    assert [json.loads(line)["split"] for line in lines] == parts
    assert set(parts) == {"train", "test"}


@pytest.mark.parametrize("shares", ["train=0.7", "train", "=1", "train=0.5,train=0.5,a=x"])
def test_shares_that_are_none_are_refused(rowmill: CommandLine, things: Path, shares: str) -> None:
    done = rowmill("export", "--split", shares, "-o", "x.parquet")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# Training files -----------------------------------------------------------------------------------


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_files_hold_a_record_a_line_and_nothing_else(rowmill: CommandLine, things: Path) -> None:
    done = rowmill("export", "--split", "train=0.7,test=0.3", "--layout", "files", "--output", "parts")
    assert done.returncode == 0, done.stderr
    parts = {name: lines_of(rowmill.directory / "parts" / f"{name}.jsonl") for name in ("train", "test")}
    assert sorted(path.name for path in (rowmill.directory / "parts").iterdir()) == ["test.jsonl", "train.jsonl"]
    assert f"train ({len(parts['train'])}), test ({len(parts['test'])})" in done.stderr
    rowmill.output_of("export", "--split", "train=0.7,test=0.3", "--format", "jsonl", "-o", "all.jsonl")
    expected: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for row in lines_of(rowmill.directory / "all.jsonl"):
        expected[row.pop("split")].append({name: value for name, value in row.items() if name != "row_id"})
    assert parts == expected


def test_training_files_are_in_the_current_directory_and_of_the_shape_of_a_processor(
    rowmill: CommandLine, things: Path
) -> None:
    order = ("export", "--split", "train=0.7,test=0.3", "--layout", "files", "--processor", "chat")
    rowmill.output_of(*order)
    rows = lines_of(rowmill.directory / "train.jsonl") + lines_of(rowmill.directory / "test.jsonl")
    assert len(rows) == 30
    assert {tuple(row) for row in rows} == {("messages",)}
    assert "exists already" in rowmill(*order).stderr
    rowmill.output_of(*order, "--force")


def test_a_part_without_rows_is_an_empty_training_file(rowmill: CommandLine, things: Path) -> None:
    order = ("--split", "train=0.999999,test=0.000001", "--layout", "files")
    rowmill.output_of("export", *order)
    assert (rowmill.directory / "test.jsonl").read_bytes() == b""
    rowmill.output_of("export", *order, "--format", "parquet")
    assert pq.read_table(rowmill.directory / "test.parquet").schema.names == ["colour", "size", "note"]


def test_training_files_that_fail_leave_nothing_behind(rowmill: CommandLine, things: Path) -> None:
    (rowmill.directory / "test.jsonl").write_text("mine")
    done = rowmill("export", "--split", "train=0.7,test=0.3", "--layout", "files")
    assert (done.returncode, (rowmill.directory / "test.jsonl").read_text()) == (2, "mine")
    assert not (rowmill.directory / "train.jsonl").exists()
    failing = ("export", "--split", "a=0.7,b=0.3", "--layout", "files", "--processor", "broken", "--output", "new")
    assert rowmill(*failing).returncode == 2
    assert not (rowmill.directory / "new").exists()


# Some rows, some columns --------------------------------------------------------------------------


def test_an_export_has_the_columns_and_rows_that_are_asked_for(rowmill: CommandLine, things: Path) -> None:
    done = rowmill("export", "--columns", "note,size", "--where", "size = 3 -- red", "-o", "x.parquet")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(rowmill.directory / "x.parquet")
    assert table.column_names == ["note", "size"]
    assert set(table["size"].to_pylist()) == {3}
    assert f"Exported {table.num_rows} rows that meet the condition" in done.stderr
    assert "not finished" not in done.stderr
    wanted = rowmill.output_of("sql", "things.duckdb", "select count(*) from dataset where size = 3", "--format", "csv")
    assert wanted.split()[-1] == str(table.num_rows)


def test_a_directory_of_chosen_rows_grows_by_such_rows(tmp_path: Path) -> None:
    path = grow(tmp_path, 10)
    options: dict[str, Any] = {"where": "row_id % 2 = 0", "columns": ["colour"]}
    with package.RunDatabase.open(path) as database:
        database.export_directory(tmp_path / "parts", **options)
    grow(tmp_path, 14)
    with package.RunDatabase.open(path) as database:
        report = database.export_directory(tmp_path / "parts", append=True, **options)
        assert (report.rows, report.rows_before) == (2, 5)
        with pytest.raises(UsageError, match="processor, split or condition"):
            database.export_directory(tmp_path / "parts", append=True, columns=["colour"])
    assert rows_in(tmp_path / "parts") == [0, 2, 4, 6, 8, 10, 12]


def test_the_card_of_chosen_rows_tells_of_these(rowmill: CommandLine, things: Path) -> None:
    rowmill.output_of(
        "export", "--layout", "huggingface", "-o", "hub", "--where", "row_id < 7", "--columns", "colour,size"
    )
    front, body = card((rowmill.directory / "hub" / "README.md").read_text())
    assert front["dataset_info"]["splits"][0]["num_examples"] == 7
    assert "| row_id | BIGINT |  | 7 | 0 |" in body
    assert "| note |" not in body


# Compression --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "codec"),
    [("x.parquet", (), "ZSTD"), ("x.parquet", ("--compression", "snappy"), "SNAPPY")],
)
def test_parquet_is_compressed_as_asked(
    rowmill: CommandLine, things: Path, name: str, options: tuple[str, ...], codec: str
) -> None:
    rowmill.output_of("export", *options, "-o", name)
    assert pq.ParquetFile(rowmill.directory / name).metadata.row_group(0).column(0).compression == codec


def test_a_gz_ending_packs_and_the_bytes_follow_from_the_rows(rowmill: CommandLine, things: Path) -> None:
    import gzip

    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        rowmill.output_of("export", "-o", name)
    content = (rowmill.directory / "a.jsonl.gz").read_bytes()
    assert content == (rowmill.directory / "b.jsonl.gz").read_bytes()
    assert len(gzip.decompress(content).splitlines()) == 30


def test_a_compression_the_format_cannot_have_is_refused(rowmill: CommandLine, things: Path) -> None:
    done = rowmill("export", "--compression", "snappy", "-o", "x.csv")
    assert done.returncode == 2
    assert "only with none, gzip" in done.stderr


# Directories --------------------------------------------------------------------------------------


def test_partitions_are_directories_that_other_tools_understand(rowmill: CommandLine, things: Path) -> None:
    rowmill.output_of("export", "--partition-by", "colour", "-o", "parts")
    assert {path.name for path in (rowmill.directory / "parts").iterdir() if path.is_dir()} == {
        "colour=red",
        "colour=a%2Fb %C3%BC",
    }
    import pyarrow.dataset as ds

    partitioning = ds.partitioning(pa.schema([("colour", pa.string())]), flavor="hive")
    files = [str(path) for path in data_files(rowmill.directory / "parts", ExportFormat.PARQUET)]
    table = ds.dataset(files, partitioning=partitioning, partition_base_dir=str(rowmill.directory / "parts")).to_table()
    rowmill.output_of("export", "-o", "x.parquet")
    whole = pq.read_table(rowmill.directory / "x.parquet")
    assert table.sort_by("row_id").select(whole.column_names).equals(whole)


@pytest.mark.parametrize("file_format", [ExportFormat.PARQUET, ExportFormat.JSONL], ids=str)
def test_an_append_adds_what_is_new_and_nothing_twice(tmp_path: Path, file_format: ExportFormat) -> None:
    target = tmp_path / "parts"

    def append(records: int) -> tuple[int, int, int]:
        with package.RunDatabase.open(grow(tmp_path, records)) as database:
            report = database.export_directory(target, file_format, append=True)
        return report.rows, report.rows_before, report.files

    assert append(20) == (20, 0, 1)
    assert append(20) == (0, 20, 0)
    assert append(35) == (15, 20, 1)
    assert rows_in(target, file_format) == list(range(35))
    manifest = json.loads((target / "rowmill-export.json").read_text())
    assert len(manifest["files"]) == 2


@pytest.mark.parametrize("damage", ["no manifest list", "half a file", "file gone"])
def test_what_the_directory_holds_is_read_from_its_files(tmp_path: Path, damage: str) -> None:
    target = tmp_path / "parts"
    with package.RunDatabase.open(grow(tmp_path, 20)) as database:
        database.export_directory(target, append=True, partition_by="colour")
        if damage == "no manifest list":
            manifest = json.loads((target / "rowmill-export.json").read_text())
            (target / "rowmill-export.json").write_text(json.dumps({**manifest, "files": []}))
        elif damage == "half a file":  # what a crash leaves
            (target / "colour=red" / ".rows-1.part").write_bytes(b"PAR1 half")
        else:
            data_files(target, ExportFormat.PARQUET)[0].unlink()
        report = database.export_directory(target, append=True, partition_by="colour")
    assert (report.rows > 0) is (damage == "file gone")
    assert sorted(rows_in(target)) == list(range(20))
    assert not list(target.rglob("*.part"))


def test_a_crash_between_two_files_loses_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "parts"
    with package.RunDatabase.open(grow(tmp_path, 10)) as database:
        database.export_directory(target, append=True, partition_by="colour")
    rename = os.replace
    renamed: list[object] = []

    def dies_at_the_second(source: Any, to: Any) -> None:
        renamed.append(to)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        rename(source, to)

    with package.RunDatabase.open(grow(tmp_path, 30)) as database:
        monkeypatch.setattr("rowmill.export.partition.os.replace", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            database.export_directory(target, append=True, partition_by="colour")
        monkeypatch.undo()
        assert len(rows_in(target)) < 30
        database.export_directory(target, append=True, partition_by="colour")
    assert sorted(rows_in(target)) == list(range(30))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "jsonl"}, "another format"),
        ({"partition_by": "colour"}, "another --partition-by"),
        ({"split": "a=0.5,b=0.5"}, "another set of columns"),
        ({"processor": "chat"}, "another set of columns"),
    ],
)
def test_an_append_in_another_shape_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with package.RunDatabase.open(grow(tmp_path, 10)) as database:
        database.export_directory(tmp_path / "parts", append=True)
        with pytest.raises(UsageError, match=words):
            database.export_directory(tmp_path / "parts", append=True, **options)
    assert rows_in(tmp_path / "parts") == list(range(10))


def test_an_append_of_another_dataset_is_refused(tmp_path: Path) -> None:
    with package.RunDatabase.open(grow(tmp_path, 10)) as database:
        database.export_directory(tmp_path / "parts", append=True)
    (tmp_path / "things.duckdb").unlink()
    with (
        package.RunDatabase.open(grow(tmp_path, 10, seed=4)) as database,
        pytest.raises(UsageError, match="another run of that name"),
    ):
        database.export_directory(tmp_path / "parts", append=True)


@pytest.mark.slow
def test_an_append_to_values_that_were_made_again_since_is_refused(rowmill: CommandLine, things: Path) -> None:
    rowmill.output_of("export", "--append", "-o", "parts")
    assert rowmill("rerun", "--column", "note", "--where", "row_id = 3", "--yes").returncode == 0
    assert rowmill("run", "things.duckdb").returncode == 0
    done = rowmill("export", "--append", "-o", "parts")
    assert done.returncode == 2
    assert "values were made again since" in done.stderr
    rowmill.output_of("export", "--append", "--force", "-o", "parts2")
    assert rowmill("export", "--layout", "directory", "--force", "-o", "parts").returncode == 0
    assert rowmill("export", "--append", "-o", "parts").returncode == 0


def test_rows_the_dataset_no_longer_has_are_noticed(tmp_path: Path) -> None:
    with package.RunDatabase.open(grow(tmp_path, 10)) as database:
        database.export_directory(tmp_path / "parts", append=True)
        (file,) = data_files(tmp_path / "parts", ExportFormat.PARQUET)
        table = pq.ParquetFile(file).read()
        pq.write_table(pa.concat_tables([table, table.slice(0, 1).set_column(0, "row_id", [[99]])]), file)
        with pytest.raises(UsageError, match="no longer has, like row 99"):
            database.export_directory(tmp_path / "parts", append=True)


@pytest.mark.slow
def test_nothing_but_an_export_of_ours_is_ever_replaced(rowmill: CommandLine, things: Path) -> None:
    precious = rowmill.directory / "parts" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    for options in ((), ("--force",), ("--append",)):
        done = rowmill("export", "--layout", "directory", "-o", "parts", *options)
        assert done.returncode == 2
        assert "no export of Rowmill" in done.stderr
    assert precious.read_text() == "mine"
    precious.unlink()
    rowmill.output_of("export", "--layout", "directory", "-o", "parts")
    assert "--append" in rowmill("export", "--layout", "directory", "-o", "parts").stderr
    rowmill.output_of("export", "--layout", "directory", "-o", "parts", "--force")
    assert rows_in(rowmill.directory / "parts") == list(range(30))
    assert [path.name for path in rowmill.directory.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "options",
    [
        ("--layout", "file", "--append"),
        ("--append", "-o", "-"),
        ("--private",),
        ("--partition-by", "nothing"),
        ("--partition-by", "row_id"),
        ("--layout", "huggingface", "--format", "arrow"),
        ("--push-to-hub", "a/b", "--layout", "file"),
        ("--layout", "files"),
        ("--layout", "files", "--split", "a=0.5,b=0.5", "--append"),
        ("--layout", "files", "--split", "a=0.5,b=0.5", "--partition-by", "size"),
        ("--layout", "files", "--split", "a=0.5,b=0.5", "--output", "-"),
        ("--columns", "colour,colour"),
        ("--columns", "colour,nothing"),
        ("--where", "nothing = 1"),
        ("--where", "1) from dataset; copy dataset to 'stolen.csv'; select (1"),
    ],
)
def test_options_that_make_no_sense_are_refused(rowmill: CommandLine, things: Path, options: tuple[str, ...]) -> None:
    done = rowmill("export", *options)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not (rowmill.directory / "things").exists()


# Hugging Face -------------------------------------------------------------------------------------


def card(text: str) -> tuple[dict[str, Any], str]:
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_layout_of_the_hub_has_a_card_with_figures_and_a_file_for_each_part(
    rowmill: CommandLine, things: Path
) -> None:
    split = ("--split", "train=0.7,test=0.3")
    rowmill.output_of("export", *split, "--layout", "huggingface", "-o", "hub")
    target = rowmill.directory / "hub"
    head, body = card((target / "README.md").read_text())
    (config,) = head["configs"]
    rows = {}
    for part in config["data_files"]:
        files = list(target.glob(part["path"]))
        rows[part["split"]] = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
        assert "split" not in pq.read_schema(files[0]).names
    assert sum(rows.values()) == 30
    for part, number in rows.items():
        assert f"| {part} | {number} |" in body
    assert head["size_categories"] == ["n<1K"]
    assert "| note | VARCHAR | llm-text | " in body
    assert "| size | BIGINT | expression | 2 | 0 |" in body
    assert "| m | 30 |" in body
    assert "scratch_1" not in body


@pytest.mark.slow
def test_the_card_changes_when_values_do_and_not_when_they_are_the_same(tmp_path: Path) -> None:
    """``datasets`` answers from its copy as long as what it reads in the card is the same."""
    cards = []
    for name, shift in (("one", 0), ("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        shifted = {"name": "y", "column_type": "expression", "sql": f"x + {shift}", "dtype": "int"}
        spec = {"name": "things", "records": 10, "seed_dataset": {"seed_type": "df"}, "columns": [shifted]}
        seed = pa.table({"x": range(10)})
        assert package.run(spec, tmp_path / name / "things.duckdb", seed=seed).exit_code == 0
        with package.RunDatabase.open(tmp_path / name / "things.duckdb") as database:
            database.export_directory(tmp_path / "hub", layout="huggingface", force=True)
        cards.append(card((tmp_path / "hub" / "README.md").read_text())[0])
    assert cards[0] == cards[1]
    assert cards[0]["configs"] != cards[2]["configs"]
    (split,) = cards[2]["dataset_info"]["splits"]
    assert split["num_bytes"] == sum(path.stat().st_size for path in (tmp_path / "hub" / "data").iterdir())


def test_a_part_whose_name_the_hub_does_not_take_is_refused(rowmill: CommandLine, things: Path) -> None:
    done = rowmill("export", "--layout", "huggingface", "--split", "a=0.5,a-b=0.5", "-o", "hub")
    assert (done.returncode, "'a-b'" in done.stderr) == (2, True)


@pytest.mark.slow
def test_pictures_come_along_with_the_rows_that_name_them(tmp_path: Path) -> None:
    picture = {"name": "picture", "column_type": "image", "model_alias": "w", "prompt": "{{ n }}"}
    number = {"name": "n", "column_type": "expression", "sql": "1", "dtype": "int"}
    path = tmp_path / "x.duckdb"
    for records, rows in ((2, {0, 1}), (3, {0, 1, 2})):
        spec = {"name": "x", "records": records, "models": [MODEL], "columns": [number, picture]}
        assert package.run(spec, path).exit_code == 0
        with package.RunDatabase.open(path) as database:
            database.export_directory(tmp_path / "hub", layout="huggingface", append=True)
            database.export_directory(tmp_path / "plain", layout="huggingface", columns=["n"], force=True)
            named = database.to_arrow()["picture"].to_pylist()
        assert named == [f"picture/{row}.png" for row in sorted(rows)]
        for name in named:
            copied = (tmp_path / "hub" / "files" / name).read_bytes()
            assert copied == (tmp_path / "x.duckdb.files" / name).read_bytes()
    assert not (tmp_path / "plain" / "files").exists()
    (tmp_path / "x.duckdb.files" / "picture" / "1.png").unlink()
    with package.RunDatabase.open(path) as database, pytest.raises(UsageError, match=r"1\.png' is gone .* of row 1\)"):
        database.export_directory(tmp_path / "again", layout="huggingface")
    assert not (tmp_path / "again").exists()


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def push(rowmill: CommandLine, server: Hub) -> Callable[..., Any]:
    pytest.importorskip("huggingface_hub")

    def run(*options: str, token: str = TOKEN) -> Any:
        rowmill.environment = {"HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return rowmill("export", "--push-to-hub", "me/things", "--hub-endpoint", server.url, *options)

    return run


@pytest.mark.slow
def test_a_push_makes_the_dataset_on_the_hub(things: Path, server: Hub, push: Callable[..., Any]) -> None:
    done = push("--private", "--processor", "chat")
    assert done.returncode == 0, done.stderr
    assert f"{server.url}/datasets/me/things/commit/" in done.stderr
    assert server.private == {"me/things"}
    files = server.repositories["me/things"]
    (data,) = (name for name in files if name.startswith("data/"))
    assert set(files) == {"README.md", data}
    assert pq.read_table(pa.BufferReader(files[data])).num_rows == 30
    assert TOKEN not in done.stderr


@pytest.mark.slow
def test_a_push_of_a_grown_dataset_sends_new_rows_only(
    rowmill: CommandLine, things: Path, server: Hub, push: Callable[..., Any]
) -> None:
    assert push("-o", "hub", "--append").returncode == 0
    before = set(server.blobs)
    grow(rowmill.directory, 40)
    done = push("-o", "hub", "--append")
    assert done.returncode == 0, done.stderr
    assert "30 were there" in done.stderr
    assert len(set(server.blobs) - before) == 1
    files = server.repositories["me/things"]
    tables = [pq.read_table(pa.BufferReader(files[name])) for name in sorted(files) if name.startswith("data/")]
    assert pa.concat_tables(tables)["row_id"].to_pylist() == list(range(40))
    assert card(files["README.md"].decode())[1].count("40 rows") == 1


@pytest.mark.slow
def test_a_push_from_scratch_leaves_no_old_files_behind(
    rowmill: CommandLine, things: Path, server: Hub, push: Callable[..., Any]
) -> None:
    assert push().returncode == 0
    grow(rowmill.directory, 40)
    assert push().returncode == 0
    (data,) = (name for name in server.repositories["me/things"] if name.startswith("data/"))
    assert pq.read_table(pa.BufferReader(server.repositories["me/things"][data])).num_rows == 40


@pytest.mark.slow
def test_a_wrong_token_and_a_failing_hub_are_told(things: Path, server: Hub, push: Callable[..., Any]) -> None:
    done = push(token="hf_wrong")
    assert done.returncode == 2
    assert "HF_TOKEN" in done.stderr
    assert "hf_wrong" not in done.stderr
    server.failures.append(500)
    done = push()
    assert done.returncode == 1
    assert "Push again" in done.stderr
    assert "Traceback" not in done.stderr
    assert push().returncode == 0


# Small things -------------------------------------------------------------------------------------


def test_a_new_run_database_is_not_called_like_a_setting(rowmill: CommandLine) -> None:
    column = {"name": "a", "column_type": "expression", "sql": "1", "dtype": "int"}
    (rowmill.directory / "s.json").write_text(json.dumps({"records": 1, "columns": [column]}))
    done = rowmill("run", "s.json", "language=de")
    assert (done.returncode, "To set 'language' to 'de'" in done.stderr) == (2, True)
    assert not (rowmill.directory / "language=de").exists()
    assert rowmill("run", "s.json", "./language=de.duckdb").returncode == 0


def test_a_table_off_a_terminal_is_never_wider_than_a_page(rowmill: CommandLine, things: Path) -> None:
    wide = ", ".join(f"'{letter * 40}' as {letter}" for letter in "abcdefgh")
    lines = rowmill.output_of("sql", "things.duckdb", f"select {wide}, 0.1::double + 0.196::double as n").splitlines()
    assert max(map(len, lines)) < 160
    assert "a" * 40 in lines[0]
    noise = rowmill.output_of("sql", "things.duckdb", "select 0.29599999999999943::double as n")
    assert noise.split()[-1] == "0.296"
    exact = rowmill.output_of("sql", "things.duckdb", "select 0.29599999999999943::double as n", "--format", "json")
    assert "0.29599999999999943" in exact
