"""Pictures on their way out: the files that columns of type ``image`` name, beside the exported rows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rowmill.errors import UsageError
from rowmill.export.source import DatasetSource

FOLDER = "files"
"""Where they lie in an exported directory, under the names the rows have for them."""


@dataclass(frozen=True)
class PictureFiles:
    """Which columns name pictures, and where these are."""

    origin: Path
    """The directory beside the run database."""
    columns: Sequence[str]

    def copy(self, source: DatasetSource, directory: Path) -> None:
        """Copies the pictures of the rows into ``directory``. Raises UsageError for one that is gone."""
        for batch in source.dataset_batches():
            for column in self.columns:
                for row_id, name in zip(batch["row_id"].to_pylist(), batch[column].to_pylist(), strict=True):
                    if name is not None:
                        self._copy(name, directory / FOLDER / name, f"column '{column}' of row {row_id}")

    def _copy(self, name: str, target: Path, whose: str) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(self.origin / name, half)
        except FileNotFoundError:
            raise UsageError(
                f"The picture '{self.origin / name}' is gone ({whose}). Make it again (rowmill rerun), or leave the "
                "column out with --columns."
            ) from None
        half.chmod(0o600)
        half.replace(target)
