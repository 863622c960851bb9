"""A run whose requests wait for its own process says so, once, and what to do."""

from __future__ import annotations

import pytest
from virtual_run import model, prepared

from rowmill.engine.busy_hint import BusyHint

TEXT = {"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": "Write."}
SERVED = {**model(), "alias": "writer", "provider": "openai", "base_url": "http://127.0.0.1:9/v1", "simulation": None}


def _told(caplog: pytest.LogCaptureFixture, hint: BusyHint, turns: int, *, alone: bool) -> int:
    caplog.clear()
    for _ in range(turns):
        hint.turned(alone=alone)
    return sum("--executor processes --workers 1" in record.getMessage() for record in caplog.records)


def test_it_is_told_once_after_many_turns_for_which_the_loop_stood_still(caplog: pytest.LogCaptureFixture) -> None:
    hint = BusyHint(prepared(TEXT, models=[SERVED]), has_workers=False)
    assert _told(caplog, hint, 100, alone=True) == 0
    assert _told(caplog, hint, 1000, alone=False) == 0
    assert _told(caplog, hint, 1000, alone=True) == 1
    assert _told(caplog, hint, 1000, alone=True) == 0


def test_nobody_is_told_what_would_not_help(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = BusyHint(prepared(TEXT, models=[SERVED]), has_workers=True)
    simulated = BusyHint(prepared(TEXT, models=[{**model(), "alias": "writer"}]), has_workers=False)
    for hint in (elsewhere, simulated):
        assert _told(caplog, hint, 1000, alone=True) == 0
