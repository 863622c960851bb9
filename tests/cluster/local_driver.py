"""A driver with a Ray of its own: starts it, has one worker say hello, and tells what listens meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
from ray_cluster import left_over
from worker_ends import Echo

from rowmill.remote.ray import connect
from rowmill.spec.executor import RayExecutor


async def _main(temporary: Path) -> None:
    launcher = await connect(RayExecutor(address="local", workers=3), temporary, Echo)
    links = [await launcher.launch(f"w{number}", "default", frozenset()) for number in range(3)]
    hellos = [json.loads(await link.receive()) for link in links]
    sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, check=True, text=True).stdout  # noqa: ASYNC221
    pids = {*left_over(temporary), os.getpid()}
    listening = [line.split()[3] for line in sockets.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    await launcher.aclose()
    print(json.dumps({"workers": [hello["pid"] for hello in hellos], "listening": listening}))


anyio.run(_main, Path(sys.argv[1]))
