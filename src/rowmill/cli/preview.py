"""``rowmill preview``: a few rows, nothing kept."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.figures import plural
from rowmill.cli.logs import tell
from rowmill.cli.output import OutputFormat, output_option, stdout_kept_for_data, write_listing
from rowmill.cli.parameters import set_option


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("-n", "--rows", type=click.IntRange(min=1), default=5, show_default=True, help="How many rows.")
@set_option
@output_option
def command(spec: Path, rows: int, output_format: OutputFormat, parameters: dict[str, str]) -> None:
    """Generate the first rows of a spec and show them; asks the models, writes no run database.

    \b
    Example:
      rowmill preview spec.yaml -n 3
    """
    from rowmill.cli.estimated import in_words
    from rowmill.engine.estimate import estimate_of
    from rowmill.engine.preparation import prepare
    from rowmill.engine.preview import preview
    from rowmill.spec.loading import load_spec

    with stdout_kept_for_data():
        prepared = prepare(load_spec(spec, parameters))
        made = preview(prepared, rows)
    write_listing(made.made, output_format)
    made_rows = made.made.num_rows + made.rows_dropped
    estimate = estimate_of(prepared.spec, made.attempts, made_rows)
    if estimate is not None and estimate.rows > made_rows:
        tell(in_words(estimate))
    if prepared.spec.planned_records < rows:
        tell(f"The spec has {plural(prepared.spec.planned_records, 'record')}.")
    if made.rows_dropped:
        tell(f"{plural(made.rows_dropped, 'row')} dropped:")
        for reason in made.drop_reasons:
            tell(f"  {reason}")
        click.get_current_context().exit(3 if made.rows_lost else 0)
