"""Workers as processes of this machine: each a fresh interpreter, connected by a pair of sockets."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Set
from pathlib import Path

import anyio

from rowmill.engine.event_loop import run_on_event_loop
from rowmill.environment import without_secrets
from rowmill.remote import orphans
from rowmill.remote.link import CannotLaunch, LinkLost

_LENGTH = struct.Struct("<Q")
_READ = 1 << 18
_LOOK_S = 0.2
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""

_log = logging.getLogger("rowmill.workers")


class FrameSocket:
    """Frames over a stream socket, each after its length."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._received = bytearray()

    async def send(self, frame: bytes) -> None:
        """Sends a frame. Raises LinkLost."""
        rest = memoryview(_LENGTH.pack(len(frame)) + frame)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await _unless_closed(anyio.wait_writable, self._socket)
            except OSError as error:
                raise LinkLost(f"its connection is closed ({error.strerror})") from None

    async def receive(self) -> bytes:
        """The next frame. Raises LinkLost."""
        while (frame := self._next()) is None:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                await _unless_closed(anyio.wait_readable, self._socket)
                continue
            except OSError as error:
                raise LinkLost(f"its connection is closed ({error.strerror})") from None
            if not data:
                raise LinkLost("its connection is closed")
            self._received += data
        return frame

    def _next(self) -> bytes | None:
        if len(self._received) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
        if len(self._received) < end:
            return None
        with memoryview(self._received) as received:
            frame = bytes(received[_LENGTH.size : end])
        del self._received[:end]
        return frame

    def close(self) -> None:
        """Closes it; who waits is told."""
        with contextlib.suppress(OSError):
            anyio.notify_closing(self._socket)
        self._socket.close()


async def _unless_closed(wait: Callable[[socket.socket], Awaitable[None]], sock: socket.socket) -> None:
    try:
        await wait(sock)
    except (anyio.ClosedResourceError, ValueError, OSError):
        raise LinkLost("its connection is closed") from None


