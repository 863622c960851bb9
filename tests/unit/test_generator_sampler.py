"""Sampler and seed columns: what the spec may say, and the call it becomes."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from generator_context import declared, problems
from hypothesis import given
from hypothesis import strategies as st

from rowmill.generators.samplers.alias_table import alias_table
from rowmill.generators.samplers.parameters import DatetimeParameters
from rowmill.spec.declaration import ColumnValue, SampledValue, SamplerCall, SeedColumn, SqlExpression, Strategy
from rowmill.spec.spec import Spec


def sampler(sampler_type: str, name: str = "value", **params: Any) -> dict[str, Any]:
    return {"name": name, "column_type": "sampler", "sampler_type": sampler_type, "params": params}


@pytest.mark.parametrize(
    ("column", "call", "sql_type"),
    [
        (sampler("uniform", low=1, high=2), SamplerCall("sample_uniform", (1.0, 2.0, None)), "DOUBLE"),
        (
            sampler("gaussian", mean=1, stddev=2, decimal_places=3),
            SamplerCall("sample_gaussian", (1.0, 2.0, 3)),
            "DOUBLE",
        ),
        (sampler("bernoulli", p=0.5), SamplerCall("sample_bernoulli", (0.5,)), "BIGINT"),
        (sampler("uuid"), SamplerCall("sample_uuid"), "VARCHAR"),
        (sampler("uuid", prefix="A-", short_form=True), SamplerCall("sample_uuid_text", ("A-", 8, False)), "VARCHAR"),
        (sampler("category", values=[1, 2]), SamplerCall("sample_category", ([1, 2],)), "BIGINT"),
        (sampler("category", values=[1, 2.5]), SamplerCall("sample_category", ([1.0, 2.5],)), "DOUBLE"),
        (sampler("category", values=[True, False]), SamplerCall("sample_category", ([True, False],)), "BOOLEAN"),
        (sampler("category", values=["a"]), SamplerCall("sample_category", (["a"],)), "VARCHAR"),
        (
            sampler("category", values=["a", "b"], weights=[3, 1]),
            SamplerCall("sample_weighted_category", (["a", "a", "b", "a"], [1.0, 0.5])),
            "VARCHAR",
        ),
        (
            sampler("datetime", start="2024-01-01", end="2024-01-31"),
            SamplerCall("sample_datetime_by_seconds", (datetime(2024, 1, 1), 86_400, 30)),
            "TIMESTAMP",
        ),
        (
            sampler("poisson", mean=0),
            SamplerCall("sample_count", ([0, 0], [1.0])),
            "BIGINT",
        ),
        (
            sampler("binomial", n=1, p=0.75),
            SamplerCall("sample_count", ([1, 1, 0, 1], [1.0, 0.5])),
            "BIGINT",
        ),
        (
            sampler("datetime", start="2020-02-29T12:00", end="2024-02-29T12:00", unit="Y"),
            SamplerCall("sample_datetime_by_months", (datetime(2020, 2, 29, 12), 12, 4)),
            "TIMESTAMP",
        ),
    ],
)
def test_a_sampler_becomes_one_call_of_a_macro(column: dict[str, Any], call: SamplerCall, sql_type: str) -> None:
    (declaration,) = declared(column)
    assert declaration.sql == call
    assert [output.sql_type for output in declaration.outputs] == [sql_type]
    assert declaration.strategy is Strategy.SQL
    assert declaration.resource is None


@pytest.mark.parametrize(
    ("column", "place", "message"),
    [
        (sampler("uniform", low=1, high=2, decimals=2), "params.decimals", "Did you mean 'decimal_places'?"),
        (sampler("uniform", low=1), "params.high", "Field 'high' is required."),
        (sampler("uniform", low=3, high=2), "params", "low (3) is greater than high (2)."),
        (sampler("uniform", low=-1e308, high=1e308), "params", "more than a number can hold"),
        (sampler("uniform", low=0, high=float("inf")), "params.high", "finite number"),
        (sampler("unifrom", low=0, high=1), "sampler_type", "Did you mean 'uniform'?"),
        (sampler("gaussian", mean=0, stddev=-1), "params.stddev", "at least 0"),
        (sampler("bernoulli", p=1.5), "params.p", "at most 1"),
        (sampler("category", values=[]), "params.values", "Must not be empty."),
        (sampler("category", values=[1, "a"]), "params.values", "different types: 1 and 'a'"),
        (sampler("category", values=[1, True]), "params.values", "different types: 1 and true"),
        (sampler("category", values=["a", None]), "params.values", "not nothing"),
        (sampler("category", values=[{"a": 1}]), "params.values", "A value is a text, a number, true or false"),
        (sampler("category", values=[2**63]), "params.values", "64 bits"),
        (sampler("category", values=[float("nan")]), "params.values", "not a finite number"),
        (sampler("category", values=["\ud800"]), "params.values", "surrogate"),
        (sampler("category", values=["a\0b"]), "params.values", "NUL"),
        (sampler("category", values=[1, 2], weights=[1]), "params", "2 values but 1 weight"),
        (sampler("category", values=[1, 2], weights=[0, 0]), "params", "All weights are 0"),
        (sampler("category", values=[1, 2], weights=[1, -1]), "params.weights.1", "at least 0"),
        (sampler("uuid", prefix="\ud800"), "params.prefix", "surrogate"),
        (sampler("datetime", start="2024-01-02", end="2024-01-02"), "params", "is not before end"),
        (sampler("datetime", start="soon", end="2024-01-02"), "params.start", "date"),
        (sampler("datetime", start=2020, end="2025-01-01"), "params.start", "2020, which would be seconds since 1970"),
        (sampler("datetime", start="20240101", end="2024-01-02"), "params.start", "seconds since 1970"),
        (sampler("subcategory", category="x", values={"a": []}), "params.values.a", "Must not be empty."),
        (sampler("poisson", mean=-1), "params.mean", "at least 0"),
        (sampler("poisson", men=1, mean=1), "params.men", "Did you mean 'mean'?"),
        (sampler("poisson", mean=1e16), "params.mean", "at most 1000000000000000"),
        (sampler("binomial", n=1.5, p=0.5), "params.n", "whole number"),
        (sampler("binomial", n=-1, p=0.5), "params.n", "at least 0"),
        (sampler("binomial", n=1, p=2), "params.p", "at most 1"),
        (sampler("timedelta", dt_min=3, dt_max=3, reference_column_name="x"), "params", "is not less than dt_max (3)"),
        (sampler("timedelta", dt_min=0, dt_max=10**8 + 1, reference_column_name="x"), "params", "100 million days"),
        (sampler("timedelta", dt_min=0, dt_max=1, reference_column_name="x", unit="M"), "params.unit", "D, h, m, s"),
        (
            sampler("uniform", low=0, high=1) | {"convert_to": "integer"},
            "convert_to",
            "float, int or str, not 'integer'",
        ),
        (sampler("uuid") | {"convert_to": "str"}, "convert_to", "cannot be converted"),
        (sampler("category", values=["1", "x"]) | {"convert_to": "int"}, "convert_to", "'x' is no whole number"),
        (sampler("category", values=["1", "x"]) | {"convert_to": "float"}, "convert_to", "'x' is no number"),
        (
            sampler("datetime", start="2024-01-01", end="2025-01-01") | {"convert_to": "%F"},
            "convert_to",
            "'%F' is not part of a format of dates. Write %Y-%m-%d.",
        ),
        (
            sampler("datetime", start="2024-01-01", end="2025-01-01") | {"convert_to": "str"},
            "convert_to",
            "it has no '%'",
        ),
        (
            sampler("category", values=["a"]) | {"conditional_params": {"true": {"values": [1]}}},
            "conditional_params",
            "values of different types: VARCHAR and BIGINT",
        ),
        (
            sampler("bernoulli", p=0.5) | {"conditional_params": {"{{ x }}": {"p": 1}}},
            "conditional_params.{{ x }}",
            "are SQL, not Jinja",
        ),
        (sampler("bernoulli", p=0.5) | {"conditional_params": {" ": {"p": 1}}}, "conditional_params. ", "is empty"),
        (sampler("bernoulli", p=0.5) | {"conditional_params": {"!": {"p": 1}}}, "conditional_params.!", "not SQL"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_place(column: dict[str, Any], place: str, message: str) -> None:
    found = problems(column)
    assert list(found) == [f"columns.0.{place}"]
    assert message in found[f"columns.0.{place}"]


def test_a_subcategory_needs_its_parent() -> None:
    parent = sampler("category", "kind", values=["a", "b"])
    child = sampler("subcategory", category="kind", values={"a": [1, 2], "b": [3]})
    declaration = declared(parent, child)[1]
    assert [(reference.name, reference.place) for reference in declaration.inputs] == [
        ("kind", "columns.1.params.category")
    ]
    assert declaration.sql == SamplerCall("sample_subcategory", (ColumnValue("kind"), ["a", "b"], [[1, 2], [3]]))


def test_every_value_of_the_parent_needs_a_list() -> None:
    parent = sampler("category", "kind", values=[1, 2.5, 4])
    child = sampler("subcategory", category="kind", values={1.0: ["a"], "4.0": ["b"]})
    assert problems(parent, child) == {"columns.1.params.values": "No values for kind = '2.5'."}


def test_a_subcategory_of_a_subcategory_is_checked_too() -> None:
    top = sampler("category", "top", values=[True, False])
    middle = sampler("subcategory", "middle", category="top", values={True: ["x", "y"], False: ["z"]})
    bottom = sampler("subcategory", "bottom", category="middle", values={"x": [1], "y": [2]})
    assert problems(top, middle, bottom) == {"columns.2.params.values": "No values for middle = 'z'."}


def test_what_the_parent_takes_under_conditions_and_after_conversion_needs_a_list_too() -> None:
    parent = sampler("category", "kind", values=[1, 2]) | {
        "conditional_params": {"true": {"values": [3]}},
        "convert_to": "float",
    }
    child = sampler("subcategory", category="kind", values={1.0: ["a"], 2.0: ["b"]})
    assert problems(parent, child) == {"columns.1.params.values": "No values for kind = '3.0'."}


def test_an_unknown_conditional_parameter_is_named_with_the_nearest_one() -> None:
    column = sampler("uniform", low=0, high=1) | {"conditional_params": {"a > 1": {"low": 0, "high": 1, "decimals": 2}}}
    assert problems(column) == {
        "columns.0.conditional_params.a > 1.decimals": "Unknown field 'decimals'. Did you mean 'decimal_places'?"
    }


def test_conditions_and_conversions_are_part_of_the_call_and_the_fingerprint() -> None:
    column = sampler("gaussian", mean=0, stddev=1) | {"conditional_params": {"b": {"mean": 5, "stddev": 1}}}
    first, second = declared(sampler("bernoulli", "b", p=1), column | {"convert_to": "int"}, known=["b"])
    place = "columns.1.conditional_params.b"
    assert [(reference.name, reference.place) for reference in second.inputs] == [("b", place)]
    assert second.sql == SampledValue(
        call=SamplerCall("sample_gaussian", (0.0, 1.0, None)),
        cases=((SqlExpression("b", place), SamplerCall("sample_gaussian", (5.0, 1.0, None))),),
        sql_type="BIGINT",
        rounded=True,
        can_fail=True,
    )
    assert second.fingerprint["conditional_params"] == [["b", {"mean": 5.0, "stddev": 1.0, "decimal_places": None}]]
    assert second.fingerprint["convert_to"] == "int"
    assert first.sql == SamplerCall("sample_bernoulli", (1.0,))


def test_a_circle_of_written_moments_is_the_graphs_to_report() -> None:
    columns = [
        sampler("timedelta", a, dt_min=1, dt_max=2, reference_column_name=b) | {"convert_to": "%Y"}
        for a, b in (("a", "b"), ("b", "a"))
    ]
    assert [declaration.name for declaration in declared(*columns)] == ["a", "b"]


def test_the_parent_of_a_subcategory_is_a_category() -> None:
    child = sampler("subcategory", category="amount", values={"a": [1]})
    found = problems(sampler("uniform", "amount", low=0, high=1), child)
    assert found == {"columns.1.params.category": "Column 'amount' is not a category sampler."}


def test_the_fingerprint_holds_the_parameters() -> None:
    (one,), (other,) = declared(sampler("bernoulli", p=0.1)), declared(sampler("bernoulli", p=0.2))
    assert one.fingerprint == {"sampler_type": "bernoulli", "params": {"p": 0.1}}
    assert one.fingerprint != other.fingerprint


def test_a_spec_with_samplers_survives_being_written_and_read() -> None:
    columns = [
        sampler("uniform", "a", low=1, high=2),
        sampler("category", "b", values=[1, 2.5], weights=[1, 2]),
        sampler("subcategory", "c", category="b", values={"1.0": ["x"], "2.5": ["y"]}),
        sampler("datetime", "d", start="2024-01-01T00:00:00+02:00", end="2024-06-01", unit="h"),
        sampler("uuid", "e"),
    ]
    spec = Spec.from_data({"records": 1, "columns": columns})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Spec.from_json(spec.to_json()) == spec


def test_a_moment_with_a_time_zone_is_taken_in_utc() -> None:
    (declaration,) = declared(sampler("datetime", start="2024-01-01T00:00:00+02:00", end="2024-06-01"))
    assert declaration.sql is not None
    assert declaration.sql.arguments[0] == datetime(2023, 12, 31, 22)  # type: ignore[union-attr]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    st.timedeltas(timedelta(seconds=1), timedelta(days=900)),
    st.sampled_from("YM"),
)
def test_steps_by_month_are_those_before_the_end(start: datetime, length: timedelta, unit: str) -> None:
    call = DatetimeParameters(start=start, end=start + length, unit=unit).call()  # type: ignore[arg-type]
    _, step, steps = call.arguments
    assert _plus_months(start, step * (steps - 1)) < start + length <= _plus_months(start, step * steps)


def _plus_months(start: datetime, months: int) -> datetime:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    for day in range(start.day, 27, -1):
        try:
            return start.replace(year, month + 1, day)
        except ValueError:
            continue
    return start.replace(year, month + 1)


@given(st.lists(st.floats(0, 1e308), min_size=1, max_size=40).filter(any))
def test_an_alias_table_gives_each_choice_its_share(weights: list[float]) -> None:
    table = alias_table(weights)
    shares = [Fraction(0)] * len(weights)
    for slot, (threshold, alias) in enumerate(zip(*table, strict=True)):
        shares[slot] += Fraction(threshold)
        shares[alias] += 1 - Fraction(threshold)
    total = sum(map(Fraction, weights))
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(weight) / total * len(weights)) <= Fraction(len(weights), 2**52)
        assert (share == 0) >= (weight == 0)


def test_a_seed_column_reads_the_column_of_its_name() -> None:
    from rowmill.generators.seed_dataset import SeedDatasetColumn

    spec = Spec.from_data({"records": 1, "columns": [{"name": "species", "column_type": "seed-dataset"}]})
    assert isinstance(spec.columns[0], SeedDatasetColumn)
    declaration = spec.columns[0].declare(_Position())  # type: ignore[arg-type]
    assert declaration.sql == SeedColumn("species")
    assert [output.sql_type for output in declaration.outputs] == [""]


class _Position:
    index = 0
