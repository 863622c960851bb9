"""Answering while a run works, readers and who steers: the live server, for as long as the dispatcher runs.

A run never fails for it: if the socket cannot be made it goes on with one warning, and readers find the file locked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio import from_thread
from anyio.lowlevel import current_token
from pyarrow import ArrowException

from rowmill.engine.interruption import Deadline
from rowmill.engine.writer import StoreWriter
from rowmill.errors import StateError
from rowmill.inspect.message import HolderGone
from rowmill.inspect.place import LivePlace, live_place
from rowmill.store.database.connection import Connection
from rowmill.store.run_store import RunStore
from rowmill.store.turn.control import Control
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest

if TYPE_CHECKING:
    from rowmill.inspect.server import LiveServer, RunningCalls, Steer

_TURN_PATIENCE_S = 60.0
_ENDING_INTERVAL_S = 0.05
_log = logging.getLogger("rowmill.run")


def announce(database: Path) -> LivePlace | None:
    """Says that readers may ask this process; None, and a warning, if there is no place for it."""
    place = live_place(database)
    try:
        place.announce()
    except OSError as error:
        _warn(error)
        return None
    return place


async def answer(
    store: RunStore,
    writer: StoreWriter,
    running_calls: RunningCalls,
    wake: Callable[[], None],
    control: Control,
    place: LivePlace,
    wall_clock: Callable[[], float],
    deadline: Deadline | None = None,
) -> None:
    """Serves until it is cancelled. ``wake`` asks for a turn. Starting and ending happen beside the event loop."""
    instance = await writer.call(store.connection.beside)
    nudge = partial(from_thread.run_sync, wake, token=current_token())
    steer = partial(_steer, control, nudge, deadline)
    try:
        server = await anyio.to_thread.run_sync(_serve, place, instance, running_calls, steer, wall_clock)
    except (OSError, ArrowException, ImportError) as error:
        instance.close()
        _warn(error)
        return
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(server.close)


def _serve(
    place: LivePlace,
    instance: Connection,
    running_calls: RunningCalls,
    steer: Steer,
    wall_clock: Callable[[], float],
) -> LiveServer:
    from rowmill.inspect.server import LiveServer  # Flight is imported while the run works already

    return LiveServer(place, instance, running_calls, steer, wall_clock)


def _steer(
    control: Control,
    nudge: Callable[[], None],
    deadline: Deadline | None,
    request: ControlRequest,
    is_ending: Callable[[], bool],
) -> ControlAnswer:
    """Hands a request to the next turn and waits for its commit. Called in a thread of the server.

    Raises HolderGone if the run ends before a turn takes it, StateError if none does in time; then it is not applied.
    """
    pending = control.submit(request)
    if request.verb == "cancel" and deadline is not None:
        deadline.arm("Cancelled")
    nudge()
    give_up_at = time.monotonic() + _TURN_PATIENCE_S
    while not pending.done.wait(_ENDING_INTERVAL_S):
        is_late = time.monotonic() > give_up_at
        if (is_late or is_ending()) and control.withdraw(pending):
            if is_late:
                raise StateError(f"The run took no turn for {_TURN_PATIENCE_S:.0f} s; nothing was changed. Try again.")
            raise HolderGone("The run ended before it could do this.")
    if pending.answer is None or pending.error is not None:
        raise StateError(f"Nothing was changed: {pending.error}") from pending.error
    return pending.answer


def _warn(error: Exception) -> None:
    _log.warning("The run cannot be looked at while it works: %s. It goes on all the same.", error)
