"""Workers as actors of a Ray cluster. The only module that imports ray; imported only when a run asks for it.

Ray places processes and carries frames, and nothing else: no restarts, no retries, no objects of its own. What is to be
done again, and where, the crew decides. What was measured with Ray 2.55 and 2.60, and shapes this module:

* A call of a method costs 0.4 ms of CPU at either end, whatever it carries. So the worker's frames are fetched by one
  call that waits at the worker until there is something, and brings all there is.
* ``runtime_env`` ends in clear text in Ray's logs; arguments below 100 kB travel in memory only, larger ones may be
  spilled to a disk. So the first frame, which holds keys, is cut into small arguments (W8).
* An actor that occupies nothing is started by way of a node that Ray chooses blindly, which may be one that hangs.
* A node that hangs gets new actors all the same. So nodes to avoid are excluded by their label, and one that was silent
  is taken again only if there is no other and it answers (W3).
* The kernel ends a local Ray's processes with the thread that started them. So that thread lives as long as they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from rowmill.errors import RowmillError, UsageError
from rowmill.remote.code_archive import CodeArchive, packed, unpacked
from rowmill.remote.link import CannotLaunch, LinkLost, WorkerEnd
from rowmill.remote.messages import Open, decode, encode
from rowmill.secret import hidden
from rowmill.spec.executor import CLIENT_REFUSED, RayExecutor, RayGroup
from rowmill.version import VERSION

_quiet = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody asked the user
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or a call after the end would start a Ray of its own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _quiet.items():
    os.environ.setdefault(_name, _value)
ONLY_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""0 before ray is imported: a Ray that is started here listens on 127.0.0.1; otherwise on every address there is."""

_log = logging.getLogger("rowmill.run")
T = TypeVar("T")

MakeEnd = Callable[[Callable[[bytes], None], str], WorkerEnd]
"""What makes the worker's side, of a way to send frames and the node it is on."""

INSTALL = "pip install 'rowmill[ray]'"
_REACH_S = 5.0
_CONNECT_S = 60.0
_PLACE_S = 30.0
"""How long a worker may wait for its place until it is asked for anew: what it waits for may have gone."""
_ENVIRONMENT_S = 630.0
"""The same where a runtime environment is installed first: a little longer than Ray itself waits."""
_ANSWER_S = 3.0
"""How long a node that was silent has for a sign of life."""
_LEAST_CPU = 0.001
_UNACKNOWLEDGED = 32
_PART = 64 << 10
"""Bytes of an argument that certainly travels in memory."""
_LOCAL_OBJECT_STORE = 200 << 20


def _check_installed() -> None:
    """Before anything else: looking for a cluster takes a process and, where one hangs, a minute."""
    if "ray" not in sys.modules and importlib.util.find_spec("ray") is None:
        raise UsageError(f"executor: ray needs the package ray, which is not installed. Install it: {INSTALL}")


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError(
            f"executor: ray needs the package ray, which cannot be imported ({error}). Install it: {INSTALL}"
        ) from error
    return ray


