"""The error window (F6): when too many of the last results fail."""

from __future__ import annotations

from rowmill.store.turn.error_window import ErrorWindow, Failure


def failure(number: int, kind: str = "ValueError") -> Failure:
    return Failure("price", ((0, number),), kind, f"{kind} at {number}")


def test_f6_a_few_failures_among_many_results_of_one_turn_stop_nothing() -> None:
    window = ErrorWindow(50, 0.5)
    window.add([failure(n) if n % 40 == 0 else None for n in range(4000)])
    assert window.verdict() is None


def test_f6_the_window_judges_only_when_it_is_full() -> None:
    window = ErrorWindow(50, 0.5)
    window.add([failure(n) for n in range(49)])
    assert window.verdict() is None
    window.add([failure(49)])
    assert window.verdict() is not None


def test_f6_what_left_the_window_counts_no_more() -> None:
    window = ErrorWindow(4, 0.5)
    window.add([None, None, failure(0), None, None, None, None])
    assert window.failures() == []
    window.add([failure(1), None, None])
    assert window.verdict() is None
    window.add([failure(2)])
    assert window.verdict() is not None


def test_f6_the_verdict_names_what_failed_most() -> None:
    window = ErrorWindow(4, 0.5)
    window.add([failure(0, "KeyError"), failure(1), failure(2), failure(3)])
    verdict = window.verdict()
    assert verdict is not None
    assert "'price' with ValueError: ValueError at 3. Their rows were not dropped" in str(verdict)


def test_f6_what_was_evaluated_at_once_counts_in_its_proportion_evenly_spread() -> None:
    window = ErrorWindow(50, 0.5)
    sample = window.sample(900, [failure(number) for number in range(100)])
    assert len(sample) == 50
    places = [place for place, result in enumerate(sample) if result is not None]
    assert places == [9, 19, 29, 39, 49]


def test_f6_a_single_failure_among_many_counts() -> None:
    assert [result for result in ErrorWindow(50, 0.5).sample(10_000, [failure(1)]) if result] == [failure(1)]


def test_f6_nothing_but_failures_fills_the_window_with_them() -> None:
    window = ErrorWindow(50, 0.5)
    window.add(window.sample(0, [failure(number) for number in range(80)]))
    assert window.verdict() is not None
