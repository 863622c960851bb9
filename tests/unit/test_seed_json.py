"""JSON seed files: texts stay texts, numbers stay numbers, and what cannot be kept is refused (V4)."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from seed_reading import described, refusal_of, rows_of, types_of, values_of


def lines(*values: str) -> str:
    return "".join(f'{{"a": {value}}}\n' for value in values)


@pytest.mark.parametrize(
    "text", ["BBD0-1", "03-04-2025", "3:16", "2024-1-2", "2024-01-02", "2024-01-02T10:00:00+02:00", "12", "1.10",
             "true",
             "null", "", " x ", "NaN", "4b6c7f0e-0000-4000-8000-000000000000", "[1]", '{"a": 1}', "one\0two",
             "\u2028", "😀"],
)  # fmt: skip
def test_a_text_stays_that_text(tmp_path: Path, text: str) -> None:
    found = described(tmp_path, "s.jsonl", lines(json.dumps(text)))
    assert found.columns == (("a", "VARCHAR"),)
    assert values_of(tmp_path, "s.jsonl") == [text]


@pytest.mark.parametrize(
    ("values", "sql_type", "expected"),
    [
        (["1", "-2", "null"], "BIGINT", [1, -2, None]),
        (["9223372036854775807"], "BIGINT", [2**63 - 1]),
        (["18446744073709551615", "1"], "UBIGINT", [2**64 - 1, 1]),
        (["18446744073709551616", "-1"], "DECIMAL(38,0)", [Decimal(2**64), Decimal(-1)]),
        (["1" * 38], "DECIMAL(38,0)", [Decimal("1" * 38)]),
        (["1", "1.5"], "DOUBLE", [1.0, 1.5]),
        (["1.0"], "DOUBLE", [1.0]),
        (["1e2", "1E+2", "100.00"], "DOUBLE", [100.0, 100.0, 100.0]),
        (["9007199254740992", "0.5"], "DOUBLE", [9007199254740992.0, 0.5]),
        (["1152921504606846976", "0.5"], "DOUBLE", [2.0**60, 0.5]),
        (["0.1000000000000000055511151231257827"], "DOUBLE", [0.1]),
        (["0.10000000000000001"], "DOUBLE", [0.1]),
        (["5e-324", "1.7976931348623157e308"], "DOUBLE", [5e-324, 1.7976931348623157e308]),
        (["true", "null", "false"], "BOOLEAN", [True, None, False]),
        (["null"], "VARCHAR", [None]),
        (["[1, 2]", "[]", "null", "[null]"], "BIGINT[]", [[1, 2], [], None, [None]]),
        (["[1, 2.5]"], "DOUBLE[]", [[1.0, 2.5]]),
        (['["a"]', "[]"], "VARCHAR[]", [["a"], []]),
        (['{"x": 1}', '{"y": "s"}'], "STRUCT(x BIGINT, y VARCHAR)", [{"x": 1, "y": None}, {"x": None, "y": "s"}]),
        (['[{"k": [1]}, {"k": null}]'], "STRUCT(k BIGINT[])[]", [[{"k": [1]}, {"k": None}]]),
        (['{"select": {"a b": 1}}'], 'STRUCT("select" STRUCT("a b" BIGINT))', [{"select": {"a b": 1}}]),
    ],
)  # fmt: skip
def test_values_of_one_kind_have_its_type(
    tmp_path: Path, values: list[str], sql_type: str, expected: list[Any]
) -> None:
    assert types_of(tmp_path, "s.jsonl", lines(*values)) == [sql_type]
    assert values_of(tmp_path, "s.jsonl") == expected


@pytest.mark.parametrize(
    "values",
    [
        ["1", '"abc"'], ["true", "1"], ["[1]", "1"], ['{"x": 1}', "[1]"], ["1.10", '"x"'],
        ["123456789012345678901", '"x"'],
        ['{"x": 1, "X": 2}', "null"], ["{}", "{}"], ['{"": 1}', '{"": 2}'], ['{"a": {}}', '"x"'],
    ],
)  # fmt: skip
def test_values_of_several_kinds_are_json_as_it_was_written(tmp_path: Path, values: list[str]) -> None:
    assert types_of(tmp_path, "s.jsonl", lines(*values)) == ["JSON"]
    assert values_of(tmp_path, "s.jsonl") == [None if value == "null" else value for value in values]


def test_lists_of_several_kinds_stay_lists(tmp_path: Path) -> None:
    assert types_of(tmp_path, "s.jsonl", lines('[1, "x", {"y": null}]')) == ["JSON[]"]
    assert values_of(tmp_path, "s.jsonl") == [["1", '"x"', '{"y": null}']]


def test_minus_zero_keeps_its_sign(tmp_path: Path) -> None:
    assert [str(value) for value in values_of(tmp_path, "s.jsonl", lines("-0.0", "-0", "0"))] == ["-0.0", "-0.0", "0.0"]


def test_a_kind_that_shows_only_in_the_last_line_is_that_of_all(tmp_path: Path) -> None:
    content = lines(*["1"] * 40_000, '"x"')
    assert types_of(tmp_path, "s.jsonl", content) == ["JSON"]
    values = values_of(tmp_path, "s.jsonl")
    assert (len(values), values[0], values[-1]) == (40_001, "1", '"x"')
    assert values_of(tmp_path, "s.jsonl", lines(*["1"] * 40_000, "1.5"))[0] == 1.0


def test_objects_of_very_many_names_are_maps(tmp_path: Path) -> None:
    content = lines(*(json.dumps({f"k{row}-{number}": row for number in range(30)}) for row in range(20)))
    assert types_of(tmp_path, "s.jsonl", content) == ["MAP(VARCHAR, BIGINT)"]
    assert values_of(tmp_path, "s.jsonl")[3][0] == ("k3-0", 3)
    mixed = lines(json.dumps({f"k{number}": number if number % 2 else "x" for number in range(300)}))
    assert types_of(tmp_path, "s.jsonl", mixed) in (["MAP(VARCHAR, JSON)"], ["JSON"])


def test_very_deep_values_are_kept_or_refused(tmp_path: Path) -> None:
    deep = "[" * 60 + "1" + "]" * 60
    (value,) = values_of(tmp_path, "s.jsonl", lines(deep))
    for _ in range(16):
        (value,) = value
    assert value == "[" * 44 + "1" + "]" * 44
    assert "s.jsonl, line 2: nested too deeply" in refusal_of(
        tmp_path, "s.jsonl", lines("1", "[" * 100_000 + "]" * 100_000)
    )


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (lines("9007199254740993", "1.5"), 1, "9007199254740993, which no float is exactly"),
        (lines("1", "1.5", "9007199254740993"), 3, "9007199254740993"),
        (lines("1", "1" * 39), 2, "more than 38 digits"),
        (lines("1", "1" * 6000), 2, "more than 38 digits"),
        (lines("1.5", "1e400"), 2, "1e400, which no float is exactly"),
        (lines("1.5", "-1e-400"), 2, "-1e-400"),
        (lines("3.14159265358979323846"), 1, "types: {a: str}"),
        (lines("[1, [2, 1e999]]"), 1, "1e999"),
        (lines("1", "NaN"), 2, "NaN is no JSON"),
        (lines("1", "-Infinity"), 2, "-Infinity is no JSON"),
        (lines("1", '"\\ud800"'), 2, "half of a surrogate pair"),
        (lines("1", '{"x": ["\\udc00"]}'), 2, "half of a surrogate pair"),
        (lines("1") + '{"a": 1, "b": 2, "a": 3}\n', 2, "two fields named 'a'"),
        (lines("1", '{"x": 1, "x": 2}'), 2, "two fields named 'x'"),
        (lines("1") + '{"A": 1}\n', 2, "differ only in the case of their names: 'a', 'A'"),
        (lines("1") + '{"": 1}\n', 2, "a field has no name"),
        (lines("1") + "\n\n" + '{"a": }\n', 4, "not JSON: Expecting value at character 7"),
        (lines("1") + '{"a": 1} {"a": 2}\n', 2, "more than one JSON value in a line"),
        (lines("1") + '{"a": 1,}\n', 2, "not JSON"),
        (lines("1") + '{"a": "x\ty"}\n', 2, "not JSON"),
        (lines("1") + "{'a': 1}\n", 2, "not JSON"),
        (lines("1") + '{"a": 01}\n', 2, "not JSON"),
        (lines("1") + "3\n", 2, "expected an object of named values, found 3"),
        ('[{"a": 1}]\n', 1, "say format: json"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    told = refusal_of(tmp_path, "s.jsonl", content)
    assert f"s.jsonl, line {line}: " in told
    assert words in told


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    content = lines("1").encode() + b'{"a": "\xff"}\n'
    assert "s.jsonl, line 2: not UTF-8" in refusal_of(tmp_path, "s.jsonl", content)


def test_a_byte_order_mark_empty_lines_and_other_line_ends_are_accepted(tmp_path: Path) -> None:
    content = '\ufeff{"a": 1}\r\n\r\n{"a": 2}\r\n \n{"a": 3}'
    assert values_of(tmp_path, "s.jsonl", content) == [1, 2, 3]


def test_fields_that_some_lines_lack_are_null_there(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "s.jsonl", '{"a": 1}\n{"b": "x", "a": 2}\n{}\n')
    assert rows == [{"a": 1, "b": None}, {"a": 2, "b": "x"}, {"a": None, "b": None}]


@pytest.mark.parametrize(
    "content",
    ['[{"a": 1},\n {"a": 2}\n]\n', '{"a": 1}\n{"a": 2}\n', '{"a":\n1} {"a": 2}', '\ufeff [ {"a": 1} , {"a": 2} ] '],
)
def test_a_json_file_is_an_array_or_objects_one_after_the_other(tmp_path: Path, content: str) -> None:
    assert values_of(tmp_path, "s.json", content) == [1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no rows"),
        ("[]", "no rows"),
        ('[\n{"a": 1}\n{"a": 2}]', "line 3: expected ',' or ']'"),
        ('[\n{"a": 1},\n5]', "line 3: expected an object"),
        ('[{"a": 1}]\n\nx', "line 3: 'x' follows the end of the array"),
        ('[{"a": 1},', "line 1: not JSON"),
        ('[{"a": 1}', "found 'the end'"),
        ('[{"a": 1},\n{"a":\n\n 1e400}]', "line 2: column 'a' holds 1e400"),
    ],
)
def test_a_json_file_that_is_neither_is_refused(tmp_path: Path, content: str, words: str) -> None:
    assert words in refusal_of(tmp_path, "s.json", content)


def test_types_are_those_of_all_files_together(tmp_path: Path) -> None:
    (tmp_path / "p1.jsonl").write_text('{"a": 1, "b": 1}\n')
    (tmp_path / "p2.jsonl").write_text('{"b": "x", "a": 1.5}\n')
    assert types_of(tmp_path, "p*.jsonl") == ["DOUBLE", "JSON"]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ('{"a": 1, "c": 2}\n', "it lacks 'b' and"),
        ('{"a": 1}\n', "it lacks 'b'"),
        ('{"a": 1, "b": 1, "c": 2}\n', "p1.jsonl has no 'c'"),
        ('{"a": 1, "B": 2}\n', "case"),
    ],
)
def test_files_with_other_fields_are_refused(tmp_path: Path, second: str, words: str) -> None:
    (tmp_path / "p1.jsonl").write_text('{"a": 1, "b": 2}\n')
    (tmp_path / "p2.jsonl").write_text(second)
    told = refusal_of(tmp_path, "p*.jsonl")
    assert "p2.jsonl" in told
    assert words in told
