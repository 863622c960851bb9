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

_EXAMPLE = ("spec.yaml", "palmer_penguins.csv", "penguin_functions.py")
_SCHEMA = "rowmill-schema.json"
_EDITORS_LINE = f"# yaml-language-server: $schema={_SCHEMA}\n"
"""Where editors look for what a YAML file may hold."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
def command(directory: Path) -> None:
    """Write an example spec with its seed data and a custom function into DIRECTORY (default: here).

    Beside them the JSON Schema of a spec, with which editors complete and check it. Never overwrites a file.

    \b
    Example:
      rowmill init penguins
    """
    names = (*_EXAMPLE, _SCHEMA)
    present = [name for name in names if os.path.lexists(directory / name)]
    if present:
        raise UsageError(f"'{directory / present[0]}' exists already; nothing was written. Choose another directory.")
    from rowmill.spec.json_schema import schema_text

    source = files("rowmill.example")
    contents = {name: (source / name).read_bytes() for name in _EXAMPLE}
    contents["spec.yaml"] = _EDITORS_LINE.encode() + contents["spec.yaml"]
    contents[_SCHEMA] = schema_text().encode()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with (directory / name).open("xb") as file:
                file.write(content)
    except OSError as error:
        raise UsageError(f"Cannot write to '{directory}': {error.strerror or error}.") from error
    for name in names:
        say(escaped(str(directory / name)))
    enter = "" if directory == Path() else f"cd {directory} && "
    tell(f"Next: {enter}rowmill run spec.yaml    (what it will do: rowmill plan spec.yaml)")
