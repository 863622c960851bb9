"""When turns are taken with the event loop standing still, and how long results wait for each other then."""

from __future__ import annotations

import itertools

import pytest

from rowmill.dispatch.turn_times import TurnTimes

BETWEEN_S = 0.02


class Clock:
    """Time passes when turns are taken and between them; the loop is idle for a share of the time it runs."""

    def __init__(self, idle_share: float) -> None:
        self.times = TurnTimes()
        self.idle_share = idle_share
        self.now = 100.0
        self.idle_s = 50.0

    def turn(self, *, beside_s: float, alone_s: float) -> bool:
        """Takes a turn of that length, and lets a while pass; whether the loop stood still for it."""
        self.times.start(self.now, self.idle_s)
        alone = self.times.is_alone
        self._pass(alone_s if alone else beside_s, is_standing=alone)
        self.times.end(self.now)
        self._pass(BETWEEN_S)
        return alone

    def _pass(self, seconds: float, *, is_standing: bool = False) -> None:
        self.now += seconds
        self.idle_s += 0.0 if is_standing else seconds * self.idle_share


def _turns(clock: Clock, count: int, *, beside_s: float = 0.08, alone_s: float = 0.02) -> list[bool]:
    return [clock.turn(beside_s=beside_s, alone_s=alone_s) for _ in range(count)]


def test_d2_beside_a_loop_that_is_never_idle_long_turns_go_alone_from_the_third_on() -> None:
    """The first tells nothing of the loop, the second that it is busy and that turns are long."""
    assert _turns(Clock(idle_share=0.0), 50) == [False, False, *[True] * 48]


@pytest.mark.parametrize(
    ("idle_share", "beside_s"), [(0.3, 0.08), (1.0, 0.08), (0.0, 0.029)], ids=["idle at times", "idle", "short turns"]
)
def test_no_turn_goes_alone_while_the_loop_has_time_or_turns_are_short_beside_it(
    idle_share: float, beside_s: float
) -> None:
    assert not any(_turns(Clock(idle_share), 200, beside_s=beside_s))


def test_turns_go_beside_the_loop_again_as_soon_as_it_has_time() -> None:
    clock = Clock(idle_share=0.0)
    assert _turns(clock, 10)[-1]
    clock.idle_share = 0.5
    assert _turns(clock, 3) == [True, False, False]


def test_one_turn_in_15_s_is_taken_beside_the_loop_to_see_whether_it_is_still_long() -> None:
    clock = Clock(idle_share=0.0)
    ways = _turns(clock, 2000)
    beside = [place for place, alone in enumerate(ways) if not alone][2:]
    assert 4 <= len(beside) <= 6
    assert all(14 <= (later - earlier) * (0.02 + BETWEEN_S) <= 16 for earlier, later in itertools.pairwise(beside))
    assert not any(_turns(clock, 1000, beside_s=0.01)[400:])


def test_turns_that_take_too_long_alone_go_beside_the_loop_and_one_long_one_changes_nothing() -> None:
    clock = Clock(idle_share=0.0)
    assert all(_turns(clock, 20)[2:])
    assert all(_turns(clock, 1, alone_s=2.0) + _turns(clock, 20))
    slow = _turns(clock, 200, beside_s=0.2, alone_s=0.15)
    assert sum(slow) <= 20
    assert not any(slow[20:60])


def test_d2_alone_results_wait_up_to_twice_the_window_which_is_the_window_in_the_mean() -> None:
    clock = Clock(idle_share=0.0)
    _turns(clock, 10)
    assert clock.times.is_alone
    ended_at = clock.now - BETWEEN_S
    assert clock.times.next_at(0.02) == pytest.approx(ended_at + 0.04)
    assert clock.times.next_at(0.01) == pytest.approx(ended_at + 0.02)
    assert clock.times.next_at(0.0) == pytest.approx(ended_at)
    _turns(clock, 1, alone_s=0.04)  # 2 ms are left of what a result may wait in the mean
    assert clock.times.next_at(0.025) == pytest.approx(clock.now - BETWEEN_S + 0.004)


def test_d2_beside_the_loop_the_window_begins_with_the_turn_and_is_shorter_the_longer_it_takes() -> None:
    clock = Clock(idle_share=1.0)
    _turns(clock, 3, beside_s=0.01)
    started_at = clock.now - BETWEEN_S - 0.01
    assert clock.times.next_at(0.025) == pytest.approx(started_at + 0.025)
    _turns(clock, 1, beside_s=0.03)
    assert clock.times.next_at(0.025) == pytest.approx(clock.now - BETWEEN_S - 0.03 + 0.018)
    _turns(clock, 1, beside_s=0.2)
    assert clock.times.next_at(0.025) == pytest.approx(clock.now - BETWEEN_S - 0.2)
