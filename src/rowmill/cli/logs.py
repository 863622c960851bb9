"""Logs: what the logger ``rowmill`` says, on stderr, as text or JSON. Set up by the command line, never on import.

Levels: warnings unless told otherwise; ``-v`` also what happens to the run, ``-vv`` each drop and failed request with
its message, ``-vvv`` prompts and answers too. Keys are in no record: none is made from anything that holds one.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import click

PROMPTS = 5
"""The level of prompts and answers: below DEBUG, so that nobody gets them without asking for them."""
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG, PROMPTS)
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_Function = TypeVar("_Function", bound=Callable[..., Any])


class LogFormat(StrEnum):
    """How a log record is written."""

    TEXT = "text"
    JSON = "json"


def log_options(function: _Function) -> _Function:
    """Adds ``-v``, ``-q`` and ``--log-format``; the command receives ``verbose``, ``quiet`` and ``log_format``."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice(LogFormat, case_sensitive=False),
            default=LogFormat.TEXT,
            show_default=True,
            help="How log lines and progress without a terminal are written to stderr.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option(
            "-v",
            "--verbose",
            count=True,
            help="Log what happens; -vv: also each drop and failed request; -vvv: also prompts and answers.",
        ),
    ):
        function = option(function)
    return function


class LineHandler(logging.Handler):
    """Hands each record as a line to ``write``; without one, to stderr."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self.write: Callable[[str], None] = _to_stderr
        self.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record. A terminal that is gone is no reason to stop."""
        try:
            self.write(self.format(record))
        except OSError:
            return


class TextFormatter(logging.Formatter):
    """``12:00:05 UTC warning: Dropped 3 rows …``, control characters as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        from rowmill.cli.output import escaped

        when = datetime.fromtimestamp(record.created, UTC)
        return f"{when:%H:%M:%S} UTC {record.levelname.lower()}: {escaped(record.getMessage())}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``message``, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
        return json.dumps(fields, ensure_ascii=True, default=str)


def set_up(verbose: int, quiet: bool, log_format: LogFormat) -> LineHandler:
    """Makes the logger ``rowmill`` write lines; returns the handler, whose ``write`` may be changed."""
    logging.addLevelName(PROMPTS, "PROMPT")
    logger = logging.getLogger("rowmill")
    for handler in [each for each in logger.handlers if isinstance(each, LineHandler)]:
        logger.removeHandler(handler)
    handler = LineHandler(log_format)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else _LEVELS[min(verbose, len(_LEVELS) - 1)])
    return handler


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
