"""Reading a seed dataset without running anything: its columns, its rows, or the error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rowmill.errors import SpecError
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.layout.seed_reader import SeedFile, describe_seed, read_seed


def described(directory: Path, path: str, content: bytes | str | None = None, **fields: Any) -> SeedFile:
    """The seed dataset of a file, which is written first if its content is given."""
    if content is not None:
        (directory / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return describe_seed(SeedDatasetConfig(path=path, **fields), directory)


def types_of(directory: Path, path: str, content: bytes | str | None = None, **fields: Any) -> list[str]:
    """The types of its columns."""
    return [sql_type for _, sql_type in described(directory, path, content, **fields).columns]


def rows_of(directory: Path, path: str, content: bytes | str | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Its rows."""
    seed_file = described(directory, path, content, **fields)
    table = read_seed(seed_file)
    rows: list[dict[str, Any]] = table.select(list(range(table.num_columns - 1))).to_pylist()  # without row_id
    return rows


def values_of(directory: Path, path: str, content: bytes | str | None = None, **fields: Any) -> list[Any]:
    """The values of its first column."""
    return [next(iter(row.values())) for row in rows_of(directory, path, content, **fields)]


def refusal_of(directory: Path, path: str, content: bytes | str | None = None, **fields: Any) -> str:
    """Why it is refused."""
    with pytest.raises(SpecError) as caught:
        rows_of(directory, path, content, **fields)
    return str(caught.value)
