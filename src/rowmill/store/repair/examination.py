"""What `rowmill doctor` finds in a run database that opens: blocks that cannot be read, rules that are broken.

Everything here only reads, and reads all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from rowmill.counted import plural
from rowmill.errors import Damaged
from rowmill.graph.plan import Plan
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.run_store import RunStore

sql = statements_of("repair/doctor", "reshape/rebuild")


def unreadable_tables(connection: Connection) -> Iterator[str]:
    """Reads every table to its end; yields those that cannot be, with the reason."""
    for schema_name, name in connection.execute(sql.whole_tables.text):
        try:
            connection.execute(sql.read_whole_table.fill(table=f"{quote(schema_name)}.{quote(name)}"))
        except duckdb.Error as error:
            if not engine_errors.is_corruption(error):
                raise
            yield f"table {schema_name}.{name}: {str(error).splitlines()[0]}"


def contradictions(connection: Connection) -> Iterator[str]:
    """The rules that are broken, of those that must always hold."""
    for rule, subject, detail in connection.execute(sql.all_contradictions.text):
        yield f"{rule}: {subject} ({detail})"


def plan_problems(connection: Connection) -> Iterator[str]:
    """Where the plan contradicts itself or the row groups that were admitted (P4)."""
    try:
        plan: Plan = RunStore(connection, is_new=False).plan()
    except Damaged as error:
        yield str(error).partition(" 'rowmill doctor")[0]
        return
    for row_group, first_row, rows, planned_first_row, planned_rows in connection.execute(
        sql.row_groups_beside_the_plan.text
    ):
        planned = (
            f"the plan has {plural(planned_rows, 'row')} from row {planned_first_row} on"
            if planned_rows is not None
            else f"the plan has {plural(plan.row_groups, 'row group')}"
        )
        yield f"row group {row_group} has {plural(rows, 'row')} from row {first_row} on, {planned}"


def usage_problems(connection: Connection) -> Iterator[str]:
    """Where usage is not the sum of the attempts (D4)."""
    names, rows = connection.columns(sql.usage_beside_attempts.text)
    for row in rows:
        values = dict(zip(names, row, strict=True))
        for what in ("requests", "input_tokens", "output_tokens", "cost_usd"):
            used, attempted = values[f"usage_{what}"], values[f"attempt_{what}"]
            if used != attempted:
                yield f"{what} are {used} in usage, {attempted} in the attempts"


def accepted_specs(connection: Connection) -> list[str]:
    """Every spec the run was ever made from, as JSON."""
    return [text for (text,) in connection.execute(sql.accepted_specs.text)]


def file_names(connection: Connection, column: str) -> set[str]:
    """The names of files that rows hold in a column, dropped rows included."""
    tables = ("dataset_row", "active_row", "parked_row", "dropped_row_value")
    return {name for table in tables for name in _names_in(connection, f"state.{table}", column)}


def retained_file_names(connection: Connection, column: str) -> set[str]:
    """The names of files in a column's values from before a change of the spec: retained, or that may come back."""
    tables = [table for (table,) in connection.execute(sql.retained_tables.text) if table.rpartition("@")[0] == column]
    places = [f"retained.{quote(table)}" for table in tables]
    if connection.execute(sql.has_earlier_values.text, {"column": column})[0][0]:
        places.append("state.earlier_row")
    return {name for place in places for name in _names_in(connection, place, column)}


def _names_in(connection: Connection, table: str, column: str) -> list[str]:
    return [name for (name,) in connection.execute(sql.file_names_in_table.fill(table=table, column=quote(column)))]
