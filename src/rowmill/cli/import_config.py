"""``rowmill import-config``: a DataDesigner configuration as a spec."""

from __future__ import annotations

import os
from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.output import write_source
from rowmill.errors import UsageError


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the spec to this new file."
)
@click.option("--records", type=click.IntRange(min=0), default=100, show_default=True, help="Records of the spec.")
@click.option(
    "--providers",
    type=click.Path(path_type=Path, dir_okay=False),
    help="DataDesigner's model_providers.yaml: which endpoints its models' providers are.",
)
def command(config: Path, output: Path | None, records: int, providers: Path | None) -> None:
    """Turn a NeMo DataDesigner configuration (YAML or builder_config.json) into a spec.

    The spec goes to stdout or --output, what has no equivalent or is said differently to stderr. Runs nothing.

    \b
    Example:
      rowmill import-config builder_config.json --records 1000 --output spec.yaml
    """
    from rowmill.data_designer.importing import imported

    if output is not None and os.path.lexists(output):
        raise UsageError(f"'{output}' exists already; nothing was written. Choose another file.")
    made = imported(config, records, providers)
    if output is None:
        write_source(made.text())
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(made.text())
        except OSError as error:
            raise UsageError(f"Cannot write to '{output}': {error.strerror or error}.") from error
    for note in made.notes:
        tell(str(note))
    if output is not None:
        tell(f"Next: rowmill validate {output}")
