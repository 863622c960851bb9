"""What a killed process left behind: a copy of the file and its log, opened as the next process would, and read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from killed_spec import PAID_COLUMNS
from scenario import copy_of_database

from rowmill.engine.doctor import diagnose
from rowmill.store.database.connection import Connection
from rowmill.store.run_store import RunStore

_TABLES = ("active_row", "parked_row", "dataset_row", "dropped_row_value")


@dataclass(frozen=True)
class LeftBehind:
    """What is committed, and what is wrong with it. Of no run at all, everything is empty."""

    is_paused: bool = False
    records: int = 0
    rows_finished: int = 0
    requests: int = 0
    succeeded: int = 0
    """Requests whose answers were committed with what they were used for."""
    succeeded_twice: int = 0
    """How many of them were for a cell that another one had been committed for."""
    rows_dropped_by_hand: int = 0
    """In all that happened so far, whether they came back or not."""
    spec_versions: int = 0
    open_barriers: frozenset[str] = frozenset()
    values: dict[tuple[str, int], int] = field(default_factory=dict)
    """A hash of every value a request was paid for, by column and row, wherever it rests."""
    problems: tuple[str, ...] = ()

    def missing(self, column: str) -> int:
        """Cells of a paid column that are not made yet, or never will be."""
        return self.records - Counter(name for name, _ in self.values)[column]

    def lost_since(self, before: LeftBehind, unless: frozenset[str] = frozenset()) -> list[str]:
        """Values of ``before`` that are gone or changed, in columns that are not said to be made again."""
        lost = [
            f"{column} of row {row_id}"
            for (column, row_id), value in before.values.items()
            if column not in unless and self.values.get((column, row_id)) != value
        ]
        return [f"{len(lost)} committed values are lost or changed: {', '.join(lost[:5])}"] if lost else []


def look(database: Path, copied: Path) -> LeftBehind:
    """Reads a copy of what is there now. Whatever it is that is wrong stands in ``problems``."""
    if not database.exists():
        return LeftBehind()
    copy_of_database(database, copied)
    try:
        store = RunStore.open(copied)
    except Exception as error:  # noqa: BLE001  recorded: whatever it is, a kill must not lead to it
        return LeftBehind(problems=(f"the database does not open: {type(error).__name__}: {error}",))
    with store.connection as connection:
        if store.is_new:
            return LeftBehind()
        found = _read(connection)
    diagnosis = diagnose(copied)
    wrong = [f"{one.check}: {one.message}" for one in diagnosis.findings if one.state != "ok"]
    return found if not wrong else LeftBehind(**{**vars(found), "problems": (*found.problems, *wrong)})


def _read(connection: Connection) -> LeftBehind:
    problems = [str(violation) for violation in connection.execute("from invariant_violation limit 5")]
    twice = connection.execute("select row_id from dataset group by row_id having count(*) > 1 limit 5")
    if twice:
        problems.append(f"rows are there twice: {twice}")
    records, rows_finished, requests = connection.execute("select records, rows_finished, requests from run_status")[0]
    succeeded, cells = connection.execute(
        "select count(*), count(distinct (generator, row_id)) from attempt"
        " where outcome = 'succeeded' and model is not null"
    )[0]
    by_hand = connection.execute("select sum(rows_affected) from state.control_request where verb = 'drop'")[0][0]
    return LeftBehind(
        is_paused=bool(connection.execute("from state.pause")),
        records=records,
        rows_finished=rows_finished,
        requests=requests,
        succeeded=succeeded,
        succeeded_twice=succeeded - cells,
        rows_dropped_by_hand=int(by_hand or 0),
        spec_versions=connection.execute("select count(*) from spec_version")[0][0],
        open_barriers=frozenset(
            name for (name,) in connection.execute("select column_name from barrier where state <> 'done'")
        ),
        values=_values(connection, problems),
        problems=tuple(problems),
    )


def _values(connection: Connection, problems: list[str]) -> dict[tuple[str, int], int]:
    numbers = dict(connection.execute("select name, generator from state.generator"))
    values: dict[tuple[str, int], int] = {}
    for table in _TABLES:
        for column in PAID_COLUMNS:
            rows = connection.execute(
                f"select row_id, hash({column}) from state.{table} where (done_0 & {1 << numbers[column]}) <> 0"
            )
            for row_id, value in rows:
                if (column, row_id) in values:
                    problems.append(f"{column} of row {row_id} is there twice")
                values[column, row_id] = value
    return values
