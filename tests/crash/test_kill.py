"""kill -9 of a real process at seeded moments, until its run is complete (D1, D2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_loop import KillReport, kill_loop
from verb_loop import VERBS, kill_verbs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def _assert_survived(report: KillReport, kills: int) -> None:
    text = "\n".join(report.lines())
    print(text)
    assert not report.tally.problems, text
    assert report.kills == kills, text


def test_runs_killed_32_times_end_with_the_dataset_of_an_uninterrupted_one(tmp_path: Path) -> None:
    report = kill_loop(tmp_path, kills=32, seed=20261120)
    _assert_survived(report, 32)
    assert {"creation", "start-up", "work", "barrier"} <= set(report.tally.kills)
    assert report.tally.steered.total() > 4


def test_the_same_holds_when_the_engine_checkpoints_all_the_time(tmp_path: Path) -> None:
    report = kill_loop(tmp_path, kills=12, seed=4, records=240, latency_ms=60, always_checkpoints=True)
    _assert_survived(report, 12)


def test_a_verb_that_is_killed_and_done_again_ends_as_if_nobody_had_killed_it(tmp_path: Path) -> None:
    report = kill_verbs(tmp_path, kills=3, seed=20261121)
    print("\n".join(report.lines()))
    assert not report.problems, "\n".join(report.lines())
    assert report.kills.total() + report.ended.total() == 3 * len(VERBS)
    assert report.kills.total() >= len(VERBS)
