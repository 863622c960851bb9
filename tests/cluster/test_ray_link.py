"""What a link to an actor of a Ray cluster promises (``rowmill.remote.link.Link``), and how actors are placed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from ray_cluster import RayCluster
from worker_ends import Echo, Failing

from rowmill.errors import RowmillError, UsageError
from rowmill.remote.link import CannotLaunch, LinkLost
from rowmill.remote.messages import Open, encode
from rowmill.spec.executor import RayExecutor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_NOWHERE: frozenset[str] = frozenset()
_KEY = "planted-key-7c1f2a"


def _run(test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test, backend="asyncio")


@asynccontextmanager
async def _launcher(directory: Path, end: Any = Echo, **settings: Any) -> AsyncIterator[Any]:
    from rowmill.remote.ray import connect

    launcher = await connect(RayExecutor.model_validate({"kind": "ray", **settings}), directory, end)
    try:
        yield launcher
    finally:
        await launcher.aclose()


async def _begun(
    launcher: Any, name: str = "w1", group: str = "default", avoid: frozenset[str] = _NOWHERE
) -> tuple[Any, int]:
    """A link that has said hello, and the worker's process.

    It is asked for again as the crew does: Ray takes a node that is gone or frozen for alive for a while, and cancels
    the actors it meant for it.
    """
    for number in range(4):
        try:
            return await _begun_at_once(launcher, f"{name}-{number}", group, avoid)
        except (CannotLaunch, TimeoutError):
            await anyio.sleep(1)
    return await _begun_at_once(launcher, name, group, avoid)


async def _begun_at_once(launcher: Any, name: str, group: str, avoid: frozenset[str]) -> tuple[Any, int]:
    with anyio.fail_after(30):
        link = await launcher.launch(name, group, avoid)
        hello = json.loads(await link.receive())
    assert hello["node"] == link.node
    return link, hello["pid"]


def _opening(key: str = _KEY, filling: int = 0) -> bytes:
    return encode(Open("w1", "x" * filling, "/nowhere", {}, frozenset(), {"WRITER_KEY": key}))


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def _wait_until_gone(pid: int, seconds: float = 10) -> None:
    with anyio.fail_after(seconds):
        while not _is_gone(pid):  # noqa: ASYNC110  nobody tells of the end of another's process
            await anyio.sleep(0.01)


def _environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _files_with(text: str, directory: Path) -> list[str]:
    found = subprocess.run(["grep", "-rla", text, str(directory)], capture_output=True, check=False, text=True)
    assert found.returncode < 2, found.stderr
    return found.stdout.splitlines()


def _listening(pids: set[str]) -> list[str]:
    """Sockets of these processes, and of the cluster's head."""
    sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, check=True, text=True).stdout.splitlines()
    return [line for line in sockets if "gcs_server" in line or any(f"pid={pid}," in line for pid in pids)]


def test_frames_arrive_whole_once_and_in_order_whatever_their_size(in_cluster: RayCluster, tmp_path: Path) -> None:
    """Ray lets a call with a large argument be overtaken by later ones."""
    sizes = [10, 300_000, 0, 99_000, 101_000, 2_000_000, *([20] * 60)]

    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, _ = await _begun(launcher)
            await link.send(_opening())
            await link.receive()
            frames = [b"%06d" % number + b"." * size for number, size in enumerate(sizes * 3)]
            async with anyio.create_task_group() as group:

                async def send() -> None:
                    for frame in frames:
                        await link.send(frame)

                group.start_soon(send)
                arrived = [await link.receive() for _ in frames]
            assert arrived == frames
            await link.kill()

    _run(test)


