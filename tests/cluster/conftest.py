"""One Ray cluster for all tests of this directory."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator

import pytest
from ray_cluster import RayCluster, ray_cluster

NODES = [
    {"num_cpus": 2, "resources": {"left": 4}},
    {"num_cpus": 2, "num_gpus": 2, "resources": {"right": 4, "accelerator_type:H100": 1}},
]
"""Fake GPUs: Ray only counts them."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """A head that takes no workers, and two nodes that do."""
    if sys.version_info >= (3, 15) and importlib.util.find_spec("ray") is None:
        pytest.skip("there is no ray for this version of Python yet")
    with ray_cluster(NODES) as cluster:
        yield cluster


@pytest.fixture
def in_cluster(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> RayCluster:
    """This process may be a driver."""
    for name, value in cluster.environ.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    return cluster
