"""``rowmill show``: ready-made listings of a run database."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rowmill.cli.logs import tell
from rowmill.cli.output import OutputFormat, write_listing, write_source
from rowmill.cli.place import database_argument, existing_database
from rowmill.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from rowmill.store.reading.reader import Reader


class ShowFormat(StrEnum):
    """How a listing is written to stdout: as every listing, or drawn or spelt as what it is."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    MERMAID = "mermaid"
    YAML = "yaml"


_LISTINGS = (
    "rows", "groups", "ready", "deferred", "dropped", "attempts", "events", "usage", "resources", "admission",
    "invocations", "spec", "graph", "columns",
)  # fmt: skip
_OWN_FORMATS = {"graph": ShowFormat.MERMAID, "spec": ShowFormat.YAML}
_NOTHING = {
    "rows": "No row is finished.",
    "groups": "No row group has been admitted.",
    "ready": "No task is ready. 'rowmill show admission' says whether a row group may enter.",
    "deferred": "No task is deferred.",
    "dropped": "No row was dropped.",
    "attempts": "No request was made, and no call failed.",
    "events": "Nothing has happened.",
    "usage": "No request was made of a model.",
    "resources": "No task occupies anything.",
    "invocations": "Nobody has worked on this run.",
}


@click.command()
@click.argument("what", type=click.Choice(_LISTINGS), metavar="WHAT")
@database_argument
@click.option("--where", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--columns", metavar="NAMES", help="Only these columns, separated by commas, in this order.")
@click.option("--values", is_flag=True, help="With dropped: also what the rows held when they were given up.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Greatest number of rows; 0: all."
)
@click.option(
    "--format",
    "show_format",
    type=click.Choice(ShowFormat, case_sensitive=False),
    help="How to write the listing. Default: table, but Mermaid for graph and YAML for spec.",
)
def command(
    what: str,
    database: Path | None,
    where: str | None,
    columns: str | None,
    values: bool,
    limit: int,
    show_format: ShowFormat | None,
) -> None:
    """List WHAT of a run: rows, groups, ready, deferred, dropped, attempts, events, usage, resources, admission,
    invocations, spec, graph or columns (what each column of the dataset holds).

    Without DATABASE, the only *.duckdb file of the current directory. Each listing is a public view; --where takes any
    SQL condition on its columns. Times are UTC. Why is nothing happening? Ask for admission, resources and deferred.

    \b
    Example:
      rowmill show dropped --values --where "judge.politeness.score = 1"
      rowmill show attempts penguins.duckdb --where "outcome <> 'succeeded'" --columns model,message --limit 20
      rowmill show graph > graph.mmd
    """
    if values and what != "dropped":
        raise UsageError(
            f"--values is for dropped rows: 'rowmill show dropped --values'. '{what}' has no more than it shows."
        )
    own = _OWN_FORMATS.get(what)
    chosen = [name.strip() for name in (columns or "").split(",") if name.strip()]
    if show_format is None:
        show_format = own if own is not None and where is None and not chosen else ShowFormat.TABLE
    if show_format in _OWN_FORMATS.values() and show_format is not own:
        raise UsageError(f"'{what}' cannot be written as {show_format}; use table, json, jsonl or csv.")
    from rowmill.inspect.opening import open_reader
    from rowmill.store.reading.listing import Selection, listing

    with open_reader(existing_database(database)) as reader:
        if show_format is ShowFormat.MERMAID:
            _draw(reader, where)
        elif show_format is ShowFormat.YAML:
            _spell(reader, where)
        else:
            rows = listing(reader, what, Selection(where, chosen, limit + 1 if limit else None, values))
            _write(rows, what, limit, OutputFormat(show_format.value), is_filtered=where is not None)


def _write(
    rows: pa.RecordBatchReader, what: str, limit: int, output_format: OutputFormat, *, is_filtered: bool
) -> None:
    import pyarrow as pa

    nothing = "No rows." if is_filtered else _NOTHING.get(what, "No rows.")
    if not limit:
        write_listing(rows, output_format, as_records=what == "admission", nothing=nothing)
        return
    table = pa.Table.from_batches(rows, schema=rows.schema)
    write_listing(table.slice(0, limit), output_format, as_records=what == "admission", nothing=nothing)
    if table.num_rows > limit:
        tell(f"Only the first {limit:,} are shown; --limit 0 shows all.")


def _draw(reader: Reader, where: str | None) -> None:
    from rowmill.graph.mermaid import live_mermaid
    from rowmill.store.reading.listing import Selection, listing
    from rowmill.value.python_value import python_rows

    rows = python_rows(listing(reader, "graph", Selection(where)).read_all())
    write_source(live_mermaid(list(rows)))


def _spell(reader: Reader, where: str | None) -> None:
    """The newest spec as YAML, which ``rowmill run`` takes again."""
    from rowmill.spec.yaml_writer import dump_yaml
    from rowmill.store.reading.listing import Selection, listing

    versions = listing(reader, "spec", Selection(where, limit=1)).read_all().to_pylist()
    if not versions:
        tell("No such version of the spec.")
        return
    write_source(dump_yaml(json.loads(versions[0]["spec"]), width=100))
