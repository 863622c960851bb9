"""``rowmill export``: the finished rows as a file."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.choice import Choice
from rowmill.cli.figures import count, plural
from rowmill.cli.logs import tell
from rowmill.cli.output import mode_option
from rowmill.cli.place import database_argument, existing_database
from rowmill.export.format import Compression, ExportFormat, format_of

if TYPE_CHECKING:
    from rowmill.export.order import Layout

_TERMINATED = 128 + signal.SIGTERM


@click.command()
@database_argument
@click.option(
    "--format",
    "file_format",
    type=Choice(ExportFormat, case_sensitive=False),
    help="Default: told by the ending of --output, otherwise parquet.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, allow_dash=True), help="Default: <name>.<format>. - is stdout."
)
@click.option("--force", is_flag=True, help="Replace an existing file, or an earlier export in a directory.")
@click.option(
    "--compression",
    type=Choice(Compression, case_sensitive=False),
    help="Default: zstd for parquet, gzip for the ending .gz, otherwise none.",
)
@mode_option
@click.option(
    "--csv-safe",
    is_flag=True,
    help="With csv: put ' before texts that spreadsheets would take for formulas (= + - @ …).",
)
@click.option("--processor", metavar="NAME", help="Rows in the shape of a schema_transform of the spec.")
@click.option("--columns", metavar="NAMES", help="Only these, in this order: question,answer.")
@click.option("--where", metavar="CONDITION", help="Only rows that meet this condition, in SQL.")
@click.option("--split", metavar="SHARES", help="Add a column with the part of each row: train=0.8,test=0.2.")
@click.option("--partition-by", metavar="COLUMN", help="A directory for each value of a column.")
@click.option("--append", is_flag=True, help="Add the rows that the directory --output does not hold yet.")
@click.option(
    "--layout",
    type=Choice(["file", "files", "directory", "huggingface"]),
    help="One file; files of nothing but records, one for each part of the split (train.jsonl); a directory of files; "
    "or one with a dataset card and data/. Default: what the other options need.",
)
@click.option("--push-to-hub", "repository", metavar="USER/NAME", help="Push to the Hugging Face hub (HF_TOKEN).")
@click.option("--private", is_flag=True, help="With --push-to-hub: a new dataset is private.")
@click.option("--hub-endpoint", metavar="URL", help="With --push-to-hub: another hub than the public one.")
def command(
    database: Path | None,
    file_format: ExportFormat | None,
    output: Path | None,
    force: bool,
    compression: Compression | None,
    mode: int | None,
    csv_safe: bool,
    processor: str | None,
    columns: str | None,
    where: str | None,
    split: str | None,
    partition_by: str | None,
    append: bool,
    layout: Layout | None,
    repository: str | None,
    private: bool,
    hub_endpoint: str | None,
) -> None:
    """Write the finished rows to a file, whole or not at all; a run that is not complete can be exported too.

    Without DATABASE, the only *.duckdb file of the current directory.

    \b
    Example:
      rowmill export penguins.duckdb --format jsonl
      rowmill export --output penguins.parquet --force
      rowmill export --output parts --partition-by species --append
      rowmill export --split train=0.9,test=0.1 --layout files
      rowmill export --columns question,answer --where "judge.quality.score >= 3"
      rowmill export --split train=0.9,test=0.1 --layout huggingface --output hub
    """
    from rowmill.export.order import ExportOrder, check_csv_safe, chosen_layout
    from rowmill.inspect.opening import open_reader

    path = existing_database(database)
    signal.signal(signal.SIGTERM, _clean_up_and_exit)
    needs_directory = append or partition_by is not None
    chosen = chosen_layout(
        layout,
        needs_directory=needs_directory,
        to_stdout=output == Path("-"),
        repository=repository,
        is_of_hub=private or hub_endpoint is not None,
    )
    if file_format is None and chosen == "file" and output is not None and output != Path("-"):
        file_format = format_of(output)
    check_csv_safe(csv_safe, file_format)
    names = tuple(name.strip() for name in columns.split(",")) if columns is not None else None
    order = ExportOrder(file_format, compression, processor, split, partition_by, chosen, mode, csv_safe, names, where)
    with open_reader(path) as reader:
        status = reader.status()
        kept: dict[str, Any] = {"force": force, "database": path, "protected": reader.seed_files()}
        before = 0
        if output == Path("-"):
            rows, target = order.to_stream(reader, sys.stdout.buffer), "stdout"
        elif chosen == "file":
            file = output if output is not None else Path(f"{status.name}.{file_format or ExportFormat.PARQUET}")
            rows, target = order.to_file(reader, file, **kept).rows, str(file)
        elif repository is not None:
            report, target = order.to_hub(
                reader, repository, output, private=private, endpoint=hub_endpoint, append=append, **kept
            )
            rows, before = report.rows, report.rows_before
        else:
            directory = output or Path("." if chosen == "files" else status.name)
            report = order.to_directory(reader, directory, append=append, **kept)
            rows, before, target = report.rows, report.rows_before, str(report.path)
            if report.parts is not None:
                target = ", ".join(f"{part} ({count(of_part)})" for part, of_part in report.parts.items())
                target = f"{directory}: {target}"
    of_all = f"{count(rows)} of {plural(status.records, 'row')}"
    if where is not None:
        of_all = f"{plural(rows, 'row')} that {'meets' if rows == 1 else 'meet'} the condition"
    message = f"Exported {of_all} to {target}"
    added = f"; {count(before)} were there" if before else ""
    dropped = f"; {count(status.rows_dropped)} dropped (rowmill show dropped)" if status.rows_dropped else ""
    done = rows + before if where is None else status.rows_finished
    left = status.records - done - status.rows_dropped
    going_on = "the run works on them" if status.state == "running" else f"rowmill run {path} goes on"
    unfinished = f"; {count(left)} not finished yet ({going_on})" if left > 0 else ""
    tell(f"{message}{added}{dropped}{unfinished}.")


def _clean_up_and_exit(_signal: int, _frame: FrameType | None) -> None:
    # As an exception it passes through the export, which takes its temporary file away.
    raise SystemExit(_TERMINATED)
