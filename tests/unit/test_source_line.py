"""Where in a user's code an error was raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rowmill.errors import GeneratorError, Transient
from rowmill.generators.custom.function import import_module
from rowmill.remote.plain import error_data, error_of
from rowmill.source_line import same_everywhere, source_line
from rowmill.store.turn.attempts import error_text

CODE = """import json


def divide(number):
    return 1 / number


def read(text):
    return json.loads(text)


def wrap(number):
    try:
        return divide(number)
    except ZeroDivisionError as error:
        raise ValueError("no") from error


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def fail(kind):
    raise kind
"""


@pytest.fixture
def boom(tmp_path: Path) -> ModuleType:
    (tmp_path / "boom.py").write_text(CODE)
    return import_module("boom", tmp_path)


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:  # noqa: BLE001  it is what is looked at
        return error
    raise AssertionError("nothing was raised")


def test_the_innermost_line_of_the_users_own_code_counts(boom: ModuleType) -> None:
    assert source_line(raised(lambda: boom.divide(0))) == "boom.py:5"
    assert source_line(raised(lambda: boom.read("{"))) == "boom.py:9"
    assert source_line(raised(lambda: boom.wrap(0))) == "boom.py:16"


def test_an_error_says_where_it_was_raised_once(boom: ModuleType) -> None:
    assert error_text(raised(lambda: boom.divide(0))) == "division by zero (boom.py:5)"


def test_an_error_of_no_users_code_has_no_line() -> None:
    found = raised(lambda: json.loads("{"))
    assert source_line(found.with_traceback(None)) is None
    assert source_line(None) is None


def test_an_error_that_a_worker_tells_of_says_what_it_said_there_and_where(boom: ModuleType) -> None:
    kinds: list[object] = [ValueError, ValueError("bad"), KeyError("name"), MemoryError, TimeoutError, boom.Mute]
    for kind in [*kinds, Transient("later"), GeneratorError("wrong"), GeneratorError("x" * 2000)]:
        error = raised(lambda kind=kind: boom.fail(kind))  # type: ignore[misc]
        told = error_of(error_data(error))
        assert error_text(told) == error_text(error)
        assert source_line(told) == source_line(error) == "boom.py:25"
    assert error_text(told).endswith("… (boom.py:25)")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("<functions@9af3570ba23cb757.Point object at 0x7fa9915d5d10>", "<functions.Point object>"),
        ("<class 'of.mine@9af3570ba23cb757.Point'> is odd", "<class 'of.mine.Point'> is odd"),
        ("[<function g.<locals>.<lambda> at 0x7fa975583240>]", "[<function g.<locals>.<lambda>>]"),
        ("a < b at 0x7fa975583240", "a < b at 0x7fa975583240"),
        ("me@9af3570ba23cb757.org at 0x7f", "me@9af3570ba23cb757.org at 0x7f"),
    ],
)
def test_a_fault_has_one_message_wherever_an_object_lies(said: str, expected: str) -> None:
    assert same_everywhere(said) == expected
