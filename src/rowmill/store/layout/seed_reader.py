"""Seed rows: their columns, and copying them into a run database.

Text files are read by :mod:`rowmill.seeds`, parquet by a private engine. What is in them is looked at once, when the
columns are described; those rows are at hand when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import Problem, RowmillError, SpecError
from rowmill.seeds.agreement import check_agreement
from rowmill.seeds.csv_file import read_csv_files
from rowmill.seeds.json_file import read_json_files
from rowmill.seeds.parquet_file import check_parquet_columns
from rowmill.seeds.source import SeedSource, open_source, plain_table, unreadable
from rowmill.seeds.text_rows import doubled
from rowmill.spec.name import fold
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.rendering_budget import MAX_TEXT
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.seed_columns import SeedColumn, SeedTable, as_said, check_said, guessed
from rowmill.store.layout.seed_engine import SeedEngine, seed_engine, table_function

sql = statements_of("layout/seed")
_NO_TYPE = re.compile(r'"NULL"(?=$|[\[,)])')
"""The type of columns that never hold anything; a field of that name has a blank after it."""


_ROW_ID = "row_id"
_INDEX = re.compile(r"__index_level_\d+__")
_LEFT_OUT = {
    _ROW_ID: "The column '{name}' is left out: it numbers the rows of the run the file was exported from",
    "index": "The column '{name}' is left out: it is the index of a pandas frame, which numbers its rows",
}


class SeedRows:
    """The rows of a source as it has them: read when they are asked for, unless a reading before left them at hand."""

    def __init__(self, read: Callable[[], pa.Table], at_hand: pa.Table | None = None) -> None:
        self._read = read
        self._at_hand = at_hand

    def look(self) -> pa.Table:
        """The rows, which stay at hand."""
        if self._at_hand is None:
            self._at_hand = self._read()
        return self._at_hand

    def take(self) -> pa.Table:
        """The rows, which are let go."""
        rows = self.look()
        self.let_go()
        return rows

    def let_go(self) -> None:
        """Frees the memory of rows nobody has asked for."""
        self._at_hand = None


@dataclass(frozen=True)
class SeedFile:
    """The seed dataset of a spec: where it comes from, and what columns it has."""

    config: SeedDatasetConfig
    source: SeedSource
    facts: tuple[SeedColumn, ...]
    """Its columns, in file order, after ``explode``."""
    rows: SeedRows = field(compare=False)
    """Before ``selection`` and ``explode``."""
    remarks: tuple[str, ...] = ()
    """What is worth telling of the files."""
    is_kept: bool = False
    """Whether a run database holds just these rows, in these types."""

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Name and SQL type of each."""
        return tuple((column.name, column.sql_type) for column in self.facts)

    def null_counts(self) -> dict[str, int]:
        """How many values of each column of the source are null. Reads all rows, which stay at hand."""
        rows = self.rows.look()
        return {name: rows[name].null_count for name in rows.column_names}

    def kept_as(self, columns: tuple[tuple[str, str], ...]) -> SeedFile:
        """The same rows as a run database holds them already, in the types it has for them."""
        facts = tuple(SeedColumn(name, sql_type, "file") for name, sql_type in columns)
        return replace(self, facts=facts, is_kept=True)


def used_rows(seed_file: SeedFile) -> int:
    """How many seed rows there are after selection and ``explode``. Reads all rows, which stay at hand."""
    return int(selected_rows(seed_file.config, seed_file.source, seed_file.rows.look()).num_rows)


def describe_seed(config: SeedDatasetConfig, directory: Path) -> SeedFile:
    """Reads names and types of the seed dataset's columns. Raises SpecError if there are none to be had."""
    return describe_source(config, open_source(config, directory))


def describe_source(
    config: SeedDatasetConfig, source: SeedSource, types: tuple[tuple[str, str], ...] | None = None
) -> SeedFile:
    """The same of a source that was looked up. ``types``: those its columns are to have, whatever it says of them."""
    try:
        with seed_engine(source.filesystem) as engine:
            return _Description(engine, config, source, dict(types) if types is not None else None).seed_file()
    except RowmillError:
        raise
    except Exception as error:  # the engine's, Arrow's, or that of somebody else's file system
        raise unreadable(source.title, error, _place(source)) from error


