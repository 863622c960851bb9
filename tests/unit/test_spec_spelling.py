"""Spellings: unquoted values of a spec file that may be meant as texts, and texts that must be quoted when written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import Problem
from rowmill.spec.loading import load_spec, parse_spec
from rowmill.spec.yaml_loader import load_yaml, load_yaml_with_spellings
from rowmill.spec.yaml_writer import dump_yaml

CATEGORY = (
    "records: 1\ncolumns:\n  - {{name: a, column_type: sampler, sampler_type: category, params: {{values: [{0}]}}}}\n"
)


def warnings_of(tmp_path: Path, text: str) -> tuple[Problem, ...]:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path).warnings


@pytest.mark.parametrize(
    ("written", "value", "read"),
    [
        ("01234", 1234, "the number 1234"),
        ("007", 7, "the number 7"),
        ("0o17", 15, "the number 15"),
        ("0x1F", 31, "the number 31"),
        ("+1", 1, "the number 1"),
        ("-0", 0, "the number 0"),
        ("3.10", 3.1, "the number 3.1"),
        ("1.", 1.0, "the number 1.0"),
        (".5", 0.5, "the number 0.5"),
        ("1e3", 1000.0, "the number 1000.0"),
        ("1E5", 100000.0, "the number 100000.0"),
        ("0.1000000000000000055511151231257827", 0.1, "the number 0.1"),
        ("TRUE", True, "true"),
        ("False", False, "false"),
    ],
)
def test_a_category_that_may_be_meant_as_a_text_is_told_with_its_place_and_how_to_quote_it(
    tmp_path: Path, written: str, value: object, read: str
) -> None:
    (warning,) = warnings_of(tmp_path, CATEGORY.format(written))
    assert warning.place == "columns.0.params.values.0"
    assert f"The unquoted {written} in line 3 is read as {read}. For the text write '{written}'" in warning.message
    column: Any = load_spec(tmp_path / "spec.yaml").spec.columns[0]
    assert column.params.values == (value,)


@pytest.mark.parametrize(
    "written",
    [
        "0", "12", "-3", "1.5", "-0.25", "1e+16", "1e-05", "true", "false", "'01234'", '"3.10"', "1_000", "12:30",
        "3:16", "2026-01-31", "yes", "no", "on", "off", "y", "None", "08:00", "1.2.3", "0b1", "0x", "1,5", "!!str 007",
        "123456789012345678",
    ],
)  # fmt: skip
def test_nothing_is_told_of_what_means_itself(tmp_path: Path, written: str) -> None:
    values = f'"{written}"' if "," in written else written
    assert warnings_of(tmp_path, CATEGORY.format(values)) == ()


def test_where_only_a_number_may_stand_nothing_is_told(tmp_path: Path) -> None:
    text = """\
records: 010
seed: +7
row_group_size: 0o17
run: {max_attempts: 04}
models: [{alias: m, provider: simulated, model: x, inference_parameters: {temperature: 0.70, top_p: .9}}]
columns:
  - {name: a, column_type: sampler, sampler_type: uniform, params: {low: 0.0, high: 1.50}}
  - {name: b, column_type: llm-text, model_alias: m, prompt: "{{ a }}", drop: False, weight: 2.50}
constraints: [{target_column: a, operator: lt, rhs: 0.90}]
"""
    assert warnings_of(tmp_path, text) == ()


def test_every_place_that_takes_a_text_is_looked_at(tmp_path: Path) -> None:
    text = """\
records: 1
models: [{alias: m, provider: simulated, model: x, inference_parameters: {extra_body: {version: 3.10, deep: [01]}}}]
columns:
  - {name: zip, column_type: sampler, sampler_type: category, params: {values: ["01234", "5"]}}
  - name: street
    column_type: sampler
    sampler_type: subcategory
    params: {category: zip, values: {01234: [007], 5: [~]}}
"""
    found = [
        (warning.place, warning.message.split(" in line")[0])
        for warning in warnings_of(tmp_path, text.replace("~", "1.10"))
    ]
    assert found == [
        ("models.0.inference_parameters.extra_body.version", "The unquoted 3.10"),
        ("models.0.inference_parameters.extra_body.deep.0", "The unquoted 01"),
        ("columns.1.params.values.01234.0", "The unquoted 007"),
        ("columns.1.params.values.5.0", "The unquoted 1.10"),
    ]


@pytest.mark.parametrize("written", ["~", "NULL", "Null"])
def test_nulls_that_may_be_meant_as_texts_are_told(tmp_path: Path, written: str) -> None:
    text = (
        "records: 1\ncolumns:\n  - {name: a, column_type: expression, expr: x, skip: {when: 'false', value: "
        + written
        + "}}"
    )
    (warning,) = warnings_of(tmp_path, text)
    assert f"The unquoted {written} in line 3 is read as null. For the text write '{written}'" in warning.message
    assert warnings_of(tmp_path, text.replace(written, "null")) == ()
    assert warnings_of(tmp_path, text.replace(written, "")) == ()


def test_a_value_that_is_named_twice_is_told_once_and_merged_ones_too(tmp_path: Path) -> None:
    text = """\
records: 1
columns:
  - {name: a, column_type: sampler, sampler_type: category, params: &p {values: [01]}}
  - {name: b, column_type: sampler, sampler_type: category, params: {<<: {values: [02]}}}
  - {name: c, column_type: sampler, sampler_type: category, params: *p}
"""
    places = [warning.place for warning in warnings_of(tmp_path, text)]
    assert places == ["columns.0.params.values.0", "columns.1.params.values.0"]


def test_a_value_that_may_be_a_secret_is_not_shown(tmp_path: Path) -> None:
    text = """\
records: 1
models: [{alias: m, provider: simulated, model: x, inference_parameters: {extra_body: {api_token: 0123456}}}]
"""
    (warning,) = warnings_of(tmp_path, text)
    assert "123456" not in str(warning)
    assert "line 2" in warning.message


def test_warnings_are_logged_once_and_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rowmill.spec"):
        found = warnings_of(tmp_path, CATEGORY.format(", ".join(["01"] * 5000)))
    assert len(found) == len(caplog.records) == 100


def test_a_text_parsed_without_a_file_means_the_same() -> None:
    column: Any = parse_spec(CATEGORY.format("01234")).columns[0]
    assert column.params.values == (1234,)


# Writing

scalar = st.one_of(
    st.text(st.sampled_from("0123456789.eE+-_xo:~ynulTRUEfasw<=#'\" \n"), max_size=8),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


@given(
    st.dictionaries(
        st.text(st.sampled_from("019.e+x~ab"), min_size=1, max_size=4), st.lists(scalar, max_size=4), max_size=4
    )
)
def test_what_is_written_is_read_back_by_readers_of_yaml_1_2_and_1_1(data: dict[str, Any]) -> None:
    text = dump_yaml(data)
    found, problems = load_yaml(text)
    assert problems == []
    assert found == data
    assert repr(found) == repr(data)
    assert yaml.safe_load(text) == data


@pytest.mark.parametrize(
    "text", ["1e3", "08540", "0o17", "-.5", "1E5", "yes", "null", "~", "TRUE", "1_000", "12:30", "="]
)
def test_a_text_that_reads_like_something_else_is_quoted(text: str) -> None:
    assert dump_yaml({"v": text}) == f"v: '{text}'\n"


def test_what_is_written_back_has_no_doubtful_spelling() -> None:
    text = dump_yaml({"v": ["1e3", 1.5, 1e22, 10**30, True, None, "x"]})
    assert load_yaml_with_spellings(text)[2] == []
