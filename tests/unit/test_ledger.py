"""The ledger of a turn: which reason to stop wins, and what the next turn knows of this one."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest

from rowmill.store.turn.ledger import Stop, TurnLedger
from rowmill.task import FinishedRowGroup, Outcome, OutcomeKind, Task

NOW = datetime(2026, 1, 1)


def test_of_several_reasons_to_stop_the_first_of_their_order_wins_whichever_was_noted_first() -> None:
    for reasons in itertools.permutations(Stop, 2):
        ledger = TurnLedger(NOW)
        for reason in reasons:
            ledger.note_stop(reason, RuntimeError(reason.name))
        assert ledger.stop_reason is min(reasons)
        assert str(ledger.stop) == str(ledger.result().stop) == min(reasons).name


def test_what_has_to_be_mended_comes_before_bounds_that_only_have_to_be_raised() -> None:
    assert list(Stop) == [
        Stop.BARRIER_FAILED,
        Stop.TOO_MANY_FAILURES,
        Stop.FATAL_OUTCOME,
        Stop.SKIP_RULE_FAILED,
        Stop.BUDGET_REACHED,
        Stop.TOO_FEW_ACCEPTED,
        Stop.NOTHING_TO_FOLLOW,
    ]


def test_of_one_reason_the_first_error_counts() -> None:
    ledger = TurnLedger(NOW)
    ledger.note_stop(Stop.FATAL_OUTCOME, RuntimeError("first"))
    ledger.note_stop(Stop.FATAL_OUTCOME, RuntimeError("second"))
    assert str(ledger.stop) == "first"


def test_a_turn_without_a_reason_does_not_stop_the_run() -> None:
    ledger = TurnLedger(NOW)
    ledger.note_stop(Stop.BUDGET_REACHED, None)
    assert (ledger.stop, ledger.stop_reason, ledger.as_last().has_stopped) == (None, None, False)


def test_the_next_turn_knows_what_this_one_left_and_nothing_else() -> None:
    skipped = Outcome(OutcomeKind.SKIPPED, Task(0, 0, 0, 0, 0, {}))
    first = TurnLedger(NOW)
    first.finished.append(FinishedRowGroup(3, 1, 0))
    first.skipped.append(skipped)
    first.dropped.add((0, 1))
    second = TurnLedger(NOW, first.as_last())
    assert (first.is_first, second.is_first) == (True, False)
    assert second.last is not None
    assert (second.last.skipped, second.last.announced) == ((skipped,), (3,))
    assert (second.finished, second.skipped, second.dropped) == ([], [], set())


@pytest.mark.parametrize("turns", [1, 3])
def test_a_run_that_was_stopped_stays_known_as_such(turns: int) -> None:
    ledger = TurnLedger(NOW)
    ledger.note_stop(Stop.SKIP_RULE_FAILED, RuntimeError("no"))
    for _ in range(turns):
        ledger = TurnLedger(NOW, ledger.as_last())
    assert ledger.last is not None
    assert ledger.last.has_stopped
