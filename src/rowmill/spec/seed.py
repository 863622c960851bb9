"""The seed dataset: the file whose rows a run starts from, and which of them in which order."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from rowmill.errors import Problem, SpecError
from rowmill.spec.column import StrictModel
from rowmill.spec.nearest import did_you_mean

SeedFormat = Literal["csv", "jsonl", "json", "parquet"]

_FORMATS: dict[str, SeedFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
_Index = Annotated[int, Field(strict=True, ge=0, le=2**62)]


class IndexRange(StrictModel):
    """The rows from index ``start`` to index ``end``, both included, counted from 0."""

    start: _Index
    end: _Index

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"The range ends ({self.end}) before it starts ({self.start}); both ends are included.")
        return self

    def bounds(self, rows: int) -> tuple[int, int]:
        """First row and count of the selection in a dataset of that many rows."""
        if self.end >= rows:
            raise SpecError(
                [
                    Problem(
                        "seed_dataset.selection.end", f"The seed dataset has {rows} rows, the last one is {rows - 1}."
                    )
                ]
            )
        return self.start, self.end - self.start + 1


class PartitionBlock(StrictModel):
    """Part ``index`` (from 0) of the dataset cut into ``num_partitions``; the remainder goes to the last."""

    index: _Index
    num_partitions: Annotated[int, Field(strict=True, ge=1, le=2**62)]

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if self.index >= self.num_partitions:
            raise ValueError(
                f"Partition {self.index} does not exist: {self.num_partitions} partitions are numbered "
                f"0 to {self.num_partitions - 1}."
            )
        return self

    def bounds(self, rows: int) -> tuple[int, int]:
        """First row and count of the selection in a dataset of that many rows."""
        if self.num_partitions > rows:
            message = f"The seed dataset has {rows} rows; it cannot be cut into {self.num_partitions} partitions."
            raise SpecError([Problem("seed_dataset.selection.num_partitions", message)])
        size = rows // self.num_partitions
        first = self.index * size
        return first, rows - first if self.index == self.num_partitions - 1 else size


def _choose_selection(value: object) -> object:
    # Chosen by hand: a union would report the errors of both kinds.
    if not isinstance(value, Mapping):
        return value
    if "index" in value or "num_partitions" in value:
        return PartitionBlock.model_validate(value)
    return IndexRange.model_validate(value)


class SeedDatasetConfig(StrictModel):
    """Where seed rows come from. Relative paths start at the directory of the spec."""

    path: str | tuple[str, ...]
    """A file or a glob, or a list of them."""
    format: SeedFormat | None = None
    """None: told by the ending of the path."""
    sampling_strategy: Literal["ordered", "shuffle"] = "ordered"
    """``shuffle`` is a permutation fixed by the run's seed (V1). Both start again when all rows were used."""
    selection: Annotated[IndexRange | PartitionBlock | None, BeforeValidator(_choose_selection)] = None

    @field_validator("path", mode="before")
    @classmethod
    def _path_is_local(cls, value: object) -> object:
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, (list, tuple)) or not all(isinstance(path, str) for path in paths):
            raise ValueError("Expected a path, or a list of paths.")
        if not paths or not all(paths):
            raise ValueError("The path is empty; name at least one file.")
        for path in paths:
            if "://" in path:
                raise ValueError(
                    f"'{path.partition('://')[0]}://' is not supported: seed data is read from local files."
                )
        return value if isinstance(value, str) else tuple(paths)

    @model_validator(mode="after")
    def _has_a_format(self) -> Self:
        if self.format is None:
            _ = self.file_format
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths and globs as written."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def file_format(self) -> SeedFormat:
        """``format``, or what the endings of the paths tell (a further ``.gz`` or ``.zst`` is ignored)."""
        if self.format is not None:
            return self.format
        formats = {self._format_of(path) for path in self.paths}
        if len(formats) > 1:
            raise ValueError(f"The paths have different formats ({', '.join(sorted(formats))}); they must be the same.")
        return formats.pop()

    @staticmethod
    def _format_of(path: str) -> SeedFormat:
        name = Path(path.lower().removesuffix(".gz").removesuffix(".zst"))
        found = _FORMATS.get(name.suffix)
        if found is None:
            known = ", ".join(sorted(set(_FORMATS.values())))
            hint = did_you_mean(name.suffix.lstrip("."), set(_FORMATS.values())) if name.suffix else ""
            raise ValueError(f"The ending of '{path}' tells no format; set format to one of {known}.{hint}")
        return found

    def files(self, directory: Path) -> list[Path]:
        """The files, globs expanded in sorted order, each once. Looks at the file system.

        Raises :class:`~rowmill.errors.SpecError` for paths that match nothing.
        """
        found: dict[Path, None] = {}
        problems = []
        for position, path in enumerate(self.paths):
            place = "seed_dataset.path" if isinstance(self.path, str) else f"seed_dataset.path.{position}"
            matches = self._matches(directory, path)
            if not matches:
                problems.append(Problem(place, f"There is no file '{path}' (relative to {directory.absolute()})."))
            found.update(dict.fromkeys(matches))
        if problems:
            raise SpecError(problems)
        return list(found)

    @staticmethod
    def _matches(directory: Path, path: str) -> list[Path]:
        literal = directory / path
        if literal.is_file():
            return [literal]
        if not glob.has_magic(path):
            return []
        pattern = path if Path(path).is_absolute() else f"{glob.escape(str(directory))}/{path}"
        return sorted(file for file in map(Path, glob.glob(pattern, recursive=True)) if file.is_file())

    def fingerprint(self) -> dict[str, JsonValue]:
        """What of the seed dataset's configuration shapes values; the content's digest comes with the file."""
        shaping: dict[str, JsonValue] = self.model_dump(mode="json", exclude={"path", "format"})
        return shaping
