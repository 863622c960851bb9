"""Workers on the cluster of the tests, as those who disturb runs see them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray_cluster import RayCluster


class OnRay:
    """See ``kill_elsewhere.Place``. One driver at a time: workers of Ray do not say whose they are."""

    kinds: Mapping[str, float] = {
        "worker killed": 4,
        "worker stopped": 1,
        "node killed": 2,
        "driver killed": 4,
        "driver stopped": 0.5,
        "worker stopped, driver killed": 1,
    }

    def __init__(self, cluster: RayCluster, workers: int, patience: Mapping[str, float]) -> None:
        self._cluster = cluster
        self.environ: Mapping[str, str] = cluster.environ
        self.executor: Mapping[str, Any] = {"kind": "ray", "workers": workers, **patience}

    def workers(self, driver: int) -> list[int]:
        """See ``kill_elsewhere.Place``."""
        return [pid for node in self._cluster.nodes for pid in self._cluster.processes_of(node) if _is_actor(pid)]

    def kill_node_of(self, worker: int) -> None:
        """See ``kill_elsewhere.Place``."""
        for node in self._cluster.nodes:
            if worker in self._cluster.processes_of(node):
                self._cluster.kill_node(node)
                return

    def left_of(self, driver: int) -> list[int]:
        """See ``kill_elsewhere.Place``."""
        return self.workers(driver)


def _is_actor(pid: int) -> bool:
    """Ray writes into the title of a process what it is."""
    with suppress(OSError):
        return b"ray::Worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
