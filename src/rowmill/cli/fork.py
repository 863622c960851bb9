"""``rowmill fork``: a copy of a run database, under another spec."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.parameters import keep_values_option, set_option
from rowmill.errors import UsageError


@click.command()
@click.argument("database", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--spec", type=click.Path(path_type=Path), help="The spec of the copy. Default: the one inside DATABASE.")
@keep_values_option
@set_option
def command(
    database: Path, target: Path, spec: Path | None, keep_values: tuple[str, ...], parameters: dict[str, str]
) -> None:
    """Copy a run database to TARGET, under another spec: two prompts on the same upstream values.

    Values of unchanged columns are in the copy; what it lacks, a run of it generates. DATABASE is only read.

    \b
    Example:
      rowmill fork penguins.duckdb penguins-short.duckdb --spec short.yaml
      rowmill run penguins-short.duckdb
    """
    import time

    from rowmill.cli.place import existing_database
    from rowmill.engine.change import fork
    from rowmill.engine.preparation import prepare_to_change
    from rowmill.engine.reopening import prepare_inside
    from rowmill.spec.loading import load_spec

    if parameters and spec is None:
        raise UsageError("The spec inside a run database has its values: --set takes --spec, too.")
    source = existing_database(database)
    prepared = prepare_to_change(load_spec(spec, parameters), source) if spec is not None else prepare_inside(source)
    change = fork(prepared, source, target, time.time(), keeps=keep_values)
    for line in change.lines():
        tell(f"  {line}")
    tell(f"{target} is a fork of {source}. {change.price()}\nNext:\n  rowmill run {target}    makes what it lacks")
