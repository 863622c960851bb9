"""Loading spec files: YAML and JSON, and everything that can be wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graph_fakes  # noqa: F401 - registers the column type 'fake'
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import SpecError
from rowmill.spec.loading import MAX_BYTES, SpecFormat, load_spec, parse_spec
from rowmill.spec.yaml_loader import MAX_DEPTH, load_yaml


def refusal(text: str, format_: SpecFormat = "yaml") -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, format_)
    return str(caught.value)


def data_of(text: str) -> Any:
    data, problems = load_yaml(text)
    assert problems == []
    return data


def test_a_yaml_file_becomes_a_spec_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "my reviews.yaml"
    path.write_text("records: 5\ncolumns:\n  - {name: a, column_type: fake}\n", encoding="utf-8")
    loaded = load_spec(path)
    assert (loaded.spec.name, loaded.spec.records, loaded.directory) == ("my-reviews", 5, tmp_path)


def test_a_json_file_becomes_the_same_spec(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"records": 5, "name": "y"}), encoding="utf-8")
    (tmp_path / "x.yaml").write_text("records: 5\nname: y", encoding="utf-8")
    assert load_spec(tmp_path / "x.json").spec == load_spec(str(tmp_path / "x.yaml")).spec


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    for name, content in (("x.yaml", "records: 5"), ("x.json", '{"records": 5}')):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        assert load_spec(tmp_path / name).spec.records == 5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The spec is empty"),
        (b"# nothing\n", "The spec is empty"),
        (b"records: \xff\xfe", "not encoded as UTF-8 (line 1, byte 9)"),
        ("records: 5".encode("utf-16"), "encoded as UTF-16"),
        (b"PK\x03\x04\x00\x00", "is a binary file"),
        (b"\x00" * 8 + b"DUCK\x00", "is a DuckDB file, not a spec"),
        (b"- a\n", "not a list"),
        (b"hello", "not a single value ('hello')"),
        (b"records: " + b" " * MAX_BYTES, "larger than 16 MiB"),
    ],
)
def test_a_file_that_cannot_be_a_spec_is_told_why(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert reason in str(caught.value)


def test_missing_files_and_directories_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="There is no spec file"):
        load_spec(tmp_path / "x.yaml")
    with pytest.raises(SpecError, match="is a directory"):
        load_spec(tmp_path)
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec("a\0b")


# YAML


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"),
        ("true", True), ("False", False), ("TRUE", True),
        ("null", None), ("~", None), ("", None), ("none", "none"),
        ("2001-01-01", "2001-01-01"), ("2001-01-01 10:00:00", "2001-01-01 10:00:00"),
        ("1:30", "1:30"), ("1_000", "1_000"), ("010", 10), ("0o10", 8), ("0x1F", 31), ("-5", -5), ("+5", 5),
        ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-1.5E-2", -0.015), ("1.2.3", "1.2.3"), ("0x", "0x"),
        ("'5'", "5"), ("=", "="), ("!!str 5", "5"), ("!!int '5'", 5), ("1e", "1e"), ("5\n", 5),
    ],
)  # fmt: skip
def test_yaml_values_are_what_yaml_1_2_says(text: str, expected: object) -> None:
    found = data_of(f"v: {text}")["v"]
    assert found == expected
    assert type(found) is type(expected)


def test_yaml_keys_are_text_as_in_json() -> None:
    assert data_of("1: a\ntrue: b\nnull: c\n2.50: d\n") == {"1": "a", "true": "b", "null": "c", "2.50": "d"}


def test_merge_keys_and_aliases_work() -> None:
    text = "base: &b {x: 1, y: 2}\nmade: {<<: *b, y: 3}\nsame: *b\ndeep: {in: &d {<<: *b, x: 9}}\nfrom: {<<: *d}\n"
    data = data_of(text)
    assert data["made"] == {"x": 1, "y": 3}
    assert data["same"] == {"x": 1, "y": 2}
    assert data["from"] == {"x": 9, "y": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v: {<<: {a: 1, b: 1}, a: 2}", {"a": 2, "b": 1}),
        ("v: {a: 2, <<: {a: 1, b: 1}}", {"a": 2, "b": 1}),
        ("v: {<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ("v: {<<: [{a: 1}, {a: 2}, {a: 3, c: 3}], c: 0}", {"a": 1, "c": 0}),
        ("v: {<<: {<<: {a: 1, b: 1}, a: 2}, b: 3}", {"a": 2, "b": 3}),
        ("v: {<<: [{<<: [{a: 1}, {a: 2, b: 2}], c: 3}, {a: 9, c: 9, d: 9}]}", {"a": 1, "b": 2, "c": 3, "d": 9}),
        ("v: {<<: []}", {}),
        ("v: {'<<': 1}", {"<<": 1}),
        ("v: <<", "<<"),
    ],
)
def test_what_stands_beside_a_merge_key_wins_then_the_first_of_its_mappings(text: str, expected: object) -> None:
    assert data_of(text)["v"] == expected


def test_fields_taken_in_come_first_and_those_of_the_last_mapping_before_all() -> None:
    assert list(data_of("v: {z: 0, <<: [{a: 1, z: 1}, {c: 2, a: 2}]}")["v"]) == ["c", "a", "z"]


@pytest.mark.parametrize("source", ["1", "[1]", "[{a: 1}, [b]]", "null"])
def test_a_merge_key_takes_nothing_but_mappings(source: str) -> None:
    assert "'<<' takes a mapping or a list of mappings" in refusal(f"a: 1\nv:\n  <<: {source}\n")


def test_no_rule_of_pyyaml_decides_what_a_document_means(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("PyYAML's own rules were asked")

    for name in ("construct_document", "construct_object", "construct_scalar", "construct_mapping"):
        monkeypatch.setattr(yaml.constructor.BaseConstructor, name, never)
    monkeypatch.setattr(yaml.constructor.SafeConstructor, "flatten_mapping", never)
    monkeypatch.setattr(yaml.resolver.Resolver, "resolve", never)
    text = "b: &b {x: 1, y: [yes, 1e3, ~, true]}\nv: {<<: *b, x: 2}\n"
    values = ["yes", 1000.0, None, True]
    assert data_of(text) == {"b": {"x": 1, "y": values}, "v": {"x": 2, "y": values}}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 999, 1001, 20_000])
def test_the_limit_of_depth_is_ours_whatever_the_parsers_is(opening: str, levels: int) -> None:
    assert "nested too deeply (more than 100 levels)" in refusal(f"{opening * levels}a")


def test_what_is_not_too_deep_is_told_for_what_it_is() -> None:
    text = "a: " + "'" + "[" * 5000 + "'\nb: [1\n"
    assert "nested" not in refusal(text)


def test_every_repeated_field_is_told_with_both_lines() -> None:
    message = refusal("records: 1\nname: a\nname: b\nrun:\n  max_attempts: 1\n  max_attempts: 2\n")
    assert "Field 'name' appears twice; it is in line 2 already. (line 3)" in message
    assert "Field 'max_attempts' appears twice; it is in line 5 already. (line 6)" in message


def test_repeated_fields_are_told_along_with_all_other_problems() -> None:
    message = refusal("name: a\nname: b\nrecords: -1\n")
    assert "appears twice" in message
    assert "(records)" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("records: [1\n", "(line 2, column 1)"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: *nope", "undefined alias"),
        ("a: &a [*a]", "An alias contains itself"),
        ("? [a]\n: 1", "must be text"),
        ("? {a: 1}\n: 1", "must be text"),
        ("a: \x01", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "'!!python/object/apply:os.system' is not supported"),
        ("a: !!binary aGk=", "'!!binary' is not supported"),
        ("a: !!timestamp 2001-01-01", "'!!timestamp' is not supported"),
        ("a: !!set {x}", "'!!set' is not supported"),
        ("a: !mine 3", "'!mine' is not supported"),
        ("a: !!map [1]", "tag does not fit"),
        ("a: !!int x", "not valid YAML"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: " + "{a: " * 1000, "nested too deeply"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 1\n\tb: 2", "not valid YAML"),
        ("a: \ud800", "surrogate"),
    ],
)
def test_wrong_yaml_is_a_clear_problem(text: str, reason: str) -> None:
    assert reason in refusal(text)


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "Aliases make the spec too large" in refusal("\n".join(lines))


def test_aliases_that_only_get_deeper_are_refused() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)]
    assert "too deep" in refusal("\n".join(lines))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab1 :#-", max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(plain)
def test_any_json_read_as_yaml_is_the_same_data(data: object) -> None:
    text = json.dumps({"v": data}, ensure_ascii=True)
    assert json.loads(text) == data_of(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_is_more_than_a_spec_error(text: str) -> None:
    for format_ in ("yaml", "json"):
        with pytest.raises(SpecError):
            parse_spec(text, format_)


def test_data_written_by_pyyaml_is_read_back() -> None:
    data = {"a": ["yes", "010", "null", "2001-01-01", "=", "<<", "1:30"], "b": {"c": "x: y"}}
    assert data_of(yaml.safe_dump(data)) == data


# JSON


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"records": 1, "records": 2}', "Field 'records' appears twice"),
        ('{"records": NaN}', "'NaN' is not a JSON number"),
        ('{"records": -Infinity}', "'-Infinity' is not a JSON number"),
        ('{"records": 1e999}', "not finite"),
        ('{"a":\n}', "(line 2, column 1)"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
        ('{"records": ' + "9" * 5000 + "}", "not valid JSON"),
        ("", "The spec is empty"),
        ("null", "The spec is empty"),
        ("[]", "not a list"),
    ],
)
def test_wrong_json_is_a_clear_problem(text: str, reason: str) -> None:
    assert reason in refusal(text, "json")


# Values nothing can keep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"records": 1, "name": "a\\u0000b"}', "The text contains a NUL character, which cannot be stored. (name)"),
        ('{"records": 1, "name": "\\ud800"}', "half of a surrogate pair, which is not valid Unicode. (name)"),
        ('{"records": 1, "run": {"\\ud800": 1}}', "The field's name contains half of a surrogate pair"),
        ('{"records": 1, "seed": 1e999}', "The number is not finite; a spec has no NaN and no infinity. (seed)"),
    ],
)
def test_values_that_cannot_be_kept_are_refused_with_their_place(text: str, message: str) -> None:
    assert message in refusal(text, "json")


def test_values_that_cannot_be_kept_are_told_along_with_all_other_problems() -> None:
    text = (
        'records: -1\ncolumns:\n  - {name: a, column_type: fake, needs: ["x\\0y"]}\n  - {name: b, column_type: nope}\n'
    )
    message = refusal(text)
    assert "(columns.0.needs.0)" in message
    assert "(records)" in message
    assert "(columns.1.column_type)" in message
    message.encode("utf-8")


def test_a_hundred_problems_are_listed_and_the_rest_is_counted() -> None:
    message = refusal(json.dumps({"records": 1, "columns": [{} for _ in range(150)]}), "json")
    assert message.count("\n") == 100
    assert message.endswith("… and 50 more problems.")


@pytest.mark.parametrize("number", ["1" + "0" * 100_000, "0x1" + "0" * 100_000, "0o1" + "0" * 5_000])
def test_a_whole_number_of_more_digits_than_anybody_writes_is_refused(number: str) -> None:
    assert "a whole number has too many digits" in refusal(f"seed: {number}")
