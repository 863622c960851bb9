"""An order for an export: which processor, split, layout and format; carried out on an open run database."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.export.card import CardFigures, CardFiles, card_of
from rowmill.export.chosen import ChosenColumns, ChosenRows
from rowmill.export.csv_safe import CsvSafe
from rowmill.export.dataset import ExportReport, check_target, export_dataset, write_dataset
from rowmill.export.directory import DirectoryExport, DirectoryReport, GrowingSource, Shape
from rowmill.export.exported import card_files
from rowmill.export.format import Compression, ExportFormat, compression_of, ending_of
from rowmill.export.hub import push_to_hub
from rowmill.export.pictures import PictureFiles
from rowmill.export.processed import Processed
from rowmill.export.source import DatasetSource
from rowmill.export.split import Split, WithSplit, shares_of
from rowmill.export.target import made_directory, whole_file
from rowmill.export.transform import Transformed
from rowmill.generators.file_directory import files_of
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.problems import first_reason
from rowmill.spec.processor import Processor, ProcessorConfig, RowProcessor, SchemaTransformProcessor, SplitProcessor
from rowmill.spec.registry import PROCESSORS
from rowmill.store.reading.provenance import Provenance
from rowmill.store.reading.reader import RunIdentity
from rowmill.store.reading.status import Status
from rowmill.version import VERSION

Layout = Literal["file", "files", "directory", "huggingface"]
_WHOLE = "train"
"""What the only part of a dataset without a split is called on the hub."""


def chosen_layout(
    layout: Layout | None,
    *,
    needs_directory: bool,
    to_stdout: bool = False,
    repository: str | None = None,
    is_of_hub: bool = False,
) -> Layout:
    """The layout that was asked for, or the one that the other options need.

    ``needs_directory``: rows are added to a directory, or parted into several; ``is_of_hub``: something is said of the
    hub. Raises UsageError for options that contradict each other.
    """
    chosen: Layout = layout or ("huggingface" if repository else "directory" if needs_directory else "file")
    if chosen == "file" and needs_directory:
        raise UsageError("--append and --partition-by make a directory; leave out --layout file.")
    if chosen != "huggingface" and repository is not None:
        raise UsageError("--push-to-hub has a layout of its own; leave --layout out.")
    if repository is None and is_of_hub:
        raise UsageError("--private and --hub-endpoint belong to --push-to-hub USER/NAME.")
    if to_stdout and chosen != "file":
        raise UsageError("A directory cannot be written to stdout; name an --output.")
    return chosen


def check_csv_safe(csv_safe: bool, file_format: ExportFormat | None) -> None:
    """Raises UsageError for another format than CSV."""
    if csv_safe and file_format is not ExportFormat.CSV:
        raise UsageError("--csv-safe is for files that spreadsheets open: say --format csv, or leave it out.")


class RunReader(GrowingSource, Protocol):
    """The part of ``rowmill.store.reading.reader.Reader`` an order needs."""

    def identity(self) -> RunIdentity:
        """Which run it is."""
        ...

    def spec_text(self) -> str:
        """The spec as JSON."""
        ...

    def status(self) -> Status:
        """Where the run stands."""
        ...

    def row_ids_where(self, condition: str) -> pa.Array:
        """The ``row_id`` of every finished row that meets a condition, in order."""
        ...

    def dataset_summary(self, condition: str | None = None) -> list[dict[str, Any]]:
        """Per column type, distinct values and nulls; of the rows that meet the condition."""
        ...

    def provenance(self) -> list[tuple[str, Provenance]]:
        """The runs whose finished rows are the seed rows."""
        ...

    def usage_of_models(self) -> list[dict[str, Any]]:
        """Per model requests, tokens and cost."""
        ...


@dataclass(frozen=True)
class ExportOrder:
    """What to export. Every field has a sensible default."""

    format: ExportFormat | None = None
    compression: Compression | None = None
    processor: str | None = None
    """The name of a ``schema_transform`` of the spec."""
    split: str | None = None
    """``train=0.8,test=0.2``; None: as the spec says."""
    partition_by: str | None = None
    layout: Layout = "file"
    mode: int | None = None
    """Of the files. None: 0600, or as what they replace."""
    csv_safe: bool = False
    """Texts that a spreadsheet would take for formulas begin with ``'``."""
    columns: tuple[str, ...] | None = None
    """Only these, in this order. None: all."""
    where: str | None = None
    """Only rows that meet this condition over the columns of the dataset, in SQL."""

    def source(self, reader: RunReader) -> DatasetSource:
        """The rows of the dataset on their way through processor and split. Raises UsageError."""
        return self._through(reader, self._rows(reader))

    def _rows(self, reader: RunReader) -> GrowingSource:
        return reader if self.where is None else ChosenRows(reader, self.where)

    def to_stream(self, reader: RunReader, file: BinaryIO) -> int:
        """Writes the rows to an open file whose reader cannot seek. Returns how many."""
        chosen = self.format or ExportFormat.PARQUET
        packed = compression_of(None, chosen, self.compression)
        return write_dataset(self.source(reader), file, chosen, is_pipe=True, compression=packed)

    def to_file(
        self, reader: RunReader, path: Path, *, force: bool, database: Path | None, protected: Sequence[Path]
    ) -> ExportReport:
        """Writes the rows to one file, whole or not at all. Raises UsageError."""
        if self.partition_by is not None:
            raise UsageError("--partition-by makes a directory of files; say --layout directory, or leave it out.")
        return export_dataset(
            self.source(reader),
            path,
            self.format,
            compression=self.compression,
            force=force,
            database=database,
            protected=protected,
            mode=self.mode,
        )

    def to_directory(
        self,
        reader: RunReader,
        path: Path,
        *,
        append: bool = False,
        force: bool = False,
        database: Path | None,
        protected: Sequence[Path],
    ) -> DirectoryReport:
        """Writes the rows into a directory: all of them, or with ``append`` those it does not hold yet.

        Raises UsageError.
        """
        check_target(path, database, protected)
        if self.layout == "files":
            if append:
                raise UsageError("--append needs a directory that keeps row_id; say --layout directory.")
            return self._to_files(reader, path, force=force, database=database, protected=protected)
        return self._directory(reader, database).write(self._rows(reader), path, append=append, force=force)

    def _to_files(
        self, reader: RunReader, directory: Path, *, force: bool, database: Path | None, protected: Sequence[Path]
    ) -> DirectoryReport:
        """Writes a file for each part of the split, with nothing in it but the records."""
        split = self._split(reader)
        if split is None:
            raise UsageError(
                "--layout files writes a file for each part of a split, and there is none: add --split "
                "train=0.9,test=0.1, or a split to the processors of the spec."
            )
        if self.partition_by is not None:
            raise UsageError("--layout files has a file for each part of the split; leave --partition-by out.")
        chosen = self.format or ExportFormat.JSONL
        packed = compression_of(None, chosen, self.compression)
        rows = self._rows(reader)
        row_ids = rows.dataset_row_ids()
        cut = Split(split.shares, reader.identity().seed)
        parts = pa.array([cut.part_of(row_id) for row_id in row_ids.to_pylist()], type=pa.string())
        files = {part: directory / f"{part}{ending_of(chosen, packed)}" for part in cut.names}
        for file in files.values():
            check_target(file, database, protected)
        written = {}
        with made_directory(directory, self.mode), ExitStack() as opened:
            for part, file in files.items():
                # All are named when all are written.
                stream = opened.enter_context(whole_file(file, force=force, mode=self.mode))
                source = self._through(reader, rows.only(row_ids.filter(pc.equal(parts, part))))
                written[part] = write_dataset(source, stream, chosen, compression=packed)
        return DirectoryReport(directory, chosen, sum(written.values()), 0, len(written), written)

    def to_hub(
        self,
        reader: RunReader,
        repository: str,
        directory: Path | None,
        *,
        private: bool,
        endpoint: str | None,
        **rest: Any,
    ) -> tuple[DirectoryReport, str]:
        """Writes the layout of the hub into ``directory`` (None: one that is gone afterwards) and pushes it.

        Returns what was written and the address of the commit. Raises as :meth:`to_directory` and
        :func:`~rowmill.export.hub.push_to_hub`.
        """
        order = replace(self, layout="huggingface")
        with tempfile.TemporaryDirectory(prefix="rowmill-push-") as temporary:
            report = order.to_directory(reader, directory or Path(temporary) / "dataset", **rest)
            rows = report.rows + report.rows_before
            told = f"{plural(rows, 'row')} of {reader.identity().name}"
            address = push_to_hub(report.path, repository, private=private, endpoint=endpoint, message=told)
        return report, address

    def _directory(self, reader: RunReader, database: Path | None) -> DirectoryExport:
        chosen = self.format or ExportFormat.PARQUET
        packed = compression_of(None, chosen, self.compression)
        split = self._split(reader)
        if self.layout == "huggingface" and self.partition_by is not None:
            raise UsageError("The layout of the hub has a file for each part of the split; leave --partition-by out.")
        if self.layout == "huggingface" and chosen is ExportFormat.ARROW:
            raise UsageError("The hub reads parquet, jsonl and csv; choose another --format.")
        for part in split.shares if split is not None and self.layout == "huggingface" else ():
            if "-" in part:
                raise UsageError(f"The hub takes no part called '{part}': use '_' in place of '-'.")
        identity = reader.identity()
        columns = str(self._through(reader, reader).dataset_schema())
        shape = Shape(
            dataset=identity.name,
            made_at=identity.made_at,
            content=identity.content,
            format=str(chosen),
            columns=hashlib.sha256(columns.encode()).hexdigest(),
            partition_by=self.partition_by,
            processor=self._processing(reader),
        )
        in_hub = self.layout == "huggingface"
        return DirectoryExport(
            shape,
            chosen,
            packed,
            lambda source: self._through(reader, source),
            partition_by=self.partition_by,
            in_name_by=split.column if in_hub and split is not None else None,
            in_data=in_hub,
            mode=self.mode,
            card=(lambda made: self._card(reader, card_files(made / "data", ending_of(chosen, packed))))
            if in_hub
            else None,
            pictures=self._pictures(reader, database) if in_hub and database is not None else None,
        )

    def _pictures(self, reader: RunReader, database: Path) -> PictureFiles | None:
        """The files that columns of pictures name in the exported rows."""
        named = set(self.columns) if self.columns is not None and self.processor is None else None
        drawn = [name for name, kind in _kinds(json.loads(reader.spec_text())).items() if kind == "image"]
        there = reader.dataset_schema().names
        columns = [name for name in drawn if name in there and (named is None or name in named)]
        return PictureFiles(files_of(database), columns) if columns else None

    def _processing(self, reader: RunReader) -> str | None:
        """A digest of processor and split."""
        transform, split = self._transform(reader), self._split(reader)
        if transform is None and split is None and not self.csv_safe and self.where is None:
            return None
        parts = ["csv-safe"] if self.csv_safe else []
        parts += [f"where {self.where}"] if self.where is not None else []
        parts += [each.model_dump_json() if each is not None else "" for each in (transform, split)]
        if transform is not None:
            parts += PROCESSORS.shaping(transform.processor_type).values()
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _through(self, reader: RunReader, source: DatasetSource) -> DatasetSource:
        shaped = self._shaped(reader, source)
        kept = self._kept(reader, shaped)
        if kept != shaped.dataset_schema().names:
            shaped = ChosenColumns(shaped, kept)
        return CsvSafe(shaped) if self.csv_safe else shaped

    def _kept(self, reader: RunReader, shaped: DatasetSource) -> list[str]:
        """The columns an export has, of those its rows have on their way."""
        split = self._split(reader)
        added = split.column if split is not None else None
        if self.columns is None:
            names = shaped.dataset_schema().names
            if self.layout != "files":
                return list(names)
            is_shaped = self.processor is not None
            return [name for name in names if is_shaped or name not in {"row_id", added}]
        if len(set(self.columns)) < len(self.columns):
            raise UsageError("--columns names a column twice.")
        names = list(self.columns)
        if self.layout in {"directory", "huggingface"} and "row_id" not in names:
            names.insert(0, "row_id")  # by it a directory knows which rows it holds
        if self.layout != "files" and added is not None and added not in names:
            names.append(added)
        return names

    def _shaped(self, reader: RunReader, source: DatasetSource) -> DatasetSource:
        transform, split = self._transform(reader), self._split(reader)
        shape = dict(transform.shape) if isinstance(transform, SchemaTransformProcessor) else {}
        if split is not None:
            source = WithSplit(source, Split(split.shares, reader.identity().seed), split.column)
            if self.layout != "files":
                shape[split.column] = f"{{{{ {split.column} }}}}"
        if transform is None:
            return source
        in_directory = self.layout in {"directory", "huggingface"}
        if isinstance(transform, RowProcessor):
            kept = ["row_id"] if in_directory else []
            is_told = split is not None and self.layout != "files"
            return Processed(source, transform, [*kept, split.column] if split is not None and is_told else kept)
        if in_directory and "row_id" not in shape:
            shape = {"row_id": "{{ row_id }}", **shape}  # by it a directory knows which rows it holds
        return Transformed(source, transform.name, shape)

    def _transform(self, reader: RunReader) -> SchemaTransformProcessor | RowProcessor | None:
        if self.processor is None:
            return None
        kinds = (SchemaTransformProcessor, RowProcessor)
        known = {each.name: each for each in processors_of(reader) if isinstance(each, kinds)}
        found = known.get(self.processor)
        if found is None:
            hint = did_you_mean(self.processor, known) or (
                f" It has: {', '.join(known)}." if known else " It has none; add one to processors."
            )
            raise UsageError(f"The spec has no processor called '{self.processor}' that shapes rows.{hint}")
        return found

    def _split(self, reader: RunReader) -> SplitProcessor | None:
        if self.split is not None:
            try:
                return SplitProcessor(name="split", shares=shares_of(self.split))
            except ValidationError as error:
                raise UsageError(f"'{self.split}' cannot be a split: {first_reason(error)}") from error
        found = [each for each in processors_of(reader) if isinstance(each, SplitProcessor)]
        return found[0] if found else None

    def _card(self, reader: RunReader, files: CardFiles) -> str:
        status = reader.status()
        split = self._split(reader)
        row_ids = self._rows(reader).dataset_row_ids()
        parts = {_WHOLE: len(row_ids)}
        if split is not None:
            cut = Split(split.shares, reader.identity().seed)
            parts = dict.fromkeys(cut.names, 0)
            for row_id in row_ids.to_pylist():
                parts[cut.part_of(row_id)] += 1
        figures = CardFigures(
            name=status.name,
            rows=len(row_ids),
            rows_planned=status.records,
            rows_dropped=status.rows_dropped,
            columns=[
                column
                for column in reader.dataset_summary(self.where)
                if self.columns is None or column["column_name"] in {"row_id", *self.columns}
            ],
            kinds=_kinds(json.loads(reader.spec_text())),
            models=reader.usage_of_models(),
            parts={part: rows for part, rows in parts.items() if rows or len(parts) == 1},
            version=VERSION,
            # Without the path: it is of this machine, and the card is for everybody.
            provenance=[provenance.told() for _, provenance in reader.provenance()],
        )
        return card_of(figures, files)


def processors_of(reader: RunReader) -> list[ProcessorConfig]:
    """The processors of the spec inside a run database."""
    found: list[ProcessorConfig] = _PROCESSORS.validate_python(json.loads(reader.spec_text()).get("processors", []))
    return found


_PROCESSORS: TypeAdapter[Any] = TypeAdapter(list[Processor])


def _kinds(spec: Mapping[str, Any]) -> dict[str, str]:
    return {str(column["name"]): str(column["column_type"]) for column in spec.get("columns", [])}
