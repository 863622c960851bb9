"""How often cycles are looked for while a run works."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rowmill.engine.garbage import collected_rarely


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_collections_are_rare_inside_and_as_before_outside() -> None:
    gc.set_threshold(700, 10, 10)
    with collected_rarely():
        assert gc.get_threshold() == (25_000, 20, 20)
    assert gc.get_threshold() == (700, 10, 10)


def test_they_are_as_before_also_after_an_error() -> None:
    gc.set_threshold(700, 10, 10)
    with pytest.raises(KeyError), collected_rarely():
        raise KeyError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (100_000, 50, 50)])
def test_a_program_that_chose_fewer_collections_or_none_keeps_its_choice(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with collected_rarely():
        assert gc.get_threshold() == chosen
