"""The seed reader ``text_lines``."""

from pathlib import Path

import pyarrow as pa

from rowmill.seeds.reader import SeedReader


class TextLines(SeedReader):
    """A row for each line of a file; its fields are what a spec says under ``params``."""

    file: str

    def read(self, directory: Path) -> pa.Table:
        """All rows."""
        return pa.table({"line": (directory / self.file).read_text().splitlines()})

    def files(self, directory: Path) -> list[Path]:
        """What need not be read again while it is unchanged."""
        return [directory / self.file]