def test_a_receive_that_is_cancelled_loses_no_frame(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, _ = await _begun(launcher)
            await link.send(_opening())
            await link.receive()
            for number in range(20):
                with anyio.move_on_after(0.002):
                    await link.receive()
                await link.send(b"%d" % number)
            last = b""
            while last != b"19":
                last = await link.receive()
            await link.kill()

    _run(test)


def test_the_code_is_where_the_worker_stands(in_cluster: RayCluster, tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("")
    (tmp_path / "reviews.duckdb").write_text("")
    (tmp_path / ".env").write_text(_KEY)

    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, _ = await _begun(launcher)
            await link.send(_opening(filling=300_000))
            told = json.loads(await link.receive())
            assert told["files"] == ["functions.py"]
            assert told["here"] == told["directory"]
            await link.kill()

    _run(test)


def test_w2_a_death_is_noticed_at_once_by_those_who_wait(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, pid = await _begun(launcher)
            os.kill(pid, signal.SIGKILL)
            with anyio.fail_after(5), pytest.raises(LinkLost, match="ActorDiedError"):
                await link.receive()
            with pytest.raises(LinkLost):
                await link.send(b"x")
            with pytest.raises(LinkLost):
                await link.receive()
            await link.kill()

    _run(test)


def test_a_worker_that_hangs_with_the_interpreter_in_its_hand_is_killed(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, pid = await _begun(launcher)
            await link.send(_opening())
            await link.receive()
            await link.send(b"hang")
            with anyio.move_on_after(0.5) as waiting:
                await link.receive()
            assert waiting.cancelled_caught
            with anyio.fail_after(1):
                await link.kill()
            await _wait_until_gone(pid)
            with pytest.raises(LinkLost):
                await link.receive()

    _run(test)


def test_a_worker_that_ends_by_itself_is_heard_to_the_end(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, pid = await _begun(launcher)
            await link.send(_opening())
            await link.receive()
            await link.send(b"end")
            assert await link.receive() == b"the last words"
            with anyio.fail_after(5):
                await link.wait_ended()
            with pytest.raises(LinkLost):
                await link.receive()
            await link.kill()
            await _wait_until_gone(pid)

    _run(test)


def test_why_a_worker_failed_reaches_the_driver_without_its_keys(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path, Failing) as launcher:
            link, _ = await _begun(launcher)
            await link.send(_opening())
            await link.receive()
            await link.send(b"end")
            assert await link.receive() == b"the last words"
            with pytest.raises(LinkLost, match="RuntimeError: a fault of its own"):
                await link.receive()
            await link.kill()

    _run(test)


def test_a_launch_that_is_cancelled_leaves_no_worker(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path, num_cpus=2, resources={"left": 1}) as launcher:
            with anyio.move_on_after(0.05):
                await launcher.launch("w1", "default", _NOWHERE)
            link, _ = await _begun(launcher)  # there is place for one
            await link.kill()

    _run(test)


def test_groups_go_where_their_resources_are(in_cluster: RayCluster, tmp_path: Path) -> None:
    groups = {
        "gpu": {"num_gpus": 0.5},
        "named": {"accelerator_type": "H100", "num_cpus": 0},
        "disk": {"resources": {"left": 1}, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "3"}}},
    }

    async def test() -> None:
        left, right = in_cluster.nodes
        async with _launcher(tmp_path, groups=groups) as launcher:
            placed = {}
            for group in groups:
                link, pid = await _begun(launcher, group, group)
                placed[group] = link.node
                assert (b"OMP_NUM_THREADS=3" in _environment_of(pid)) == (group == "disk")
                await link.kill()
            assert placed == {"gpu": right, "named": right, "disk": left}

    _run(test)


def test_a_group_that_no_node_can_take_waits_and_says_for_what(
    in_cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rowmill.remote import ray

    monkeypatch.setattr(ray, "_PLACE_S", 0.3)

    async def test() -> None:
        async with _launcher(tmp_path, groups={"big": {"num_gpus": 64}}) as launcher:
            with pytest.raises(CannotLaunch, match=r"none of the \d has CPU 1, GPU 64"):
                await launcher.launch("big-1", "big", _NOWHERE)

    _run(test)


def test_w2_a_worker_that_dies_before_it_has_begun_is_started_again(in_cluster: RayCluster, tmp_path: Path) -> None:
    """Of an actor whose process was lost Ray says the same class of error as of one that cannot begin."""
    import ray.exceptions

    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            lost = launcher._refusal("w1", "default", ray.exceptions.ActorDiedError())
            assert isinstance(lost, CannotLaunch)

    _run(test)


def test_a_cluster_without_rowmill_is_told_what_it_lacks(in_cluster: RayCluster, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "sitecustomize.py").write_text("import sys\nsys.modules['rowmill'] = None\n")
    path = os.pathsep.join([str(lacking), in_cluster.environ["PYTHONPATH"]])

    async def test() -> None:
        async with _launcher(tmp_path, runtime_env={"env_vars": {"PYTHONPATH": path}}) as launcher:
            with pytest.raises(UsageError, match=r"No worker can begin.*has to be installed on every node"):
                await _begun(launcher)

    _run(test)


def test_w3_a_node_that_was_silent_is_not_chosen_while_there_is_another(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        left, right = in_cluster.nodes
        async with _launcher(tmp_path, num_cpus=0.5) as launcher:
            for avoided, chosen in ((left, right), (right, left)):
                for number in range(2):
                    link, _ = await _begun(launcher, f"w{number}", avoid=frozenset({avoided}))
                    assert link.node == chosen
                    await link.kill()

    _run(test)


def test_w3_a_frozen_node_gets_no_worker_although_ray_takes_it_for_alive(
    in_cluster: RayCluster, tmp_path: Path
) -> None:
    async def test() -> None:
        left, right = in_cluster.nodes
        async with _launcher(tmp_path, groups={"only": {"resources": {"left": 1}}}) as launcher:
            with in_cluster.frozen(left):
                link, _ = await _begun(launcher, avoid=frozenset({left}))
                assert link.node == right
                await link.kill()
            # What was silent is taken again where there is no other, once it gives a sign of life.
            link, _ = await _begun(launcher, "only-1", "only", frozenset({left}))
            assert link.node == left
            await link.kill()

    _run(test)


def test_w2_the_death_of_a_node_is_noticed_and_another_node_is_found(in_cluster: RayCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with _launcher(tmp_path, groups={"left": {"resources": {"left": 1}}}) as launcher:
            link, pid = await _begun(launcher, "left-1", "left")
            await anyio.to_thread.run_sync(in_cluster.kill_node, link.node)
            await _wait_until_gone(pid)
            with anyio.fail_after(30), pytest.raises(LinkLost):
                await link.receive()
            await link.kill()
            again, _ = await _begun(launcher, "left-2", "left", _NOWHERE)
            assert again.node != link.node
            await again.kill()

    _run(test)


def test_w7_workers_end_with_their_driver_also_one_that_hangs(in_cluster: RayCluster, tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "hanging_driver.py"), str(tmp_path)],
        env=in_cluster.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        assert driver.stdout is not None
        told = next(line for line in driver.stdout if line.startswith("pids "))  # Ray tells of its nodes there, too
        workers = json.loads(told.removeprefix("pids "))
        assert not any(_is_gone(pid) for pid in workers)
        driver.kill()

    async def test() -> None:
        for pid in workers:
            await _wait_until_gone(pid)

    _run(test)


def test_w8_no_file_of_ray_holds_a_key(in_cluster: RayCluster, tmp_path: Path) -> None:
    """A mark in ``runtime_env`` shows that the files of this Ray are the ones looked into, and why keys are refused
    there."""
    mark = "planted-mark-59d0"

    async def test() -> None:
        async with _launcher(tmp_path, runtime_env={"env_vars": {"MARK": mark}}) as launcher:
            link, _ = await _begun(launcher)
            await link.send(_opening(filling=2_000_000))
            await link.receive()
            await link.kill()

    _run(test)
    assert _files_with(mark, in_cluster.temporary)
    assert _files_with(_KEY, in_cluster.temporary) == []


def test_only_loopback_listens(in_cluster: RayCluster, tmp_path: Path) -> None:
    pids = {str(pid) for node in in_cluster.nodes for pid in in_cluster.processes_of(node)} | {str(os.getpid())}

    async def test() -> None:
        async with _launcher(tmp_path) as launcher:
            link, pid = await _begun(launcher)
            listening = _listening({*pids, str(pid)})
            assert listening
            assert [line for line in listening if "127.0.0.1:" not in line and "127.0.0.1]:" not in line] == []
            await link.kill()

    _run(test)


def test_a_runtime_environment_that_cannot_be_made_ends_the_run_with_its_reason(
    in_cluster: RayCluster, tmp_path: Path
) -> None:
    groups = {"odd": {"runtime_env": {"working_dir": "gcs://there_is_no_such_package.zip"}}}

    async def test() -> None:
        async with _launcher(tmp_path, groups=groups) as launcher:
            with pytest.raises(UsageError, match=r"runtime_env of worker group 'odd'.*no_such_package"):
                await _begun(launcher, "odd", "odd")

    _run(test)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://127.0.0.1:10001", r"ray job submit.*\(RAY_ADDRESS\)"),
        ("http://127.0.0.1:8265", r"dashboard.*\(RAY_ADDRESS\)"),
        ("127.0.0.1:9", "Nothing answers at 127.0.0.1:9"),
        ("nonsense", "no address of a Ray cluster"),
        ("host:99999999", "Nothing answers"),
    ],
)
def test_an_address_that_cannot_be_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    from rowmill.remote.ray import connect

    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RowmillError, match=said):
        anyio.run(partial(connect, RayExecutor(), tmp_path, Echo))
