"""``rowmill validate``: is this spec right?"""

from __future__ import annotations

import json
import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.choice import Choice
from rowmill.cli.figures import plural
from rowmill.cli.output import say, write_exactly
from rowmill.cli.parameters import set_option
from rowmill.cli.spec_functions import import_option, reading
from rowmill.cli.spec_problems import listed
from rowmill.cli.terminal_text import escaped
from rowmill.errors import Problem, SpecError

if TYPE_CHECKING:
    from rowmill.store.layout.seed_reader import SeedFile

_log = logging.getLogger("rowmill.spec")


class ValidationFormat(StrEnum):
    """How the outcome is written to stdout."""

    TEXT = "text"
    JSON = "json"


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "output_format",
    type=Choice(ValidationFormat, case_sensitive=False),
    default=ValidationFormat.TEXT.value,
    show_default=True,
    help="json writes problems and warnings, each with its place, message and suggestion (a name or null), also of a"
    " spec that is not valid.",
)
@set_option
@import_option
def command(spec: Path, output_format: ValidationFormat, parameters: dict[str, str], import_functions: bool) -> None:
    """Check a spec and list what is wrong with it; warn of what may be meant otherwise; create no file.

    \b
    Example:
      rowmill validate spec.yaml
      rowmill validate spec.yaml --format json
    """
    from rowmill.engine.preparation import prepare, seed_use
    from rowmill.graph.plan import Plan
    from rowmill.spec.loading import load_spec

    try:
        with reading(import_functions):
            prepared = prepare(load_spec(spec, parameters))
    except SpecError as error:
        if output_format is ValidationFormat.JSON:
            _write_json(valid=False, problems=listed(error.problems), warnings=[])
        raise
    use = seed_use(prepared)
    doubts = [*_doubtful_guesses(prepared.seed_file), *([use] if use is not None else [])]
    for doubt in doubts:
        _log.warning("%s", doubt.message)
    checked = prepared.spec
    row_groups = Plan.fresh(checked.planned_records, checked.row_group_size).row_groups
    if output_format is ValidationFormat.JSON:
        _write_json(valid=True, name=checked.name, problems=[], warnings=listed([*prepared.warnings, *doubts]))
        return
    say(
        f"{escaped(str(spec))} is valid: '{escaped(checked.name)}', {plural(checked.planned_records, 'record')} in"
        f" {plural(row_groups, 'row group')}, {plural(len(checked.columns), 'column')},"
        f" {plural(len(prepared.graph.generators), 'generator')}, {plural(len(checked.models), 'model')}."
    )


def _doubtful_guesses(seed_file: SeedFile | None) -> list[Problem]:
    """What a look at the seed data could not tell for sure."""
    if seed_file is None:
        return []
    return [Problem("seed_dataset", f"{remark}.") for remark in seed_file.remarks] + [
        Problem(
            f"seed_dataset.types.{column.name}",
            f"The seed column '{column.name}' is guessed to be {column.sql_type}: {column.remark}.",
        )
        for column in seed_file.facts
        if column.remark is not None
    ]


def _write_json(**fields: Any) -> None:
    write_exactly(json.dumps(fields, indent=2, ensure_ascii=True) + "\n")
