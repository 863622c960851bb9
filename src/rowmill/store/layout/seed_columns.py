"""Columns of seed data: their types, where those come from, and values as the type that was said."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.guess import Guess, guess_type
from rowmill.seeds.said import MisfitError, is_spelling, read_as
from rowmill.seeds.text_rows import RowPlaces
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.seed import ANY_COLUMN, SeedDatasetConfig
from rowmill.store.layout.seed_engine import SeedEngine

_SHOWN = 60
_MADE_BY_ENGINE = frozenset({"INTERVAL", "TIME WITH TIME ZONE"})
_NOT_OF_ARROW = "TIME WITH TIME ZONE"
_NESTED = ("STRUCT", "MAP")

Origin = Literal["said", "file", "guessed"]


@dataclass(frozen=True, slots=True)
class SeedColumn:
    """What is known of a seed column before any of its rows is used."""

    name: str
    sql_type: str
    origin: Origin
    """Who says the type: ``seed_dataset.types``, the source, or nobody."""
    remark: str | None = None
    """Why a guess may not be what was meant."""


@dataclass(frozen=True)
class SeedTable:
    """Rows of a source, with the types of their columns."""

    table: pa.Table
    columns: tuple[SeedColumn, ...]


def guessed(texts: pa.Table, said: Container[str]) -> SeedTable:
    """Columns of texts as what every text of them is, but for those whose type was ``said``."""
    guesses = {
        name: Guess("VARCHAR", texts[name]) if name in said else guess_type(texts[name]) for name in texts.column_names
    }
    columns = [SeedColumn(name, guess.sql_type, "guessed", guess.remark) for name, guess in guesses.items()]
    return SeedTable(pa.table({name: guess.column for name, guess in guesses.items()}), tuple(columns))


def check_said(config: SeedDatasetConfig, names: Sequence[str]) -> None:
    """Raises SpecError for types that were said of columns there are not."""
    problems = []
    for name in config.types:
        if name not in names and name != ANY_COLUMN:
            hint = did_you_mean(name, names) or f" It has: {', '.join(list(names)[:20]) or 'no columns'}."
            message = f"The seed dataset has no column '{name}'.{hint}"
            problems.append(Problem(f"seed_dataset.types.{name}", message))
    if problems:
        raise SpecError(problems)


def as_said(
    engine: SeedEngine, found: SeedTable, said: Mapping[str, str], title: str, places: RowPlaces | None
) -> SeedTable:
    """The columns in the types that were said of them. Raises SpecError with the first value of each that does not fit.

    ``places``: file and line of the rows; None: they have only numbers.
    """
    if not said:
        return found
    table, columns, problems = found.table, list(found.columns), []
    spelled = engine.spelled(said)
    for position, column in enumerate(columns):
        if column.name not in said:
            continue
        sql_type = spelled[column.name]
        try:
            values = _converted(engine, table[column.name], column.sql_type, sql_type)
        except MisfitError as misfit:
            text = misfit.text if len(misfit.text) <= _SHOWN else misfit.text[: _SHOWN - 1] + "…"
            name, line = places.of(misfit.row) if places is not None else (title, misfit.row + 1)
            where = f"{name}, {'line' if places is not None else 'row'} {line:,}"
            message = f"{where}, column '{column.name}': {text!r} does not fit {sql_type}: {misfit.reason}."
            problems.append(Problem(f"seed_dataset.types.{column.name}", message))
            continue
        table = table.set_column(position, column.name, values)
        columns[position] = replace(column, sql_type=sql_type, origin="said", remark=None)
    if problems:
        raise SpecError(problems[:20])
    return SeedTable(table, tuple(columns))


def _converted(engine: SeedEngine, column: pa.ChunkedArray, source_type: str, sql_type: str) -> pa.ChunkedArray:
    if source_type in {sql_type, "JSON"} and sql_type in {"JSON", "VARCHAR", source_type}:
        return column
    if _is_nested(sql_type) and source_type in {"VARCHAR", "JSON"}:
        return _nested(engine, column, sql_type)
    if source_type in {"VARCHAR", "JSON"} and sql_type not in _MADE_BY_ENGINE:
        return read_as(column, sql_type)
    if source_type == "BLOB" and sql_type == "VARCHAR":
        return _decoded(column)
    if _is_nested(source_type) and sql_type == "VARCHAR":
        return engine.converted(column, sql_type, by_json=True)
    misfit = engine.misfit(column, source_type, sql_type)
    if misfit is not None:
        raise MisfitError(misfit[0], misfit[1], f"a {source_type} is kept only as what it is")
    return column if sql_type == _NOT_OF_ARROW and source_type == "VARCHAR" else engine.converted(column, sql_type)


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes as the UTF-8 text they are."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        for row, value in enumerate(column.to_pylist()):
            try:
                _ = value is None or value.decode("utf-8")
            except UnicodeDecodeError:
                raise MisfitError(row, repr(value)[2:-1], "its bytes are no UTF-8 text") from None
        raise


def _nested(engine: SeedEngine, column: pa.ChunkedArray, sql_type: str) -> pa.ChunkedArray:
    """JSON texts as lists, arrays, structs or maps: what is written back must say the same."""
    values, written = engine.converted_json(column, sql_type)
    for row, (text, back) in enumerate(zip(column.to_pylist(), written, strict=True)):
        if text is None:
            continue
        try:
            is_same = back is not None and _is_same(_read(text), _read(back), sql_type)
        except (ValueError, ArithmeticError):  # no JSON, or a number beyond all bounds
            is_same = False
        if not is_same:
            raise MisfitError(row, text, "as JSON it is no such value, or would be another one")
    return values


class _Number(NamedTuple):
    """A number as it is spelled."""

    text: str


def _read(text: str) -> Any:
    return json.loads(text, parse_int=_Number, parse_float=_Number)


def _is_same(said: Any, back: Any, sql_type: str) -> bool:
    """Do both JSON values say the same? A field that is null may as well be missing, and true is not 1."""
    if isinstance(said, dict) and isinstance(back, dict):
        said, back = ({name: each for name, each in side.items() if each is not None} for side in (said, back))
        return said.keys() == back.keys() and all(_is_same(each, back[name], sql_type) for name, each in said.items())
    if isinstance(said, _Number) and isinstance(back, _Number):
        return _is_same_number(said.text, back.text, sql_type)
    if isinstance(said, list) and isinstance(back, list):
        return len(said) == len(back) and all(_is_same(*pair, sql_type) for pair in zip(said, back, strict=True))
    return type(said) is type(back) and bool(said == back)


def _is_same_number(said: str, back: str, sql_type: str) -> bool:
    """As for a column of its own: a float is said in the shortest way, or with some of the digits it really has."""
    if Decimal(said) == Decimal(back):
        return True
    if "DECIMAL" in sql_type or not ("DOUBLE" in sql_type or "FLOAT" in sql_type):
        return False
    return is_spelling(said, float(back))


def _is_nested(sql_type: str) -> bool:
    return sql_type.endswith("]") or sql_type.startswith(_NESTED)
