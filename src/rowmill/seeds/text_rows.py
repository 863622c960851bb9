"""Rows as a file of text holds them, before anybody says what type they are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from rowmill.spec.name import fold


@dataclass
class RowPlaces:
    """Which file and line each row of a dataset begins in."""

    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """For each file the number of its first row."""
    lines: array[int] = field(default_factory=lambda: array("q"))

    def begin(self, name: str) -> None:
        """What is added from now on is in that file."""
        self.names.append(name)
        self.starts.append(len(self.lines))

    def of(self, row: int) -> tuple[str, int]:
        """File and line of a row."""
        last = max(number for number, start in enumerate(self.starts) if start <= row)
        return self.names[last], self.lines[row]


@dataclass
class TextRows:
    """All rows of some files as texts and nulls."""

    table: pa.Table
    places: RowPlaces
    remarks: tuple[str, ...] = ()
    """What is worth telling of the files."""


def doubled(names: Sequence[str]) -> list[str]:
    """Names that are there more than once, or differ only in case."""
    seen: dict[str, str] = {}
    found = []
    for name in names:
        if fold(name) in seen:
            found += [seen[fold(name)], name]
        seen.setdefault(fold(name), name)
    return list(dict.fromkeys(found))
