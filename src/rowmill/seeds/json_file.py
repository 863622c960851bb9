"""JSON files, read exactly: a text stays that text, a number that number, and what cannot be kept is refused.

A file of lines holds an object a line, other files an array of objects, or objects one after the other. Fields an
object lacks are null. A column of texts is text, of whole numbers an integer of 64 bits (more where it takes more), of
other numbers a float, of lists a list, of objects a struct; what has no type in common is JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from rowmill.seeds.agreement import disagreement
from rowmill.seeds.json_kind import BigNumberError, Kind, Spelled, json_text
from rowmill.seeds.location import Location
from rowmill.seeds.text_file import decoded, malformed, open_text
from rowmill.seeds.text_rows import RowPlaces, TextRows, doubled

_BLOCK_ROWS = 16_384
_BLOCK_BYTES = 1 << 22
_BLANKS = re.compile(r"[ \t\r\n]*")
_Row = dict[str, Any]


@dataclass
class TypedRows(TextRows):
    """All rows of some files, with the types their values have."""

    types: dict[str, str] = field(default_factory=dict)
    """The SQL types of the columns."""


def read_json_files(
    location: Location, names: Sequence[str], *, by_lines: bool, as_text: Callable[[str], bool]
) -> TypedRows:
    """The rows of all files. Raises SpecError with file and line, OSError.

    ``as_text``: of which columns the values are wanted as texts, as they stand in the file; they are VARCHAR then.
    """
    reading = _Reading(location, names, by_lines=by_lines, as_text=as_text)
    table = reading.table()
    if table is None:  # a later value changed the type of a column: now all are known
        table = reading.table()
    assert table is not None
    types = {name: reading.sql_type(name) for name in table.column_names}
    return TypedRows(table, reading.places, types=types)


class _Reading:
    def __init__(
        self, location: Location, names: Sequence[str], *, by_lines: bool, as_text: Callable[[str], bool]
    ) -> None:
        self._location = location
        self._names = names
        self._by_lines = by_lines
        self._as_text = as_text
        self._kinds: dict[str, Kind] = {}
        self.places = RowPlaces()

    def sql_type(self, name: str) -> str:
        return "VARCHAR" if self._as_text(name) else self._kinds[name].sql_type

    def table(self) -> pa.Table | None:
        """All rows; None if the type of a column was another one for the first than for the last of them."""
        self.places = RowPlaces()
        blocks: list[tuple[int, dict[str, tuple[str, pa.Array]]]] = []
        for name in self._names:
            known = list(self._kinds)
            found: dict[str, None] = {}
            self.places.begin(name)
            for rows in self._blocks(name):
                self._learn_names(rows, found, name)
                blocks.append((len(rows), self._columns(rows, found, name)))
            if name != self._names[0]:
                self._check_names(found, known, name)
        arrays: dict[str, list[pa.Array]] = {name: [] for name in self._kinds}
        for count, columns in blocks:
            for name, made in arrays.items():
                sql_type, array = columns.get(name, ("", None))
                if array is None or array.null_count == count:
                    array = pa.nulls(count, self._arrow_type(name))
                elif sql_type != self.sql_type(name):
                    return None
                made.append(array)
        return pa.table({name: pa.chunked_array(made, self._arrow_type(name)) for name, made in arrays.items()})

    def _arrow_type(self, name: str) -> pa.DataType:
        return pa.string() if self._as_text(name) else self._kinds[name].arrow_type

    def _learn_names(self, rows: list[_Row], found: dict[str, None], name: str) -> None:
        for position, row in enumerate(rows):
            if row.keys() <= found.keys():
                continue
            line = self._line(len(rows), position)
            if "" in row:
                raise malformed(name, line, "a field has no name.")
            if odd := next((each for each in row if _has_surrogate(each)), None):
                raise malformed(
                    name, line, f"the name {odd!r} holds half of a surrogate pair, which is not valid Unicode."
                )
            found.update(dict.fromkeys(row))
            if twice := doubled([*dict.fromkeys([*self._kinds, *found])]):
                message = (
                    f"fields differ only in the case of their names: {', '.join(map(repr, twice))}. Rename all but one."
                )
                raise malformed(name, line, message)

    def _columns(self, rows: list[_Row], found: dict[str, None], name: str) -> dict[str, tuple[str, pa.Array]]:
        columns = {}
        for column in found:
            values = [row.get(column) for row in rows]
            kind = self._kinds.setdefault(column, Kind())
            try:
                if self._as_text(column):
                    columns[column] = "VARCHAR", pa.array(map(_as_said, values), pa.string())
                else:
                    kind.learn(values)
                    columns[column] = kind.sql_type, kind.array(values)
            except (BigNumberError, UnicodeEncodeError, RecursionError) as error:
                raise self._misfit(rows, column, name, error) from error
        return columns

    def _misfit(self, rows: list[_Row], column: str, name: str, error: Exception) -> Exception:
        """The value at fault is the first that is one on its own, else the first that is one after those before it."""
        line, told = None, str(error)
        if isinstance(error, UnicodeEncodeError):
            told = f"column {column!r} holds half of a surrogate pair, which is not valid Unicode."
            line = next(
                (self._line(len(rows), at) for at, row in enumerate(rows) if _has_surrogate(row.get(column))), None
            )
        elif isinstance(error, RecursionError):
            told = f"column {column!r} is nested too deeply."
        elif isinstance(error, BigNumberError):
            told = (
                f"column {column!r} holds {error.shown}, {error.reason}. "
                f"Say a type: seed_dataset: {{types: {{{column}: str}}}}"
            )
            line = next(
                (self._line(len(rows), at) for at, row in enumerate(rows) if error.text in _numbers(row.get(column))),
                None,
            )
        return malformed(name, line, told)

    def _line(self, count: int, position: int) -> int:
        return self.places.lines[len(self.places.lines) - count + position]

    def _check_names(self, found: dict[str, None], known: list[str], name: str) -> None:
        first = self._names[0]
        lacks = [each for each in known if each not in found]
        extra = [each for each in found if each not in known]
        if found and known and (lacks or extra):
            raise disagreement(lacks, extra, first, name)

    # Objects ----------------------------------------------------------------------------------

    def _blocks(self, name: str) -> Iterator[list[_Row]]:
        with open_text(self._location, name) as file:
            rows = self._of_lines(file, name) if self._by_lines else self._of_text(decoded(file.read(), name, 1), name)
            while block := list(islice(rows, _BLOCK_ROWS)):
                yield block

    def _of_lines(self, file: Any, name: str) -> Iterator[_Row]:
        decoder = _Decoder()
        line = 0
        while data := file.readlines(_BLOCK_BYTES):
            for text in decoded(b"".join(data), name, line + 1).removesuffix("\n").split("\n"):
                line += 1
                if stripped := text.strip(" \t\r"):
                    row, end = decoder.read(stripped, 0, name, line)
                    if end != len(stripped):
                        message = f"more than one JSON value in a line: {stripped[end : end + 40]!r} follows the first."
                        raise malformed(name, line, message)
                    self.places.lines.append(line)
                    yield _object(row, name, line)

    def _of_text(self, text: str, name: str) -> Iterator[_Row]:
        decoder = _Decoder()
        at, line = _skip(text, 0, 1)
        is_array = text[at : at + 1] == "["
        if is_array:
            at, line = _skip(text, at + 1, line)
            if text[at : at + 1] == "]":
                self._end(text, at + 1, line, name)
                return
        while at < len(text) or is_array:
            row, end = decoder.read(text, at, name, line)
            self.places.lines.append(line)
            yield _object(row, name, line)
            line += text.count("\n", at, end)
            at, line = _skip(text, end, line)
            if not is_array:
                continue
            if text[at : at + 1] == "]":
                self._end(text, at + 1, line, name)
                return
            if text[at : at + 1] != ",":
                raise malformed(name, line, f"expected ',' or ']', found {text[at : at + 20] or 'the end'!r}.")
            at, line = _skip(text, at + 1, line)

    @staticmethod
    def _end(text: str, at: int, line: int, name: str) -> None:
        at, line = _skip(text, at, line)
        if at < len(text):
            raise malformed(name, line, f"{text[at : at + 20]!r} follows the end of the array.")


def _skip(text: str, at: int, line: int) -> tuple[int, int]:
    end = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
    return end, line + text.count("\n", at, end)


def _object(value: Any, name: str, line: int) -> _Row:
    if not isinstance(value, dict):
        shown = json_text(value)[:40]
        message = f"expected an object of named values, found {shown}."
        if isinstance(value, list):
            message += " If the file is one array of objects, say format: json"
        raise malformed(name, line, message)
    return value


def _as_said(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json_text(value)


def _numbers(value: Any) -> set[str]:
    """The numbers in a value, as texts."""
    if isinstance(value, dict):
        return set().union(*map(_numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(_numbers, value))
    if isinstance(value, Spelled):
        return {value.text}
    return {str(value)} if isinstance(value, (int, float)) else set()


def _has_surrogate(value: Any) -> bool:
    try:
        json_text(value).encode()
    except UnicodeEncodeError:
        return True
    return False


class _DoubledError(ValueError):
    """An object names a field twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DoubledError(f"an object has two fields named {twice!r}")
    return found


def _whole(text: str) -> int | Spelled:
    return Spelled(text) if len(text) > 40 or text == "-0" else int(text)


def _fraction(text: str) -> float:
    value = float(text)
    return value if repr(value) == text and math.isfinite(value) else Spelled(text)


def _constant(text: str) -> Any:
    raise _DoubledError(f"{text} is no JSON; write null, or the text {text!r}")


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_pairs, parse_int=_whole, parse_float=_fraction, parse_constant=_constant)

    def read(self, text: str, at: int, name: str, line: int) -> tuple[Any, int]:
        """The value that begins there, and where it ends. Raises SpecError."""
        try:
            return self.raw_decode(text, at)
        except json.JSONDecodeError as error:
            where = line + text.count("\n", at, error.pos)
            column = error.pos - (text.rfind("\n", 0, error.pos) + 1) + 1
            raise malformed(name, where, f"not JSON: {error.msg} at character {column}.") from error
        except _DoubledError as error:
            raise malformed(name, line, f"{error}.") from error
        except RecursionError:
            raise malformed(name, line, "nested too deeply.") from None
