"""The orphans' guard: a small process that ends what functions in workers started, when the run was killed (W7).

The kernel ends a worker with its driver, at once, but not what a function in it started: a browser, a model server, a
shell. The worker has no time left for that, and where a function holds the interpreter it never gets to it. So a
process beside the run knows the process groups of its workers, one a line on its standard input: ``+GROUP`` when one
begins, ``-GROUP`` when it was ended. When its input ends, so has the run, however it did, and what is left is killed.
Run as a script, with nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable


def watch(told: Iterable[str]) -> None:
    """Kills the process groups that are not told to be over when ``told`` ends."""
    groups: set[int] = set()
    for line in told:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nothing of it is left
            continue


if __name__ == "__main__":
    watch(iter(sys.stdin.readline, ""))
