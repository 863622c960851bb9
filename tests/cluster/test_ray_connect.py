"""How a run comes to a cluster: the one there is, one of its own, or none because ray is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import anyio
import pytest
from ray_cluster import RayCluster, environment, left_over
from worker_ends import Echo

from rowmill.errors import UsageError
from rowmill.spec.executor import RayExecutor


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowmill.remote.ray import connect

    for module in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'rowmill\[ray\]'"):
        anyio.run(partial(connect, RayExecutor(address="local"), tmp_path, Echo))


def test_ray_is_not_imported_unasked() -> None:
    """By nothing that the command line, a spec or a run database needs."""
    modules = "rowmill, rowmill.cli.main, rowmill.cli.run, rowmill.cli.status, rowmill.spec.spec"
    code = f"import sys, {modules}; print('ray' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.slow
def test_the_cluster_this_machine_belongs_to_is_found_without_being_told(
    in_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rowmill.remote import ray

    monkeypatch.delenv("RAY_ADDRESS")
    host, _, port = ray._running_cluster().rpartition(":")
    assert (host, port.isdecimal()) == ("127.0.0.1", True)


@pytest.mark.slow
def test_a_ray_of_its_own_listens_on_this_machine_alone_and_ends_with_the_run(cluster: RayCluster) -> None:
    """Started as a user would start it: without the variables that the tests' cluster has."""
    with tempfile.TemporaryDirectory(prefix="rr-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        temporary = Path(directory)
        environ = {**environment(temporary), "PYTHONPATH": cluster.environ["PYTHONPATH"]}
        for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED"):
            del environ[name]
        driver = Path(__file__).parent / "local_driver.py"
        ran = subprocess.run(
            [sys.executable, str(driver), directory],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert len(set(told["workers"])) == 3
        assert told["listening"]
        assert [place for place in told["listening"] if "127.0.0.1]:" not in place and "127.0.0.1:" not in place] == []
        assert [pid for pid in left_over(temporary) if pid != os.getpid()] == []


def test_a_missing_ray_is_said_before_a_cluster_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking takes a process and, where a cluster hangs, a minute."""
    from rowmill.remote import ray

    def look() -> str:
        raise AssertionError("looked for a cluster")

    monkeypatch.setattr(ray, "_running_cluster", look)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'rowmill\[ray\]'"):
        anyio.run(partial(ray.connect, RayExecutor(address="auto"), tmp_path, Echo))


def test_a_cluster_that_hangs_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowmill.remote import ray

    def hang(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("subprocess.run", hang)
    with pytest.raises(UsageError, match=r"does not answer within 60 s.*address: local"):
        ray._running_cluster()