def kept_source(config: SeedDatasetConfig, source: SeedSource, columns: tuple[tuple[str, str], ...]) -> SeedFile:
    """A source whose rows a run database holds in those ``columns``: it is read only if somebody asks for its rows."""

    def read() -> pa.Table:
        types = {name: f"{sql_type}[]" if name == config.explode else sql_type for name, sql_type in columns}
        return describe_source(config, source, tuple(types.items())).rows.take()

    facts = tuple(SeedColumn(name, sql_type, "file") for name, sql_type in columns)
    return SeedFile(config, source, facts, SeedRows(read), is_kept=True)


def rows_like(config: SeedDatasetConfig, source: SeedSource, columns: tuple[tuple[str, str], ...]) -> pa.Table:
    """The seed rows of a source in the ``columns`` others are kept in. Raises SpecError if it has others."""
    types = {name: f"{sql_type}[]" if name == config.explode else sql_type for name, sql_type in columns}
    found = describe_source(config, source, tuple(types.items()))
    if found.columns != columns:
        there = ", ".join(f"{name} {sql_type}" for name, sql_type in found.columns)
        message = f"The columns of {source.title} are others by now: {there}. Take them into a run of its own."
        raise SpecError([Problem(_place(source), message)])
    return selected_rows(config, source, found.rows.take()).drop_columns(["row_id"])


def exploded_types(types: dict[str, str], config: SeedDatasetConfig) -> tuple[tuple[str, str], ...]:
    """Names and types of the columns once the lists of one of them are rows. Raises SpecError if it is no list."""
    facts = tuple(SeedColumn(name, sql_type, "file") for name, sql_type in types.items())
    return tuple((column.name, column.sql_type) for column in _exploded(facts, config))


def read_seed(seed_file: SeedFile) -> pa.Table:
    """All seed rows of the selection, exploded, in the order of the source, with their number as ``row_id``.

    Raises SpecError if they cannot be read, there are none, or the selection goes beyond them.
    """
    return selected_rows(seed_file.config, seed_file.source, seed_file.rows.take())


def selected_rows(config: SeedDatasetConfig, source: SeedSource, rows: pa.Table) -> pa.Table:
    """Those of all rows of a source that are used, as :func:`read_seed` gives them."""
    if rows.num_rows == 0 and not config.follow:
        raise SpecError([Problem(_place(source), f"{source.title} holds no rows.")])
    if rows.num_rows:
        _check_lengths(rows, source)
    if config.selection is not None:
        rows = rows.slice(*config.selection.bounds(rows.num_rows))
    if config.explode is not None:
        rows = _explode(rows, config.explode)
        if rows.num_rows == 0 and not config.follow:
            message = f"All lists of the seed column '{config.explode}' are empty: no seed row is left."
            raise SpecError([Problem("seed_dataset.explode", message)])
    return rows.append_column("row_id", pa.array(range(rows.num_rows), type=pa.int64()))


def _check_lengths(rows: pa.Table, source: SeedSource) -> None:
    """Raises SpecError for a value so long that nothing could be made of it."""
    for name in rows.column_names:
        column = rows[name]
        for first, chunk in zip(_starts(column), column.chunks, strict=True):
            texts = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
            if texts.nbytes <= MAX_TEXT or not _is_text(texts.type):
                continue
            lengths = pc.binary_length(texts)
            longest = pc.max(lengths).as_py() or 0
            if longest > MAX_TEXT:
                row = first + pc.index(lengths, longest).as_py() + 1
                message = (
                    f"{source.title}: column '{name}' holds a value of {longest:,} bytes in row {row:,}; the longest "
                    f"that can be used has {MAX_TEXT:,}."
                )
                raise SpecError([Problem(_place(source), message)])


def _starts(column: pa.ChunkedArray) -> Iterator[int]:
    """The number of the first row of each chunk."""
    return accumulate((len(chunk) for chunk in column.chunks[:-1]), initial=0)


def _is_text(kind: pa.DataType) -> bool:
    tests = pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary
    return any(test(kind) for test in tests)


