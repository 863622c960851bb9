"""W9: calls at a worker begin in the order in which they came, so many at once as the limit of their resource says."""

from __future__ import annotations

from rowmill.remote.lane import Lane
from rowmill.remote.messages import CallData


def _call(number: int) -> CallData:
    return CallData(number, 0, 0, None, [])


def _lane(*waiting: int, limit: float = 2, keeps: bool = False) -> Lane:
    made = Lane(limit, keeps=keeps)
    for number in waiting:
        made.add(_call(number))
    return made


def _begun(made: Lane) -> list[int]:
    found = []
    while (data := made.next_call()) is not None:
        found.append(data.call)
    return found


def _calls(given_back: list[CallData]) -> list[int]:
    return [data.call for data in given_back]


def test_w9_calls_begin_in_their_order_as_places_get_free() -> None:
    made = _lane(1, 2, 3, 4)
    assert _begun(made) == [1, 2]
    made.running -= 1
    assert _begun(made) == [3]
    assert len(made) == 1


def test_w9_without_a_limit_every_call_begins() -> None:
    made = Lane()
    for number in range(100):
        made.add(_call(number))
    assert _begun(made) == list(range(100))


def test_w9_a_limit_that_falls_gives_back_what_waits_and_one_that_rises_does_not() -> None:
    made = _lane(1, 2, 3, 4)
    assert _begun(made) == [1, 2]
    assert _calls(made.set_limit(3)) == []
    assert _begun(made) == [3]
    made.add(_call(5))
    assert _calls(made.set_limit(0)) == [4, 5]
    made.add(_call(6))
    made.running = 0
    assert _begun(made) == [], "nothing begins while the resource rests"
    made.set_limit(1)
    assert _begun(made) == [6]


def test_w9_calls_of_plain_functions_wait_whatever_the_limit_does() -> None:
    made = _lane(1, 2, 3, limit=2, keeps=True)
    assert _begun(made) == [1, 2]
    assert made.set_limit(1) == []
    assert made.stuck(0.0) == []
    made.running = 0
    assert _begun(made) == [3]


def test_w9_calls_that_wait_while_none_begins_are_given_back() -> None:
    made = _lane(1, 2, limit=1)
    assert _begun(made) == [1]
    assert made.stuck(60.0) == []
    assert _calls(made.stuck(0.0)) == [2]
    assert made.stuck(0.0) == []


def test_a_call_that_nobody_waits_for_any_more_leaves_its_lane() -> None:
    made = _lane(1, 2, 3, limit=1)
    assert _begun(made) == [1]
    assert _calls(made.withdraw({1, 3})) == [3]
    made.running = 0
    assert _begun(made) == [2]
