"""The command ``rowmill``: which commands there are, and how each ends."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence

import click

from rowmill.cli import failure
from rowmill.cli.lazy import LazyGroup

COMMANDS = {
    "init": ("rowmill.cli.init", "Write an example spec to start from."),
    "validate": ("rowmill.cli.validate", "Check a spec and list what is wrong with it."),
    "plan": ("rowmill.cli.plan", "Explain what a run of a spec would do."),
    "preview": ("rowmill.cli.preview", "Generate a few rows and show them."),
    "check-models": ("rowmill.cli.check_models", "Try the models of a spec: reach, latency, what they take."),
    "run": ("rowmill.cli.run", "Start a run, or go on where it stopped."),
    "extend": ("rowmill.cli.extend", "Plan more rows."),
    "rerun": ("rowmill.cli.rerun", "Make a column again, for all rows or some."),
    "retry": ("rowmill.cli.retry", "Bring dropped rows back."),
    "fork": ("rowmill.cli.fork", "Copy a run database, under another spec."),
    "merge": ("rowmill.cli.merge", "Make one run database of the shards of a run."),
    "status": ("rowmill.cli.status", "Show how far a run is."),
    "sql": ("rowmill.cli.sql", "Query a run database with SQL."),
    "show": ("rowmill.cli.show", "List rows, dropped rows, attempts …, or show one row."),
    "diff": ("rowmill.cli.diff", "Compare two run databases, row by row."),
    "ui": ("rowmill.cli.ui", "Show a run in a browser, and act on it."),
    "metrics": ("rowmill.cli.metrics", "Print figures for a monitoring system."),
    "report": ("rowmill.cli.report", "Draw a run and its dataset as one HTML file."),
    "pause": ("rowmill.cli.pause", "Start nothing new, without ending the run."),
    "resume": ("rowmill.cli.resume", "Let a paused run go on."),
    "drain": ("rowmill.cli.drain", "Finish what runs, then stop the run."),
    "cancel": ("rowmill.cli.cancel", "Stop the run now."),
    "limit": ("rowmill.cli.limit", "Set how many calls run at once."),
    "drop": ("rowmill.cli.drop", "Give rows up by hand."),
    "export": ("rowmill.cli.export", "Write the finished rows to a file."),
    "doctor": ("rowmill.cli.doctor", "Check a run database; repair one whose log is damaged."),
    "import-config": ("rowmill.cli.import_config", "Turn a DataDesigner configuration into a spec."),
    "schema": ("rowmill.cli.schema", "Print the JSON Schema of the spec, for editors."),
    "completion": ("rowmill.cli.completion", "Print the completion of a shell."),
    "migrate": ("rowmill.cli.migrate", "Bring the file of an older Rowmill up to date."),
    "mcp": ("rowmill.cli.mcp", "Let a coding agent read a run, over MCP."),
    "help": ("rowmill.cli.help", "Show the reference, page by page."),
}
"""Command → its module (which holds the click command ``command``) and the line that lists it."""


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import version

    from rowmill.cli.output import write_exactly

    write_exactly(f"rowmill {version('rowmill')}\n")
    context.exit()


@click.group(
    cls=LazyGroup,
    commands_of=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 complete, 1 failed, 2 wrong usage or invalid spec, 3 complete with rows lost to errors, 4"
    " locked by another process, 5 run database and spec do not fit, 6 run database damaged, 75 stopped before the"
    " end (run again to go on), 130 interrupted twice.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def rowmill() -> None:
    """Generate datasets from a spec of columns, crash-safe, with all state in one DuckDB file.

    \b
    Example:
      rowmill init penguins && cd penguins
      rowmill run spec.yaml
      rowmill help
    """


def execute(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit code, all errors printed on stderr."""
    return failure.guard(lambda: rowmill.main(args=list(arguments), prog_name="rowmill", standalone_mode=False))


def main() -> None:
    """Entry point of the command ``rowmill``."""
    # Started without one of them (``>&-``), the interpreter has None there.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    failure.catch_the_rest()
    code = execute(sys.argv[1:])
    _end_at_once_if_threads_hang(code)
    sys.exit(code)


def _end_at_once_if_threads_hang(code: int) -> None:
    """Ends the process if a function or a statement still runs in a thread; the interpreter would wait for it."""
    hanging = [
        t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon and t.is_alive()
    ]
    if not any(thread.name in {"AnyIO worker thread", "rowmill-writer"} for thread in hanging):
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
