"""The command ``rowmill`` in processes of its own, none of which outlives its test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

_TIMEOUT_S = 45.0


@dataclass
class CommandLine:
    """Runs commands in ``directory``; give it to a ``with`` statement or call :meth:`close`."""

    directory: Path
    command: Sequence[str] = (sys.executable, "-m", "rowmill")
    environment: Mapping[str, str] = field(default_factory=dict)
    _running: list[Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: str | Path, input: str | None = None) -> CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=self.directory,
            env=self._environment(),
            input=input,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def output_of(self, *arguments: str | Path) -> str:
        """Runs a command that must succeed and returns what it wrote to stdout."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bytes_of(self, *arguments: str | Path) -> bytes:
        """As :meth:`output_of`, for data that is no text."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: str | Path) -> Popen[str]:
        """Starts a command and returns the process, with pipes."""
        process = Popen(
            [*self.command, *map(str, arguments)],
            cwd=self.directory,
            env=self._environment(),
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def end_of(self, process: Popen[str]) -> CompletedProcess[str]:
        """Waits for a started command."""
        stdout, stderr = process.communicate(timeout=_TIMEOUT_S)
        return CompletedProcess(process.args, process.returncode, stdout, stderr)

    def close(self) -> None:
        """Ends what still runs."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=_TIMEOUT_S)
        self._running.clear()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"ROWMILL_DEBUG", "FORCE_COLOR"}}
        return {**kept, "COLUMNS": "100", **self.environment}
