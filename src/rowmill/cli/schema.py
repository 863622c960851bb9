"""``rowmill schema``: what a spec may hold, for editors."""

from __future__ import annotations

import click

from rowmill.cli.output import write_exactly


@click.command()
def command() -> None:
    """Print the JSON Schema of the spec: every field, its type and what it means, those of installed plug-ins included.

    An editor with a YAML language server completes and checks a spec whose first line names the file:
    # yaml-language-server: $schema=rowmill-schema.json

    \b
    Example:
      rowmill schema > rowmill-schema.json
    """
    from rowmill.spec.json_schema import schema_text

    write_exactly(schema_text())
