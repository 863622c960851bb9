"""A test over many cases says which of them fail."""

from __future__ import annotations

import pytest
from every import every


def test_all_cases_are_tried_and_all_that_fail_are_named() -> None:
    tried = []

    def check(case: int) -> None:
        tried.append(case)
        if case == 3:
            pytest.fail("three")
        if case == 4:
            with pytest.raises(KeyError):
                pass
        assert case != 1

    with pytest.raises(BaseExceptionGroup, match="3 of 5 cases fail: 1, 3, 4") as failed:
        every(range(5), check)
    assert tried == [0, 1, 2, 3, 4]
    assert [failure.__notes__ for failure in failed.value.exceptions] == [["Case: 1"], ["Case: 3"], ["Case: 4"]]


def test_no_case_at_all_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="there is no case"):
        every([], print)


def test_an_interrupt_ends_it() -> None:
    def check(case: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        every([1, 2], check)