def copy_seed(connection: Connection, seed_file: SeedFile, rows: pa.Table, seed: int) -> int:
    """Copies the rows of :func:`read_seed` into ``state.seed_row`` and returns how many there are.

    The order is that of use: the file's, or a permutation fixed by ``seed`` (V1).
    """
    connection.stage("new_seed", rows)
    try:
        if seed_file.config.sampling_strategy == "shuffle":
            connection.execute(sql.copy_seed_rows_shuffled.text, {"seed": seed})
        else:
            connection.execute(sql.copy_seed_rows_in_order.text)
    finally:
        connection.unstage("new_seed")
    return count_seed_rows(connection)


def count_seed_rows(connection: Connection) -> int:
    """How many seed rows the run database holds."""
    return int(connection.execute(sql.count_seed_rows.text)[0][0])


class _Description:
    """Finds out what is in a source."""

    def __init__(
        self, engine: SeedEngine, config: SeedDatasetConfig, source: SeedSource, types: dict[str, str] | None
    ) -> None:
        self._engine = engine
        self._config = config
        self._source = source
        self._types = types
        self._remarks: tuple[str, ...] = ()

    def seed_file(self) -> SeedFile:
        config, source = self._config, self._source
        if source.rows is not None:
            rows = source.rows
            _check_doubled(rows.schema.names, source)
            described = self._engine.described(pa.Table.from_batches([], rows.schema))
            return self._typed(described, lambda: plain_table(rows.read()))
        if config.file_format == "parquet":
            return self._typed(self._parquet_columns(), self._parquet_rows)
        return self._of_text()

    def _typed(self, described: dict[str, str], read: Callable[[], pa.Table]) -> SeedFile:
        columns = tuple(
            SeedColumn(name, _NO_TYPE.sub("VARCHAR", sql_type), "file") for name, sql_type in described.items()
        )
        said = self._said(list(described))
        if not said:
            return self._made(columns, None, read)
        found = as_said(self._engine, SeedTable(read(), columns), said, self._source.title, None)
        return self._made(found.columns, found.table, None)

    def _of_text(self) -> SeedFile:
        config, source = self._config, self._source
        assert source.location is not None
        if config.file_format == "csv":
            texts = read_csv_files(source.location, source.names)
            said = self._said(texts.table.column_names)
            found = guessed(texts.table, said)
        else:
            by_lines = config.file_format == "jsonl"
            texts = read_json_files(source.location, source.names, by_lines=by_lines, as_text=self._is_said)
            said = self._said(texts.table.column_names)
            spelled = self._engine.spelled(texts.types)
            columns = tuple(SeedColumn(name, sql_type, "file") for name, sql_type in spelled.items())
            found = SeedTable(texts.table, columns)
        self._remarks = texts.remarks
        found = as_said(self._engine, found, said, source.title, texts.places)
        return self._made(found.columns, found.table, None)

    def _is_said(self, name: str) -> bool:
        if self._types is not None:
            return name in self._types
        return self._config.said_type(name) is not None

    def _said(self, names: list[str]) -> dict[str, str]:
        """The types that were said of these columns. Raises SpecError if some were said of others."""
        if self._types is not None:
            return {name: self._types[name] for name in names if name in self._types}
        check_said(self._config, names)
        said = {name: self._config.said_type(name) for name in names}
        return {name: sql_type for name, sql_type in said.items() if sql_type is not None}

    def _made(
        self, columns: tuple[SeedColumn, ...], table: pa.Table | None, read: Callable[[], pa.Table] | None
    ) -> SeedFile:
        source = self._source
        left_out = [column.name for column in columns if _is_left_out(column.name)]
        if left_out:
            columns = tuple(column for column in columns if column.name not in left_out)
            self._remarks = (*self._remarks, *(_LEFT_OUT[_kind_of(name)].format(name=name) for name in left_out))
            table = table.drop_columns(left_out) if table is not None else None
            read = _without(left_out, read) if read is not None else None
        if not columns:
            raise SpecError([Problem(_place(source), f"{source.title} holds no rows.")])
        rows = SeedRows(_reader(source, read) if read is not None else self._read_again(columns), table)
        return SeedFile(self._config, source, _exploded(columns, self._config), rows, self._remarks)

    def _read_again(self, columns: tuple[SeedColumn, ...]) -> Callable[[], pa.Table]:
        config, source = self._config, self._source
        types = tuple(self._types.items()) if self._types is not None else None

        def read() -> pa.Table:
            again = describe_source(config, source, types)
            if again.facts != _exploded(columns, config):
                raise SpecError([Problem(_place(source), f"{source.title} changed while it was read; try again.")])
            return again.rows.take()

        return read

    # Parquet ----------------------------------------------------------------------------------

    def _parquet_columns(self) -> dict[str, str]:
        source = self._source
        assert source.location is not None
        first: dict[str, str] | None = None
        for name in source.names:
            found = self._engine.describe(table_function("read_parquet", [name]))
            check_parquet_columns(source.location, name, self._said(list(found)))
            if variants := [column for column, sql_type in found.items() if "VARIANT" in sql_type]:
                message = f"{name}: column {variants[0]!r} is {found[variants[0]]}. Write it as JSON, which is kept."
                raise SpecError([Problem("seed_dataset.path", message)])
            if first is None:
                first = found
            check_agreement(first, found, source.names[0], name)
        return first or {}

    def _parquet_rows(self) -> pa.Table:
        with seed_engine(self._source.filesystem) as engine:
            return plain_table(engine.read(table_function("read_parquet", self._source.names)))


