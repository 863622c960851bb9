"""kill -9 of a real process at seeded moments, until its run is complete (D1, D2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from budget import Budget
from command_line import shared_server
from kill_loop import KillReport, kill_loop
from verb_loop import VERBS, kill_verbs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MOST_KILLS = 1000


def _assert_survived(report: KillReport, least: int) -> None:
    text = "\n".join(report.lines())
    print(text)
    assert not report.tally.problems, text
    assert report.kills >= least, text


def test_runs_killed_many_times_end_with_the_dataset_of_an_uninterrupted_one(tmp_path: Path, budget: Budget) -> None:
    """``tools/crash_loop --kills N --seed S`` kills as often as one likes."""
    is_enough = budget.enough(10.0, least=12, what="kills")
    report = kill_loop(
        tmp_path, kills=MOST_KILLS, seed=budget.seed, records=320, is_enough=is_enough, server=shared_server()
    )
    _assert_survived(report, 12)
    assert {"creation", "work"} <= set(report.tally.kills)
    if report.kills >= 64:  # fewer may miss one by chance; test_kill_in_barrier.py kills in barriers only
        assert {"start-up", "barrier"} <= set(report.tally.kills)
        assert report.tally.steered.total() > 4


def test_the_same_holds_when_the_engine_checkpoints_all_the_time(tmp_path: Path, budget: Budget) -> None:
    is_enough = budget.enough(5.0, least=6, what="kills")
    report = kill_loop(
        tmp_path,
        kills=MOST_KILLS,
        seed=budget.seed,
        records=240,
        latency_ms=60,
        always_checkpoints=True,
        is_enough=is_enough,
        server=shared_server(),
    )
    _assert_survived(report, 6)


def test_a_verb_that_is_killed_and_done_again_ends_as_if_nobody_had_killed_it(tmp_path: Path, budget: Budget) -> None:
    kills = 0
    for number in budget.rounds(8.0, least=1):
        (tmp_path / str(number)).mkdir()
        report = kill_verbs(tmp_path / str(number), kills=2, seed=budget.seed + number, server=shared_server())
        print("\n".join(report.lines()))
        assert not report.problems, "\n".join(report.lines())
        assert report.kills.total() + report.ended.total() == 2 * len(VERBS)
        kills += report.kills.total()
    assert kills >= len(VERBS) // 2
