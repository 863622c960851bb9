"""A terminal of a given size for a command: what it writes there, and what is typed into it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Self

_TIMEOUT_S = 45.0
_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()].)")


def _state(process: int) -> str:
    """As the kernel says it: R for working, S for sleeping."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


class Terminal:
    """Runs a command in a pseudo-terminal. Use ``with``: the process never outlives it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        directory: Path,
        *,
        columns: int = 80,
        lines: int = 40,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = Popen(
            list(map(str, command)),
            cwd=directory,
            env={**kept, "TERM": "xterm", **(environment or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.raw = ""

    def enter(self, text: str) -> None:
        """Types the text, and Enter."""
        os.write(self._master, f"{text}\r".encode())

    def press(self, key: str) -> None:
        """Presses a key, as ``\\x03`` for Ctrl-C."""
        os.write(self._master, key.encode())

    def read_until(self, wanted: str) -> str:
        """What it wrote up to and with ``wanted``, without control codes. Fails if that does not come."""
        self._read(lambda: wanted in self.text)
        assert wanted in self.text, self.text
        return self.text

    def read_until_it_ends_with(self, wanted: str) -> None:
        """Waits until the last it wrote is ``wanted``: a prompt that waits."""
        self._read(lambda: self.text.endswith(wanted))
        assert self.text.endswith(wanted), self.text

    def wait_until_it_waits(self) -> None:
        """Waits until it sleeps, as it does for keys.

        A signal that comes before, right after a prompt was written, is noticed with the next key only: readline looks
        for signals when it is woken.
        """
        until = time.monotonic() + _TIMEOUT_S
        while _state(self.process.pid) != "S" and time.monotonic() < until:
            time.sleep(0.01)

    def read_to_end(self) -> str:
        """Everything it wrote until it ended, without control codes."""
        self._read(lambda: False)
        self.process.wait(_TIMEOUT_S)
        return self.text

    @property
    def text(self) -> str:
        """What it wrote so far, without control codes."""
        return _CONTROL.sub("", self.raw).replace("\r\n", "\n")

    def _read(self, is_enough: object) -> None:
        assert callable(is_enough)
        until = time.monotonic() + _TIMEOUT_S
        while not is_enough() and time.monotonic() < until:
            if not select.select([self._master], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # Linux says EIO when the last writer is gone
                return
            if not piece:
                return
            self.raw += piece.decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_TIMEOUT_S)
        os.close(self._master)
