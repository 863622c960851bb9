"""Who may read what an export writes, and texts that a spreadsheet would calculate."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from rowmill.export.csv_safe import CsvSafe
from rowmill.export.dataset import export_dataset

FORMULAS = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "＝1"]
PLAIN = ["a=1", "", " =1", "'=1", "5-3"]


class Rows:
    """A source of one batch."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def dataset_schema(self) -> pa.Schema:
        return self.table.schema

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        yield from self.table.to_batches()


@pytest.fixture
def rows() -> Rows:
    texts = FORMULAS + PLAIN
    numbers = [-1] * len(texts)
    return Rows(pa.table({"row_id": numbers, "=text": texts, "kind": pa.array(texts).dictionary_encode()}))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_export_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path, rows: Rows) -> None:
    before = os.umask(0)
    try:
        export_dataset(rows, tmp_path / "x.csv")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "x.csv") == 0o600


def test_an_export_that_replaces_a_file_has_its_mode(tmp_path: Path, rows: Rows) -> None:
    (tmp_path / "x.csv").touch()
    (tmp_path / "x.csv").chmod(0o664)
    export_dataset(rows, tmp_path / "x.csv", force=True)
    assert _mode(tmp_path / "x.csv") == 0o664


def test_a_mode_that_is_said_holds(tmp_path: Path, rows: Rows) -> None:
    export_dataset(rows, tmp_path / "x.csv", mode=0o644)
    assert _mode(tmp_path / "x.csv") == 0o644


def test_texts_and_names_that_look_like_formulas_begin_with_an_apostrophe(tmp_path: Path, rows: Rows) -> None:
    export_dataset(CsvSafe(rows), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["row_id", "'=text", "kind"]
    wanted = [f"'{text}" for text in FORMULAS] + PLAIN
    assert [line[1] for line in lines] == wanted
    assert [line[2] for line in lines] == wanted
    assert {line[0] for line in lines} == {"-1"}


def test_without_being_asked_nothing_is_changed(tmp_path: Path, rows: Rows) -> None:
    export_dataset(rows, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        assert [line[1] for line in csv.reader(file)][1:] == FORMULAS + PLAIN
