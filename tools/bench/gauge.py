"""Measuring a piece of work: seconds, CPU seconds of all threads, and the peak of resident memory.

The peak of a process never falls, and a child starts with its parent's. So each case of a benchmark has a
process of its own (:func:`in_own_process`), and on Linux the mark is set back before the work.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Gauge:
    """A ``with`` block and what it cost. The figures are there when it is left."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    """Greatest resident memory of the process during the block."""
    grown_mib: float = 0.0
    """The same without what was resident when the block began."""

    def __enter__(self) -> Self:
        _reset_peak()
        self._resident = _memory_mib("VmRSS")
        self._cpu = time.process_time()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self.cpu_s = time.process_time() - self._cpu
        self.peak_mib = _memory_mib("VmHWM")
        self.grown_mib = max(0.0, self.peak_mib - self._resident)


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function`` returns or raises, from a fresh process. ``function`` and its values must pickle."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def process_cpu_s(pid: int) -> float | None:
    """CPU seconds another process has used so far; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / 100.0


def process_waited_s(pid: int | str = "self") -> float:
    """Seconds the threads of a process were ready to run and had no core so far; 0 where the system does not say."""
    waited_ns = 0
    for thread in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        try:
            _, waiting, _ = (thread / "schedstat").read_text().split()
        except (OSError, ValueError):  # it has ended, or nobody counts
            continue
        waited_ns += int(waiting)
    return waited_ns / 1e9


def allow_many_files(wanted: int) -> None:
    """Raises the soft limit on open files as far as needed and allowed: each request in flight is a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _reset_peak() -> None:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then that of the whole process so far
        return


def _memory_mib(field: str) -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
