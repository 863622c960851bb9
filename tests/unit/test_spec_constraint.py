"""Constraints: what a spec may say, and which are refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from generator_context import declared

from rowmill.errors import SpecError
from rowmill.graph.declaring import Declaring
from rowmill.spec.constraint import ColumnInequality, ScalarInequality
from rowmill.spec.declaration import Bound, ColumnValue, SampledValue, SamplerCall, SqlAnalysis, UnformattedValue
from rowmill.spec.spec import Spec

COLUMNS: list[dict[str, Any]] = [
    {"name": "low", "sampler_type": "uniform", "params": {"low": 0, "high": 10}},
    {"name": "high", "sampler_type": "uniform", "params": {"low": 20, "high": 30}, "convert_to": "int"},
    {"name": "count", "sampler_type": "poisson", "params": {"mean": 3}},
    {"name": "text", "sampler_type": "uniform", "params": {"low": 0, "high": 10}, "convert_to": "str"},
    {"name": "kind", "sampler_type": "category", "params": {"values": ["a", "b"]}},
    {"name": "day", "sampler_type": "datetime", "params": {"start": "2024-01-01", "end": "2024-02-01"}},
    {
        "name": "written",
        "sampler_type": "datetime",
        "params": {"start": "2024-03-01", "end": "2024-04-01"},
        "convert_to": "%d.%m.%Y",
    },
    {"name": "sum", "column_type": "expression", "sql": "1", "dtype": "float"},
]


def constrained(*constraints: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The sources of the columns by name, and the problems by place."""
    spec = Spec.from_data(
        {"records": 1, "columns": [{"column_type": "sampler"} | c for c in COLUMNS], "constraints": constraints}
    )
    context = Declaring(spec, lambda text: SqlAnalysis(()))
    sources = {declaration.name: declaration.sql for declaration in context.declarations([])}
    return sources, {problem.place: problem.message for problem in context.problems}


def on(column: str, operator: str, rhs: Any, **fields: Any) -> dict[str, Any]:
    return {"target_column": column, "operator": operator, "rhs": rhs, **fields}


def test_the_kind_of_a_constraint_follows_from_its_right_hand_side() -> None:
    spec = Spec.from_data({"records": 0, "constraints": [on("a", "lt", 1), on("a", "ge", "b"), on("a", "le", "2.5")]})
    assert spec.constraints == (
        ScalarInequality(target_column="a", operator="lt", rhs=1),
        ColumnInequality(target_column="a", operator="ge", rhs="b"),
        ScalarInequality(target_column="a", operator="le", rhs=2.5),
    )
    assert [str(constraint) for constraint in spec.constraints] == ["a < 1", "a >= b", "a <= 2.5"]
    assert Spec.from_json(spec.to_json()) == spec


def test_a_column_may_be_named_like_a_number_when_the_kind_is_said() -> None:
    spec = Spec.from_data({"records": 0, "constraints": [on("a", "lt", "7", constraint_type="column_inequality")]})
    assert spec.constraints == (ColumnInequality(target_column="a", operator="lt", rhs="7"),)


