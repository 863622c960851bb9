"""Logs: what the logger ``rowmill`` says, on stderr, as text or JSON. Set up by the command line, never on import.

Every command takes the options. Levels: warnings unless told otherwise; ``-v`` also what happens to the run, ``-vv``
each drop and failed request with its message, ``-vvv`` prompts and answers too. Keys are in no record: none is made
from anything that holds one. What a command tells people besides goes the same way: not at all with ``-q``, as records
with ``--log-format json``.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import click

from rowmill.cli.choice import Choice
from rowmill.cli.terminal_text import escaped, safe_message
from rowmill.secret import hidden

PROMPTS = 5
"""The level of prompts and answers: below DEBUG, so that nobody gets them without asking for them."""
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG, PROMPTS)
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogFormat(StrEnum):
    """How a log record is written."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the options of a command line say."""

    verbose: int = 0
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT


def log_options() -> list[click.Option]:
    """The options ``-v``, ``-q`` and ``--log-format``; they take effect by themselves."""
    return [
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_heed,
            help="Log what happens, and tracebacks of unexpected errors; -vv: also each drop and failed request; "
            "-vvv: also prompts and answers.",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_heed, help="Print errors only."),
        click.Option(
            ["--log-format"],
            type=Choice(LogFormat, case_sensitive=False),
            expose_value=False,
            callback=_heed,
            help="How lines on stderr are written.  [default: text]",
        ),
    ]


def _heed(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        _begin(replace(_state.settings, **{str(parameter.name): value}))


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class LineHandler(logging.Handler):
    """Hands each record as a line to ``write``; without one, to stderr."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self.write: Callable[[str], None] = _to_stderr
        self.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record. A terminal that is gone is no reason to stop."""
        try:
            self.write(hidden(self.format(record)))
        except OSError:
            return


class TextFormatter(logging.Formatter):
    """``12:00:05 UTC warning: Dropped 3 rows …``, control characters as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and those of a traceback."""
        when = datetime.fromtimestamp(record.created, UTC)
        said = f"{when:%H:%M:%S} UTC {record.levelname.lower()}: {escaped(record.getMessage())}"
        return "\n".join([said, *map(escaped, _traceback(record))])


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
        trace = _traceback(record)
        fields |= {"traceback": "\n".join(trace)} if trace else {}
        return json.dumps(fields, ensure_ascii=True, default=str)


def _traceback(record: logging.LogRecord) -> list[str]:
    """The lines of the traceback a record brings along."""
    error = record.exc_info[1] if record.exc_info else None
    return "".join(traceback.format_exception(error)).splitlines() if error is not None else []


class _State:
    """How this process logs. A command line begins with the defaults."""

    def __init__(self) -> None:
        self.settings = LogSettings()
        self.handler = LineHandler(LogFormat.TEXT)


_state = _State()


def settings() -> LogSettings:
    """What the command line said so far."""
    return _state.settings


def handler() -> LineHandler:
    """What writes the lines; its ``write`` may be changed."""
    return _state.handler


def begin() -> None:
    """Makes the logger ``rowmill`` write lines, as if no option was given yet."""
    _begin(LogSettings())


def _begin(settings: LogSettings) -> None:
    logging.addLevelName(PROMPTS, "PROMPT")
    logger = logging.getLogger("rowmill")
    for handler in [each for each in logger.handlers if isinstance(each, LineHandler)]:
        logger.removeHandler(handler)
    _state.settings, _state.handler = settings, LineHandler(settings.log_format)
    logger.addHandler(_state.handler)
    logger.propagate = False
    logger.setLevel(logging.ERROR if settings.quiet else _LEVELS[min(settings.verbose, len(_LEVELS) - 1)])


def tell(message: str) -> None:
    """Tells whoever typed the command something that is no data, on stderr; with ``-q`` nothing."""
    if not _state.settings.quiet:
        _say(message, logging.INFO)


def complain(message: str) -> None:
    """Says on stderr what went wrong. Losing stderr is no reason to fail."""
    try:
        _say(message, logging.ERROR)
    except OSError:
        # There is nobody left to tell.
        return


def _say(message: str, level: int) -> None:
    if _state.settings.log_format is LogFormat.JSON:
        _state.handler.emit(logging.LogRecord("rowmill.command", level, __file__, 0, message, None, None))
    else:
        click.echo(safe_message(hidden(message)), err=True)
