"""What functions import from beside their spec is what lies there now, in a process that runs several specs (V2)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rowmill.generators.custom.function import FunctionProblem, load_function

_FUNCTIONS = "from helper import word\n\ndef say(row) -> str:\n    return word()\n"


def _helper(word: str) -> str:
    return f"def word():\n    return {word!r}\n"


def _spec(directory: Path, word: str, functions: str = _FUNCTIONS) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "functions.py").write_text(functions)
    (directory / "helper.py").write_text(_helper(word))
    return directory


def _said(directory: Path, reference: str = "functions:say") -> Any:
    return load_function(reference, directory).function({})


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in {"helper", "tools_beside"}]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _no_module_stays() -> Iterator[None]:
    """Neither one that another test imported, nor one of these tests."""
    _forget()
    yield
    _forget()


def test_specs_of_two_directories_have_helpers_of_one_name(tmp_path: Path) -> None:
    first, second = _spec(tmp_path / "first", "one"), _spec(tmp_path / "second", "two")
    before = load_function("functions:say", first)
    assert (_said(second), _said(first), _said(second)) == ("two", "one", "two")
    assert before.function({}) == "one"


def test_a_helper_that_was_edited_is_imported_as_it_is_now(tmp_path: Path) -> None:
    directory = _spec(tmp_path / "spec", "one")
    before = load_function("functions:say", directory)
    (directory / "helper.py").write_text(_helper("two"))
    after = load_function("functions:say", directory)
    assert (before.function({}), after.function({})) == ("one", "two")
    assert before.code_sha256 != after.code_sha256


def test_a_module_deep_in_a_package_that_was_edited_is_imported_as_it_is_now(tmp_path: Path) -> None:
    package = tmp_path / "tools_beside" / "deep"
    package.mkdir(parents=True)
    for each in (package.parent, package):
        (each / "__init__.py").touch()
    (package / "words.py").write_text(_helper("one"))
    (tmp_path / "tools_beside" / "functions.py").write_text(
        "from tools_beside.deep.words import word\ndef say(row) -> str:\n    return word()\n"
    )
    assert _said(tmp_path, "tools_beside.functions:say") == "one"
    (package / "words.py").write_text(_helper("two"))
    assert _said(tmp_path, "tools_beside.functions:say") == "two"


def test_what_has_not_changed_is_imported_once(tmp_path: Path) -> None:
    functions = _FUNCTIONS + "\ndef also(row) -> str:\n    return word()\n"
    directory = _spec(tmp_path / "spec", "one", functions)
    say, also = (load_function(f"functions:{name}", directory).function for name in ("say", "also"))
    assert say.__globals__ is also.__globals__
    assert say.__globals__["word"] is sys.modules["helper"].word


def test_a_module_of_another_spec_is_not_found(tmp_path: Path) -> None:
    _said(_spec(tmp_path / "first", "one"))
    second = _spec(tmp_path / "second", "two")
    (second / "helper.py").unlink()
    with pytest.raises(FunctionProblem, match="No module named 'helper'"):
        _said(second)


def test_a_module_the_program_imported_itself_stays_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _spec(tmp_path / "first", "one"), _spec(tmp_path / "second", "two", "def say(row): return 'three'")
    _said(_spec(tmp_path / "before", "zero"))
    _forget()
    monkeypatch.syspath_prepend(str(first))
    helper = importlib.import_module("helper")
    assert (_said(first), _said(second)) == ("one", "three")
    assert sys.modules["helper"] is helper
