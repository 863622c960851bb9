"""Errors as values: they reach another process as they are."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from rowmill import errors
from rowmill.errors import (
    BarrierFailed,
    GeneratorError,
    Locked,
    Problem,
    RateLimited,
    Rejected,
    RowmillError,
    RunStopping,
    SeedMissing,
    SpecError,
    Transient,
    Unavailable,
)

WITH_MORE_THAN_A_MESSAGE = [
    SpecError([Problem("columns.0.prompt", "It is empty."), Problem("", "It has no name.")]),
    SeedMissing([Problem("seed_dataset.path", "There is no file.")]),
    Locked("Another process holds it.", 42, Path("run.duckdb")),
    RateLimited("slow down", 3.5),
    Transient("no answer", "Timeout", 2.0),
    Unavailable("nobody there", "ConnectionRefused", 1.0, is_certain=True),
    Rejected("bad request", "HTTP 400"),
    RunStopping("no such model", "HTTP 404"),
    GeneratorError("no", "ValueError"),
    BarrierFailed("rank", "it failed", "BinderException"),
]
WITH_A_MESSAGE = sorted(
    {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RowmillError)}
    - {type(error) for error in WITH_MORE_THAN_A_MESSAGE},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize(
    "error",
    [*WITH_MORE_THAN_A_MESSAGE, *(kind("It went wrong.") for kind in WITH_A_MESSAGE)],
    ids=lambda e: type(e).__name__,
)
def test_an_error_of_a_pool_of_processes_is_the_same_in_the_process_that_asked(error: RowmillError) -> None:
    error.__cause__ = ValueError("why")
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.args == error.args
    assert vars(found) == vars(error)
