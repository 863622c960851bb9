"""The last resort of a run that was interrupted twice: a small process that kills it if it does not react at all.

A function in C that never lets go of the interpreter's lock (a regular expression that explodes, a huge power) stops
every thread of Python, and no signal is heeded. What the signals left in the pipe is seen from outside: bytes that
nobody takes. Run as a script, with nothing but the standard library; it ends with the run, whatever ends that.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time

PATIENCE_S = 1.7
"""How long a run may take to react to the second signal; it is gone within 2 s."""
_BETWEEN_LOOKS_S = 0.1
_KILLED = b"Interrupted twice, and the run did not react: killed. What is committed stays; the same command goes on.\n"


def _waiting(pipe: int) -> int:
    """Bytes in a pipe, without taking them."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0])


def watch(run: int, signals: int, told: int) -> None:
    """Kills process ``run`` when signals stay in the pipe ``signals``: two, or one if ``told`` said that one was taken.

    Returns when ``told`` is closed: the run has ended.
    """
    needed = 2
    since: float | None = None
    while True:
        readable, _, _ = select.select(
            [told] if since is not None else [told, signals], [], [], _BETWEEN_LOOKS_S if since is not None else None
        )
        if told in readable:
            if not os.read(told, 16):
                return
            needed = 1
        waiting = _waiting(signals)
        if not waiting:
            since = None
        elif since is None or waiting < needed:
            since = time.monotonic()
        elif time.monotonic() - since > PATIENCE_S:
            os.write(2, _KILLED)
            os.kill(run, signal.SIGKILL)
            return


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]), 0)
