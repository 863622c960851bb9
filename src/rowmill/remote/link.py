"""Links: how frames get to a worker and back, and how workers are started. One implementation for each kind of place.

The crew decides everything: which worker gets which call, when one counts as lost, what takes its place. A link only
moves frames. A launcher only starts a worker where it is told to.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from rowmill.errors import RowmillError


class LinkLost(RowmillError):
    """The other end is gone, or out of reach: nothing will come of this link any more. The message says why."""


class CannotLaunch(RowmillError):
    """No worker can be started now, and that may pass: no free GPU, no node, no memory. The crew tries again."""


class Link(Protocol):
    """The driver's end of the connection to one worker.

    What a link must guarantee:

    * Frames are opaque bytes. Each arrives whole, once, and in the order it was sent, in each direction.
    * :meth:`send` and :meth:`receive` are each called by one task at a time, both at once by two.
    * When the worker has died or the connection is broken, both raise :class:`LinkLost`, for ever after; those who wait
      in them are woken. :meth:`receive` may first hand over what had come by then. It should take less than 0.5 s to
      notice a death. It need not notice silence: that is the crew's matter (W2).
    * A worker whose driver is gone ends at once, whatever it is doing (W7). Where the transport does not see to it, the
      link's own code at the worker's side has to.
    * No frame, and nothing of one, is written anywhere: the first one holds keys (W8).
    """

    @property
    def node(self) -> str:
        """The node of a cluster its worker runs on, as :class:`Launcher` knows it; empty where there are none."""
        ...

    async def send(self, frame: bytes) -> None:
        """Returns when the frame is on its way; need not wait for its arrival.

        May wait while the transport is full; what comes of a frame whose sending was cancelled is open, and only
        :meth:`kill` follows then. Raises :class:`LinkLost`.
        """
        ...

    async def receive(self) -> bytes:
        """The next frame; waits for it. Can be cancelled, and no frame is lost by that. Raises :class:`LinkLost`."""
        ...

    async def kill(self) -> None:
        """Ends the worker and the link, at once, whatever the worker does; no frame comes any more.

        May be called at any time, several times, and never raises. Takes no longer than a second: it does not wait for
        a worker or a node that does not answer.
        """
        ...

    async def wait_ended(self) -> None:
        """Waits until the worker, told to drain, has ended by itself. Can be cancelled; :meth:`kill` follows."""
        ...


class Launcher(Protocol):
    """Starts workers of one kind of place."""

    async def launch(self, name: str, group: str, avoid: Set[str]) -> Link:
        """Starts a worker that says :class:`~rowmill.remote.messages.Hello`; returns as soon as frames can be sent.

        ``name`` is for people. ``group`` is one of the groups of the spec's executor. ``avoid``: nodes that were
        silent; none of them may be chosen (W3). Can be cancelled, and leaves nothing behind then. Raises
        :class:`CannotLaunch` if that may pass, another RowmillError if it never will; nothing else.
        """
        ...

    async def aclose(self) -> None:
        """Lets go of what it holds, when all its links are killed. Never raises."""
        ...


class WorkerEnd(Protocol):
    """The worker's side, without its transport: what :class:`rowmill.remote.host.Host` is.

    A link's code at the worker's side makes a ``Host(send, node)``, runs :meth:`serve` as a task of its event loop, and
    gives it each frame that comes. ``send`` is called on that event loop with each frame for the driver and must not
    wait. The process is the worker's alone: signals, ``os.environ`` and its log belong to the host.
    """

    def take(self, frame: bytes) -> None:
        """A frame came from the driver. Called on the event loop, in order; may come before :meth:`serve` runs."""
        ...

    async def serve(self) -> None:
        """Says hello, then works until it is told to drain. The worker ends when this returns or raises."""
        ...
