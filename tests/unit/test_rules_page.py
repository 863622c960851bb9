"""The page of rules: what is cited anywhere is on it, and every rule that is built has a test that begins with it."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from help_page import PAGES, REPOSITORY

from rowmill.cli.help_page import entry_names, find

_ID = r"(?:[RSFCAKPVTWOD]\d{1,2}a?)"
_CITED = re.compile(rf"(?<![\w'\"`.\[-]){_ID}(?![\w'\"`.\]-]\w|\w)")
_TEST = re.compile(r"^(?:async )?def test_([rsfcakpvtwod]\d+a?)_\w", re.MULTILINE)
_NOT_BUILT = "*Not built yet.*"
_PARTLY_BUILT = "*Partly built"


def _rules() -> dict[str, str]:
    """Number → text of each rule."""
    names = [name for name in entry_names(PAGES["rules"]) if re.fullmatch(_ID, name)]
    assert len(names) == len(set(names))
    sections = {name: find(PAGES["rules"], name) or "" for name in names}
    return {name: text.partition("\n")[2].strip() for name, text in sections.items()}


RULES = _rules()


def _python_comments(path: Path) -> Iterator[str]:
    """Comments and docstrings: what is said of the code."""
    text = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def _sql_comments(path: Path) -> Iterator[str]:
    yield from re.findall(r"/\*.*?\*/|--[^\n]*", path.read_text(encoding="utf-8"), re.DOTALL)


def _sources() -> Iterator[tuple[Path, Iterator[str]]]:
    for folder in ("src", "tests", "tools"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield path, _python_comments(path)
    for path in sorted((REPOSITORY / "sql").rglob("*.sql")):
        yield path, _sql_comments(path)


@functools.cache
def _citations() -> list[tuple[Path, str]]:
    """Where numbers are cited, and which."""
    return [
        (path, number) for path, comments in _sources() for comment in comments for number in _CITED.findall(comment)
    ]


def _tests() -> Counter[str]:
    """How many test functions begin with each number."""
    found: Counter[str] = Counter()
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        for number in _TEST.findall(path.read_text(encoding="utf-8")):
            found[number[0].upper() + number[1:]] += 1
    return found


TESTS = _tests()


def test_every_rule_has_a_text_of_whole_sentences() -> None:
    for number, text in RULES.items():
        assert len(text) > 40, number
        assert text.endswith((".", ")")), number


def test_rules_come_in_order_and_none_is_left_out() -> None:
    letters = list(dict.fromkeys(number[0] for number in RULES))
    assert letters == list("RSFCAKPVTWOD")
    for letter in letters:
        numbers = [int(re.sub(r"\D", "", number)) for number in RULES if number[0] == letter]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(1, max(numbers) + 1))


def test_every_rule_that_is_cited_is_on_the_page() -> None:
    unknown = [f"{path.relative_to(REPOSITORY)}: {number}" for path, number in _citations() if number not in RULES]
    assert unknown == []


def test_citations_are_found_where_they_stand() -> None:
    assert {"F1", "A7", "V2", "D1"} <= {number for _, number in _citations()}


@pytest.mark.parametrize("number", RULES)
def test_every_rule_that_is_built_has_a_test_whose_name_begins_with_it(number: str) -> None:
    if RULES[number].startswith(_NOT_BUILT):
        assert TESTS[number] == 0, f"{number} has tests: it is built, at least in part"
    elif not RULES[number].startswith(_PARTLY_BUILT):
        assert TESTS[number] > 0


def test_every_test_that_begins_with_a_rule_names_one_there_is() -> None:
    assert set(TESTS) <= set(RULES)
