"""CSV files, read strictly: no text of a field is changed, and a file whose shape leaves a doubt is refused.

The first line names the columns. A field is quoted as a whole or not at all; inside of quotation marks everything is
text, a quotation mark is written twice. An empty field is null, a quoted empty one (``""``) an empty text. All rows
have as many fields as the header, all lines end alike; empty lines are skipped where there is more than one column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.seeds.agreement import check_agreement
from rowmill.seeds.location import Openable
from rowmill.seeds.text_file import decoded, malformed, open_text
from rowmill.seeds.text_rows import RowPlaces, TextRows, doubled

_SEPARATORS = ",;\t|"
_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_BLOCK_BYTES = 1 << 22
_HEADER_BYTES = 1 << 20
_SHOWN = 60
_SHORT = 2_000
_EMPTY = "\0"
"""A quoted empty field, for as long as empty texts are nulls: no file that is read has a NUL in it."""
_SAID_SEPARATOR = re.compile(rf"(?i:sep)=([{re.escape(_SEPARATORS)}])")
"""A first line that spreadsheets write to say how the others are separated."""
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_FIELDS = {
    each: re.compile(rf'("[^"]*(?:""[^"]*)*"|[^"{re.escape(each)}\r\n]*)({re.escape(each)}|\Z)') for each in _SEPARATORS
}


def read_csv_files(location: Openable, names: Sequence[str]) -> TextRows:
    """The rows of all files as texts, columns matched by name. Raises SpecError with file and line, OSError."""
    places = RowPlaces()
    tables: list[pa.Table] = []
    remarks = []
    for name in names:
        places.begin(name)
        with open_text(location, name) as file:
            parser = _Parser(name, file)
            table = parser.table(places)
        if tables:
            check_agreement(_texts(tables[0]), _texts(table), names[0], name)
        tables.append(table.select(tables[0].column_names) if tables else table)
        usual = "\t" if ".tsv" in name.lower() else ","
        if parser.separator != usual:
            remarks.append(f"{name}: its fields are separated by {_SEPARATOR_NAMES[parser.separator]}")
    return TextRows(pa.concat_tables(tables), places, tuple(remarks))


def _texts(table: pa.Table) -> dict[str, str]:
    return dict.fromkeys(table.column_names, "text")


@dataclass(frozen=True, slots=True)
class _Block:
    """Whole lines of a file, without their ends."""

    lines: list[str]
    first: int
    """The number of the first one."""
    is_cut: bool
    """Whether the last one is the last of the file and no line end follows it."""


class _Parser:
    """Reads one file from its start to its end."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._newline = "\n"
        """What lines are parted by; they may all end in a carriage return besides."""
        self._with_return = False
        self._said_separator: str | None = None
        self.header_line = 0
        self.separator = ","
        self.names: list[str] = []

    def table(self, places: RowPlaces) -> pa.Table:
        """The rows below the header as texts; the line of each is added to ``places``."""
        batches = []
        begun: list[str] = []
        begun_at = 0
        for block in self._blocks():
            rows = self._plain_rows(block, places) if self.names and not begun else None
            if rows is None:
                rows = []
                last = len(block.lines) - 1
                for number, line in enumerate(block.lines):
                    if begun:
                        begun.append(line)
                        if line.count('"') % 2 == 0:
                            continue
                        line, begun = self._newline.join(begun), []
                    else:
                        begun_at = block.first + number
                        if line.count('"') % 2 == 1:
                            begun.append(line)
                            continue
                    self._take(line, begun_at, block.is_cut and number == last, rows, places)
            if rows:
                columns = zip(*rows, strict=True)
                batches.append(pa.record_batch([_column(column) for column in columns], names=self.names))
        if begun:
            raise malformed(self._name, *self._fault(self._newline.join(begun), begun_at))
        if not self.names:
            raise malformed(self._name, 1, "the file is empty; its first line must name the columns.")
        return pa.Table.from_batches(batches, pa.schema([(each, pa.string()) for each in self.names]))

    def _blocks(self) -> Iterator[_Block]:
        line = 1
        while data := self._file.readlines(_BLOCK_BYTES):
            block = b"".join(data)
            text = decoded(block, self._name, line)
            if "\0" in text:
                at = line + text.count("\n", 0, text.index("\0"))
                raise malformed(self._name, at, "a NUL byte: this is no text file, or not in UTF-8.")
            if line == 1 and _has_old_ends(text):
                self._newline = "\r"
                text += decoded(self._file.read(), self._name, len(data))
            lines = text.split(self._newline)
            is_cut = bool(lines[-1])
            if not is_cut:
                lines.pop()
            yield _Block(lines, line, is_cut)
            line += len(data)

    # Rows -------------------------------------------------------------------------------------

    def _plain_rows(self, block: _Block, places: RowPlaces) -> list[list[str]] | None:
        """The rows of lines of which no field is quoted, or every field is; None: they need a closer look."""
        lines = block.lines
        text = "\n".join(lines)
        if self._newline == "\r" or ("\r" in text) != self._with_return:
            return None
        if self._with_return:
            if block.is_cut or text.count("\r") != len(lines) or not all(map(_ends_with_return, lines)):
                return None
            lines = text[:-1].split("\r\n")
        width = len(self.names)
        if width > 1 and "" in lines:
            return None
        if marks := text.count('"'):
            # Each line begins and ends in a mark and is parted at marks: if there are no others, none is in a field.
            if marks != 2 * width * len(lines) or not all(map(_is_in_marks, lines)):
                return None
            rows = [line[1:-1].split(f'"{self.separator}"') for line in lines]
            if '""' in text:
                rows = [[field or _EMPTY for field in row] for row in rows]
        else:
            rows = [line.split(self.separator) for line in lines]
        if set(map(len, rows)) != {width}:
            return None
        places.lines.extend(range(block.first, block.first + len(rows)))
        return rows

    def _take(self, text: str, line: int, is_cut: bool, rows: list[list[str]], places: RowPlaces) -> None:
        """Takes a row, or the header, as it stands in the file."""
        if not self.names:
            if text.strip("\r"):
                self._take_header(text, line, is_cut)
            return
        text = self._without_end(text, line, is_cut)
        width = len(self.names)
        if not text and width > 1:
            return
        row = self._fields(text, line)
        if len(row) != width:
            raise malformed(self._name, line, self._other_width(row))
        rows.append(row)
        places.lines.append(line)

    def _take_header(self, text: str, line: int, is_cut: bool) -> None:
        self.header_line = line
        self._with_return = self._newline == "\n" and not is_cut and _ends_with_return(text)
        text = self._without_end(text, line, is_cut)
        if said := _SAID_SEPARATOR.fullmatch(text):
            self._said_separator = said[1]
            return
        outside = _outside_of_marks(text)
        is_tsv = re.search(r"\.tsv(\.gz|\.zst)?$", self._name.lower()) is not None
        counted = "\t" if is_tsv and "\t" in outside else max(_SEPARATORS, key=outside.count)
        self.separator = self._said_separator or counted
        names = [each.strip(" " + _EMPTY) for each in self._fields(text, line)]
        self.names = [each or f"column{number}" for number, each in enumerate(names)]
        if twice := doubled(self.names):
            message = f"more than one column is named {', '.join(map(repr, twice))}. Rename all but one."
            raise malformed(self._name, line, message)

    def _without_end(self, text: str, line: int, is_cut: bool) -> str:
        """A row without the carriage return of its line end. Raises SpecError if that is another than before."""
        if self._newline == "\r" or (is_cut and not _ends_with_return(text)):
            return text
        if _ends_with_return(text) == self._with_return:
            return text[:-1] if self._with_return else text
        found, expected = ("LF", "CR LF") if self._with_return else ("CR LF", "LF")
        message = f"mixed line ends: this line ends in {found}, those before it in {expected}. Make them alike."
        raise malformed(self._name, line + text.count("\n"), message)

    def _fields(self, text: str, line: int) -> list[str]:
        """The fields of a row, with :data:`_EMPTY` for quoted empty ones."""
        row: list[str] = []
        if "\r" in text or "\n" in text:
            return self._odd_fields(text, line)
        for part in text.split(self.separator):
            if '"' not in part:
                row.append(part)
            elif part[0] == part[-1] == '"' and len(part) > 1 and '"' not in part[1:-1]:
                row.append(part[1:-1] or _EMPTY)
            else:
                return self._odd_fields(text, line)
        return row

    def _odd_fields(self, text: str, line: int) -> list[str]:
        """The same for rows with separators, line ends or quotation marks inside of quoted fields."""
        pattern = _FIELDS[self.separator]
        if len(text) < _SHORT:
            found = pattern.findall(text)
            if len(found) > 1 and not found[-2][1]:
                found.pop()  # nothing, found once more behind the last field
        else:
            # Looking for fields behind a fault takes time that grows with the square of what is left.
            found, at = [], 0
            while (match := pattern.match(text, at)) is not None:
                found.append(match.groups())
                at = match.end()
                if not match[2]:
                    break
        # Whatever no field matches was passed over.
        if sum(len(field) + len(end) for field, end in found) != len(text) or not all(end for _, end in found[:-1]):
            raise malformed(self._name, *self._fault(text, line))
        return [field[1:-1].replace('""', '"') or _EMPTY if field.startswith('"') else field for field, _ in found]

    # What is wrong ----------------------------------------------------------------------------

    def _fault(self, text: str, line: int) -> tuple[int, str]:
        """Line and kind of the first fault of a row that is no row."""
        pattern = _FIELDS[self.separator]
        at = column = 0
        while (match := pattern.match(text, at)) is not None and match[2]:
            at, column = match.end(), column + 1
        title = f"column {self.names[column]!r}" if column < len(self.names) else f"field {column + 1}"
        if text[at : at + 1] == '"':
            closed = _QUOTED.match(text, at)
            if closed is None:
                return self._line_at(text, at, line), f"the quotation mark that opens {title} is never closed."
            return self._line_at(text, closed.end(), line), (
                f"{text[closed.end() : closed.end() + 10]!r} follows the closing quotation mark of {title}; expected "
                'a separator or the end of the line. Inside of a quoted field the mark is written twice ("").'
            )
        marks = [place for each in '"\r\n' if (place := text.find(each, at)) >= 0]
        end = min(marks, default=len(text))
        here = self._line_at(text, end, line)
        if text[end : end + 1] == '"':
            return here, (
                f"a stray quotation mark in {title}, which is not quoted: {_short(text[at : end + 20])}. Quote the "
                'whole field and write the mark twice ("").'
            )
        return here, f"mixed line ends: another line end than before inside of {title}, which is not quoted."

    def _line_at(self, text: str, at: int, line: int) -> int:
        return line + text.count(self._newline, 0, at)

    def _other_width(self, row: list[str]) -> str:
        expected, found = len(self.names), len(row)
        named = ", ".join(self.names[:8]) + (", …" if expected > 8 else "")
        shown = ", ".join(_short("" if each == _EMPTY else each) for each in row[:8]) + (", …" if found > 8 else "")
        return (
            f"expected {_fields_text(expected)}, as line {self.header_line:,} names them ({named}), found "
            f"{_fields_text(found)} ({shown})."
        )


def _has_old_ends(text: str) -> bool:
    """Does the first line that is not empty end in a carriage return alone?"""
    outside = _outside_of_marks(text[:_HEADER_BYTES]).lstrip("\r\n")
    end = re.search(r"\r\n|\r|\n", outside)
    return end is not None and end[0] == "\r"


def _outside_of_marks(text: str) -> str:
    return re.sub(r'"[^"]*(?:"|\Z)', "", text)


def _fields_text(count: int) -> str:
    return f"{count} field" + ("" if count == 1 else "s")


def _is_in_marks(line: str) -> bool:
    return len(line) > 1 and line[0] == line[-1] == '"'


def _ends_with_return(line: str) -> bool:
    return line.endswith("\r")


def _column(fields: Sequence[str]) -> pa.Array:
    """The fields of a column, with null for an empty text, and an empty text for :data:`_EMPTY`."""
    column = pa.array(fields, pa.string())
    if "" in fields:
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    return pc.if_else(pc.equal(column, _EMPTY), "", column) if _EMPTY in fields else column


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