class Worker:
    """The actor: it has the worker's side, a :class:`~rowmill.remote.host.Host`, in its event loop.

    Its methods raise nothing on purpose: Ray would write it into its logs.
    """

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._some: asyncio.Event | None = None
        self._early: dict[int, bytes] = {}
        self._next = 0
        self._start: Path | None = None
        self._ended: str | None = None

    async def begin(self, archive: bytes, start: str, end: MakeEnd) -> str:
        """Takes the code, says hello; returns which node this is."""
        import ray

        self._some = asyncio.Event()
        self._start = unpacked(archive, start)
        node = str(ray.get_runtime_context().get_node_id())
        self._end = end(self._send, node)
        self._serving = asyncio.get_running_loop().create_task(self._serve())
        return node

    async def take(self, number: int, *parts: bytes) -> None:
        """A frame for the host, the ``number``-th: Ray may let one with a large argument be overtaken."""
        self._early[number] = parts[0] if len(parts) == 1 else b"".join(parts)
        while (frame := self._early.pop(self._next, None)) is not None:
            self._next += 1
            self._end.take(self._in_place(frame) if self._next == 1 else frame)

    async def frames(self) -> tuple[list[bytes], str | None]:
        """What the host has for the driver, when there is something; and, if it has ended, why."""
        assert self._some is not None
        if not self._frames and self._ended is None:
            self._some.clear()
            await self._some.wait()
        frames, self._frames = self._frames, []
        return frames, self._ended

    def _in_place(self, frame: bytes) -> bytes:
        """The first frame, with the spec's directory as it is called here."""
        opening = decode(frame)
        return encode(opening._replace(directory=str(self._start))) if isinstance(opening, Open) else frame

    def _send(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._wake()

    def _wake(self) -> None:
        assert self._some is not None
        self._some.set()

    async def _serve(self) -> None:
        reason = "it has ended"
        try:
            await self._end.serve()
        except Exception as error:  # noqa: BLE001  told to the driver; here only Ray would write it down
            reason = hidden(f"it failed: {type(error).__name__}: {error}")
        finally:
            self._ended = reason
            self._wake()


class RayLink:
    """The driver's end of the connection to one actor."""

    def __init__(self, ray: Any, actor: Any, node: str) -> None:
        self._ray = ray
        self._actor = actor
        self._node = node
        self._number = 0
        self._sent: deque[Any] = deque()
        self._arrived: deque[bytes] = deque()
        self._asked: asyncio.Future[tuple[list[bytes], str | None]] | None = None
        self._lost: str | None = None
        self._ended = anyio.Event()

    @property
    def node(self) -> str:
        """The node's id, as Ray calls it."""
        return self._node

    async def send(self, frame: bytes) -> None:
        """Hands a frame to Ray; waits if many have not been taken yet."""
        self._check()
        parts = [frame]
        if self._number == 0:
            parts = [frame[start : start + _PART] for start in range(0, len(frame), _PART)] or [b""]
        try:
            self._sent.append(self._actor.take.remote(self._number, *parts))
            self._number += 1
            while len(self._sent) > _UNACKNOWLEDGED:
                await _result(self._sent[0])
                self._sent.popleft()
        except self._ray.exceptions.RayError as error:
            raise self._lose(_shown(error)) from None

    async def receive(self) -> bytes:
        """The next frame of the worker; the last ones are told before its end."""
        while not self._arrived:
            self._check()
            if self._asked is None:
                self._asked = self._ask()
            try:
                frames, ended = await asyncio.shield(self._asked)
            except self._ray.exceptions.RayError as error:
                raise self._lose(_shown(error)) from None
            self._arrived.extend(frames)
            self._asked = self._ask() if ended is None else None
            if ended is not None:
                self._lose(ended)
        return self._arrived.popleft()

    async def kill(self) -> None:
        """Has Ray end the actor's process: also one that does not answer, as soon as its node does."""
        self._lose("it was ended")
        self._arrived.clear()
        with anyio.move_on_after(1, shield=True):
            await anyio.to_thread.run_sync(self._kill, abandon_on_cancel=True)

    async def wait_ended(self) -> None:
        """Waits for the worker's own end."""
        while self._lost is None:
            with contextlib.suppress(LinkLost):
                await self.receive()
        await self._ended.wait()

    def _ask(self) -> asyncio.Future[tuple[list[bytes], str | None]]:
        asked: asyncio.Future[tuple[list[bytes], str | None]] = asyncio.wrap_future(
            self._actor.frames.remote().future()
        )
        asked.add_done_callback(_look_at)
        return asked

    def _check(self) -> None:
        if self._lost is not None:
            raise LinkLost(self._lost)

    def _lose(self, reason: str) -> LinkLost:
        self._lost = self._lost or reason
        self._ended.set()
        return LinkLost(self._lost)

    def _kill(self) -> None:
        _kill(self._ray, self._actor)


class RayLauncher:
    """Starts actors, each in the group it is for, on nodes that were not silent."""

    def __init__(
        self, ray: Any, thread: _RayThread, settings: RayExecutor, code: CodeArchive, end: MakeEnd, *, is_ours: bool
    ) -> None:
        self._ray = ray
        self._end = end
        self._thread = thread
        self._settings = settings
        self._is_ours = is_ours
        self._start = code.start
        self._archive = ray.put(code.content)
        self._class = ray.remote(Worker)
        self._has_begun = False

    async def launch(self, name: str, group: str, avoid: Set[str]) -> RayLink:
        """Starts an actor. Ray chooses its node, among those that are not to be avoided; it may wait for a new one."""
        wanted = self._settings.group(group)
        if wanted is None:
            raise UsageError(f"There is no worker group '{group}' in run.executor.groups.")
        shunned = await self._shunned(wanted, avoid)
        try:
            actor = self._class.options(**_options(wanted, shunned)).remote()
        except (ValueError, TypeError, self._ray.exceptions.RayError) as error:
            raise UsageError(f"Ray refuses worker group '{group}': {_shown(error)}") from error
        begun = False
        try:
            with anyio.fail_after(_ENVIRONMENT_S if wanted.runtime_env else _PLACE_S):
                node = str(await _result(actor.begin.remote(self._archive, self._start, self._end)))
            if node in avoid and node in shunned:
                raise CannotLaunch(f"Ray put worker {name} on node {node[:8]}, which was silent.")
            begun = self._has_begun = True
            return RayLink(self._ray, actor, node)
        except TimeoutError:
            raise CannotLaunch(await self._why_it_waits(name, wanted, shunned)) from None
        except self._ray.exceptions.RayError as error:
            raise self._refusal(name, group, error) from None
        finally:
            if not begun:
                with anyio.move_on_after(1, shield=True):
                    await anyio.to_thread.run_sync(_kill, self._ray, actor, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Leaves the cluster; ends it if it was started for this run."""
        self._archive = None
        with anyio.CancelScope(shield=True):
            await self._thread.end(self._ray.shutdown if self._is_ours else None)

    async def _shunned(self, wanted: RayGroup, avoid: Set[str]) -> frozenset[str]:
        """The nodes of the cluster that must not be chosen: those to be avoided, unless there is no other, and then
        those that give no sign of life. A function can hold up its process; its node is not to blame (W3)."""
        if not avoid:
            return frozenset()
        nodes = await anyio.to_thread.run_sync(self._nodes)
        shunned = {node for node in nodes if node in avoid}
        fitting = {node for node, has in nodes.items() if _fits(has, wanted)}
        if fitting and fitting <= shunned:
            answering: set[str] = set()

            async def ask(node: str) -> None:
                if await self._answers(node):
                    answering.add(node)

            async with anyio.create_task_group() as group:
                for node in fitting:
                    group.start_soon(ask, node)
            if not answering:
                raise CannotLaunch(f"None of the {len(fitting)} nodes that could take a worker answers.")
            shunned -= answering
        return frozenset(shunned)

    def _nodes(self) -> dict[str, Mapping[str, float]]:
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}

    async def _answers(self, node: str) -> bool:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        sign = self._ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_sign_of_life).remote()
        with anyio.move_on_after(_ANSWER_S), contextlib.suppress(self._ray.exceptions.RayError):
            return bool(await _result(sign))
        self._ray.cancel(sign, force=True)
        return False

    async def _why_it_waits(self, name: str, wanted: RayGroup, shunned: Set[str]) -> str:
        nodes = await anyio.to_thread.run_sync(self._nodes)
        fitting = [node for node, has in nodes.items() if _fits(has, wanted) and node not in shunned]
        needs = ", ".join(f"{name} {amount:g}" for name, amount in _needs(wanted).items())
        if not fitting:
            return f"Worker {name} waits for a node: none of the {len(nodes)} has {needs}."
        return f"Worker {name} waits for its place: {needs} is taken on every node that has it, or too slow to come."

    def _refusal(self, name: str, group: str, error: Exception) -> RowmillError:
        """Why a worker did not begin: what the user has to mend ends the run, all else may pass."""
        if isinstance(error, self._ray.exceptions.RuntimeEnvSetupError):
            return UsageError(f"The runtime_env of worker group '{group}' cannot be set up: {_shown(error)}")
        # Ray has one class for an actor that fails when it begins, as where Rowmill is not installed, and for one whose
        # process or node was lost meanwhile.
        died = self._ray.exceptions.ActorDiedError
        is_fault = (
            error.actor_init_failed if isinstance(error, died) else isinstance(error, self._ray.exceptions.RayTaskError)
        )
        if is_fault and not self._has_begun:
            return UsageError(
                f"No worker can begin on the cluster: {_shown(error)}. Rowmill {VERSION} has to be installed on "
                "every node, with what it needs; see 'rowmill help scaling'."
            )
        return CannotLaunch(f"Worker {name} did not begin: {_shown(error)}")


async def connect(settings: RayExecutor, directory: Path, end: MakeEnd) -> RayLauncher:
    """Joins the cluster of the spec's executor, or starts one of this machine alone; packs the code workers need.

    ``directory`` is the spec's; ``end`` a class that every worker can import. Raises UsageError if there is no ray, no
    such cluster, or no code.
    """
    _check_installed()
    address = _address(settings.address)
    code = await anyio.to_thread.run_sync(
        packed, directory, settings.working_dir, settings.py_modules, settings.excludes
    )
    if address not in {"auto", "local"}:
        await anyio.to_thread.run_sync(_reach, address)
    elif address == "auto" and "ray" not in sys.modules:
        address = await anyio.to_thread.run_sync(_running_cluster)
    if address == "local" and "ray" not in sys.modules:
        os.environ.setdefault(ONLY_LOOPBACK, "0")
    ray = await anyio.to_thread.run_sync(_import_ray)
    _check_variables(settings)
    thread = _RayThread()
    is_ours = not ray.is_initialized()
    if is_ours:
        try:
            with anyio.fail_after(_CONNECT_S):
                await thread.call(lambda: _init(ray, address, settings))
        except TimeoutError:
            raise UsageError(
                f"The cluster at {address} took the connection, but is not ready after {_CONNECT_S:g} s. Is this the "
                "port of the head node itself (6379), not of its dashboard (8265) or its proxy (10001)?"
            ) from None
    launcher = await thread.call(lambda: RayLauncher(ray, thread, settings, code, end, is_ours=is_ours))
    _log.info("Workers run on the Ray cluster at %s", ray.get_runtime_context().gcs_address)
    return launcher


def pickled(function: Callable[..., Any], column: str) -> bytes:
    """A function no worker can import, by value: of a script, or typed into a notebook. Raises UsageError."""
    _import_ray()
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(function))
    except Exception as error:  # pickle raises anything, and so does what the function refers to
        raise UsageError(
            f"The function of column '{column}' cannot be sent to workers: {type(error).__name__}: {error}. Make what "
            "it refers to (connections, locks, open files) within it, or put it into a module: 'module:function'."
        ) from error


def _address(address: str) -> str:
    """Where to connect to: what is said, or what Ray's own variable says."""
    place = "run.executor.address"
    if address == "auto" and os.environ.get("RAY_ADDRESS"):
        address, place = os.environ["RAY_ADDRESS"], "RAY_ADDRESS"
    if address.startswith("ray://"):
        raise UsageError(f"{CLIENT_REFUSED} ({place})")
    if "://" in address:
        raise UsageError(f"{address} is the address of a dashboard, not of a cluster. Write host:6379. ({place})")
    return address


def _reach(address: str) -> None:
    """Ray itself would try for minutes, and then end the process."""
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise UsageError(f"'{address}' is no address of a Ray cluster. Write auto, local, or host:port.")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Nothing answers at {address} ({error}). Is the cluster up, and this the port of its head node (6379)?"
        ) from error


def _running_cluster() -> str:
    """The cluster this machine belongs to, or ``local``. A process of its own looks: a Ray that listens on loopback
    alone and one that is part of a cluster differ in what must be set before ray is imported."""
    looking = "import ray; ray.init('auto', log_to_driver=False); print(ray.get_runtime_context().gcs_address)"
    try:
        looked = subprocess.run(
            [sys.executable, "-c", looking], capture_output=True, text=True, check=False, timeout=_CONNECT_S
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"This machine seems to belong to a Ray cluster that does not answer within {_CONNECT_S:g} s. Mend it "
            "('ray status'), name another with 'address: host:6379', or start one of this run alone: 'address: local'."
        ) from None
    return looked.stdout.split()[-1] if looked.returncode == 0 else "local"


def _check_variables(settings: RayExecutor) -> None:
    """Refuses an environment variable that holds a secret we know (W8)."""
    for group in {*settings.groups, "default"}:
        wanted = settings.group(group)
        variables = wanted.runtime_env.get("env_vars") if wanted is not None else None
        for name, value in variables.items() if isinstance(variables, Mapping) else ():
            if hidden(str(value)) != str(value):
                raise UsageError(
                    f"Environment variable '{name}' of worker group '{group}' holds a key, and Ray writes runtime_env "
                    "in clear text into its logs. Workers get the keys of models by themselves: leave it out."
                )


def _init(ray: Any, address: str, settings: RayExecutor) -> None:
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)  # that it cannot take over our signals is as it should be
    try:
        if address == "local":
            groups = [group for name in {*settings.groups, "default"} if (group := settings.group(name)) is not None]
            cpus = sum(group.workers * max(group.num_cpus, _LEAST_CPU) for group in groups)
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, int(cpus) + 1),
                object_store_memory=_LOCAL_OBJECT_STORE,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
            )
            if any(node["NodeManagerAddress"] != "127.0.0.1" for node in ray.nodes()):
                ray.shutdown()
                raise UsageError(
                    "ray was imported before Rowmill could tell it to listen on this machine alone. Call ray.init() "
                    f"yourself before the run, or set {ONLY_LOOPBACK}=0 before you import ray."
                )
        else:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
        raise UsageError(f"Cannot join the Ray cluster at {address}: {_shown(error)}") from error
    finally:
        logger.setLevel(level)


