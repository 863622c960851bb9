"""How long processes wait for a processor: what a loaded machine takes is no fault of theirs."""

from __future__ import annotations

from pathlib import Path


def waited_for_processor_s(pid: int) -> float:
    """How long the threads of a process have been ready to run without running, in all; 0 where nobody counts it."""
    total = 0
    for tally in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(tally.read_text().split()[1])
        except (OSError, IndexError):  # the thread has ended, or the kernel does not count
            continue
    return total / 1e9
