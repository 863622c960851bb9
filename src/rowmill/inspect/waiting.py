"""Opening a run database to work on it, past those who only read it: they finish their query, and new ones wait.

Whoever reads a free file holds it for a moment, and others may do so at the same time; one after the other they could
keep a run from starting for ever. So who waits for them says so in a note, and readers that come later let it go first.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from rowmill.errors import Locked
from rowmill.inspect.place import live_place
from rowmill.store.database.held_file import is_only_read
from rowmill.store.run_store import RunStore

_PATIENCE_S = 15.0
"""For readers that were there before."""
_BETWEEN_TRIES_S = 0.02


def open_store(database: Path) -> RunStore:
    """:meth:`RunStore.open`, after readers of the file have finished if they do so in time.

    Raises what that raises: Locked at once if another process works on the file, or this one has it open.
    """
    give_up_at = time.monotonic() + _PATIENCE_S
    note = None
    try:
        while True:
            try:
                return RunStore.open(database)
            except Locked as locked:
                if locked.pid == os.getpid() or time.monotonic() > give_up_at or not is_only_read(database):
                    raise
            if note is None:
                note = live_place(database).waits()
            time.sleep(_BETWEEN_TRIES_S)
    finally:
        if note is not None:
            note.unlink(missing_ok=True)
