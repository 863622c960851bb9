"""What somebody wants of a run, and what became of it: values that travel to whoever holds the file."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What somebody wants of a run. ``arguments`` are plain JSON values, by verb:

    pause, resume, drain, cancel: none. limit: ``resource`` (null: all in flight), ``calls`` (null: as the spec says),
    ``spec_calls``. drop: ``rows`` (ranges of row_id, both ends included), ``reason``. retry_deferred: ``tasks``
    (generator, row group, row index or -1). retry_dropped: ``rows`` (row group, row index).
    """

    key: str
    verb: str
    arguments: Mapping[str, Any]
    requested_by: str
    requested_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """What became of a request: ``applied``, ``already`` (it was so before) or ``refused``; in words; how many rows."""

    outcome: str
    message: str
    rows: int = 0


@dataclass
class PendingRequest:
    """A request on its way to the next turn."""

    request: ControlRequest
    answer: ControlAnswer | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)
