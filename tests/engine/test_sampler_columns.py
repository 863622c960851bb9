"""Samplers in whole runs: conditions, conversions, constraints, and V1 with all of them."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from help_page import PAGES, block_with
from hostile_run import Ran, run_spec, run_text

from rowmill.errors import SpecError
from rowmill.run_database import RunDatabase


def sampler(name: str, sampler_type: str, params: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": name, "column_type": "sampler", "sampler_type": sampler_type, "params": params, **fields}


KIND = sampler("kind", "category", {"values": ["a", "b", "c"]})
AGE = sampler("age", "uniform", {"low": 0, "high": 100}, convert_to="int")
START = sampler("start", "datetime", {"start": "2024-01-01", "end": "2024-12-31"})


def ran(directory: Path, *columns: dict[str, Any], records: int = 400, **fields: Any) -> Ran:
    return run_spec(directory, columns, models=[], records=records, seed=11, **{"row_group_size": 150, **fields})


def test_parameters_follow_the_condition_that_holds_and_of_several_the_last(tmp_path: Path) -> None:
    conditions = {
        "kind = 'a'": {"low": 10, "high": 20},
        "kind in ('a', 'b') and age >= 50": {"low": 30, "high": 40},
    }
    column = sampler("value", "uniform", {"low": 0, "high": 1}, conditional_params=conditions)
    seen = set()
    for row in ran(tmp_path, KIND, AGE, column).rows:
        holds = [row["kind"] == "a", row["kind"] != "c" and row["age"] >= 50]
        least = 30 if holds[1] else 10 if holds[0] else 0
        assert least <= row["value"] <= least + 10
        seen.add(tuple(holds))
    assert len(seen) == 4


def test_a_value_does_not_depend_on_conditions_that_do_not_hold(tmp_path: Path) -> None:
    plain = sampler("value", "gaussian", {"mean": 0, "stddev": 1})
    (tmp_path / "plain").mkdir()
    without = ran(tmp_path / "plain", KIND, plain)
    conditional = ran(tmp_path, KIND, plain | {"conditional_params": {"kind = 'a'": {"mean": 0, "stddev": 2}}})
    for one, other in zip(without.rows, conditional.rows, strict=True):
        assert other["value"] == one["value"] * (2 if one["kind"] == "a" else 1)


def test_a_condition_that_is_null_does_not_hold(tmp_path: Path) -> None:
    maybe = {"name": "maybe", "column_type": "expression", "sql": "nullif(kind, 'a') = 'b'", "dtype": "bool"}
    column = sampler("value", "bernoulli", {"p": 0}, conditional_params={"maybe": {"p": 1}})
    for row in ran(tmp_path, KIND, maybe, column).rows:
        assert row["value"] == (row["kind"] == "b")


def test_a_condition_that_fails_drops_its_rows_and_says_why(tmp_path: Path) -> None:
    column = sampler("value", "bernoulli", {"p": 0}, conditional_params={"cast(kind as int) > 1": {"p": 1}})
    mixed = sampler("kind", "category", {"values": ["1", "2", "x"]})
    result = ran(tmp_path, mixed, column)
    assert {(row["kind"], row["value"]) for row in result.rows} == {("1", 0), ("2", 1)}
    assert result.dropped
    assert {(drop["column_name"], drop["error_type"]) for drop in result.dropped} == {("value", "SqlError")}
    assert "Could not convert string 'x'" in result.dropped[0]["message"]


def test_a_condition_must_be_one_over_known_columns(tmp_path: Path) -> None:
    column = sampler("value", "bernoulli", {"p": 0}, conditional_params={"kidn = 'a'": {"p": 1}})
    with pytest.raises(SpecError, match=r"Column 'kidn' is not defined. Did you mean 'kind'"):
        ran(tmp_path, KIND, column)


def test_a_condition_must_fit_the_types_of_its_columns(tmp_path: Path) -> None:
    column = sampler("value", "bernoulli", {"p": 0}, conditional_params={"start > 5": {"p": 1}})
    with pytest.raises(SpecError, match=r"conditional_params\.start > 5"):
        ran(tmp_path, START, column)


def test_values_are_converted(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any], str, set[Any]]] = [
        ("uniform", {"low": -1.5, "high": 1.5}, "int", {-2, -1, 0, 1, 2}),
        ("bernoulli", {"p": 0.5}, "str", {"0", "1"}),
        ("bernoulli", {"p": 0.5}, "float", {0.0, 1.0}),
        ("category", {"values": [0.5, 1.5, 2.5]}, "int", {0, 2}),
        ("category", {"values": ["7", " 8"]}, "int", {7, 8}),
        ("category", {"values": [True, False]}, "int", {0, 1}),
        ("category", {"values": [1, 2.5]}, "str", {"1.0", "2.5"}),
    ]
    columns = [
        sampler(f"value_{number}", sampler_type, params, convert_to=convert_to)
        for number, (sampler_type, params, convert_to, _) in enumerate(cases)
    ]
    result = ran(tmp_path, *columns)
    for number, case in enumerate(cases):
        found, values = result.column(f"value_{number}"), case[-1]
        assert set(found) <= values, case
        assert len(set(found)) >= min(len(values), 2), case
        assert {type(value) for value in found} == {type(value) for value in values}, case


def test_a_number_that_fits_no_whole_number_drops_its_row(tmp_path: Path) -> None:
    result = ran(tmp_path, sampler("value", "gaussian", {"mean": 0, "stddev": 1e19}, convert_to="int"))
    assert result.rows
    assert result.dropped
    assert "INT64" in result.dropped[0]["message"]


def test_moments_are_written_in_their_format_and_added_to_as_moments(tmp_path: Path) -> None:
    start = START | {"convert_to": "%d.%m.%y"}
    later = sampler("later", "timedelta", {"dt_min": 1, "dt_max": 3, "reference_column_name": "start", "unit": "h"})
    last = sampler("last", "timedelta", {"dt_min": 0, "dt_max": 1, "reference_column_name": "later", "unit": "m"})
    result = ran(tmp_path, start, later | {"convert_to": "%d.%m.%Y %H"}, last)
    for row in result.rows:
        written = datetime.strptime(row["start"], "%d.%m.%y")
        assert row["last"] - written in {timedelta(hours=1), timedelta(hours=2)}
        assert row["later"] == row["last"].strftime("%d.%m.%Y %H")


def test_a_reference_may_be_any_column_that_holds_moments(tmp_path: Path) -> None:
    text = {"name": "text", "column_type": "expression", "sql": "case kind when 'a' then kind else '2024-02-01' end"}
    delta = sampler("value", "timedelta", {"dt_min": 1, "dt_max": 2, "reference_column_name": "text"})
    result = ran(tmp_path, KIND, text, delta)
    assert set(result.column("value")) == {datetime(2024, 2, 2)}
    assert {drop["column_name"] for drop in result.dropped} == {"value"}


CONSTRAINTS = [
    {"target_column": "age", "operator": "ge", "rhs": 18},
    {"target_column": "age", "operator": "lt", "rhs": 65},
    {"target_column": "child", "operator": "lt", "rhs": "age"},
    {"target_column": "end", "operator": "gt", "rhs": "start", "constraint_type": "column_inequality"},
]
CONSTRAINED = [
    AGE,
    sampler("child", "gaussian", {"mean": 30, "stddev": 20}),
    START | {"convert_to": "%Y-%m-%d"},
    sampler("end", "datetime", {"start": "2024-01-01", "end": "2025-06-30"}),
]


def test_every_row_meets_the_constraints(tmp_path: Path) -> None:
    rows = ran(tmp_path, *CONSTRAINED, constraints=CONSTRAINTS).rows
    assert len(rows) == 400
    for row in rows:
        assert 18 <= row["age"] < 65
        assert row["child"] < row["age"]
        assert f"{row['end']:%Y-%m-%d}" > row["start"]


def test_a_value_that_meets_its_constraints_is_the_one_it_was_without_them(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    free = ran(tmp_path / "free", AGE)
    bound = ran(tmp_path, AGE, constraints=CONSTRAINTS[:2])
    for one, other in zip(free.column("age"), bound.column("age"), strict=True):
        assert (other == one) == (18 <= one < 65)


def attempted(column: str, row_id: int) -> float:
    """The first of the attempts of seed 11 that is less than 0.02: what the rule of the attempts says."""
    for attempt in itertools.count():
        name = f"{column}\x1f{attempt}" if attempt else column
        digest = md5(f"11:{name}:{row_id}:0".encode(), usedforsecurity=False).digest()
        value = (int.from_bytes(digest, "little") >> 75) * 2.0**-53
        if value < 0.02:
            return value
    raise AssertionError


def test_v1_attempts_never_change(tmp_path: Path) -> None:
    """A dataset that is half made is finished by the next version of Rowmill."""
    values = [
        sampler("even", "uniform", {"low": 0, "high": 1}),
        sampler("rare", "uniform", {"low": 0, "high": 1}, conditional_params={"even > 2": {"low": 5, "high": 6}}),
        sampler("drawn", "scipy", {"dist_name": "uniform"}),
    ]
    constraints = [{"target_column": name, "operator": "lt", "rhs": 0.02} for name in ("rare", "drawn")]
    rows = ran(tmp_path, *values, records=3, constraints=constraints).rows
    assert [row["rare"] for row in rows] == [attempted("rare", row_id) for row_id in range(3)]
    assert [row["drawn"] for row in rows] == pytest.approx(
        [attempted("drawn", row_id) for row_id in range(3)], rel=1e-12
    )


def test_constrained_values_are_distributed_like_those_that_meet_the_constraint(tmp_path: Path) -> None:
    column = sampler("value", "uniform", {"low": 0, "high": 1})
    constraint = {"target_column": "value", "operator": "lt", "rhs": 0.05}
    values = ran(tmp_path, column, records=4000, row_group_size=4000, constraints=[constraint]).column("value")
    ordered = sorted(value / 0.05 for value in values)
    distance = max(abs(value - place / len(ordered)) for place, value in enumerate(ordered))
    assert distance < 2.23 / len(ordered) ** 0.5


@pytest.mark.slow
def test_v1_holds_with_conditions_conversions_and_constraints(tmp_path: Path) -> None:
    columns = [
        KIND,
        *CONSTRAINED,
        sampler("n", "poisson", {"mean": 4}, conditional_params={"kind = 'a'": {"mean": 400}}),
        sampler("m", "binomial", {"n": 10, "p": 0.5}, conditional_params={"kind = 'b'": {"n": 1000, "p": 0.6}}),
    ]
    results = []
    for size in (7, 400):
        directory = tmp_path / str(size)
        directory.mkdir()
        results.append(ran(directory, *columns, row_group_size=size, constraints=CONSTRAINTS).rows)
    assert results[0] == results[1]


CERTAIN = {"p": 1, "dist_name": "expon", "dist_params": {"loc": 5}}
DRAWN = [
    KIND,
    sampler("shape", "scipy", {"dist_name": "gamma", "dist_params": {"a": 2}}, convert_to="int"),
    sampler(
        "mixed",
        "bernoulli_mixture",
        {"p": 0.5, "dist_name": "expon", "dist_params": {"scale": 10}},
        conditional_params={"kind = 'a'": {"p": 0, "dist_name": "expon"}, "kind = 'b' and shape > 1": CERTAIN},
    ),
    sampler("who", "person_from_faker", {}, conditional_params={"kind = 'c'": {"locale": "de_DE", "sex": "Female"}}),
    sampler("known", "person", {"file": "people.csv"}, drop=True),
    {
        "name": "greeting",
        "column_type": "expression",
        "expr": "{{ who.first_name }}, {{ known.name }} of {{ known.age }}",
    },
]
DRAWN_CONSTRAINTS = [
    {"target_column": "shape", "operator": "ge", "rhs": 1},
    {"target_column": "limit", "operator": "gt", "rhs": "shape"},
    {"target_column": "limit", "operator": "gt", "rhs": 6},
    {"target_column": "mixed", "operator": "lt", "rhs": "limit"},
]
LIMIT = sampler("limit", "uniform", {"low": 0, "high": 60})


def run_drawn(directory: Path, **fields: Any) -> Ran:
    directory.mkdir()
    (directory / "people.csv").write_text("name,age\nAnn,30\nBea,40\nKid,9\n")
    return ran(directory, *DRAWN, LIMIT, constraints=DRAWN_CONSTRAINTS, **fields)


@pytest.mark.slow
def test_v1_holds_for_samplers_made_in_python(tmp_path: Path) -> None:
    small, great = run_drawn(tmp_path / "small", row_group_size=7), run_drawn(tmp_path / "great", row_group_size=400)
    assert small.rows == great.rows
    assert small.dropped == [] == great.dropped


def test_samplers_made_in_python_know_conditions_constraints_and_each_other(tmp_path: Path) -> None:
    for row in run_drawn(tmp_path / "run").rows:
        assert row["shape"] >= 1
        assert row["shape"] < row["limit"]
        assert row["mixed"] < row["limit"]
        assert row["mixed"] == 0 or row["kind"] != "a"
        assert row["mixed"] >= 5 or not (row["kind"] == "b" and row["shape"] > 1)
        assert row["who"]["locale"] == ("de_DE" if row["kind"] == "c" else "en_US")
        assert row["who"]["sex"] == "Female" or row["kind"] != "c"
        assert re.fullmatch(rf"{row['who']['first_name']}, (Ann of 30|Bea of 40)", row["greeting"])


@pytest.mark.slow
def test_a_drawn_value_that_meets_no_constraint_drops_its_row(tmp_path: Path) -> None:
    value = sampler("value", "scipy", {"dist_name": "uniform", "dist_params": {"scale": 8}})
    low = sampler("low", "uniform", {"low": 0, "high": 10})
    result = ran(tmp_path, low, value, constraints=[{"target_column": "value", "operator": "gt", "rhs": "low"}])
    assert 40 < len(result.dropped) < 120
    message = "None of 5,000 values drawn for column 'value' meets 'value > low' (constraints.0)."
    assert {(drop["error_type"], drop["message"]) for drop in result.dropped} == {("ConstraintNotMet", message)}


def test_a_drawn_value_without_a_place_among_whole_numbers_drops_its_row(tmp_path: Path) -> None:
    value = sampler("value", "scipy", {"dist_name": "norm", "dist_params": {"scale": 4e18}}, convert_to="int")
    result = ran(tmp_path, value)
    assert result.rows
    assert {drop["error_type"] for drop in result.dropped} == {"NotConvertible"}


@pytest.mark.slow
def test_a_row_whose_constraint_cannot_be_met_is_dropped_and_names_it(tmp_path: Path) -> None:
    low = sampler("low", "uniform", {"low": 0, "high": 10})
    high = sampler("high", "uniform", {"low": 0, "high": 8})
    constraint = {"target_column": "high", "operator": "gt", "rhs": "low"}
    result = ran(tmp_path, low, high, constraints=[constraint])
    assert all(row["high"] > row["low"] for row in result.rows)
    assert 40 < len(result.dropped) < 120
    assert {(drop["column_name"], drop["reason"], drop["error_type"]) for drop in result.dropped} == {
        ("high", "rejected", "ConstraintNotMet")
    }
    message = "None of 5,000 values drawn for column 'high' meets 'high > low' (constraints.0)."
    assert {drop["message"] for drop in result.dropped} == {message}


def test_a_constraint_on_a_null_holds(tmp_path: Path) -> None:
    is_b = "(nullif(kind, 'a')::text = 'b')::int"
    other = {"name": "other", "column_type": "expression", "sql": is_b, "dtype": "int"}
    value = sampler("value", "uniform", {"low": 0, "high": 1})
    constraint = {"target_column": "value", "operator": "le", "rhs": "other"}
    assert len(ran(tmp_path, KIND, other, value, constraints=[constraint], records=30).rows) > 5


def test_a_skipped_sampler_needs_to_meet_nothing(tmp_path: Path) -> None:
    low = sampler("low", "uniform", {"low": 5, "high": 10})
    high = sampler("high", "uniform", {"low": 0, "high": 8}, skip={"when": "low >= 6"})
    result = ran(tmp_path, low, high, constraints=[{"target_column": "high", "operator": "gt", "rhs": "low"}])
    assert not result.dropped
    assert all((row["high"] is None) == (row["low"] >= 6) for row in result.rows)


@pytest.mark.slow
def test_the_examples_of_the_help_run(tmp_path: Path) -> None:
    columns = yaml.safe_load(block_with(PAGES["samplers"], "yaml", "sampler_type: timedelta"))
    constraints = yaml.safe_load(block_with(PAGES["samplers"], "yaml", "constraints:"))
    due = sampler("due", "datetime", {"start": "2026-01-02", "end": "2028-01-01"})
    spec = {"name": "readme", "records": 200, "columns": [due, *columns], **constraints}
    result = run_text(tmp_path, json.dumps(spec, default=str))
    assert all(row["items"] >= 1 and row["delivered"] < row["due"] for row in result.rows)
    assert len(result.rows) > 150


def test_columns_may_be_named_like_the_variables_of_macros(tmp_path: Path) -> None:
    names = {"row", "v", "n", "t", "u", "gt", "candidates", "attempt", 'a "b" \' c', "K"}
    above = {name: f"above {name}" for name in names}
    columns = [sampler(name, "uniform", {"low": 0, "high": 1}) for pair in above.items() for name in pair]
    constraints = [
        {"target_column": higher, "operator": "gt", "rhs": name, "constraint_type": "column_inequality"}
        for name, higher in above.items()
    ]
    rows = ran(tmp_path, *columns, constraints=constraints, records=50).rows
    assert rows
    assert all(row[higher] > row[name] for row in rows for name, higher in above.items())


def test_v4_fields_of_a_person_are_what_the_file_says(tmp_path: Path) -> None:
    half = uuid.UUID(int=1 << 64)
    moment = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    fields = {
        "age": (pa.array([30], pa.uint8()), "BIGINT", 30),
        "great": (pa.array([2**64 - 1], pa.uint64()), "UBIGINT", 2**64 - 1),
        "single": (pa.array([0.1], pa.float32()), "DOUBLE", 0.1),
        "price": (pa.array([Decimal("11.10")]), "DECIMAL(4,2)", Decimal("11.10")),
        "day": (pa.array([date(2026, 1, 31)], pa.date64()), "DATE", date(2026, 1, 31)),
        "seen": (
            pa.array([moment], pa.timestamp("us", "America/New_York")),
            "TIMESTAMP WITH TIME ZONE",
            moment,
        ),
        "hour": (pa.array([time(10, 30)], pa.time32("s")), "TIME", time(10, 30)),
        "raw": (pa.array([b"\xff\x00"]), "BLOB", b"\xff\x00"),
        "id": (pa.array([half.bytes], pa.uuid()), "UUID", str(half)),
        "home": (
            pa.array([{"zip": "007", "at": [1.5]}]),
            'STRUCT(zip VARCHAR, "at" DOUBLE[])',
            {"zip": "007", "at": [1.5]},
        ),
        "kin": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())), "MAP(VARCHAR, BIGINT)", [("a", 1)]),
        "kind": (pa.array(["x"]).dictionary_encode(), "VARCHAR", "x"),
    }
    pq.write_table(pa.table({name: array for name, (array, _, _) in fields.items()}), tmp_path / "people.parquet")
    made = ran(tmp_path, sampler("who", "person", {"file": "people.parquet"}), records=1)
    assert made.dropped == []
    person = made.rows[0]["who"]
    asked = ", ".join(f"typeof(who.{name}) as {name}" for name in fields)
    with RunDatabase.open(tmp_path / "run.duckdb") as database:
        (types,) = database.sql(f"select {asked} from dataset").to_pylist()
    assert types == {name: kind for name, (_, kind, _) in fields.items()}
    assert {name: person[name] for name in fields} == {name: value for name, (_, _, value) in fields.items()}
