"""``rowmill limit``: fewer calls at once, of one endpoint or of all."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import existing_database, is_run_database
from rowmill.cli.steering import answer_option, steer_and_say
from rowmill.errors import UsageError

_UNLIMITED = "spec"


@click.command()
@click.argument("arguments", nargs=-1, metavar="[DATABASE] [MODEL] N")
@click.option("--in-flight", is_flag=True, help="N bounds all tasks together instead of one model's.")
@answer_option
def command(arguments: tuple[str, ...], in_flight: bool, answer_format: str) -> None:
    """Set how many calls of MODEL run at once: an alias, a resource of 'rowmill show resources', or 'local/threads'.

    N is at most what the spec says; the word spec lifts the limit again. It holds until it is changed, also for later
    invocations. Without DATABASE, the only *.duckdb file of the current directory.

    \b
    Example:
      rowmill limit writer 8
      rowmill limit penguins.duckdb writer spec
      rowmill limit --in-flight 200
    """
    path, rest = _split(arguments, in_flight=in_flight)
    calls = _number(rest[-1])
    from rowmill.inspect.limits import limit_of

    found = limit_of(path, None if in_flight else rest[0])
    steer_and_say(
        path,
        "limit",
        answer_format,
        {"resource": found.resource, "calls": calls, "spec_calls": found.calls},
    )


def _split(arguments: tuple[str, ...], *, in_flight: bool) -> tuple[Path, tuple[str, ...]]:
    wanted = 1 if in_flight else 2
    if len(arguments) == wanted + 1 and is_run_database(Path(arguments[0])):
        return existing_database(Path(arguments[0])), arguments[1:]
    if len(arguments) != wanted:
        usage = "--in-flight N" if in_flight else "MODEL N"
        raise UsageError(f"Give {usage}, after the run database if one is named: rowmill limit [DATABASE] {usage}")
    return existing_database(None), arguments


def _number(text: str) -> int | None:
    if text == _UNLIMITED:
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"N must be a whole number from 1, or '{_UNLIMITED}' for what the spec says, not '{text}'.")
    return number
