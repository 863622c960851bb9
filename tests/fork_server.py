"""Starts the command ``rowmill`` in processes of its own, without importing everything anew each time.

A kill loop starts a thousand processes, a test suite as many, and most of what a start costs is imports. This server
has made them before it forks. What it forks is a process like any other: it opens the file, takes the lock, works, and
ends with an exit code, or dies of SIGKILL.

Requests and answers are lines of JSON on a socket. A request for a process, with its standard streams beside it as
descriptors, is answered by ``{"pid": n}``; ``{"wait": pid, "seconds": s}`` by ``{"code": n}``, None if it still runs
then. The server, and all it started, end when the other end of the socket does: no process outlives its tests.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import math
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

import pyarrow

import rowmill
from rowmill.errors import RowmillError

_POLL_S = 0.005
ROWMILL = ("-m", "rowmill")
_OF_EXTRAS = ("scipy.stats", "faker", "sqlfluff", "jsonschema", "mcp", "fsspec", "huggingface_hub")


@dataclass
class ForkServer:
    """The other end: starts commands, waits for them, kills them."""

    _process: subprocess.Popen[bytes]
    _socket: socket.socket
    _asking: threading.Lock = field(default_factory=threading.Lock)
    environment: Mapping[str, str] = field(default_factory=dict)
    """What each process that is started gets on top of the server's."""

    def _ask(self, streams: Sequence[int] = (), **request: Any) -> Any:
        with self._asking:
            line = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(self._socket, [line], streams) if streams else 0
            self._socket.sendall(line[sent:])
            answer = _line_from(self._socket)[0]
        if not answer:
            _, said = self._process.communicate()
            raise RuntimeError(f"the fork server is gone: {said.decode(errors='replace')}")
        return json.loads(answer)

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

        Its output goes to ``errors``. ``environment`` comes on top of all others.
        """
        with ExitStack() as stack:
            nothing = stack.enter_context(open(os.devnull, "rb")).fileno()
            output = stack.enter_context(errors.open("wb")).fileno()
            return self._start(
                arguments,
                directory,
                (nothing, output, output),
                checkpoints=frequent_checkpoints,
                script=is_script,
                more_environment={**self.environment, **(environment or {})},
            )

    def _start(self, arguments: Sequence[str], directory: Path, streams: Sequence[int], **more: Any) -> int:
        answer = self._ask(streams, arguments=list(arguments), directory=str(directory), **more)
        return int(answer["pid"])

    def run(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        input: bytes | None,
        seconds: float,
        *,
        program: Sequence[str] = ROWMILL,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs ``python -m rowmill ARGUMENT…`` to its end, in that environment and no other, as subprocess.run does.

        ``program`` is what else may stand between ``python`` and the arguments: a file, or ``-c`` and a text. Raises
        subprocess.TimeoutExpired when it takes longer, and kills it then, or when anything else is raised.
        """
        command = [sys.executable, *program, *arguments]
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(3) as pool, ExitStack() as theirs:
            out, their_out = os.pipe()
            err, their_err = os.pipe()
            for descriptor in (their_out, their_err):
                theirs.callback(os.close, descriptor)
            their_in, feed = (0, None) if input is None else os.pipe()
            if feed is not None:
                theirs.callback(os.close, their_in)
            streams = their_in, their_out, their_err
            pid = self._start(arguments, directory, streams, program=list(program), environment=dict(environment))
            theirs.close()
            try:
                reading = [pool.submit(_read, descriptor) for descriptor in (out, err)]
                if feed is not None:
                    pool.submit(_write, feed, input or b"")
                output, errors = (each.result(until - time.monotonic()) for each in reading)
                code = self.wait(pid, until - time.monotonic())
                if code is None:
                    raise TimeoutError
            except BaseException as error:
                self.kill(pid)
                if isinstance(error, TimeoutError):
                    raise subprocess.TimeoutExpired(command, seconds) from None
                raise
        return subprocess.CompletedProcess(command, code, output, errors)

    def popen(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        program: Sequence[str] = ROWMILL,
    ) -> ForkedProcess:
        """Starts what :meth:`run` runs; its output comes through pipes."""
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        try:
            streams = 0, their_out, their_err
            pid = self._start(arguments, directory, streams, program=list(program), environment=dict(environment))
        finally:
            os.close(their_out)
            os.close(their_err)
        return ForkedProcess(self, pid, [sys.executable, *program, *arguments], open(out), open(err))

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


