"""Workers that are processes, and their drivers, killed and stopped at seeded moments (W, D1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from budget import Budget
from command_line import shared_server
from kill_elsewhere import OnThisMachine, disturb

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

KILLS = 100


def test_runs_whose_workers_and_drivers_are_killed_end_as_if_nobody_had_disturbed_them(
    tmp_path: Path, budget: Budget
) -> None:
    """``tools/crash_loop --executor processes --kills N --seed S`` kills as often as one likes."""
    is_enough = budget.enough(10.0, least=5, what="kills")
    report = disturb(
        tmp_path,
        OnThisMachine(),
        kills=KILLS,
        seed=budget.seed,
        records=320,
        is_enough=is_enough,
        server=shared_server(),
    )
    is_enough(report.kills)
    text = "\n".join(report.lines())
    print(text)
    assert not report.problems, text
    assert report.kills >= 5, text
