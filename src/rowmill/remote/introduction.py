"""How a worker is told what it is to do, and refused if it is not the one that is wanted (W6)."""

from __future__ import annotations

import logging

from rowmill.errors import GeneratorError, Incompatible, InternalError, RowmillError
from rowmill.remote.link import Link
from rowmill.remote.members import CrewWorker
from rowmill.remote.messages import PROTOCOL, Failed, Hello, Ready, decode, encode
from rowmill.remote.plain import error_of

_log = logging.getLogger("rowmill.workers")


async def introduce(worker: CrewWorker, link: Link) -> None:
    """Tells a worker what it is to do, if it is one that fits (W6)."""
    plan = worker.group.plan
    worker.node = link.node
    hello = decode(await link.receive())
    if not isinstance(hello, Hello):
        raise InternalError(f"Worker {worker.name} did not say hello but {type(hello).__name__}")
    worker.hello = hello
    worker.node = worker.node or hello.node
    ours = (PROTOCOL, plan.version, plan.python)
    if (hello.protocol, hello.version, hello.python) != ours:
        raise Incompatible(
            f"Worker {worker.name} on {hello.host} is refused: it has Rowmill {hello.version} on {hello.python}, "
            f"this process Rowmill {plan.version} on {plan.python}, and values would differ without a word. "
            "Install the same on both."
        )
    await link.send(encode(plan.open._replace(worker=worker.name)))
    message = decode(await link.receive())
    if isinstance(message, Failed):
        _log.debug("Worker %s: %s", worker.name, message.trace)
        raise failure_of(message)
    if not isinstance(message, Ready):
        raise InternalError(f"Worker {worker.name} did not get ready but sent {type(message).__name__}")
    for column, digest in plan.digests.items():
        if message.digests.get(column) != digest:
            raise Incompatible(
                f"Worker {worker.name} on {hello.host} is refused: its code of column '{column}' is another than "
                "that of this process, and values would differ without a word. Give it the same files; if they "
                "were changed while the run works, run again."
            )


def failure_of(message: Failed) -> BaseException:
    """What a worker that failed stands for: the run stops."""
    error = error_of(message.error)
    if message.kind == "internal":
        return InternalError(f"A worker failed: {message.error.message}\n{message.trace}")
    return error if isinstance(error, RowmillError) else GeneratorError(str(error), message.error.error_type)
