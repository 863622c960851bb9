"""Workers' sides that do little: to look at the link alone."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from rowmill.remote.messages import Open, decode


class Echo:
    """Sends every frame back, the first one's directory in its place; obeys a few words."""

    def __init__(self, send: Callable[[bytes], None], node: str) -> None:
        self._send = send
        self._node = node
        self._told_to_end = asyncio.Event()
        self._opened = False

    def take(self, frame: bytes) -> None:
        """A frame of the driver's."""
        if not self._opened:
            self._opened = True
            opening = decode(frame)
            assert isinstance(opening, Open)
            files = sorted(path.name for path in Path(opening.directory).iterdir())
            frame = json.dumps({"directory": opening.directory, "files": files, "here": str(Path.cwd())}).encode()
        elif frame == b"end":
            self._told_to_end.set()
            return
        elif frame == b"hang":
            re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter for longer than anybody lives
        self._send(frame)

    async def serve(self) -> None:
        """Until it is told to end."""
        self._send(json.dumps({"pid": os.getpid(), "node": self._node}).encode())
        await self._told_to_end.wait()
        self._send(b"the last words")


class Failing(Echo):
    """Fails in its own code as soon as it is asked for something."""

    async def serve(self) -> None:
        """Fails."""
        await super().serve()
        raise RuntimeError("a fault of its own")
