"""How versions before types could be said read csv and json files: for the digests of the runs they made, nothing else.

Those runs hold their seed rows; all there is to know is whether their files still say the same (V2, V6).
"""

from __future__ import annotations

import io

import pyarrow as pa

from rowmill.seeds.source import SeedSource
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.database.literal import literal
from rowmill.store.layout.seed_engine import seed_engine, table_function

_READERS = {"csv": "read_csv", "jsonl": "read_json", "json": "read_json"}
_OPTIONS = {
    "csv": ", header = true, sample_size = -1, strict_mode = true, null_padding = false",
    "jsonl": ", format = 'newline_delimited', records = true, sample_size = -1",
    "json": ", records = true, sample_size = -1",
}


def could_read(config: SeedDatasetConfig, source: SeedSource) -> bool:
    """Was the source read in another way than it is now?"""
    return source.rows is None and not config.types and config.file_format in _READERS


def read_as_earlier(config: SeedDatasetConfig, source: SeedSource) -> tuple[dict[str, str], pa.Table]:
    """Types and rows of the columns, before ``selection`` and ``explode``. Raises the engine's errors and others."""
    options = _OPTIONS[config.file_format]
    separator = _separator(source) if config.file_format == "csv" else None
    if separator is not None:
        options += f""", delim = {literal(separator)}, quote = '"', escape = '"'"""
    reader = table_function(_READERS[config.file_format], source.names, options)
    with seed_engine(source.filesystem) as engine:
        return engine.describe(reader), engine.read(reader)


def _separator(source: SeedSource) -> str | None:
    """What separates the fields of csv files, from their first lines; None for files that are compressed."""
    separator = None
    for name in source.names:
        if not name.lower().endswith((".csv", ".tsv")) or source.location is None:
            continue
        with io.TextIOWrapper(source.location.open(name), encoding="utf-8-sig", newline="") as lines:
            text = lines.readline()
        separator = separator or max(",;\t|", key=text.count)
    return separator
