"""One test over many cases that share what is costly: all of them are tried, and every one that fails is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

Case = TypeVar("Case")


def every(cases: Iterable[Case], check: Callable[[Case], object]) -> None:
    """Calls ``check`` with each case, then fails with all that failed, each by its name and with its trace.

    No case at all is a failure, too.
    """
    failures: list[BaseException] = []
    tried = 0
    for case in cases:
        tried += 1
        try:
            check(case)
        except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001  raised below, with the others
            failure.add_note(f"Case: {case!r}")
            failures.append(failure)
    assert tried, "there is no case"
    if failures:
        names = ", ".join(failure.__notes__[-1].removeprefix("Case: ") for failure in failures)
        raise BaseExceptionGroup(f"{len(failures)} of {tried} cases fail: {names}", failures)
