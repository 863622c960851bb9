"""A Ray cluster of three nodes on this machine, in a process of its own that ends with its tests.

Every node listens on 127.0.0.1 alone. The first one, the head, takes no workers: the tests' drivers belong to it.
A line on standard input is a command, a line on standard output its answer.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_OBJECT_STORE = 80 << 20
"""The least Ray takes: a container may have a small /dev/shm."""
_START_S = 90.0


def environment(temporary: Path) -> dict[str, str]:
    """Of everything that speaks to the cluster."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "RAY_TMPDIR": str(temporary),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or it would listen on every address
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # or it would leave a token in the home directory
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",  # where /dev/shm is small it takes a file, and would refuse
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        "RAY_enable_open_telemetry": "0",
        "RAY_prestart_worker_first_driver": "0",
    }


class RayCluster:
    """What a test may do to the cluster."""

    def __init__(self, process: subprocess.Popen[str], temporary: Path) -> None:
        self._process = process
        self.temporary = temporary
        """Ray's directory: its logs, and all else it writes."""
        told = self._told()
        self.address: str = told["address"]
        self.nodes: dict[str, int] = told["nodes"]
        """The process of every node but the head, by the node's id."""

    @property
    def environ(self) -> dict[str, str]:
        """For a driver."""
        return {**environment(self.temporary), "RAY_ADDRESS": self.address}

    def processes_of(self, node: str) -> list[int]:
        """The node's process and all that it started."""
        return descendants(self.nodes[node])

    def kill_node(self, node: str) -> None:
        """As if its power were lost; another takes its place."""
        for pid in self.processes_of(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process_input("replace", node)
        self.nodes = self._told()["nodes"]

    @contextmanager
    def frozen(self, node: str) -> Iterator[None]:
        """As if the network to it were gone: nothing answers, nothing is closed."""
        pids = self.processes_of(node)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _process_input(self, *command: str) -> None:
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)

    def _told(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The cluster did not start; see {self.temporary}")
        return json.loads(line)


def descendants(pid: int) -> list[int]:
    """A process and all below it that live."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def left_over(temporary: Path) -> list[int]:
    """Processes of the cluster, however they came about: its directory is in their arguments or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if f"{temporary}/".encode() in told or f"RAY_TMPDIR={temporary}\0".encode() in told:
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]


@contextmanager
def ray_cluster(nodes: list[dict[str, Any]]) -> Iterator[RayCluster]:
    """A cluster with a head and these nodes, each said as Ray's ``add_node`` takes it. Nothing of it is left."""
    temporary = Path(tempfile.mkdtemp(prefix="rr-", dir="/tmp"))  # sockets' names are short
    with (temporary / "cluster.err").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(nodes)],
            env=environment(temporary),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield RayCluster(process, temporary)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
        until = time.monotonic() + 10
        while (left := left_over(temporary)) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)
        if left:
            raise RuntimeError(f"Processes of the cluster outlived it: {left}")


def _serve(wanted: list[dict[str, Any]]) -> None:
    from ray.cluster_utils import Cluster

    shared = {"node_ip_address": "127.0.0.1", "object_store_memory": _OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**shared, "num_cpus": 0, "include_dashboard": False})
    told = {}
    for options in wanted:
        told[cluster.add_node(wait=False, **shared, **options)] = options
    cluster.wait_for_nodes(_START_S)

    def say() -> None:
        nodes = {node.node_id: node.all_processes["raylet"][0].process.pid for node in told}
        print(json.dumps({"address": cluster.address, "nodes": nodes}), file=answers, flush=True)

    say()
    for line in sys.stdin:
        _, node_id = json.loads(line)
        lost = next(node for node in told if node.node_id == node_id)
        cluster.worker_nodes.remove(lost)  # or it would be killed once more, and waited for
        before = list(told.items())
        another = cluster.add_node(**shared, **told[lost])
        told.clear()  # the new one stands where the lost one stood: tests know nodes by their order
        told.update((another if node is lost else node, options) for node, options in before)
        say()
    cluster.shutdown()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is no answer
    _serve(json.loads(sys.argv[1]))
