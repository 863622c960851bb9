"""A Rowmill of the future: this one with one more migration, which does what migrations may do.

As a program it is the command ``rowmill`` of that future: ``trial_migration.py SQL_DIRECTORY ARGUMENT…``, where the
directory was made by :func:`write_future_sql`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rowmill.store.database import statements
from rowmill.store.layout import schema

_MIGRATION = """
/* What migrations may do: a new table, a new column of a table and of the wide tables, a table replaced. */
create table state.trial (
  trial_id integer not null,
  {value_columns}
);
alter table state.run add column trial_count bigint default 7;
alter table state.active_row add column trial_mark varchar;
alter table state.parked_row add column trial_mark varchar;
alter table state.dropped_row_value add column trial_mark varchar;
alter table state.dataset_row add column trial_mark varchar;
create table state.trial_event (
  "at" timestamp not null,
  kind varchar not null check (kind <> ''),
  subject varchar,
  detail varchar
);
insert into state.trial_event
select * from state.event;
drop table state.event;
alter table state.trial_event rename to event;
"""
_VIEW = """
/* A view only the future has. */
create view main.trial as
select trial_count from state.run;
"""

REAL = statements.sql_directory


def write_future_sql(directory: Path) -> Path:
    """Writes the SQL files of the future into ``directory``/sql and returns that."""
    target = directory / "sql"
    shutil.copytree(REAL(), target)
    number = schema.newest_version() + 1
    (target / "schema" / f"{number:04d}_trial.sql").write_text(_MIGRATION)
    (target / "views" / "99_trial.sql").write_text(_VIEW)
    return target


def live_in_the_future(directory: Path) -> None:
    """From now on this process has the SQL files in ``directory``; undo it with ``live_in_the_future(REAL())``."""
    for module in (schema, statements):
        setattr(module, "sql_directory", lambda: directory)  # noqa: B010  what mypy cannot know of a module


if __name__ == "__main__":
    live_in_the_future(Path(sys.argv.pop(1)))
    from rowmill.cli.main import main

    main()
