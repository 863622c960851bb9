"""Starts the command ``rowmill`` in processes of its own, without importing everything anew each time.

A kill loop starts a thousand processes, and most of what a start costs is imports. This server has made them before
it forks. What it forks is a process like any other: it opens the file, takes the lock, works, and dies of SIGKILL.

Requests and answers are lines of JSON: ``{"arguments": [...], "directory": ..., "errors": ..., "checkpoints": bool,
"script": bool, "environment": {...}}`` is answered by ``{"pid": n}``; ``{"wait": pid, "seconds": s}`` by
``{"code": n}``, None if it still runs then. All children die with the server.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rowmill
from rowmill.errors import RowmillError

_POLL_S = 0.005
_OF_EXTRAS = ("scipy.stats", "faker", "sqlfluff", "jsonschema", "mcp", "fsspec", "huggingface_hub")


@dataclass
class ForkServer:
    """The other end: starts commands, waits for them, kills them."""

    _process: subprocess.Popen[str]

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server is gone")
        return json.loads(line)

    def start(
        self,
        arguments: Sequence[str],
        directory: Path,
        errors: Path,
        *,
        frequent_checkpoints: bool = False,
        is_script: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Starts ``rowmill ARGUMENT…`` and returns its pid; a script: ``python ARGUMENT…``.

        Its output goes to ``errors``.
        """
        answer = self._ask(
            arguments=list(arguments),
            directory=str(directory),
            errors=str(errors),
            checkpoints=frequent_checkpoints,
            script=is_script,
            environment=dict(environment or {}),
        )
        return int(answer["pid"])

    def wait(self, pid: int, seconds: float) -> int | None:
        """The exit code of a process (-9 if it was killed), or None if it still runs after that time."""
        code = self._ask(wait=pid, seconds=seconds)["code"]
        return None if code is None else int(code)

    def kill(self, pid: int) -> int:
        """Kills a process and waits until it is gone; its exit code, -9 unless it had ended before."""
        code = self.wait(pid, 0.0)
        while code is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            code = self.wait(pid, 1.0)
        return code


@contextmanager
def fork_server(**environment: str) -> Iterator[ForkServer]:
    """A running server with these variables; it and its children end with the block, or with this process."""
    command = [sys.executable, str(Path(__file__).resolve())]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield ForkServer(process)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def _import_everything() -> None:
    # No test of imports: some need extras, and say so when they are used.
    for module in pkgutil.walk_packages(rowmill.__path__, "rowmill."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError, RowmillError):
                importlib.import_module(module.name)
    for name in ("anyio._backends._asyncio", *_OF_EXTRAS):
        with suppress(ImportError):
            importlib.import_module(name)


def _serve() -> None:
    _import_everything()
    codes: dict[int, int] = {}
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: dict[str, int | None] = {"code": _wait(request["wait"], request["seconds"], codes, running)}
        else:
            pid = os.fork()
            if not pid:
                _become(request)
            running.add(pid)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _wait(pid: int, seconds: float, codes: dict[int, int], running: set[int]) -> int | None:
    until = time.monotonic() + seconds
    while pid in running:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            running.discard(pid)
            codes[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= until:
            return None
        else:
            time.sleep(min(_POLL_S, max(until - time.monotonic(), 0.0)))
    return codes[pid]


def _become(request: dict[str, Any]) -> None:
    """The child: the command, and nothing of the server."""
    code = 70
    try:
        os.chdir(request["directory"])
        os.environ.update(request["environment"])
        errors = os.open(request["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (errors, 1), (errors, 2)):
            os.dup2(source, target)
        from rowmill.cli.main import execute
        from rowmill.store.database import connection

        if request["checkpoints"]:
            connection.LONG_LOG_BYTES = 4 * 1024
        code = _run_script(request["arguments"]) if request["script"] else execute(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _run_script(arguments: list[str]) -> int:
    """The exit code of a Python program."""
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as ending:
        return int(ending.code or 0)
    except BaseException:  # noqa: BLE001  told as Python tells it: the file of errors is read where the code is wrong
        traceback.print_exc()
        return 70
    return 0


if __name__ == "__main__":
    _serve()
