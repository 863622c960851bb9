"""How a command ends: errors become one message on stderr and the exit code of their type."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import click

from rowmill.cli.logs import LineHandler, LogFormat, complain, settings
from rowmill.errors import InternalError, Locked, RowmillError, SpecError

BROKEN_PIPE = 141
"""Exit code when the reader of our output went away: 128 + SIGPIPE, as for any other Unix tool."""
INTERRUPTED = 130
"""Exit code of a command other than ``run`` that was interrupted: 128 + SIGINT."""


MORE_MEMORY = (
    "What is committed stays. Give the process more ('ulimit -v' bounds it), or let it hold less at once "
    "(run.max_in_flight, run.max_active_rows), and give the same command again."
)


class ReaderGone(Exception):
    """Whoever read our output closed it. No OSError, because click would end the process in its own way."""


def guard(command: Callable[[], Any]) -> int:
    """Runs a click command outside its standalone mode and returns the exit code it ends with."""
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except ReaderGone:
        _silence_stdout()
        return BROKEN_PIPE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    except click.ClickException as error:
        _complain_of_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        complain("Interrupted.")
        return INTERRUPTED
    except SpecError as error:
        for problem in error.problems:
            complain(f"Error: {problem}")
        return error.exit_code
    except Locked as error:
        from rowmill.inspect.opening import in_words

        complain(f"Error: {in_words(error)}")
        return error.exit_code
    except RowmillError as error:
        if isinstance(error, InternalError) and _wants_traceback():
            _print_traceback(error)
        complain(f"Error: {error}")
        return error.exit_code
    except MemoryError as error:
        if _wants_traceback():
            _print_traceback(error)
        complain(f"Error: There is not enough memory. {MORE_MEMORY}")
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort: recorded on stderr, the process ends with code 1
        if isinstance(error, OSError) and error.strerror and not _wants_traceback():
            where = f"'{error.filename}': " if error.filename else ""
            complain(f"Error: {where}{error.strerror}.")
        elif _wants_traceback():
            _print_traceback(error)
            complain(f"Error: {type(error).__name__}: {error}")
        else:
            complain(f"Error: {type(error).__name__}: {error}\nUnexpected; the same with -v prints the traceback.")
        return 1


def _complain_of_usage(error: click.ClickException) -> None:
    """What click would print, each part a message."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        complain(context.get_usage())
        complain(f"Try '{context.command_path} {context.help_option_names[0]}' for help.")
    complain(f"Error: {error.format_message()}")


def catch_the_rest() -> None:
    """What Python writes on stderr by itself is written as our messages are: tracebacks of threads, warnings, logs."""

    def warn(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
        complain(text) if file is None else file.write(f"{text}\n")

    def raised(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        complain("".join(traceback.format_exception(kind, error, trace)).rstrip())

    def raised_in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_type is not SystemExit:
            raised(found.exc_type, found.exc_value, found.exc_traceback)

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        complain(f"{found.err_msg or 'Exception ignored in'}: {found.object!r}")
        raised(found.exc_type, found.exc_value, found.exc_traceback)

    warnings.showwarning = warn
    sys.excepthook = raised
    threading.excepthook = raised_in_thread
    sys.unraisablehook = unraisable
    logging.lastResort = LineHandler(LogFormat.TEXT)
    logging.lastResort.setLevel(logging.WARNING)


def is_broken_pipe(error: BaseException) -> bool:
    """Whether ``error`` says that the reader of our output went away."""
    return isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE)


def _wants_traceback() -> bool:
    return settings().verbose > 0 or os.environ.get("ROWMILL_DEBUG", "") not in {"", "0"}


def _print_traceback(error: BaseException) -> None:
    complain("".join(traceback.format_exception(error)).rstrip())


def _silence_stdout() -> None:
    # The interpreter flushes stdout once more when it ends and would print the same error. File descriptor 1, because
    # click may have put an object without one in the place of sys.stdout.
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.close(descriptor)