class _RayThread:
    """The thread Ray is begun and ended in. It may hang in Ray for ever; the process ends all the same."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="ray", daemon=True).start()

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns; it goes on there if this is cancelled."""
        future: Future[T] = Future()
        self._work.put((future, function))
        return await asyncio.shield(asyncio.wrap_future(future))

    async def end(self, last: Callable[[], None] | None) -> None:
        """Ends it, after a last call."""
        if last is not None:
            with anyio.move_on_after(10):
                await self.call(last)
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, function = item
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  raised where the call was made
                future.set_exception(error)


def _sign_of_life() -> bool:
    return True


def _options(wanted: RayGroup, shunned: Set[str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_cpus": max(wanted.num_cpus, _LEAST_CPU),
        "num_gpus": wanted.num_gpus,
        "resources": dict(wanted.resources),
        "max_restarts": 0,
        "max_task_retries": 0,
        "scheduling_strategy": "SPREAD",
    }
    if wanted.accelerator_type is not None:
        options["accelerator_type"] = wanted.accelerator_type
    if wanted.runtime_env:
        options["runtime_env"] = dict(wanted.runtime_env)
    if shunned:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(shunned))})"}
    return options


def _needs(wanted: RayGroup) -> dict[str, float]:
    needs = {"CPU": max(wanted.num_cpus, _LEAST_CPU), "GPU": wanted.num_gpus, **wanted.resources}
    if wanted.accelerator_type is not None:
        needs[f"accelerator_type:{wanted.accelerator_type}"] = 0.001
    return {name: amount for name, amount in needs.items() if amount > 0}


def _fits(has: Mapping[str, float], wanted: RayGroup) -> bool:
    return all(has.get(name, 0) >= amount for name, amount in _needs(wanted).items())


async def _result(reference: Any) -> Any:
    """What a remote call returns. Cancelling leaves the call alone."""
    future = asyncio.wrap_future(reference.future())
    future.add_done_callback(_look_at)
    return await asyncio.shield(future)


def _look_at(future: asyncio.Future[Any]) -> None:
    """Takes note of an error, or asyncio complains of one that nobody waited for any more."""
    if not future.cancelled():
        future.exception()


def _kill(ray: Any, actor: Any) -> None:
    with contextlib.suppress(ray.exceptions.RayError):  # it, or Ray itself, is gone already
        ray.kill(actor, no_restart=True)


def _shown(error: BaseException) -> str:
    """The line of Ray's message that says something: the last one that is no part of a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told: Sequence[str] = [line for line in lines if not line.startswith(("File ", "^", "Traceback"))] or lines
    text = told[-1] if told else type(error).__name__
    return hidden(f"{type(error).__name__}: {text}")[:500].rstrip(".")
