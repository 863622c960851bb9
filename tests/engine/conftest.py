"""Whole runs in virtual time, and single turns, for the tests of the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import virtual_run
from run_state import RunState
from virtual_run import Finished, prepared

from rowmill.engine.preparation import Prepared


@pytest.fixture
def run() -> Iterator[Callable[..., Finished]]:
    """:func:`virtual_run.run`; a database is closed before the next invocation on it, and after the test."""
    with ExitStack() as stack:
        latest: dict[Path, Finished] = {}

        def run_and_close_later(spec: Prepared, database: Path | None = None, **options: Any) -> Finished:
            if database in latest:
                latest[database].store.close()
            finished = virtual_run.run(spec, database, **options)
            stack.callback(finished.store.close)
            if database is not None:
                latest[database] = finished
            return finished

        yield run_and_close_later


@pytest.fixture
def state_of() -> Iterator[Callable[..., RunState]]:
    """Makes run databases from columns and fields of a spec, to take turns on, and closes them after the test."""
    with ExitStack() as stack:

        def make(*columns: Mapping[str, Any], path: Path | None = None, **fields: Any) -> RunState:
            return stack.enter_context(RunState(prepared(*columns, **fields), path))

        yield make