def _kind_of(name: str) -> str:
    return _ROW_ID if fold(name) == _ROW_ID else "index"


def _is_left_out(name: str) -> bool:
    """Is it the number of a row, not data? An export of a run, or a file of a pandas frame, has such columns."""
    return fold(name) == _ROW_ID or _INDEX.fullmatch(name) is not None


def _without(names: list[str], read: Callable[[], pa.Table]) -> Callable[[], pa.Table]:
    return lambda: read().drop_columns(names)


def _reader(source: SeedSource, read: Callable[[], pa.Table]) -> Callable[[], pa.Table]:
    def guarded() -> pa.Table:
        try:
            return read()
        except RowmillError:
            raise
        except Exception as error:  # the engine's, Arrow's, or that of somebody else's code
            raise unreadable(source.title, error, _place(source)) from error

    return guarded


def _place(source: SeedSource) -> str:
    return "seed_dataset.path" if source.names else "seed_dataset.df"


def _check_doubled(names: list[str], source: SeedSource) -> None:
    if twice := doubled(names):
        message = f"{source.title} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
        raise SpecError([Problem("seed_dataset", message)])


def _exploded(columns: tuple[SeedColumn, ...], config: SeedDatasetConfig) -> tuple[SeedColumn, ...]:
    """The columns with an element's type in place of the list's. Raises SpecError if there is no such list."""
    if config.explode is None:
        return columns
    types = {column.name: column.sql_type for column in columns}
    sql_type = types.get(config.explode)
    if sql_type is None:
        hint = did_you_mean(config.explode, types) or f" It has: {', '.join(list(types)[:20]) or 'no columns'}."
        outer = config.explode.partition(".")[0]
        if outer != config.explode and types.get(outer, "").startswith("STRUCT"):
            hint = (
                f" '{outer}' is a struct; a list inside it needs a column of its own where the rows are made: {{name: "
                f"items, column_type: expression, sql: {config.explode}, dtype: 'VARCHAR[]'}}, then explode: items."
            )
        message = f"The seed dataset has no column '{config.explode}'.{hint}"
        raise SpecError([Problem("seed_dataset.explode", message)])
    if not sql_type.endswith("]"):
        message = f"The seed column '{config.explode}' is {sql_type}; only a list can become several rows."
        raise SpecError([Problem("seed_dataset.explode", message)])
    element = sql_type[: sql_type.rindex("[")]
    return tuple(replace(column, sql_type=element) if column.name == config.explode else column for column in columns)


def _explode(rows: pa.Table, column: str) -> pa.Table:
    lists = rows[column].combine_chunks()
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    kept = rows.take(pc.list_parent_indices(lists))
    return kept.set_column(rows.schema.get_field_index(column), column, pc.list_flatten(lists))
