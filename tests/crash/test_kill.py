"""kill -9 of a real process at seeded moments, until its run is complete (D1, D2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_loop import KillReport, kill_loop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def _assert_survived(report: KillReport, kills: int) -> None:
    text = "\n".join(report.lines())
    print(text)
    assert not report.problems, text
    assert report.kills == kills, text
    assert report.repeated <= report.allowed, text


def test_a_run_that_is_killed_20_times_ends_with_the_dataset_of_an_uninterrupted_one(tmp_path: Path) -> None:
    _assert_survived(kill_loop(tmp_path, kills=20, seed=20261120), 20)


def test_the_same_holds_when_the_engine_checkpoints_all_the_time(tmp_path: Path) -> None:
    report = kill_loop(tmp_path, kills=12, seed=4, kills_in_creation=3, latency_ms=60, frequent_checkpoints=True)
    _assert_survived(report, 12)
