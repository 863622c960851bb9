"""``rowmill ui``: a run in a browser."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from rowmill.cli.output import write_exactly
from rowmill.cli.place import database_argument, existing_database
from rowmill.environment import without_secrets
from rowmill.errors import InternalError, Locked

_PAGE_ENDS_S = 3.0


@click.command()
@database_argument
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any free one.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--steer", is_flag=True, help="The page may also pause, limit, retry, rerun and drop.")
@click.option(
    "--beside", type=click.Path(path_type=Path), metavar="DATABASE", help="Another run database to compare with."
)
@click.option("--of-run", is_flag=True, hidden=True)
def command(database: Path | None, port: int, no_browser: bool, steer: bool, beside: Path | None, of_run: bool) -> None:
    """Show a run in a browser: living, stopped or finished. Its address is the first line on stdout; Ctrl-C ends it.

    The page is for browsers on this machine that know the address, reads only (without --steer), and asks nothing of
    any other machine. Without DATABASE, the only *.duckdb file of the current directory.

    \b
    Example:
      rowmill ui penguins.duckdb
      rowmill ui --no-browser --port 8080
      rowmill ui penguins-short.duckdb --beside penguins.duckdb
    """
    from rowmill.inspect.opening import open_reader
    from rowmill.ui.server import PageServer

    path = database if of_run and database is not None else existing_database(database)
    for each in [*([] if of_run else [path]), *([] if beside is None else [existing_database(beside)])]:
        # A page that waits for a run to begin or to end is fine; one of a file that is no run never shows anything.
        with contextlib.suppress(Locked), open_reader(each):
            pass
    with _ends_at_a_signal() as ending:
        page = PageServer(path, port=port, can_steer=steer, beside=beside)
        try:
            write_exactly(f"{page.url}\n")
            sys.stdout.flush()
            if not no_browser:
                _open_browser(page.url)
            if of_run:
                threading.Thread(target=_wait_for_the_run, args=(ending,), daemon=True).start()
            ending.wait()
        finally:
            page.close()


@contextlib.contextmanager
def _ends_at_a_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: a page that is asked to end has not failed."""
    ending = threading.Event()
    before = {number: signal.signal(number, lambda *_: ending.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_the_run(ending: threading.Event) -> None:
    """The run holds the other end of stdin, and lets it go however it ends."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    ending.set()


def _open_browser(url: str) -> None:
    """Shows the page if there is a screen; a browser of the terminal would take the terminal away."""
    has_screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not (has_screen or os.environ.get("BROWSER")):
        return
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), name="rowmill-browser", daemon=True).start()


class OpenPage:
    """The page of a run that this process works on, served by another one, which ends with this one."""

    def __init__(self, database: Path) -> None:
        arguments = [sys.executable, "-m", "rowmill", "ui", str(database), "--of-run"]
        # In a session of its own: Ctrl-C lets the run finish its calls, and the page shows that.
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=without_secrets(),
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.close()
            raise InternalError("The process that serves the page has ended before it began.")

    def close(self) -> None:
        """Ends the page."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(_PAGE_ENDS_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