@pytest.mark.parametrize(
    ("constraint", "place", "message"),
    [
        (on("a", "<", 1), "constraints.0.operator", "lt"),
        ({"target_column": "a", "operator": "lt"}, "constraints.0.rhs", "Field 'rhs' is required."),
        (on("a", "lt", 1, target="b"), "constraints.0.target", "Did you mean 'target_column'?"),
        (on("a", "lt", 1, constraint_type="equality"), "constraints.0", "scalar_inequality or column_inequality"),
        (on("a", "lt", "b", constraint_type="scalar_inequality"), "constraints.0.rhs", "a number"),
    ],
)
def test_a_wrong_field_is_named_with_its_place(constraint: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        Spec.from_data({"records": 0, "constraints": [constraint]})
    (problem,) = error.value.problems
    assert problem.place == place
    assert message in problem.message


@pytest.mark.parametrize(
    ("constraints", "place", "message"),
    [
        ([on("lwo", "lt", 1)], "constraints.0.target_column", "'lwo' is not defined. Did you mean 'low'?"),
        ([on("sum", "lt", 1)], "constraints.0.target_column", "of type expression"),
        ([on("text", "lt", 1)], "constraints.0.target_column", "are text"),
        ([on("kind", "lt", 1)], "constraints.0.target_column", "are text"),
        ([on("day", "lt", 1)], "constraints.0.target_column", "are no numbers"),
        ([on("low", "lt", "day")], "constraints.0.rhs", "cannot be compared"),
        ([on("low", "lt", "kind")], "constraints.0.rhs", "cannot be compared"),
        ([on("low", "lt", 0)], "constraints.0", "No value can meet 'low < 0': those of 'low' are from 0 to 10."),
        ([on("low", "gt", 10)], "constraints.0", "No value can meet 'low > 10'"),
        ([on("count", "lt", 0)], "constraints.0", "No value can meet 'count < 0'"),
        ([on("low", "gt", "high")], "constraints.0", "the columns' ranges have nothing in common"),
        ([on("day", "ge", "written")], "constraints.0", "the columns' ranges have nothing in common"),
        ([on("low", "gt", 6), on("low", "le", 8), on("low", "lt", 5)], "constraints.2", "both 'low < 5' and 'low > 6'"),
        ([on("low", "gt", 5), on("low", "le", 5)], "constraints.1", "both 'low <= 5' and 'low > 5'"),
    ],
)
def test_what_can_never_be_met_is_refused(constraints: list[dict[str, Any]], place: str, message: str) -> None:
    _, problems = constrained(*constraints)
    assert list(problems) == [place]
    assert message in problems[place]


@pytest.mark.parametrize(
    "constraint",
    [
        on("low", "le", 0),
        on("low", "ge", 10),
        on("low", "lt", "high"),
        on("high", "le", 20),
        on("count", "gt", 1e9),
        on("written", "gt", "day"),
        on("low", "gt", "sum"),
        on("high", "ge", "count"),
    ],
)
def test_what_might_be_met_is_tried(constraint: dict[str, Any]) -> None:
    assert constrained(constraint)[1] == {}


def test_the_column_compared_with_is_an_input() -> None:
    spec = Spec.from_data(
        {
            "records": 1,
            "columns": [{"column_type": "sampler"} | column for column in COLUMNS],
            "constraints": [on("low", "gt", 1), on("low", "lt", "count"), on("low", "lt", "sum")],
        }
    )
    (low, *_) = Declaring(spec, lambda text: SqlAnalysis(())).declarations([])
    assert [(reference.name, reference.place) for reference in low.inputs] == [
        ("count", "constraints.1.rhs"),
        ("sum", "constraints.2.rhs"),
    ]
    assert low.fingerprint["constraints"] == [["gt", 1.0], ["lt", "count"], ["lt", "sum"]]
    assert isinstance(low.sql, SampledValue)
    assert low.sql.bounds == (
        Bound("gt", 1.0),
        Bound("lt", ColumnValue("count")),
        Bound("lt", ColumnValue("sum")),
    )


def test_moments_are_compared_even_if_the_column_writes_them_as_text() -> None:
    sources, problems = constrained(on("day", "lt", "written"))
    assert problems == {}
    (bound,) = sources["day"].bounds
    assert isinstance(bound.value, UnformattedValue)
    assert bound.value.column == "written"


def test_columns_without_constraints_are_what_they_were() -> None:
    (declaration,) = declared({"column_type": "sampler"} | COLUMNS[0])
    assert declaration.sql == SamplerCall("sample_uniform", (0.0, 10.0, None))
    assert declaration.fingerprint == {
        "sampler_type": "uniform",
        "params": {"low": 0.0, "high": 10.0, "decimal_places": None},
    }
