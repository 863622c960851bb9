"""Steering a run, whoever has its file: the process that works on it applies a request; we do when there is none."""

from __future__ import annotations

import getpass
import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rowmill.errors import Locked, UsageError
from rowmill.inspect.message import HolderGone
from rowmill.inspect.opening import Reattaching
from rowmill.inspect.place import live_place
from rowmill.inspect.waiting import open_store
from rowmill.store.file.usable import check_exists
from rowmill.store.run_store import RunStore
from rowmill.store.turn.control import refuse
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest

_CANCEL_PATIENCE_S = 1.5
_BETWEEN_SIGNALS_S = 0.5


def steer(database: Path, verb: str, arguments: Mapping[str, Any] | None = None) -> ControlAnswer:
    """Applies a request to the run of ``database``, once, and returns when that is durable.

    Raises UsageError (no run there, or the request is refused), Locked (the holder does not answer), StateError.
    """
    request = request_of(verb, arguments)
    patience = Reattaching(database)
    while True:
        try:
            store = _open(database)
        except Locked as locked:
            try:
                answer = _ask(database, request)
            except HolderGone:
                # It may have applied the request before it went: then its key is known where it is asked next.
                if verb == "cancel" and time.time() - request.requested_at > _CANCEL_PATIENCE_S:
                    _tell_by_signal(database, locked)
                patience.wait(locked)
                continue
        else:
            try:
                answer = store.steer(request, request.requested_at)
            finally:
                store.close()
        refuse(answer)
        return answer


def _tell_by_signal(database: Path, locked: Locked) -> None:
    """Interrupts the run that holds the file, once more each time: it announced itself, but is too busy to answer."""
    pid = live_place(database).announced_pid()
    if pid is not None and pid == locked.pid != os.getpid():
        with suppress(OSError):  # it has ended meanwhile, or is not ours
            os.kill(pid, signal.SIGTERM)
        time.sleep(_BETWEEN_SIGNALS_S)


def request_of(verb: str, arguments: Mapping[str, Any] | None = None) -> ControlRequest:
    """A request of this user's, made now."""
    return ControlRequest(secrets.token_hex(12), verb, arguments or {}, _who(), time.time())


def _ask(database: Path, request: ControlRequest) -> ControlAnswer:
    from rowmill.inspect.client import LiveConnection  # Flight is imported only if there is a need

    connection = LiveConnection(database)
    try:
        return connection.steer(request)
    finally:
        connection.close()


def _open(database: Path) -> RunStore:
    check_exists(database)
    store = open_store(database)
    if store.is_new:
        store.close()
        raise UsageError(f"{database} is empty: no run was ever started in it. 'rowmill run SPEC' fills it.")
    return store


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name
        user = f"user {os.getuid()}"
    return f"{user} (pid {os.getpid()} on {socket.gethostname()})"
