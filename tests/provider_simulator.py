"""The HTTP provider simulator as a fixture for any suite: its own process, gone with its test."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parent.parent / "tools" / "provider_simulator.py"


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator that listens. ``url`` is what a spec calls ``base_url`` (it ends in ``/v1``)."""

    url: str
    statistics_url: str
    pid: int

    def statistics(self) -> dict[str, Any]:
        """What ``GET /statistics`` says now."""
        with _DIRECT.open(self.statistics_url, timeout=10) as response:
            statistics: dict[str, Any] = json.load(response)
        return statistics

    def answered_at_s(self) -> list[float]:
        """When the last 2,048 answers were written, by this machine's monotonic clock."""
        with _DIRECT.open(self.statistics_url.replace("/statistics", "/answers"), timeout=10) as response:
            times: list[float] = json.load(response)["answered_at_s"]
        return times

    def reset(self) -> None:
        """Starts counting anew, and forgets what failed before."""
        request = urllib.request.Request(self.statistics_url.replace("/statistics", "/reset"), data=b"", method="POST")
        with _DIRECT.open(request, timeout=10):
            pass


@contextmanager
def provider_simulator(
    *, models: dict[str, dict[str, Any]] | None = None, flags: Sequence[str] = (), **options: Any
) -> Iterator[RunningSimulator]:
    """A running simulator; it ends with the block, or with this process, however that ends.

    Options are those of the program: ``provider_simulator(latency_ms=20, rate_limited=0.02)``.
    ``models`` changes them for single models: ``{"stuck": {"rate_limited": 1}}``.
    """
    command = [sys.executable, str(PROGRAM), *flags]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    for name, changes in (models or {}).items():
        command += ["--model", name + ":" + ",".join(f"{key}={value}" for key, value in changes.items())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the provider simulator ended with {process.wait(10)} before it listened")
        yield RunningSimulator(**json.loads(line))
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
