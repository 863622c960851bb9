"""Which run database, and whether a file is one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

import click

from rowmill.cli.terminal_text import safe_message
from rowmill.errors import UsageError
from rowmill.store.file.usable import check_exists, check_usable
from rowmill.store.file.usable import is_run_database as is_run_database

_Function = TypeVar("_Function", bound=Any)

database_argument = click.argument(
    "database", type=click.Path(path_type=Path), required=False, default=None, metavar="[DATABASE]"
)
"""A run database; left out, the only one in the current directory."""


def existing_database(path: Path | None) -> Path:
    """``path``, or the one that ROWMILL_DATABASE names, or the only one of the current directory.

    Raises :class:`UsageError` otherwise.
    """
    if path is None and os.environ.get("ROWMILL_DATABASE"):
        path = Path(os.environ["ROWMILL_DATABASE"])
    if path is not None:
        check_usable(path)
        check_exists(path)
        return path
    found = sorted(Path().glob("*.duckdb"))
    if not found:
        raise UsageError(
            "There is no run database (*.duckdb) in this directory. Name one, or start with 'rowmill run'."
        )
    if len(found) > 1:
        raise UsageError(
            f"Which run database? This directory has {', '.join(map(str, found))}. Name one after the command, or set "
            "ROWMILL_DATABASE."
        )
    return found[0]


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal; elsewhere ``--yes`` must have been given. Raises :class:`UsageError` without consent."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Say so with --yes; nothing was changed.")
    if not click.confirm(safe_message(question), err=True):
        raise UsageError("Nothing was changed.")
