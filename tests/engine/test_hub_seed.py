"""Seed rows from the Hugging Face hub, against a loopback double of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_run import assert_helps, run_spec
from hub_double import TOKEN, Hub, hub

from rowmill.errors import Incompatible, SpecError

pytest.importorskip("huggingface_hub")


def parquet(*values: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": values}), sink)
    return sink.getvalue()


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        running.repositories["someone/birds"] = {
            "data/p1.parquet": parquet(1, 2),
            "data/p2.parquet": parquet(3),
            "birds.csv": b"a,b\n1,x\n",
            "README.md": b"# Birds",
        }
        running.repositories["someone/secret"] = {"a.csv": b"a\n7\n"}
        running.private.add("someone/secret")
        yield running


def seeded(directory: Path, server: Hub, path: str, **seed: Any) -> list[Any]:
    columns = [{"name": "made", "column_type": "expression", "sql": "1", "dtype": "int"}]
    seed_dataset = {"seed_type": "hf", "path": path, "endpoint": server.url, **seed}
    return run_spec(directory, columns, seed_dataset=seed_dataset, records=3).column("a")


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("datasets/someone/birds/data/*.parquet", [1, 2, 3]),
        ("hf://datasets/someone/birds/**/*.parquet", [1, 2, 3]),
        ("datasets/someone/birds/data/p2.parquet", [3, 3, 3]),
        ("datasets/someone/birds/birds.csv", [1, 1, 1]),
    ],
)
def test_files_of_a_dataset_of_the_hub_are_seed_rows(tmp_path: Path, server: Hub, path: str, values: list[int]) -> None:
    assert seeded(tmp_path, server, path) == values


def test_a_private_dataset_needs_its_token_which_is_kept_nowhere(
    tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWMILL_TEST_TOKEN", TOKEN)
    path = "datasets/someone/secret/a.csv"
    assert seeded(tmp_path, server, path, token="${ROWMILL_TEST_TOKEN}") == [7, 7, 7]
    for file in tmp_path.iterdir():
        assert TOKEN.encode() not in file.read_bytes()


def test_a_token_that_is_not_set_is_named(tmp_path: Path, server: Hub) -> None:
    with pytest.raises(SpecError) as caught:
        seeded(tmp_path, server, "datasets/someone/secret/a.csv", token="${ROWMILL_NOT_SET}")
    assert_helps(caught.value, "ROWMILL_NOT_SET", "seed_dataset.token")


@pytest.mark.parametrize(
    "path", ["datasets/someone/none/a.csv", "datasets/someone/birds/none.csv", "datasets/someone/birds/q*.csv"]
)
def test_a_dataset_or_file_that_is_not_there_is_named(tmp_path: Path, server: Hub, path: str) -> None:
    with pytest.raises(SpecError) as caught:
        seeded(tmp_path, server, path)
    assert_helps(caught.value, path.rpartition("/")[2], "seed_dataset.path")


@pytest.mark.slow
def test_a_dataset_that_changed_on_the_hub_is_noticed(tmp_path: Path, server: Hub) -> None:
    path = "datasets/someone/birds/data/*.parquet"
    seeded(tmp_path, server, path)
    seeded(tmp_path, server, path)
    server.repositories["someone/birds"]["data/p2.parquet"] = parquet(4)
    with pytest.raises(Incompatible, match=r"p2\.parquet changed"):
        seeded(tmp_path, server, path)


def test_a_hub_that_fails_in_the_middle_is_told_in_one_line(tmp_path: Path, server: Hub) -> None:
    server.repositories["someone/birds"]["broken.parquet"] = b"PAR1 no more"
    with pytest.raises(SpecError) as caught:
        seeded(tmp_path, server, "datasets/someone/birds/broken.parquet")
    assert_helps(caught.value, "broken.parquet", "cannot be read")
    assert len(str(caught.value).splitlines()) == 1
