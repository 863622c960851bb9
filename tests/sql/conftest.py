"""Hand-written run states for the tests of the views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from run_state import RunState
from virtual_run import prepared


@pytest.fixture
def state_of() -> Iterator[Callable[..., RunState]]:
    """Makes run databases in memory from columns and fields of a spec, and closes them after the test."""
    with ExitStack() as stack:

        def make(*columns: Mapping[str, Any], **fields: Any) -> RunState:
            return stack.enter_context(RunState(prepared(*columns, **fields)))

        yield make
