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
    """:func:`virtual_run.run`, whose databases are closed after the test."""
    with ExitStack() as stack:

        def run_and_close_later(spec: Prepared, *arguments: Any, **options: Any) -> Finished:
            finished = virtual_run.run(spec, *arguments, **options)
            stack.callback(finished.store.close)
            return finished

        yield run_and_close_later


@pytest.fixture
def state_of() -> Iterator[Callable[..., RunState]]:
    """Makes run databases from columns and fields of a spec, to take turns on, and closes them after the test."""
    with ExitStack() as stack:

        def make(*columns: Mapping[str, Any], path: Path | None = None, **fields: Any) -> RunState:
            return stack.enter_context(RunState(prepared(*columns, **fields), path))

        yield make
