"""The spec as a value: columns by type, names, JSON, every problem at once."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from graph_fakes import FakeColumn, column
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rowmill.errors import SpecError
from rowmill.spec.column import ColumnConfig
from rowmill.spec.model import ModelConfig
from rowmill.spec.name import column_name_problem, safe_spec_name, spec_name_problem
from rowmill.spec.registry import COLUMN_TYPES, register_column_type
from rowmill.spec.spec import Spec


def problems(**data: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        Spec.from_data({"records": 1, **data})
    return [str(problem) for problem in caught.value.problems]


def fake(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "column_type": "fake", **fields}


def test_a_spec_of_plain_data_equals_one_of_objects() -> None:
    data = Spec.from_data({"records": 3, "columns": [fake("a", needs=["b"])], "run": {"max_attempts": 2}})
    assert data == Spec(records=3, columns=[column("a", "b")], run={"max_attempts": 2})  # type: ignore[arg-type]
    assert isinstance(data.columns[0], FakeColumn)


def test_a_spec_survives_json_with_all_its_fields_in_stable_order() -> None:
    spec = Spec(
        name="x",
        records=3,
        models=(ModelConfig(alias="w", base_url="http://h/v1", model="m", api_key="${KEY}"),),
        columns=(column("ä", "b", skip={"when": "{{ b }}", "value": {"z": 1, "a": None}}), column("b")),
    )
    text = spec.to_json()
    assert Spec.from_json(text) == spec
    assert Spec.from_json(text).to_json() == text
    assert list(json.loads(text))[:4] == ["name", "records", "row_group_size", "seed"]
    assert list(json.loads(text)["columns"][0]["skip"]["value"]) == ["z", "a"]
    assert '"${KEY}"' in text


@given(
    st.builds(
        Spec,
        records=st.integers(0, 10**15),
        row_group_size=st.integers(1, 10**6),
        seed=st.integers(-(2**63), 2**63 - 1),
        columns=st.lists(
            st.builds(column, st.text('ab{}"\\é ☃', min_size=1, max_size=5)), unique_by=lambda c: c.name.lower()
        ),
    )
)
def test_any_spec_survives_json(spec: Spec) -> None:
    assert Spec.from_json(spec.to_json()) == spec


def test_a_spec_does_not_change() -> None:
    spec = Spec(records=1)
    with pytest.raises(ValidationError):
        spec.records = 2


def test_all_problems_are_told_at_once_in_document_order() -> None:
    assert problems(
        nme="x",
        row_group_size="5",
        columns=[fake("a", sise=3), {"name": "b", "column_type": "fak"}, fake("row_id", size="x"), 3, {"name": "c"}],
        models=[{"alias": "w", "provider": "simulated", "model": "m"}, {"alias": "w", "provider": "simulated"}],
        run=[],
    ) == [
        "Unknown field 'nme'. Did you mean 'name'? (nme)",
        "Expected a whole number, not '5'. (row_group_size)",
        "Unknown field 'sise'. Did you mean 'size'? (columns.0.sise)",
        "Unknown column type 'fak'. Did you mean 'fake'? (columns.1.column_type)",
        "'row_id' is the name of one of Rowmill's own columns; choose another. (columns.2.name)",
        "Expected a whole number, not 'x'. (columns.2.size)",
        "Expected a mapping of fields, not 3. (columns.3)",
        f"Field 'column_type' is required: one of {', '.join(COLUMN_TYPES.names())}. (columns.4.column_type)",
        "Model alias 'w' is taken by models.0 already. (models.1.alias)",
        "Field 'model' is required. (models.1.model)",
        "Expected a mapping of fields, not a list. (run)",
    ]  # fmt: skip


def test_no_message_shows_pydantic() -> None:
    text = "\n".join(problems(columns=3, models={"a": 1}, records=True, seed=1.5, name=[], run={"max_attempts": None}))
    assert "pydantic" not in text
    assert "Input" not in text
    assert "type=" not in text
    assert text.count("\n") == 5


@pytest.mark.parametrize("value", [-1, "5", 2.0, True, None, 10**16])
def test_records_are_a_whole_number_that_makes_sense(value: object) -> None:
    with pytest.raises(SpecError, match=r"\(records\)"):
        Spec.from_data({"records": value})


def test_records_are_required() -> None:
    with pytest.raises(SpecError, match=r"^Field 'records' is required\. \(records\)$"):
        Spec.from_data({})


def test_columns_named_twice_are_told_also_when_only_case_differs() -> None:
    assert problems(columns=[fake("Rating"), fake("b"), fake("rating"), fake("b")]) == [
        "Column 'rating' is declared by columns.0 already (as 'Rating': column names must differ by more than case). "
        "(columns.2.name)",
        "Column 'b' is declared by columns.1 already. (columns.3.name)",
    ]


def test_columns_named_twice_are_told_to_python_users_too() -> None:
    with pytest.raises(ValidationError, match=r"declared by columns\.0 already"):
        Spec(records=1, columns=(column("a"), column("A")))


def test_names_that_differ_in_letters_beyond_ascii_are_different_as_in_duckdb() -> None:
    assert len(Spec(records=1, columns=(column("Ä"), column("ä"))).columns) == 2


def test_one_simulated_endpoint_cannot_behave_in_two_ways() -> None:
    first = {"alias": "a", "provider": "simulated", "model": "m", "simulation": {"seed": 1}}
    (message,) = problems(models=[first, {**first, "alias": "b", "simulation": {"seed": 2}}])
    assert message.startswith("models.0 simulates the same model 'm' with other settings")
    assert len(Spec.from_data({"records": 1, "models": [first, {**first, "alias": "b"}]}).models) == 2


def test_a_lone_surrogate_is_an_error_not_a_crash() -> None:
    with pytest.raises(SpecError, match="surrogate"):
        Spec.from_data({"records": 1, "name": "\ud800"})


def test_json_that_is_none_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="not valid JSON"):
        Spec.from_json("{")


def test_models_and_columns_are_found_by_name() -> None:
    spec = Spec(records=1, models=(ModelConfig(alias="w", provider="simulated", model="m"),), columns=(column("a"),))
    assert spec.model_of("w") is spec.models[0]
    assert spec.column_of("a") is spec.columns[0]
    assert spec.model_of("a") is None
    assert spec.column_of("w") is None


# Names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must not be empty"),
        ("x" * 256, "at most 255 characters"),
        ("a\tb", "control character U+0009"),
        ("a\0", "control character U+0000"),
        ("a\x85", "control character U+0085"),
        ("ROW_ID", "Rowmill's own columns"),
        ("row_group", "Rowmill's own columns"),
        ("row_index", "Rowmill's own columns"),
        ("done_0", "is reserved"),
        ("Skipped_12", "is reserved"),
    ],
)
def test_a_forbidden_column_name_is_told_the_rule_it_breaks(name: str, reason: str) -> None:
    assert reason in str(column_name_problem(name))
    with pytest.raises(ValidationError):
        column(name)


@pytest.mark.parametrize(
    "name", ["a b", "done_", "done_x", "skipped_1x", "row_ids", "select", '"', "{{", "ü☃", "x" * 255]
)
def test_any_other_text_is_a_column_name(name: str) -> None:
    assert column_name_problem(name) is None


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", ".x", "a b", "-a", "a\n", "a\0", "x" * 101, "a:b"])
def test_a_spec_name_is_a_safe_file_name(name: str) -> None:
    assert spec_name_problem(name) is not None
    assert spec_name_problem(safe_spec_name(name)) is None


@given(st.text())
def test_every_text_has_a_nearest_safe_name(text: str) -> None:
    assert spec_name_problem(safe_spec_name(text)) is None


# Registry


def test_built_in_types_are_known_before_anything_is_imported() -> None:
    assert {"seed-dataset", "sampler", "expression", "llm-text", "custom"} <= {*COLUMN_TYPES.names()}


def test_a_lazily_registered_type_is_imported_when_it_is_named() -> None:
    COLUMN_TYPES.add("fake-lazy", "graph_fakes:FakeColumn")
    assert COLUMN_TYPES.find("fake-lazy") is FakeColumn


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("graph_fakes:Nope", "has no attribute 'Nope'"),
        ("graph_fakes:column", "is not a ColumnConfig class"),
    ],
)
def test_a_type_that_cannot_be_loaded_is_a_problem_at_its_place(path: str, reason: str) -> None:
    name = f"fake-{path}"
    COLUMN_TYPES.add(name, path)
    (message,) = problems(columns=[{"name": "a", "column_type": name}])
    assert reason in message
    assert message.endswith("(columns.0.column_type)")


def test_two_classes_cannot_have_one_type_name() -> None:
    class Other(ColumnConfig):
        column_type: Literal["fake"] = "fake"

    with pytest.raises(ValueError, match="belongs to graph_fakes"):
        register_column_type(Other)


def test_a_plug_in_cannot_take_the_name_of_a_built_in_type() -> None:
    class Sampler(ColumnConfig):
        column_type: Literal["sampler"] = "sampler"

    with pytest.raises(ValueError, match="sampler"):
        register_column_type(Sampler)


def test_a_class_without_a_type_name_is_refused() -> None:
    class Nameless(ColumnConfig):
        pass

    with pytest.raises(ValueError, match="needs a default"):
        register_column_type(Nameless)


def test_the_base_class_is_no_column() -> None:
    with pytest.raises(ValidationError, match="not of their base"):
        Spec(records=1, columns=(ColumnConfig(name="a", column_type="x"),))


# Run settings


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"commit_window_ms": 51}, "Must be at most 50, not 51"),
        ({"max_in_flight": 0}, "Must be at least 1"),
        ({"backoff_base_s": 9, "backoff_max_s": 3}, "backoff_max_s (3) is below backoff_base_s (9)"),
        ({"max_inflight": 3}, "Did you mean 'max_in_flight'?"),
        ({"give_up_after_s": 0}, "Must be more than 0"),
    ],
)
def test_run_settings_have_bounds(settings: dict[str, Any], reason: str) -> None:
    (message,) = problems(run=settings)
    assert reason in message
