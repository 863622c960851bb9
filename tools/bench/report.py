"""What a benchmark found, for people (a table on stdout) and for programs (JSON)."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = float | int | str | None
Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of a table: its key in JSON, its heading, and how many decimals people want to see."""

    key: str
    heading: str
    decimals: int = 0
    percent: bool = False

    def text(self, value: Value) -> str:
        """The value for people; "–" where there is none."""
        if value is None:
            return "–"
        if isinstance(value, str):
            return value
        if self.percent:
            return f"{value * 100:.1f} %"
        return f"{value:,.{self.decimals}f}"


@dataclass(frozen=True)
class Table:
    """One table of a report. Rows need not have every figure."""

    name: str
    title: str
    figures: Sequence[Figure]
    rows: Sequence[Row]

    def text(self) -> str:
        """The table in columns: text to the left, numbers to the right."""
        cells = [[figure.text(row.get(figure.key)) for figure in self.figures] for row in self.rows]
        lines = [[figure.heading for figure in self.figures], *cells]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.figures))]
        is_text = [any(isinstance(row.get(figure.key), str) for row in self.rows) for figure in self.figures]
        laid_out = [
            "  ".join(
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(line, widths, is_text, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}" for line in laid_out)])


@dataclass
class Report:
    """Everything one run of a benchmark found."""

    benchmark: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def machine(self) -> dict[str, Any]:
        """Where it ran, and how busy that was: figures of a loaded machine are only good for their ratios."""
        return {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "load_before": round(self.load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
        }

    def text(self) -> str:
        """The report for people."""
        machine = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in self.machine().items())
        parts = [f"{self.benchmark}: {machine}", *(table.text() for table in self.tables)]
        return "\n\n".join([*parts, *(f"* {note}" for note in self.notes)])

    def json(self) -> str:
        """The report for programs; tables by name, each a list of objects."""
        document = {
            "benchmark": self.benchmark,
            "machine": self.machine(),
            "tables": {table.name: [dict(row) for row in table.rows] for table in self.tables},
            "notes": self.notes,
        }
        return json.dumps(document, indent=2, ensure_ascii=False)

    def write(self, json_file: str | None) -> None:
        """Prints the table, and JSON to ``json_file``; with "-" JSON goes to stdout and the table to stderr."""
        print(self.text(), file=sys.stderr if json_file == "-" else sys.stdout)
        if json_file == "-":
            print(self.json())
        elif json_file is not None:
            Path(json_file).write_text(self.json() + "\n", encoding="utf-8")
