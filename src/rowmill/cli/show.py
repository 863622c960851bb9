"""``rowmill show``: ready-made listings of a run database, one row, and what a model was asked for it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rowmill.cli.choice import Choice
from rowmill.cli.logs import tell
from rowmill.cli.output import OutputFormat, write_listing, write_source
from rowmill.cli.place import existing_database
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
    "invocations", "workers", "spec", "graph", "columns",
)  # fmt: skip
_OF_ONE_ROW = ("row", "prompt")
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
    "workers": "All calls were made in the process of the run (run.executor: local).",
}


@click.command()
@click.argument("what", type=Choice([*_LISTINGS, *_OF_ONE_ROW]), metavar="WHAT")
@click.argument("words", nargs=-1, type=click.Path(path_type=Path), metavar="[ROW_ID] [DATABASE]")
@click.option("--where", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--columns", metavar="NAMES", help="Only these columns, separated by commas, in this order.")
@click.option("--row", "row_id", type=click.IntRange(min=0), metavar="ROW_ID", help="With row and prompt: which row.")
@click.option("--column", metavar="NAME", help="With prompt: the column whose model is asked.")
@click.option("--values", is_flag=True, help="With dropped: also what the rows held when they were given up.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Greatest number of rows; 0: all."
)
@click.option(
    "--format",
    "show_format",
    type=Choice(ShowFormat, case_sensitive=False),
    help="How to write the listing. Default: table, but Mermaid for graph and YAML for spec.",
)
def command(
    what: str,
    words: tuple[Path, ...],
    where: str | None,
    columns: str | None,
    row_id: int | None,
    column: str | None,
    values: bool,
    limit: int,
    show_format: ShowFormat | None,
) -> None:
    """List WHAT of a run: rows, groups, ready, deferred, dropped, attempts, events, usage, resources, admission,
    invocations, workers, spec, graph or columns (what each column of the dataset holds). 'row ROW_ID' shows all that is
    known of one row, 'prompt --row ROW_ID --column NAME' what the column's model is or was asked, rendered from it.

    Without DATABASE, the only *.duckdb file of the current directory. Each listing is a public view; --where takes any
    SQL condition on its columns. Dropped rows have 'lost' beside them: whether an error took them. Times are UTC. Why
    is nothing happening? Ask for admission, resources and deferred.

    \b
    Example:
      rowmill show dropped --values --where "judge.politeness.score = 1"
      rowmill show attempts penguins.duckdb --where "outcome <> 'succeeded'" --columns model,message --limit 20
      rowmill show graph > graph.mmd
      rowmill show row 17
      rowmill show prompt --row 17 --column answer
    """
    if values and what != "dropped":
        raise UsageError(
            f"--values is for dropped rows: 'rowmill show dropped --values'. '{what}' has no more than it shows."
        )
    if what not in _OF_ONE_ROW and (row_id is not None or column is not None):
        raise UsageError(f"--row and --column are for one row, not for '{what}': 'rowmill show row 17'.")
    if what == "row" and row_id is None and words:
        row_id, words = _row_id(words[0]), words[1:]
    if len(words) > 1:
        raise UsageError(f"'{words[1]}' is one argument too many: 'rowmill show {what}' takes one run database.")
    database = words[0] if words else None
    own = _OWN_FORMATS.get(what)
    chosen = [name.strip() for name in (columns or "").split(",") if name.strip()]
    if what in _OF_ONE_ROW:
        _check_one_row(what, where, row_id, column, show_format)
        assert row_id is not None
        from rowmill.cli.show_row import show_prompt, show_row

        as_json = show_format is ShowFormat.JSON
        if what == "row":
            show_row(existing_database(database), row_id, chosen, as_json=as_json)
        else:
            show_prompt(existing_database(database), row_id, column or "", as_json=as_json)
        return
    if show_format is None:
        show_format = own if own is not None and where is None and not chosen else ShowFormat.TABLE
    if show_format in _OWN_FORMATS.values() and show_format is not own:
        raise UsageError(f"'{what}' cannot be written as {show_format}; use table, json, jsonl or csv.")
    from rowmill.inspect.opening import open_reader
    from rowmill.store.reading.listing import Selection, dropped_note, listing

    with open_reader(existing_database(database)) as reader:
        if show_format is ShowFormat.MERMAID:
            _draw(reader, where)
        elif show_format is ShowFormat.YAML:
            _spell(reader, where)
        else:
            rows = listing(reader, what, Selection(where, chosen, limit + 1 if limit else None, values))
            _write(rows, what, limit, OutputFormat(show_format.value), is_filtered=where is not None)
            note = dropped_note(reader) if what == "dropped" and where is None else ""
            if note:
                tell(note)


def _row_id(word: Path) -> int:
    text = str(word)
    if not text.isdecimal():
        raise UsageError(f"'{text}' is no row_id: 'rowmill show row 17 [DATABASE]' takes a number from 0 on.")
    return int(text)


def _check_one_row(
    what: str, where: str | None, row_id: int | None, column: str | None, show_format: ShowFormat | None
) -> None:
    if what == "prompt" and (row_id is None or column is None):
        raise UsageError("Say which row and which column: 'rowmill show prompt --row 17 --column answer'.")
    if row_id is None:
        raise UsageError("Say which row: 'rowmill show row 17'. 'rowmill show rows --columns row_id' lists them.")
    if where is not None:
        raise UsageError(f"'{what}' is about one row: --where is for listings.")
    if what == "row" and column is not None:
        raise UsageError("--column is for prompts; 'rowmill show row' takes --columns.")
    if show_format not in (None, ShowFormat.TABLE, ShowFormat.JSON):
        raise UsageError(f"'{what}' cannot be written as {show_format}; use table or json.")


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
