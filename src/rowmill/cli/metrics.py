"""``rowmill metrics``: figures for a monitoring system."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from rowmill.cli.choice import Choice
from rowmill.cli.output import write_exactly
from rowmill.cli.place import database_argument, existing_database

_READABLE_BY_ALL = 0o644


@click.command()
@database_argument
@click.option(
    "--format",
    "form",
    type=Choice(["prometheus", "openmetrics"], case_sensitive=False),
    default="prometheus",
    show_default=True,
    help="The text format.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Replace this file, whole, with mode 644: for a textfile collector. Default: stdout.",
)
@click.option("--dashboard", is_flag=True, help="Print a dashboard for Grafana (JSON) in their place; import it there.")
def command(database: Path | None, form: str, output: Path | None, dashboard: bool) -> None:
    """Print the figures of a run for a monitoring system, as Prometheus reads them.

    They are read from the run database, while a run works on it and after: counters survive every restart. No row and
    no text of one is in them. 'rowmill help monitoring' lists them. Without DATABASE, the only *.duckdb file of the
    current directory. Needs the extra 'metrics'.

    \b
    Example:
      rowmill metrics penguins.duckdb
      rowmill metrics penguins.duckdb --output /var/lib/node_exporter/penguins.prom
      rowmill run spec.yaml --metrics 127.0.0.1:9464
      rowmill metrics --dashboard > rowmill.json
    """
    if dashboard:
        write_exactly((files("rowmill") / "help" / "grafana.json").read_text(encoding="utf-8"))
        return
    from rowmill.export.target import whole_file
    from rowmill.metrics.collector import MetricsFormat, exposition, read_file

    path = existing_database(database)
    text = exposition(lambda: read_file(path), MetricsFormat(form))
    if output is None:
        write_exactly(text.decode())
        return
    with whole_file(output, force=True, mode=_READABLE_BY_ALL) as file:
        file.write(text)
