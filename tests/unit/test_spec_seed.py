"""Seed datasets: files, formats, selections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import SpecError
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.spec.seed_selection import IndexRange, PartitionBlock
from rowmill.spec.spec import Spec


def refusal(seed_dataset: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        Spec.from_data({"records": 1, "seed_dataset": seed_dataset})
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.csv", "csv"), ("A.CSV.gz", "csv"), ("x/*.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.json", "json"),
     ("a.parquet", "parquet"), ("a.tsv", "csv"), ("a.arrow", "arrow"), ("s3://b/a.feather", "arrow"),
     ("hf://datasets/u/n/**/*.parquet", "parquet")],
)  # fmt: skip
def test_the_format_is_told_by_the_ending(path: str, expected: str) -> None:
    assert SeedDatasetConfig(path=path).file_format == expected


def test_a_given_format_wins_over_the_ending() -> None:
    assert SeedDatasetConfig(path="a.txt", format="csv").file_format == "csv"


@pytest.mark.parametrize(
    ("seed_dataset", "reason"),
    [
        ({"path": "a.cvs"}, "Did you mean 'csv'?"),
        ({"path": "data"}, "tells no format"),
        ({"path": ["a.csv", "b.parquet"]}, "different formats (csv, parquet)"),
        ({"path": []}, "is empty"),
        ({"path": ""}, "is empty"),
        ({"path": 3}, "Expected a path"),
        ({"path": ["a.csv", "s3://b/c.csv"]}, "of different places"),
        ({"path": "a.csv", "token": "${T}"}, "Has no meaning for seed_type 'local', only for hf. (seed_dataset.token)"),
        ({"path": "hf://datasets/a/b.csv", "token": "hf_abc"}, "never written into a spec"),
        ({"path": "s3://a/b.csv", "storage_options": {"secret": "abc"}}, "for example '${SECRET}'"),
        ({"seed_type": "directory", "path": ["a", "b"]}, "reads one directory"),
        ({"seed_type": "directory", "path": "a", "file_pattern": "x/*.md"}, "without a directory"),
        ({"seed_type": "file_contents", "path": "a", "encoding": "utf-9"}, "no text encoding 'utf-9'"),
        ({"seed_type": "file_contents", "path": "a", "encoding": "rot13"}, "no text encoding 'rot13'"),
        ({"seed_type": "agent_rollout", "path": "a", "format": "codes"}, "Did you mean 'codex'?"),
        ({"seed_type": "agent_rollout", "path": "a"}, "agent_rollout needs a format"),
        ({"seed_type": "agent_rollout", "format": "atif"}, "Field 'path' is required. (seed_dataset.path)"),
        ({"seed_type": "df", "path": "a.csv"}, "given from Python have no path"),
        ({"seed_type": "df", "df": [1]}, "not list"),
        ({"path": "a.csv", "format": "cvs"}, "Did you mean 'csv'? (seed_dataset.format)"),
        ({}, "Field 'path' is required. (seed_dataset.path)"),
        ({"path": "a.csv", "sampling_strategy": "shufle"}, "Did you mean 'shuffle'?"),
        ({"path": "a.csv", "selection": {"start": 3, "end": 2}}, "ends (2) before it starts (3)"),
        ({"path": "a.csv", "selection": {"start": -1, "end": 2}}, "(seed_dataset.selection.start)"),
        ({"path": "a.csv", "selection": {"start": 1}}, "Field 'end' is required. (seed_dataset.selection.end)"),
        ({"path": "a.csv", "selection": {"index": 2, "num_partitions": 2}}, "numbered 0 to 1"),
        ({"path": "a.csv", "selection": {"index": 0, "num_partition": 2}}, "Did you mean 'num_partitions'?"),
        ({"path": "a.csv", "selection": [1, 2]}, "(seed_dataset.selection)"),
    ],
)
def test_a_wrong_seed_dataset_is_told_what_is_wrong(seed_dataset: dict[str, Any], reason: str) -> None:
    assert reason in refusal(seed_dataset)


def test_an_index_range_includes_both_ends() -> None:
    assert IndexRange(start=2, end=4).bounds(5) == (2, 3)
    with pytest.raises(SpecError, match="has 4 rows, the last one is 3"):
        IndexRange(start=2, end=4).bounds(4)


@given(st.integers(1, 50).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(1, rows))))
def test_partitions_cut_the_dataset_into_consecutive_parts_the_last_takes_the_rest(sizes: tuple[int, int]) -> None:
    rows, parts = sizes
    blocks = [PartitionBlock(index=index, num_partitions=parts).bounds(rows) for index in range(parts)]
    assert [row for first, count in blocks for row in range(first, first + count)] == list(range(rows))
    assert {count for _, count in blocks[:-1]} <= {rows // parts}


def test_more_partitions_than_rows_are_refused() -> None:
    with pytest.raises(SpecError, match="cannot be cut into 4 partitions"):
        PartitionBlock(index=0, num_partitions=4).bounds(3)


def test_files_are_found_beside_the_spec_sorted_and_once(tmp_path: Path) -> None:
    directory = tmp_path / "spec [1]"
    (directory / "more").mkdir(parents=True)
    for name in ("b.csv", "a.csv", "more/c.csv", "odd[1].csv"):
        (directory / name).write_text("x\n1\n")
    assert SeedDatasetConfig(path=("b.csv", "?.csv")).files(directory) == [directory / "b.csv", directory / "a.csv"]
    assert len(SeedDatasetConfig(path="**/*.csv").files(directory)) == 4
    assert SeedDatasetConfig(path="odd[1].csv").files(directory) == [directory / "odd[1].csv"]
    assert SeedDatasetConfig(path=str(directory / "a.csv")).files(tmp_path) == [directory / "a.csv"]


def test_every_path_that_matches_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        SeedDatasetConfig(path=("a.csv", "*.csv")).files(tmp_path)
    assert [problem.place for problem in caught.value.problems] == ["seed_dataset.path.0", "seed_dataset.path.1"]


def test_a_seed_dataset_survives_json() -> None:
    spec = Spec(
        records=1,
        seed_dataset=SeedDatasetConfig(path=("a.csv", "b.csv"), selection=PartitionBlock(index=0, num_partitions=2)),
    )
    assert Spec.from_json(spec.to_json()) == spec


def test_a_path_of_the_hub_tells_its_type() -> None:
    assert SeedDatasetConfig(path="hf://datasets/u/n/a.csv").seed_type == "hf"


def test_an_agent_keeps_its_sessions_where_it_is_known_to() -> None:
    (path,) = SeedDatasetConfig(seed_type="agent_rollout", format="codex").paths
    assert path == str(Path("~/.codex/sessions").expanduser())


def test_a_table_is_never_written_into_the_spec() -> None:
    config = SeedDatasetConfig(seed_type="df", df=pa.table({"a": ["secret"]}))
    spec = Spec(records=1, seed_dataset=config)
    assert "secret" not in spec.to_json() + repr(spec)
    assert Spec.from_json(spec.to_json()).seed_dataset == SeedDatasetConfig(seed_type="df")


def test_new_fields_leave_the_fingerprint_of_an_old_spec_as_it_was() -> None:
    assert SeedDatasetConfig(path="a.csv").fingerprint() == {"sampling_strategy": "ordered", "selection": None}
    assert SeedDatasetConfig(path="a.csv", explode="a").fingerprint()["explode"] == "a"