class ForkedProcess(subprocess.Popen[str]):
    """A process of the server's, for those who know one of ``subprocess``: it is asked, signalled and read as such."""

    _child_created = False
    """None of this process, which cannot wait for it."""

    def __init__(self, server: ForkServer, pid: int, args: list[str], stdout: TextIO, stderr: TextIO) -> None:
        self._server = server
        self.pid = pid
        self.args = args
        self.stdin, self.stdout, self.stderr = None, stdout, stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.wait(self.pid, 0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() >= until:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(_POLL_S)
        return self.returncode or 0

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        assert input is None, "it was started without a pipe to its input"
        until = None if timeout is None else time.monotonic() + timeout
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(_rest_of, stream) for stream in (self.stdout, self.stderr)]
            try:
                stdout, stderr = (each.result(until and until - time.monotonic()) for each in reading)
            except TimeoutError:
                self.kill()  # or the threads that read would never end
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
        self.wait(until and max(until - time.monotonic(), 0.0))
        return stdout, stderr


def _rest_of(stream: IO[str] | None) -> str:
    if stream is None or stream.closed:
        return ""
    with stream:
        return stream.read()


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


def _write(descriptor: int, content: bytes) -> None:
    with suppress(BrokenPipeError), open(descriptor, "wb", buffering=0) as file:  # who reads no more has what it needs
        file.write(content)


def _line_from(connection: socket.socket) -> tuple[bytes, list[int]]:
    """The next line, and the descriptors sent with it; nothing when the other end is gone."""
    content, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while content and not content.endswith(b"\n"):
        more = connection.recv(1 << 16)
        content = content + more if more else b""
    return content, descriptors


@contextmanager
def fork_server(environment: Mapping[str, str] | None = None) -> Iterator[ForkServer]:
    """A running server; it and its children end with the block, or with this process.

    ``environment`` is all of its variables; without, they are those of this process.
    """
    ours, theirs = socket.socketpair()
    command = [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())]
    process = subprocess.Popen(
        command,
        # Pipes, as those a command gets: the interpreter looks at its streams once, when it starts.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    with process, ours:
        yield ForkServer(process, ours)


def _import_everything() -> None:
    # No test of imports: some need extras, and say so when they are used.
    for module in pkgutil.walk_packages(rowmill.__path__, "rowmill."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError, RowmillError):
                importlib.import_module(module.name)
    for name in ("anyio._backends._asyncio", *_OF_EXTRAS):
        with suppress(ImportError):
            importlib.import_module(name)
    pyarrow.array([None])  # the first value it is given has it import pandas, where there is one: 0.3 s


def _serve(connection: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the tests, whose end ends this
    _import_everything()
    # A child touches no page of what stays, which would copy it.
    gc.collect()
    gc.freeze()
    codes: dict[int, int] = {}
    running: set[int] = set()
    while True:
        line, streams = _line_from(connection)
        if not line:
            break
        request = json.loads(line)
        if "wait" in request:
            answer: dict[str, int | None] = {"code": _wait(request["wait"], request["seconds"], codes, running)}
        else:
            pid = os.fork()
            if not pid:
                connection.close()
                _become(request, streams)
            running.add(pid)
            answer = {"pid": pid}
        for descriptor in streams:
            os.close(descriptor)
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except BrokenPipeError:
            break
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


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """The child: the command, and nothing of the server."""
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, source in enumerate(streams):
            os.dup2(source, target)
            os.close(source)
        os.chdir(request["directory"])
        if "program" in request:
            os.environ.clear()
            os.environ.update(request["environment"])
            code = _run_program(request["program"], request["arguments"])
        else:
            os.environ.update(request["more_environment"])
            code = _run_in_kill_loop(request)
        code = _finalized(code)
    finally:
        os._exit(code)


def _run_program(program: list[str], arguments: list[str]) -> int:
    """The exit code of ``python PROGRAM ARGUMENT…``."""
    if program[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv[1:] = arguments
        return _exit_code_of(lambda: runpy.run_module(program[1], run_name="__main__", alter_sys=True))
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [program[0], *arguments]
    if program[0] == "-c":
        sys.path[0], text, file = "", program[1], "<string>"
    else:
        file = main.__file__ = os.path.abspath(program[0])
        sys.path[0], text = os.path.dirname(os.path.realpath(file)), Path(file).read_text()
    return _exit_code_of(lambda: exec(compile(text, file, "exec", dont_inherit=True), vars(main)))


def _run_in_kill_loop(request: dict[str, Any]) -> int:
    from rowmill.cli.main import execute
    from rowmill.store.database import connection

    if request["checkpoints"]:
        connection.LONG_LOG_BYTES = 4 * 1024
    if not request["script"]:
        return execute(request["arguments"])
    sys.argv = request["arguments"]
    return _exit_code_of(lambda: runpy.run_path(sys.argv[0], run_name="__main__"))


def _exit_code_of(program: Callable[[], object]) -> int:
    """What the interpreter makes of how a program ends: an exit code, a message, a traceback."""
    try:
        program()
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return (ending.code or 0) & 0xFF
        print(ending.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001  told as Python tells it
        traceback.print_exc()
        return 1
    return 0


def _finalized(code: int) -> int:
    """Ends as the interpreter does: waits for threads, calls what asked to be called, writes what is left to write."""
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter itself calls
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            return 120
    return code


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
