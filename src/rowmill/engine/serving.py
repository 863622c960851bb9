"""Answering readers while a run works: the live server, for as long as the dispatcher runs.

A run never fails for it: if the socket cannot be made it goes on with one warning, and readers find the file locked.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from pyarrow import ArrowException

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.engine.writer import Writer
from rowmill.inspect.place import LivePlace, live_place
from rowmill.store.connection import Connection
from rowmill.store.run_store import RunStore

if TYPE_CHECKING:
    from rowmill.inspect.server import LiveServer

_log = logging.getLogger(__name__)


def announce(database: Path) -> LivePlace | None:
    """Says that readers may ask this process; None, and a warning, if there is no place for it."""
    place = live_place(database)
    try:
        place.announce()
    except OSError as error:
        _warn(error)
        return None
    return place


async def answer_readers(store: RunStore, writer: Writer, dispatcher: Dispatcher, place: LivePlace) -> None:
    """Serves until it is cancelled. Starting and ending happen beside the event loop."""
    instance = await writer.call(store.connection.beside)
    try:
        server = await anyio.to_thread.run_sync(_serve, place, instance, dispatcher)
    except (OSError, ArrowException, ImportError) as error:
        instance.close()
        _warn(error)
        return
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(server.close)


def _serve(place: LivePlace, instance: Connection, dispatcher: Dispatcher) -> LiveServer:
    from rowmill.inspect.server import LiveServer  # Flight is imported while the run works already

    return LiveServer(place, instance, dispatcher.running_calls)


def _warn(error: Exception) -> None:
    _log.warning("The run cannot be looked at while it works: %s. It goes on all the same.", error)
