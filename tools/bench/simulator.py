"""The HTTP provider simulator in a process of its own, for the length of a ``with`` block."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

_PROGRAM = Path(__file__).resolve().parent.parent / "provider_simulator.py"


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator that listens."""

    base_url: str
    statistics_url: str
    pid: int

    def mean_latency_ms(self) -> float:
        """From reading a request to writing its answer, by the simulator's own clock; over all it answered."""
        with urlopen(self.statistics_url, timeout=60) as response:
            return float(json.load(response)["mean_latency_ms"])


@contextmanager
def http_simulator(latency_ms: float, models: Mapping[str, Mapping[str, float]] | None = None) -> Iterator[Simulator]:
    """A simulator that answers every request after ``latency_ms``; it ends with the block or this process.

    ``models`` changes how single models behave: ``{"refusing": {"rate_limited": 1}}``.
    """
    command = [sys.executable, str(_PROGRAM), "--latency-ms", str(latency_ms)]
    for name, changes in (models or {}).items():
        command += ["--model", name + ":" + ",".join(f"{key}={value}" for key, value in changes.items())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the provider simulator ended with {process.wait(10)} before it listened")
        found = json.loads(line)
        try:
            yield Simulator(found["url"], found["statistics_url"], found["pid"])
        finally:
            process.stdin.close()
            process.wait(10)
