"""``rowmill init``: the example, as files to change."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.output import say
from rowmill.cli.terminal_text import escaped
from rowmill.errors import UsageError

_FILES = ("spec.yaml", "palmer_penguins.csv", "penguin_functions.py")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
def command(directory: Path) -> None:
    """Write an example spec with its seed data and a custom function into DIRECTORY (default: here).

    Never overwrites a file.

    \b
    Example:
      rowmill init penguins
    """
    present = [name for name in _FILES if os.path.lexists(directory / name)]
    if present:
        raise UsageError(f"'{directory / present[0]}' exists already; nothing was written. Choose another directory.")
    source = files("rowmill.example")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            with (directory / name).open("xb") as file:
                file.write((source / name).read_bytes())
    except OSError as error:
        raise UsageError(f"Cannot write to '{directory}': {error.strerror or error}.") from error
    for name in _FILES:
        say(escaped(str(directory / name)))
    enter = "" if directory == Path() else f"cd {directory} && "
    tell(f"Next: {enter}rowmill run spec.yaml    (what it will do: rowmill plan spec.yaml)")
