"""V3: one rule for what fits a column, whoever gives the value: SQL, a template, a function of rows or of tables."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from virtual_run import EPOCH, Finished, Row, custom, expression, prepared

from rowmill.errors import SpecError
from rowmill.store.run_store import RunStore

Run = Callable[..., Finished]
NO = object()
"""It does not fit."""

NUMBERS: list[tuple[str, str, Any, str, Any]] = [
    ("int", "7/2", 3.5, "{{ 7 / 2 }}", NO),
    ("int", "6/2", 3.0, "{{ 6 / 2 }}", 3),
    ("int", "-7/2", -3.5, "{{ -7 / 2 }}", NO),
    ("int", "3.00::decimal(4, 2)", decimal.Decimal("3.00"), "3.00", 3),
    ("int", "3.01::decimal(4, 2)", decimal.Decimal("3.01"), "3.01", NO),
    ("int", "1e300", 1e300, "{{ 1e300 }}", NO),
    ("int", "'nan'::double", float("nan"), "nan", NO),
    ("int", "'inf'::double", float("inf"), "inf", NO),
    ("int", "9223372036854775808::hugeint", 2**63, "{{ 9223372036854775808 }}", NO),
    ("int", "9223372036854775807::hugeint", 2**63 - 1, "{{ 9223372036854775807 }}", 2**63 - 1),
    ("float", "3", 3, "3", 3.0),
    ("float", "9007199254740993", 2**53 + 1, "{{ 9007199254740993 }}", NO),
    ("float", "9007199254740992", 2**53, "{{ 9007199254740992 }}", 2.0**53),
    ("float", "0.1", decimal.Decimal("0.1"), "0.1", 0.1),
    ("float", "'inf'::double", float("inf"), "inf", float("inf")),
]


def made_by(run: Run, **columns: Any) -> Any:
    """The value of a run of one row with this column, or NO if its row was dropped for it."""
    (name, column), *_ = columns.items()
    done = run(prepared(column, records=1))
    if done.dataset():
        return done.column(name)[0]
    ((kind, message),) = done.sql("select error_type, message from dropped_row")
    assert kind in {"TypeMismatch", "NotConvertible", "GeneratorError"}, message
    assert f"'{name}'" in message
    return NO


def made_apart(run: Run, columns: Sequence[Callable[[str], dict[str, Any]]]) -> list[Any]:
    """The same of many columns in one run: each has a row of its own, and is skipped in all others."""
    places = range(len(columns))
    apart = [{**columns[place](f"v{place}"), "skip": {"when": f"place <> {place}"}} for place in places]
    seed = {"seed_type": "df", "df": pa.table({"place": list(places)})}
    settings = {"max_error_share": 1.0}
    done = run(prepared(*apart, records=len(columns), row_group_size=5, seed_dataset=seed, run=settings))
    found = {row["row_id"]: row[f"v{row['row_id']}"] for row in done.dataset()}
    for place, name, kind, message in done.sql("select row_id, column_name, error_type, message from dropped_row"):
        assert name == f"v{place}"
        assert kind in {"TypeMismatch", "NotConvertible", "GeneratorError"}, message
        assert f"'{name}'" in message
        found[place] = NO
    return [found[place] for place in places]


def giving(value: Any) -> Callable[[Row], Any]:
    async def give(row: Row) -> Any:
        return value

    return give


def giving_table(value: Any, name: str = "v") -> Callable[[pa.Table], Any]:
    async def give(rows: pa.Table) -> pa.Table:
        return pa.table({"row_index": rows["row_index"], name: pa.array([value] * rows.num_rows)})

    return give


def is_same(found: Any, expected: Any) -> bool:
    return found is expected or (found == expected and type(found) is type(expected))


@pytest.mark.parametrize(("dtype", "sql", "python", "expr", "expected"), NUMBERS)
def test_a_number_fits_or_not_if_sql_gives_it(
    run: Run, dtype: str, sql: str, python: Any, expr: str, expected: Any
) -> None:
    assert is_same(made_by(run, v=expression("v", sql, dtype)), expected)


@pytest.mark.parametrize("who", ["expr", "function", "table"])
def test_a_number_fits_or_not_whoever_else_gives_it(run: Run, who: str) -> None:
    # No type of Arrow in a function's table holds 2**63 beside whole numbers.
    cases = [case for case in NUMBERS if who != "table" or case[2] != 2**63]

    def column(case: tuple[str, str, Any, str, Any], name: str) -> dict[str, Any]:
        dtype, _, python, expr, _ = case
        if who == "expr":
            return {"name": name, "column_type": "expression", "expr": f"{expr}{{{{ '' }}}}", "dtype": dtype}
        if who == "function":
            return custom(name, giving(python), dtype=dtype)
        return custom(name, giving_table(python, name), dtype=dtype, generation_strategy="batch")

    found = made_apart(run, [partial(column, case) for case in cases])
    assert [case for case, value in zip(cases, found, strict=True) if not is_same(value, case[-1])] == []


OTHERS: list[tuple[str, str, Any, Any]] = [
    ("TINYINT", "300", 300, NO),
    ("TINYINT", "3.5", 3.5, NO),
    ("INTEGER", "3.0::double", 3.0, 3),
    ("HUGEINT", "7/2", 3.5, NO),
    ("DECIMAL(4, 1)", "1.25", decimal.Decimal("1.25"), NO),
    ("DECIMAL(4, 1)", "1.50", decimal.Decimal("1.50"), decimal.Decimal("1.5")),
    ("DECIMAL(4, 1)", "1.25::double", 1.25, NO),
    ("DECIMAL(4, 1)", "1.5::double", 1.5, decimal.Decimal("1.5")),
    ("DECIMAL(4, 1)", "12345", 12345, NO),
    ("FLOAT", "0.5::double", 0.5, 0.5),
    ("FLOAT", "1e300", 1e300, NO),
    ("FLOAT", "16777217", 2**24 + 1, NO),
    ("date", "'2026-01-31 12:00'::timestamp", dt.datetime(2026, 1, 31, 12), NO),
    ("date", "'2026-01-31'::timestamp", dt.datetime(2026, 1, 31), dt.date(2026, 1, 31)),
    ("datetime", "'2026-01-31'::date", dt.date(2026, 1, 31), dt.datetime(2026, 1, 31)),
    ("int[]", "[7/2]", [3.5], NO),
    ("int[]", "[6/2]", [3.0], [3]),
    ("int[2]", "[1, 7/2]", [1, 3.5], NO),
    ("STRUCT(a INT)", "{'a': 3.5}", {"a": 3.5}, NO),
    ("MAP(VARCHAR, INT)", "map {'a': 3.5}", {"a": 3.5}, NO),
    ("DECIMAL(4, 1)[]", "[1.25]", [decimal.Decimal("1.25")], NO),
    ("FLOAT[]", "[0.5::double]", [0.5], [0.5]),
    ("bool[]", "[true]", [True], [True]),
]


@pytest.mark.parametrize(("dtype", "sql", "python", "expected"), OTHERS)
def test_other_types_have_the_same_rule(run: Run, dtype: str, sql: str, python: Any, expected: Any) -> None:
    found = made_by(run, v=expression("v", sql, dtype))
    assert found is expected or found == expected


def test_other_types_have_the_same_rule_if_a_function_gives_them(run: Run) -> None:
    def column(case: tuple[str, str, Any, Any], name: str) -> dict[str, Any]:
        dtype, _, python, _ = case
        return custom(name, giving({name: python}), dtype=dtype)

    found = made_apart(run, [partial(column, case) for case in OTHERS])
    assert found == [expected for *_, expected in OTHERS]


@pytest.mark.parametrize(
    ("dtype", "sql", "expected"),
    [
        ("int", "'3'", 3),
        ("int", "' 3.0 '", 3),
        ("int", "'3.5'", NO),
        ("int", "'0x1F'", NO),
        ("int", "'1_000'", NO),
        ("float", "'1e400'", NO),
        ("float", "'nope'", NO),
        ("bool", "'TRUE'", True),
        ("bool", "'yes'", NO),
        ("bool", "'2'", NO),
        ("date", "'2026-02-30'", NO),
        ("date", "'2026-01-31'", dt.date(2026, 1, 31)),
        ("date", "'2026-01-31 12:00'", NO),
        ("datetime", "'2026-01-31 10:00:00+02'", NO),
        ("datetime", "'2026-01-31 10:00:00.1234567'", NO),
        ("DECIMAL(4, 1)", "'1.25'", NO),
        ("DECIMAL(4, 1)", "'1.50'", decimal.Decimal("1.5")),
        ("int", "'3.5'::json", NO),
        ("int", "'3.0'::json", 3),
        ("int", "'true'::json", NO),
        ("int", "cast(7/2 as int)", 4),
        ("str", "7/2", "3.5"),
    ],
)
def test_a_text_of_sql_fits_if_it_spells_a_value_and_what_the_user_casts_is_the_users(
    run: Run, dtype: str, sql: str, expected: Any
) -> None:
    found = made_by(run, v=expression("v", sql, dtype))
    assert found is expected or (found == expected and type(found) is type(expected))


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("int", "1.00000000000000000001", NO),
        ("int", "4503599627370497.0000001", NO),
        ("int", "1.500000000000000000000e1", 15),
        ("int", "9007199254740993.0", 2**53 + 1),
        ("float", "1e-400", NO),
        ("float", "-0.00e-400", -0.0),
        ("float", "5e-324", 5e-324),
    ],
)
@pytest.mark.parametrize("who", ["sql", "expr"])
def test_a_text_spells_the_same_number_in_a_template_and_in_sql(
    run: Run, dtype: str, text: str, expected: Any, who: str
) -> None:
    column = expression("v", f"'{text}'", dtype)
    if who == "expr":
        column = {"name": "v", "column_type": "expression", "expr": text, "dtype": dtype}
    assert made_by(run, v=column) == expected


REFUSED: list[tuple[str, Any]] = [
    ("int[]", [True]),
    ("bool[]", [1]),
    ("str[]", [3]),
    ("TINYINT", True),
    ("DECIMAL(4, 1)", True),
    ("DECIMAL(4, 1)", decimal.Decimal("NaN")),
    ("HUGEINT", 2**127),
    ("date", 5),
    ("datetime", 5),
    ("datetime", "2026-01-31"),
    ("datetime", dt.datetime(2026, 1, 31, 10, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
    ("time", dt.time(1, tzinfo=dt.UTC)),
    ("INTERVAL", 5),
    ("MAP(VARCHAR, INT)", [("a", 1), ("a", 2)]),
    ("MAP(VARCHAR, INT)", [(None, 1)]),
    ("json", float("nan")),
    ("json", {"a": float("inf")}),
    ("json", '"\\ud800"'),
    ("json", "[1,]"),
    ("json", {"a": object()}),
]


def test_a_function_cannot_give_what_would_become_another_value(run: Run) -> None:
    def column(case: tuple[str, Any], name: str) -> dict[str, Any]:
        dtype, value = case
        return custom(name, giving({name: value}), dtype=dtype)

    found = made_apart(run, [partial(column, case) for case in REFUSED])
    assert [case for case, value in zip(REFUSED, found, strict=True) if value is not NO] == []


@pytest.mark.parametrize(
    ("kind", "dtype"), [(pa.bool_(), "int"), (pa.int64(), "bool"), (pa.string(), "int"), (pa.int64(), "str")]
)
def test_a_table_of_another_kind_of_values_is_refused(run: Run, kind: pa.DataType, dtype: str) -> None:
    value = {pa.bool_(): True, pa.int64(): 1, pa.string(): "1"}[kind]
    assert made_by(run, v=custom("v", giving_table(value), dtype=dtype, generation_strategy="batch")) is NO


@pytest.mark.parametrize(("sql", "dtype"), [("1 > 0", "int"), ("1", "bool"), ("now_at::timestamp", "time")])
def test_sql_that_can_never_fit_is_a_problem_of_the_spec(sql: str, dtype: str) -> None:
    with pytest.raises(SpecError, match="every row would be dropped"):
        prepared(expression("now_at", "'2026-01-31'::timestamp", "datetime"), expression("v", sql, dtype))


def test_a_value_for_skipped_cells_must_fit_too() -> None:
    with pytest.raises(SpecError, match=r"columns.1.skip.value"):
        prepared(
            expression("a", "1"),
            custom("v", giving(1), ["a"], dtype="int", skip={"when": "a = 1", "value": 3.5}),
        )


def test_a_rank_that_does_not_fit_stops_the_run(run: Run) -> None:
    columns = [
        expression("a", "1"),
        {"name": "r", "column_type": "rank", "sql": "row_number() over (order by row_id) / 2"},
    ]
    done = run(prepared(*columns, records=3), expects_error=True)
    assert "BIGINT does not hold 0.5" in str(done.error)


def older(path: Path, spec: Any) -> None:
    """A run database begun before values had to fit."""
    store = RunStore.open(path)
    store.create(spec.blueprint(), EPOCH)
    store.connection.execute("insert into state.older_rule values ('values are cast')")
    store.close()


def test_a_run_begun_under_the_older_rule_goes_on_with_it(run: Run, tmp_path: Path) -> None:
    spec = prepared(
        expression("half", "7/2"),
        expression("flag", "1 - 1 + 1 = 1", "bool"),
        {"name": "cut", "column_type": "expression", "expr": "{{ half - 0.5 }}", "dtype": "int"},
        records=2,
    )
    older(tmp_path / "run.duckdb", spec)
    done = run(spec, tmp_path / "run.duckdb")
    assert [(row["half"], row["cut"]) for row in done.dataset()] == [(4, 3)] * 2
    assert len(run(spec).dataset()) == 0
