"""The hint for a run whose requests wait for its own process instead of a server."""

from __future__ import annotations

import logging

from rowmill.engine.elsewhere import waits_only
from rowmill.engine.preparation import Prepared

_TURNS = 200
"""Turns for which the event loop stood still, until that is told: about a quarter of a minute."""

_log = logging.getLogger("rowmill.run")


class BusyHint:
    """Tells once that another process would make more requests."""

    def __init__(self, prepared: Prepared, *, has_workers: bool) -> None:
        asks_servers = any(model.provider != "simulated" for model in prepared.spec.models)
        self._turns_left = _TURNS if asks_servers and waits_only(prepared) and not has_workers else 0

    def turned(self, *, alone: bool) -> None:
        """A turn was taken; ``alone``: the event loop was never idle, and stood still for it."""
        if not alone or not self._turns_left:
            return
        self._turns_left -= 1
        if not self._turns_left:
            _log.warning(
                "The requests of this run wait for its process, not for the server. A process of their own would make "
                "about a third more: '--executor processes --workers 1' ('rowmill help scaling')."
            )
