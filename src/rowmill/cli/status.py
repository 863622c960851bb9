"""``rowmill status``: how far a run is."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.figures import count, money, plural, share
from rowmill.cli.output import OutputFormat, escaped, output_option, write_listing
from rowmill.cli.place import database_argument, existing_database

if TYPE_CHECKING:
    from rowmill.store.status import Status

_NESTED = ("columns", "resources")


@click.command()
@database_argument
@output_option
def command(database: Path | None, output_format: OutputFormat) -> None:
    """Show how far a run is: rows, row groups, columns, endpoints, tokens and cost. Times are UTC.

    Without DATABASE, the only *.duckdb file of the current directory. csv holds the view run_status
    alone, json and jsonl also the columns and resources.

    \b
    Example:
      rowmill status penguins.duckdb
      rowmill status --format json
    """
    from rowmill.store.reader import Reader

    with Reader.open(existing_database(database)) as reader:
        status = reader.status()
    if output_format is OutputFormat.TABLE:
        _print(status)
    elif output_format is OutputFormat.CSV:
        _write_csv(status)
    else:
        _write_json(status, output_format)


def _print(status: Status) -> None:
    import pyarrow as pa

    settled = status.rows_finished + status.rows_dropped
    lines = [
        ("run", escaped(status.name)),
        ("state", status.state),
        (
            "rows",
            f"{count(status.rows_finished)} of {count(status.records)} finished"
            f" ({share(settled, status.records)}), {count(status.rows_dropped)} dropped",
        ),
        (
            "row groups",
            f"{count(status.row_groups_finished)} of {count(status.row_groups)} finished,"
            f" {count(status.row_groups_active)} active",
        ),
        ("requests", f"{count(status.requests)} in {plural(status.invocations, 'invocation')}"),
        ("tokens", f"{count(status.input_tokens)} in, {count(status.output_tokens)} out"),
        ("cost", money(status.cost_usd)),
        ("started (UTC)", _moment(status.started_at)),
        ("updated (UTC)", _moment(status.updated_at)),
    ]
    for label, value in lines:
        click.echo(f"{label:<11} {value}")
    for rows in (status.columns, status.resources):
        if rows:
            click.echo()
            sys.stdout.flush()
            names = [field.name for field in fields(rows[0])]
            columns = {name: pa.array([getattr(row, name) for row in rows]) for name in names}
            write_listing(pa.table(columns), OutputFormat.TABLE)


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else moment.isoformat(sep=" ", timespec="seconds")


def _write_csv(status: Status) -> None:
    import pyarrow as pa

    facts = {name: value for name, value in asdict(status).items() if name not in _NESTED}
    write_listing(pa.table({name: pa.array([value]) for name, value in facts.items()}), OutputFormat.CSV)


def _write_json(status: Status, output_format: OutputFormat) -> None:
    import json

    text = json.dumps(asdict(status), default=_json_value, ensure_ascii=False)
    click.echo(f"[\n{text}\n]" if output_format is OutputFormat.JSON else text)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
