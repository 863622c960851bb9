"""A driver with two workers, one of which hangs with the interpreter in its hand; it waits until it is killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
from worker_ends import Echo

from rowmill.remote.link import CannotLaunch, Launcher, Link
from rowmill.remote.messages import Open, encode
from rowmill.remote.ray import connect
from rowmill.spec.executor import RayExecutor


async def _launched(launcher: Launcher, name: str) -> Link:
    """As the crew does: tried again while a node that another test ended is not known to be gone."""
    while True:
        try:
            return await launcher.launch(name, "default", frozenset())
        except CannotLaunch:
            await anyio.sleep(1)


async def _main(directory: Path) -> None:
    launcher = await connect(RayExecutor(num_cpus=0.5), directory, Echo)
    pids = []
    for name in ("w1", "w2"):
        link = await _launched(launcher, name)
        pids.append(json.loads(await link.receive())["pid"])
        await link.send(encode(Open(name, "{}", "/nowhere", {}, frozenset(), {})))
        await link.receive()
    await link.send(b"hang")
    print("pids", json.dumps(pids), flush=True)
    await anyio.sleep_forever()


anyio.run(_main, Path(sys.argv[1]))
