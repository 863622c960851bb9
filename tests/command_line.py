"""The command ``rowmill`` in processes of its own, none of which outlives its test.

Most are forked from a server that has imported Rowmill (``fork_server.py``): they differ in nothing a test can see but
in how long they take to start. Those that are about the start itself, and what comes with it, are executed.
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

from fork_server import ROWMILL, ForkServer, fork_server

_TIMEOUT_S = 45.0
_ROWMILL = (sys.executable, *ROWMILL)
_AT_THE_BEGINNING = dict(os.environ)
_SET_BY_LIBRARIES = ("_RJEM_MALLOC_CONF", "RAY_")
"""What polars and ray write into the environment when a test imports them, for themselves alone."""
_READ_WHEN_USED = (
    *("ROWMILL_", "PYTEST_", "GUARDED_KEY", "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "XDG_STATE_HOME"),
    *_SET_BY_LIBRARIES,
)
"""Variables that neither the interpreter nor a module reads before a command begins. A command in whose environment
others differ from those of the server is executed."""


@functools.cache
def _server() -> ForkServer:
    """The server of this process, started when it is needed first."""
    serving = fork_server(_AT_THE_BEGINNING)
    server = serving.__enter__()
    atexit.register(serving.__exit__, None, None, None)
    return server


def shared_server() -> ForkServer:
    """The server of all commands of this process, for those who start and kill them by themselves.

    What is started has the variables of this process as they are now.
    """
    changed = {name: value for name, value in os.environ.items() if _AT_THE_BEGINNING.get(name) != value}
    return replace(_server(), environment=changed)


@dataclass
class CommandLine:
    """Runs commands in ``directory``; call :meth:`close` in the end.

    ``command`` may be another Python program: a file, or ``-c`` and a text. With ``executes`` every command is a new
    interpreter.
    """

    directory: Path
    command: Sequence[str] = _ROWMILL
    environment: Mapping[str, str] = field(default_factory=dict)
    executes: bool = False
    _running: list[Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: str | Path, input: str | None = None) -> CompletedProcess[str]:
        """Runs a command to its end."""
        done = self._done(arguments, None if input is None else input.encode())
        # As subprocess reads text.
        stdout, stderr = (io.TextIOWrapper(io.BytesIO(each)).read() for each in (done.stdout, done.stderr))
        return CompletedProcess(done.args, done.returncode, stdout, stderr)

    def output_of(self, *arguments: str | Path) -> str:
        """Runs a command that must succeed and returns what it wrote to stdout."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bytes_of(self, *arguments: str | Path) -> bytes:
        """As :meth:`output_of`, for data that is no text."""
        done = self._done(arguments, None)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _done(self, arguments: Sequence[str | Path], input: bytes | None) -> CompletedProcess[bytes]:
        environment, words = self._environment(), self._words(arguments)
        forked = self._forked(environment, words)
        if forked is not None:
            program, rest = forked
            return _server().run(rest, self.directory, environment, input, _TIMEOUT_S, program=program)
        return subprocess.run(
            words,
            cwd=self.directory,
            env=environment,
            input=input,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def may_be_forked(self, environment: Mapping[str, str] | None = None, *arguments: str | Path) -> bool:
        """Whether a command is forked in this environment (by default: the one it gets)."""
        environment = self._environment() if environment is None else environment
        return self._forked(environment, self._words(arguments)) is not None

    def start(self, *arguments: str | Path) -> Popen[str]:
        """Starts a command and returns the process, with pipes."""
        environment, words = self._environment(), self._words(arguments)
        forked = self._forked(environment, words)
        if forked is not None:
            program, rest = forked
            process: Popen[str] = _server().popen(rest, self.directory, environment, program=program)
        else:
            process = Popen(words, cwd=self.directory, env=environment, stdout=PIPE, stderr=PIPE, text=True)
        self._running.append(process)
        return process

    def _words(self, arguments: Sequence[str | Path]) -> list[str]:
        return [*self.command, *map(str, arguments)]

    def _forked(self, environment: Mapping[str, str], words: Sequence[str]) -> tuple[list[str], list[str]] | None:
        """What the server is to run, and with which arguments; None for what has to be executed."""
        differing = {name for name, _ in environment.items() ^ _AT_THE_BEGINNING.items()}
        if self.executes or not all(name.startswith(_READ_WHEN_USED) for name in differing):
            return None
        python, first, *_ = [*words, "", ""]
        if python != sys.executable:
            return None
        if first.endswith(".py"):
            return [first], list(words[2:])
        return (list(words[1:3]), list(words[3:])) if first == "-c" or tuple(words[:3]) == _ROWMILL else None

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
