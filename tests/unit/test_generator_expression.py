"""Expression columns: templates and SQL, and what their text becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from generator_context import declared, problems

from rowmill.errors import GeneratorError
from rowmill.generators.expression import ExpressionColumn
from rowmill.generators.protocol import Call
from rowmill.generators.runtime import InvocationRuntime
from rowmill.spec.declaration import SqlExpression, Strategy


def value(expr: str, dtype: str = "str", **row: Any) -> Any:
    result = values(expr, dtype, row)[0]
    if isinstance(result, Exception):
        raise result
    return result[0]


def values(expr: str, dtype: str, *rows: dict[str, Any]) -> Any:
    column = ExpressionColumn(name="made", expr=expr, dtype=dtype)
    generator = column.bind(InvocationRuntime(Path()))
    together = anyio.run(generator.generate_rows, rows, Call(0, range(len(rows))))
    if len(rows) == 1 and not isinstance(together[0], Exception):
        assert anyio.run(generator.generate, rows[0], Call(0, [0])) == together[0]
    return together


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ("7", "int", 7),
        (" 7\n", "int", 7),
        ("3.0", "int", 3),
        ("-3e0", "int", -3),
        ("9007199254740993.0", "int", 9007199254740993),
        ("9007199254740993", "int", 9007199254740993),
        ("1e3", "float", 1000.0),
        ("true", "bool", True),
        ("False", "bool", False),
        ("0", "bool", False),
        ("1", "bool", True),
        ("inf", "float", float("inf")),
        ("", "str", ""),
        ("None", "str", "None"),
        (" a ", "str", " a "),
        ("5", "BIGINT", 5),
    ],
)
def test_rendered_text_is_converted_to_its_dtype(text: str, dtype: str, expected: Any) -> None:
    result = value("{{ text }}{{ '' }}", dtype, text=text)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("", "int"),
        ("None", "int"),
        ("abc", "float"),
        ("maybe", "bool"),
        ("", "bool"),
        ("1e300", "int"),
        ("inf", "int"),
        ("9" * 5000, "int"),
        ("3.7", "int"),
        ("3.00000000000000000001", "int"),
        ("1e-9", "int"),
        ("1_000", "int"),
        ("0x1F", "int"),
        ("\u0663", "int"),
        ("nan", "int"),
        ("True", "int"),
        ("1e999999", "int"),
        ("2", "bool"),
        ("1.0", "bool"),
        ("yes", "bool"),
        ("1e400", "float"),
        ("9007199254740993", "float"),
        ("1_0.5", "float"),
    ],
)
def test_text_that_does_not_convert_rejects_its_row(text: str, dtype: str) -> None:
    with pytest.raises(GeneratorError, match=r"Column 'made' is .*, but its expression gives '") as caught:
        value("{{ text }}{{ '' }}", dtype, text=text)
    assert caught.value.error_type == "NotConvertible"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("original", "dtype", "expected"),
    [
        (None, "int", None),
        (None, "str", None),
        (0.1, "float", 0.1),
        (True, "bool", True),
        (5, "str", "5"),
        (5, "float", 5.0),
        ("a\n", "str", "a\n"),
    ],
)
def test_a_lone_column_passes_its_value_on(original: Any, dtype: str, expected: Any) -> None:
    result = value("{{ column }}", dtype, column=original)
    assert result == expected
    assert type(result) is type(expected)


def test_one_bad_row_does_not_spoil_the_others_of_its_call() -> None:
    first, second, third = values("{{ 10 // n }}", "int", {"n": 2}, {"n": 0}, {"n": 5})
    assert (first, third) == ((5,), (2,))
    assert isinstance(second, GeneratorError)
    assert "ZeroDivisionError" in str(second)


def test_nul_and_surrogates_in_values_pass_through_a_template() -> None:
    assert value("<{{ a }}|{{ b }}>", a="x\0y", b="\ud800") == "<x\0y|\ud800>"


@pytest.mark.parametrize("expr", ["{{ x.__class__.__mro__ }}", "{{ ''.__class__ }}", "{{ x.__init__.__globals__ }}"])
def test_a_template_cannot_reach_into_python(expr: str) -> None:
    with pytest.raises(GeneratorError):
        value(expr + "{{ x }}", x="a")


def test_a_template_names_its_inputs_and_takes_many_rows_a_call() -> None:
    (declaration,) = declared({"name": "made", "column_type": "expression", "expr": "{{ a }} {{ b|upper }} {{ a }}"})
    assert [(reference.name, reference.place) for reference in declaration.inputs] == [
        ("a", "columns.0.expr"),
        ("b", "columns.0.expr"),
    ]
    assert declaration.strategy is Strategy.CELL
    assert declaration.resource == "local"
    assert declaration.max_rows_per_call == 256


def test_sql_is_evaluated_in_the_database() -> None:
    (declaration,) = declared(
        {"name": "made", "column_type": "expression", "sql": "len(a)", "dtype": "int"}, known=["a"]
    )
    assert declaration.strategy is Strategy.SQL
    assert declaration.sql == SqlExpression("len(a)", "columns.0.sql")
    assert [(output.name, output.sql_type) for output in declaration.outputs] == [("made", "BIGINT")]
    assert [reference.name for reference in declaration.inputs] == ["a"]


@pytest.mark.parametrize(
    ("fields", "place", "message"),
    [
        ({}, "columns.0", "exactly one of"),
        ({"expr": "a", "sql": "b"}, "columns.0", "exactly one of"),
        ({"expr": "{{ a"}, "columns.0.expr", "not valid Jinja"),
        ({"sql": "!"}, "columns.0.sql", "not SQL"),
        ({"expr": "a", "dtype": "integer64"}, "columns.0.dtype", "Did you mean 'INTEGER'?"),
        ({"expr": "a", "dtype": "date"}, "columns.0", "use 'sql' for other types"),
    ],
)
def test_a_wrong_expression_is_a_problem_with_its_place(fields: dict[str, Any], place: str, message: str) -> None:
    found = problems({"name": "made", "column_type": "expression", **fields})
    assert list(found) == [place]
    assert message in found[place]
