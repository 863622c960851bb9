"""A function's fingerprint is its code and what it refers to: not comments, formatting, hints, other functions (V2)."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from rowmill.generators.custom.followed_code import canonical_digest
from rowmill.generators.custom.function import load_function
from rowmill.generators.custom.unrun import unrun

_MODULE = """
import json
import math as m
import random

import helper
from helper import norm

LIMIT = 3
OTHER_LIMIT = LIMIT * 2
TABLE = {"a": 1}
REGISTRY = {}


def register(function):
    REGISTRY[function.__doc__] = function
    return function


class Shape:
    size = LIMIT

    def area(self, x):
        return x * self.size


def size(row):
    total = LIMIT + norm(row["a"]) + helper.scaled(1) + m.floor(2.5)
    return _rounded(total) + Shape().area(2) + TABLE.get("a", 0) + len(f"{total:>10}")


def _rounded(x, y=0):
    return round(x, y)


def unrelated(row):
    return json.dumps(row) * OTHER_LIMIT
"""
_HELPER = """
RATE = 2


def norm(x):
    return x * RATE


def scaled(x):
    return x + 1


def unused(x):
    return x
"""
_SAME = {
    "a comment": ("total = LIMIT", "# how large\n    total = LIMIT"),
    "a docstring": ('def size(row):\n', 'def size(row):\n    """How large."""\n'),
    "a docstring of a class": ("class Shape:\n", 'class Shape:\n    """A shape."""\n'),
    "a hint": ("def _rounded(x, y=0):", "def _rounded(x: float, y: int = 0) -> float:"),
    "a hint of a variable": ("    total = LIMIT", "    total: float = LIMIT"),
    "a hint of a constant": ("LIMIT = 3\n", "LIMIT: int = 3\n"),
    "line breaks": ('total = LIMIT + norm(row["a"])', "total = (\n        LIMIT\n        + norm(row['a'])\n    )"),
    "the spelling of a number": ("LIMIT = 3\n", "LIMIT = 0x3\n"),
    "another function": ("return json.dumps(row)", "return repr(row)"),
    "the name of another function": ("def unrelated(", "def unconcerned("),
    "the name of a function it calls": ("_rounded(", "_in_whole("),
    "the name of a constant": ("LIMIT", "BOUND"),
    "a constant nobody needs": ("OTHER_LIMIT = LIMIT * 2", "OTHER_LIMIT = LIMIT * 4"),
    "a new constant": ("LIMIT = 3\n", "LIMIT = 3\nMORE = {'b': [1]}\n"),
    "the order of definitions": ('TABLE = {"a": 1}\nREGISTRY = {}', 'REGISTRY = {}\nTABLE = {"a": 1}'),
    "an import nobody needs": ("import json\n", "import json\nimport csv\n"),
    "an import for type checkers": (
        "LIMIT = 3\n", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import csv\nLIMIT = 3\n"
    ),
    "what it does as a program": ("LIMIT = 3\n", "LIMIT = 3\nif __name__ == '__main__':\n    print(size({'a': 1}))\n"),
    "pass": ("    return round(x, y)", "    pass\n    return round(x, y)"),
    "a decorator of ours": (
        "def size(row):", "import rowmill\n@rowmill.generator(required_columns=['a'])\ndef size(row):"
    ),
}  # fmt: skip
_ANOTHER = {
    "its code": ("+ m.floor(2.5)", "- m.floor(2.5)"),
    "a function it calls": ("return round(x, y)", "return round(x + 1, y)"),
    "a default": ("y=0", "y=1"),
    "a constant": ("LIMIT = 3", "LIMIT = 4"),
    "a class": ("return x * self.size", "return x + self.size"),
    "the name of a class": ("Shape", "Form"),
    "what it imports": ("import math as m", "import cmath as m"),
    "a table that is filled later": ("class Shape:", 'TABLE["a"] = 2\n\n\nclass Shape:'),
    "a table that a function fills": (
        "class Shape:", "def _fill():\n    TABLE['a'] = 5\n    return 1\n\n\nFILLED = _fill()\n\n\nclass Shape:"
    ),
    "a constant that is bound again": ("class Shape:", "LIMIT += 1\n\n\nclass Shape:"),
    "a constant that depends": ("LIMIT = 3", "import os\nif os.name == 'x':\n    LIMIT = 2\nelse:\n    LIMIT = 3"),
    "what the module does when imported": ("class Shape:", "random.seed(7)\n\n\nclass Shape:"),
    "a decorator": ("def _rounded(", "@register\ndef _rounded("),
    "the form of a text": ("{total:>10}", "{total:>11}"),
    "async": ("def size(row)", "async def size(row)"),
}  # fmt: skip


def _digest(directory: Path, module: str = _MODULE, helper: str = _HELPER, reference: str = "functions:size") -> str:
    directory.mkdir(exist_ok=True)
    (directory / "functions.py").write_text(module)
    (directory / "helper.py").write_text(helper)
    with unrun():
        return load_function(reference, directory, may_be_class=True).code_sha256


def _changed(module: str, change: tuple[str, str]) -> str:
    assert change[0] in module
    return module.replace(*change)


@pytest.mark.parametrize("what", _SAME)
def test_what_shapes_no_value_is_no_change(tmp_path: Path, what: str) -> None:
    assert _digest(tmp_path, _changed(_MODULE, _SAME[what])) == _digest(tmp_path)


@pytest.mark.parametrize("what", _ANOTHER)
def test_what_may_shape_a_value_is_a_change(tmp_path: Path, what: str) -> None:
    assert _digest(tmp_path, _changed(_MODULE, _ANOTHER[what])) != _digest(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        ("return x * RATE", "return x * RATE + 1", False),
        ("RATE = 2", "RATE = 3", False),
        ("return x + 1", "return x + 2", False),
        ("RATE = 2", "import random\nRATE = 2\nrandom.seed(1)", False),
        ("def unused(x):\n    return x", "def unused(x):\n    return -x", True),
        ("RATE = 2", "# of all\nRATE = 2", True),
    ],
)
def test_modules_beside_the_spec_are_followed(tmp_path: Path, before: str, after: str, is_same: bool) -> None:
    assert (_digest(tmp_path, helper=_changed(_HELPER, (before, after))) == _digest(tmp_path)) is is_same


def _package(directory: Path, rate: int, comment: str = "") -> str:
    """A function that is imported through a package, with a relative import and one inside a function."""
    package = directory / "tools"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("from .outer import size\n")
    (package / "outer.py").write_text("from . import inner\ndef size(row):\n    return inner.norm(row['a'])\n")
    (package / "inner.py").write_text("def norm(x):\n    from .deepest import RATE\n    return x * RATE\n")
    (package / "deepest.py").write_text(f"{comment}\nRATE = {rate}\n")
    with unrun():
        return load_function("tools:size", directory).code_sha256


def test_packages_beside_the_spec_are_followed(tmp_path: Path) -> None:
    before = _package(tmp_path / "a", 2)
    assert _package(tmp_path / "b", 2, "# a rate") == before
    assert _package(tmp_path / "c", 3) != before


_HIDDEN = {
    "getattr": "getattr(helper, row['a'])(1)",
    "exec": "exec(row['a'])",
    "globals": "globals()[row['a']](1)",
    "eval": "eval('unused(1)')",
    "importlib": "importlib.import_module(row['a'])",
    "inspect": "inspect.getsource(norm)",
    "the docstring": "norm.__doc__",
    "a module as a value": "str(helper)",
    "a star": "norm(unused(1))",
}


@pytest.mark.parametrize("what", _HIDDEN)
def test_where_code_cannot_be_followed_its_files_count(tmp_path: Path, what: str) -> None:
    star = "from helper import *\n" if what == "a star" else ""
    module = f"import helper, importlib, inspect\nfrom helper import norm\n{star}def size(row):\n"
    module += f"    return {_HIDDEN[what]}\n"
    before = _digest(tmp_path, module)
    assert _digest(tmp_path, module) == before
    if what in {"a module as a value", "getattr"}:
        assert _digest(tmp_path, module, _HELPER + "# more\n") != before
    elif what == "a star":
        assert _digest(tmp_path, module, _changed(_HELPER, ("    return x\n", "    return -x\n"))) != before
    else:
        assert _digest(tmp_path, module + "# more\n") != before


def test_a_named_attribute_is_no_hidden_code(tmp_path: Path) -> None:
    module = "def size(row):\n    return getattr(row, 'real', 1)\n"
    assert _digest(tmp_path, module + "# more\n") == _digest(tmp_path, module)


def test_docstrings_and_hints_count_where_somebody_may_look_at_them(tmp_path: Path) -> None:
    module = (
        "from pydantic import BaseModel\nfrom tools import tool\n"
        "class Answer(BaseModel):\n    '''What to answer.'''\n    score: int\n\n    def worth(self, x: int): ...\n"
        "@tool\ndef search(x: int):\n    '''Looks things up.'''\n"
        "def size(row):\n    return Answer.model_json_schema(), search\n"
    )
    before = _digest(tmp_path, module)
    for change in (
        ("What to", "How to"),
        ("score: int", "score: float"),
        ("Looks", "Finds"),
        ("x: int):\n", "x: str):\n"),
    ):
        assert _digest(tmp_path, _changed(module, change)) != before, change


def test_a_class_counts_with_its_bases(tmp_path: Path) -> None:
    module = (
        "from helper import norm\nclass Base:\n    def setup(self):\n        self.rate = 2\n"
        "class Kind(Base):\n    def generate(self, row):\n        return norm(row['a']) * self.rate\n"
        "class Other(Base):\n    pass\n"
    )
    before = _digest(tmp_path, module, reference="functions:Kind")
    assert _digest(tmp_path, module + "    x = 1\n", reference="functions:Kind") == before
    assert _digest(tmp_path, _changed(module, ("rate = 2", "rate = 3")), reference="functions:Kind") != before
    changed = _changed(_HELPER, ("RATE = 2", "RATE = 3"))
    assert _digest(tmp_path, module, changed, reference="functions:Kind") != before


def test_a_name_of_a_function_around_it_is_not_the_modules(tmp_path: Path) -> None:
    module = "x = 1\ndef size(row):\n    x = 2\n    return [x for y in row if (lambda z: x)(y)]\n"
    assert _digest(tmp_path, _changed(module, ("x = 1\n", "x = 5\n"))) == _digest(tmp_path, module)
    declared = "x = 1\ndef size(row):\n    global x\n    x += 2\n    return x\n"
    assert _digest(tmp_path, _changed(declared, ("x = 1\n", "x = 5\n"))) != _digest(tmp_path, declared)


def test_what_is_imported_and_the_object_itself_have_the_digest_of_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = _digest(tmp_path)
    monkeypatch.setitem(sys.modules, "helper", ModuleType("helper"))  # put back, or away, after the test
    del sys.modules["helper"]
    imported = load_function("functions:size", tmp_path)
    assert imported.code_sha256 == read
    assert load_function(imported.function, tmp_path).code_sha256 == read


def test_a_statement_as_deep_as_nobody_writes_counts_with_its_file(tmp_path: Path) -> None:
    module = f"def size(row):\n    return {'+'.join(['1'] * 150)}\n"
    assert _digest(tmp_path, module + "# more\n") != _digest(tmp_path, module)


def test_a_function_that_is_made_as_its_module_runs_is_followed(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text("from functools import partial\ndef f(x, row): return x\nsize = partial(f, 1)\n")
    before = load_function("made:size", tmp_path).code_sha256
    (tmp_path / "made.py").write_text("from functools import partial\ndef f(x, row): return x\nsize = partial(f, 2)\n")
    assert load_function("made:size", tmp_path).code_sha256 != before


def _weighed(weights: object, row: object) -> object:
    return weights


@pytest.mark.parametrize(
    ("one", "other"), [(1, 2), (1, 1.0), ("1", 1), ([1, 2], [2, 1]), ({"a": (1,)}, {"a": (2,)}), (2**70, 2**70 + 1)]
)
def test_what_a_partial_gives_its_function_counts(one: object, other: object) -> None:
    def digest(given: object) -> str:
        return load_function(partial(_weighed, given), None).code_sha256

    assert digest(one) == digest(one) != digest(other)
    assert digest(one) != load_function(_weighed, None).code_sha256
    assert digest(object()) == digest(object()), "an address is no value"


def test_the_fingerprint_is_the_same_under_every_python(tmp_path: Path) -> None:
    """Written under Python 3.11; a later one whose syntax tree differs must say the same."""
    source = '''
def size(row, /, *more, key: int = -1, **rest) -> "int":
    """Doc."""
    a, *b = [x async for x in row] if key else {**rest}
    with open("x") as f, f:
        match a:
            case {"k": [1, *_], **other} | Point(x=0) as p if p: pass
            case None: ...
    try:
        b[1:2, ...] = f"{a!r:>{key}}{'x'}" "y" f"{b=}" or b"z" or 1.5e300 or 2j or "\\ud800é"
    except* ValueError as error:
        raise error from None
    else:
        pass
    return (lambda q=1: (yield q))(not a if (n := 5) else n @ 3 ** -2)
'''
    async_source = source.replace("def size", "async def size").replace("yield q", "q")
    written = canonical_digest(async_source)
    assert written == "81459b215a02fbaad356c7db92225e3f7b2c78fa64637b99d79aa7cb95f8279e", sys.version


def test_a_function_of_a_notebook_is_known_by_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import linecache

    def defined(source: str, name: str) -> str:
        module = ModuleType("cell")
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, "cell", module)
        return load_function(module.size, None).code_sha256

    first = defined("def size(row):\n    return 1\n", "<cell 1>")
    assert defined("def size(row):\n    # one\n    return 1\n", "<cell 2>") == first
    assert defined("def size(row):\n    return 2\n", "<cell 3>") != first
