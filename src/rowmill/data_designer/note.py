"""Notes: what a configuration says that a spec says differently, or cannot say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Note(NamedTuple):
    """What to know of one place of the configuration (``columns.3.tool_alias``)."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


@dataclass
class Notes:
    """Notes in the order in which they were made."""

    all: list[Note] = field(default_factory=list)

    def add(self, place: str, message: str) -> None:
        """Makes a note."""
        self.all.append(Note(place, message))
