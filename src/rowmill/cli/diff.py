"""``rowmill diff``: where two run databases differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.choice import Choice
from rowmill.cli.figures import count, plural
from rowmill.cli.output import say, write_exactly
from rowmill.cli.place import existing_database
from rowmill.cli.terminal_text import escaped

if TYPE_CHECKING:
    from rowmill.inspect.difference import Difference, RowsOfOne

_SHOWN = 160
"""Characters of a value of an example."""
_BEFORE = 40
"""Of them, those before the first difference."""


class DiffFormat(StrEnum):
    """How a difference is written to stdout."""

    TABLE = "table"
    JSON = "json"


@click.command()
@click.argument("first", type=click.Path(path_type=Path), metavar="DATABASE")
@click.argument("second", type=click.Path(path_type=Path), metavar="OTHER")
@click.option("--columns", metavar="NAMES", help="Compare only these columns, separated by commas.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=10_000),
    default=3,
    show_default=True,
    help="Greatest number of examples for each column and each kind of difference.",
)
@click.option(
    "--format",
    "diff_format",
    type=Choice(DiffFormat, case_sensitive=False),
    default=DiffFormat.TABLE.value,
    show_default=True,
    help="How to write the difference. json has the values of the examples in full.",
)
@click.pass_context
def command(
    context: click.Context, first: Path, second: Path, columns: str | None, limit: int, diff_format: DiffFormat
) -> None:
    """Compare the finished rows of two run databases by row_id: per column how many rows differ, with examples; rows,
    dropped rows and columns that only one has; columns of other types.

    Exit code 0: no difference; 1: there are differences, as of diff; any other: they could not be compared. Values are
    compared as text. Rows still in work are in neither. Runs may live meanwhile.

    \b
    Example:
      rowmill diff penguins.duckdb german.duckdb
      rowmill diff a.duckdb b.duckdb --columns answer,judge --limit 10 --format json
    """
    from rowmill.inspect.difference import difference
    from rowmill.inspect.opening import open_reader

    first, second = existing_database(first), existing_database(second)
    chosen = [name.strip() for name in (columns or "").split(",") if name.strip()]
    with open_reader(first) as here, open_reader(second) as there:
        found = difference(here, there, chosen, limit)
    if diff_format is DiffFormat.JSON:
        from rowmill.value.json_value import json_text

        write_exactly(json_text(_as_json(found, first, second), indent=2) + "\n")
    else:
        _write(found, str(first), str(second))
    context.exit(0 if found.is_equal else 1)


def _as_json(found: Difference, first: Path, second: Path) -> dict[str, Any]:
    """The fields are a contract."""

    def of_one(rows: RowsOfOne) -> dict[str, Any]:
        return {"rows": rows.rows, "row_ids": rows.row_ids}

    return {
        "first": str(first),
        "second": str(second),
        "equal": found.is_equal,
        "rows_compared": found.rows_compared,
        "rows_changed": found.rows_changed,
        "columns": [
            {
                "name": column.name,
                "type_first": column.type_here,
                "type_second": column.type_there,
                "rows_changed": column.changed,
                "examples": [
                    {"row_id": each.row_id, "first": each.here, "second": each.there} for each in column.examples
                ],
            }
            for column in found.columns
        ],
        "columns_only_first": found.columns_only_here,
        "columns_only_second": found.columns_only_there,
        "rows_only_first": of_one(found.rows_only_here),
        "rows_only_second": of_one(found.rows_only_there),
        "dropped_only_first": of_one(found.dropped_only_here),
        "dropped_only_second": of_one(found.dropped_only_there),
    }


def _write(found: Difference, first: str, second: str) -> None:
    compared = f"{plural(found.rows_compared, 'row')} in both, {plural(len(found.columns), 'column')} compared"
    if found.is_equal:
        say(f"No difference: {compared}.")
        return
    say(f"{count(found.rows_changed)} of {compared.replace(' in both', ' in both differ')}.")
    for column in found.columns:
        if not column.changed:
            continue
        say(escaped(f"{column.name}: {plural(column.changed, 'row')}"))
        for each in column.examples:
            mine, other = _side_by_side(each.here, each.there)
            say(escaped(f"  row {each.row_id}  - {mine}"))
            say(escaped(f"  {' ' * len(f'row {each.row_id}')}  + {other}"))
    for column in found.other_types:
        say(escaped(f"{column.name} is {column.type_here} in {first}, {column.type_there} in {second}."))
    for name, only in ((first, found.columns_only_here), (second, found.columns_only_there)):
        if only:
            say(escaped(f"Columns only in {name}: {', '.join(only)}"))
    kinds = (
        ("Finished only in", found.rows_only_here, found.rows_only_there),
        ("Dropped only in", found.dropped_only_here, found.dropped_only_there),
    )
    for what, mine_only, other_only in kinds:
        for name, rows in ((first, mine_only), (second, other_only)):
            if rows.rows:
                more = ", …" if rows.rows > len(rows.row_ids) else ""
                numbers = ", ".join(map(str, rows.row_ids))
                say(escaped(f"{what} {name}: {plural(rows.rows, 'row')} ({numbers}{more})"))


def _side_by_side(here: Any, there: Any) -> tuple[str, str]:
    """Two values, from shortly before the first place at which they differ."""
    from rowmill.value.json_value import json_text

    # As JSON: a text "1" is not the number 1, and a line break is seen.
    mine, other = json_text(here), json_text(there)
    same = next((at for at, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other)))
    start = max(same - _BEFORE, 0) if max(len(mine), len(other)) > _SHOWN else 0
    return _part(mine, start), _part(other, start)


def _part(text: str, start: int) -> str:
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")