class ProcessLink:
    """The driver's end of a worker that is a process of this machine."""

    node = ""

    def __init__(
        self, process: subprocess.Popen[bytes], sock: socket.socket, on_end: Callable[[int], None] = lambda group: None
    ) -> None:
        """``on_end`` is told the process group when nothing of it is left."""
        self._process = process
        self._frames = FrameSocket(sock)
        self._on_end = on_end

    async def send(self, frame: bytes) -> None:
        """See :class:`~rowmill.remote.link.Link`."""
        try:
            await self._frames.send(frame)
        except LinkLost as error:
            raise await self._loss(error) from None

    async def receive(self) -> bytes:
        """See :class:`~rowmill.remote.link.Link`."""
        while True:
            # A process that a function started may hold the worker's end of the connection open.
            with anyio.move_on_after(_LOOK_S):
                try:
                    return await self._frames.receive()
                except LinkLost as error:
                    raise await self._loss(error) from None
            if self._process.poll() is not None:
                raise await self._loss(LinkLost("it ended"))

    async def _loss(self, error: LinkLost) -> LinkLost:
        """Why it is lost, in words: a process that crashes closes its connection a little before it can be asked."""
        with anyio.move_on_after(_LOOK_S, shield=True):
            await self.wait_ended()
        code = self._process.returncode
        if code is None:
            return error
        if code < 0:
            with contextlib.suppress(ValueError):
                return LinkLost(f"its process was ended by {signal.Signals(-code).name}")
        return LinkLost(f"its process ended with exit code {code}")

    async def kill(self) -> None:
        """See :class:`~rowmill.remote.link.Link`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # with what its functions started
        self._process.kill()
        self._frames.close()
        self._on_end(self._process.pid)
        with anyio.move_on_after(1, shield=True):
            await self.wait_ended()

    async def wait_ended(self) -> None:
        """See :class:`~rowmill.remote.link.Link`."""
        while self._process.poll() is None:  # noqa: ASYNC110  nothing tells of it
            await anyio.sleep(0.005)


class ProcessLauncher:
    """Starts workers as processes of this machine."""

    def __init__(self, environ: Mapping[str, str], memory_mib: int | None = None) -> None:
        """``environ``: theirs, without keys (W8)."""
        self._environ = {**environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        self._memory_mib = memory_mib or 0
        self._guard: subprocess.Popen[str] | None = None

    async def launch(self, name: str, group: str, avoid: Set[str]) -> ProcessLink:
        """See :class:`~rowmill.remote.link.Launcher`."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "rowmill.remote.processes", str(theirs.fileno()), str(os.getpid())]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220  in a thread that ends, it would end with it
                [*command, str(self._memory_mib), name],
                stdin=subprocess.DEVNULL,
                env=dict(self._environ),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise CannotLaunch(f"no process can be started: {error}") from error
        finally:
            theirs.close()
        self._tell_guard(f"+{process.pid}")
        return ProcessLink(process, ours, lambda group: self._tell_guard(f"-{group}"))

    async def aclose(self) -> None:
        """See :class:`~rowmill.remote.link.Launcher`."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()

    def _tell_guard(self, line: str) -> None:
        """Tells the guard of orphans, which begins with the first worker."""
        try:
            if self._guard is None:
                self._guard = _guard_of_orphans()
            if self._guard.stdin is not None and not self._guard.stdin.closed:
                self._guard.stdin.write(f"{line}\n")
        except OSError as error:
            _log.info("Nothing ends what functions in workers started, should this process be killed: %s", error)


def _guard_of_orphans() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(orphans.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
        env=without_secrets(),
        start_new_session=True,
    )


# The worker's side ---------------------------------------------------------------------------------------


async def _serve(sock: socket.socket) -> None:
    from rowmill.remote.host import Host

    frames = FrameSocket(sock)
    outgoing: deque[bytes] = deque()
    has_frames = anyio.Event()

    def send(frame: bytes) -> None:
        outgoing.append(frame)
        has_frames.set()

    async def write() -> None:
        nonlocal has_frames
        while True:
            await has_frames.wait()
            has_frames = anyio.Event()
            while outgoing:
                await frames.send(outgoing.popleft())

    async def read() -> None:
        while True:
            host.take(await frames.receive())

    host = Host(send)
    async with anyio.create_task_group() as group:
        group.start_soon(write)
        group.start_soon(read)
        await host.serve()
        group.cancel_scope.cancel()
    while outgoing:
        await frames.send(outgoing.popleft())


def _end_with(driver: int, sock: socket.socket) -> None:
    """Sees to it that this process, and what its functions started, is gone when the driver is (W7)."""
    if sys.platform == "linux":  # also when a function never gives the interpreter away
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != driver:
        os._exit(0)
    poller = select.poll()
    poller.register(sock.fileno(), 0)  # hang-ups are always told

    def wait() -> None:
        poller.poll()
        with contextlib.suppress(OSError):
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=wait, name="rowmill-lifeline", daemon=True).start()


def _bound_memory(mebibytes: int) -> None:
    with contextlib.suppress(OSError):  # not on this system: where memory runs out, workers go before the driver
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if mebibytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes << 20, hard))


def main() -> None:
    """A worker's process: ``python -m rowmill.remote.processes DESCRIPTOR DRIVER MEMORY_MIB NAME``."""
    faulthandler.enable()
    sock = socket.socket(fileno=int(sys.argv[1]))
    _end_with(int(sys.argv[2]), sock)
    _bound_memory(int(sys.argv[3]))
    with contextlib.suppress(BaseExceptionGroup, LinkLost):
        try:
            run_on_event_loop(lambda: _serve(sock))
        except OSError as error:  # a function closed what the event loop stands on; the driver tells of the loss
            print(f"Worker {sys.argv[4]} cannot go on: {error}", file=sys.stderr)
            os._exit(1)
    # Threads of functions that nobody waits for are not waited for either.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
