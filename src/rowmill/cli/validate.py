"""``rowmill validate``: is this spec right?"""

from __future__ import annotations

import logging
from pathlib import Path

import click

from rowmill.cli.figures import plural
from rowmill.cli.output import say
from rowmill.cli.terminal_text import escaped

_log = logging.getLogger("rowmill.spec")


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
def command(spec: Path) -> None:
    """Check a spec and list what is wrong with it; warn of seed columns whose types are a doubtful guess.

    \b
    Example:
      rowmill validate spec.yaml
    """
    from rowmill.engine.preparation import prepare
    from rowmill.graph.plan import Plan

    prepared = prepare(spec)
    if prepared.seed_file is not None:
        for remark in prepared.seed_file.remarks:
            _log.warning("%s.", remark)
        for column in prepared.seed_file.facts:
            if column.remark is not None:
                _log.warning(
                    "The seed column '%s' is guessed to be %s: %s.", column.name, column.sql_type, column.remark
                )
    checked = prepared.spec
    row_groups = Plan.fresh(checked.planned_records, checked.row_group_size).row_groups
    say(
        f"{escaped(str(spec))} is valid: '{escaped(checked.name)}', {plural(checked.planned_records, 'record')} in"
        f" {plural(row_groups, 'row group')}, {plural(len(checked.columns), 'column')},"
        f" {plural(len(prepared.graph.generators), 'generator')}, {plural(len(checked.models), 'model')}."
    )
