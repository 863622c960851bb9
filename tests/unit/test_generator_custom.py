"""Custom columns: finding the user's function, calling it in each of its forms, and judging what it returns."""

from __future__ import annotations

import logging
import py_compile
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from generator_context import declared, problems

from rowmill.errors import GeneratorError, RateLimited
from rowmill.generators.custom.column import CustomColumn
from rowmill.generators.custom.decorator import generator
from rowmill.generators.custom.function import load_function
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import BatchGenerator, Call, CellGenerator
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.simulated import SimulatedProvider
from rowmill.spec.declaration import LOCAL, THREADS, Declaration, Strategy
from rowmill.spec.model import ModelConfig, SimulationConfig


def writer(**simulation: Any) -> ModelHandle:
    behaviour = SimulationConfig(latency_ms=0, answer="Fine.", **simulation)
    config = ModelConfig(alias="writer", provider="simulated", model="small", simulation=behaviour)
    return ModelHandle(config, SimulatedProvider(config.model, behaviour))


def run(
    function: Any, *rows: Mapping[str, Any], call: Call | None = None, model: ModelHandle | None = None, **fields: Any
) -> Any:
    """What each row becomes; an error of the only row is raised."""
    made = CustomColumn(name="made", generator_function=function, **{"required_columns": ["a"], **fields})
    bound = made.bind(InvocationRuntime(Path(), {"writer": model or writer()}))
    call = call or Call(0, range(len(rows)))
    if isinstance(bound, BatchGenerator):
        return anyio.run(bound.generate_batch, rows[0], call)
    assert isinstance(bound, CellGenerator)
    if len(rows) == 1:
        return anyio.run(bound.generate, rows[0], call)
    return anyio.run(bound.generate_rows, rows, call)


def declare(function: Any, directory: Path | None = None, **fields: Any) -> Declaration:
    given = [{"name": "a", "column_type": "sampler", "sampler_type": "uuid"}]
    return declared(
        *given, {"name": "made", "column_type": "custom", "generator_function": function, **fields}, directory=directory
    )[1]


def problem(function: Any, directory: Path | None = None, **fields: Any) -> tuple[str, str]:
    fields = {"required_columns": [], **fields}
    ((place, message),) = problems(
        {"name": "made", "column_type": "custom", "generator_function": function, **fields}, directory=directory
    ).items()
    return place, message


# Forms of a function


def plain(row: dict[str, Any]) -> int:
    return len(row["a"])


def with_params(row: dict[str, Any], params: dict[str, Any]) -> str:
    return str(row["a"]) * int(params["times"])


async def asynchronous(row: dict[str, Any]) -> float:
    await anyio.lowlevel.checkpoint()
    return float(row["a"]) / 2


@generator(required_columns=["a"], side_effect_columns={"size": "int"})
def decorated(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "made": row["a"].upper(), "size": len(row["a"])}


@generator(required_columns=["a"], model_aliases=["writer"])
def asking(row: dict[str, Any], params: dict[str, Any], models: Any) -> str:
    return str(models["writer"].chat(f"Review {row['a']}", **params).text)


@generator(required_columns=["a"], model_aliases=["writer"])
async def asking_async(row: dict[str, Any], params: dict[str, Any], models: Any) -> str:
    return str((await models["writer"].chat([{"role": "user", "content": row["a"]}])).text)


def table(rows: pa.Table) -> pa.Table:
    return rows.select(["row_index"]).append_column("made", pa.array([len(a) for a in rows["a"].to_pylist()]))


def test_a_function_of_a_row_returns_the_value_itself() -> None:
    assert list(run(plain, {"a": "tea"})) == [3]


def test_a_function_gets_its_params() -> None:
    assert list(run(with_params, {"a": "x"}, generator_params={"times": 3})) == ["xxx"]


def test_an_async_function_is_awaited() -> None:
    assert list(run(asynchronous, {"a": 3})) == [1.5]


def test_several_outputs_come_as_a_dict_in_any_order() -> None:
    assert list(run(decorated, {"a": "tea"})) == ["TEA", 3]


def test_a_sync_function_runs_in_another_thread_and_an_async_one_does_not() -> None:
    def ident(row: dict[str, Any]) -> int:
        return threading.get_ident()

    async def async_ident(row: dict[str, Any]) -> int:
        return threading.get_ident()

    here = threading.get_ident()
    assert run(ident, {"a": 1})[0] != here
    assert run(async_ident, {"a": 1})[0] == here


def test_all_rows_of_a_call_share_one_hop_and_errors_stay_with_their_row() -> None:
    threads = set()

    def half(row: dict[str, Any]) -> float:
        threads.add(threading.get_ident())
        return 1 / float(row["a"])

    first, second, third = run(half, {"a": 2}, {"a": 0}, {"a": 4})
    assert (list(first), list(third)) == ([0.5], [0.25])
    assert isinstance(second, ZeroDivisionError)
    assert len(threads) == 1


def test_a_function_may_change_its_row_without_harm() -> None:
    row = {"a": "tea"}
    run(lambda given: given.pop("a"), row)
    assert row == {"a": "tea"}


@pytest.mark.parametrize("function", [asking, asking_async])
def test_a_function_may_ask_its_models_and_every_request_is_journaled(function: Any) -> None:
    call = Call(0, [0])
    assert list(run(function, {"a": "tea"}, call=call)) == ["Fine."]
    assert [(request.model, request.error_type) for request in call.requests] == [("small", None)]


@pytest.mark.parametrize("function", [asking, asking_async])
def test_a_provider_error_passes_through_a_function(function: Any) -> None:
    call = Call(0, [0])
    with pytest.raises(RateLimited):
        run(function, {"a": "tea"}, call=call, model=writer(rate_limited=1.0))
    assert len(call.requests) == 1


# What a function returns


def test_an_error_of_the_function_keeps_its_type() -> None:
    with pytest.raises(KeyError):
        run(lambda row: row["b"], {"a": 1})


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration()])
def test_a_function_cannot_end_the_run(error: BaseException) -> None:
    def leave(row: dict[str, Any]) -> None:
        raise error

    async def leave_async(row: dict[str, Any]) -> None:
        if isinstance(error, StopIteration):
            raise GeneratorError(f"raised {type(error).__name__}")  # Python itself turns it into a RuntimeError
        raise error

    for function in (leave, leave_async):
        with pytest.raises(GeneratorError, match=f"raised {type(error).__name__}"):
            run(function, {"a": 1})


def test_a_dict_without_a_declared_column_is_an_error() -> None:
    with pytest.raises(GeneratorError, match="returned a dict without 'size', 'weight'"):
        run(lambda row: {"made": 1}, {"a": 1}, side_effect_columns=["size", "weight"])


def test_several_outputs_need_a_dict() -> None:
    with pytest.raises(GeneratorError, match="returned int; it makes several columns"):
        run(lambda row: 1, {"a": 1}, output_columns={"size": "int"})


def test_undeclared_keys_are_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rowmill"):
        results = run(lambda row: {**row, "made": 1, "extra": 2}, {"a": 1}, {"a": 2})
    assert [list(result) for result in results] == [[1], [1]]
    assert [record.getMessage() for record in caplog.records if "'extra'" in record.getMessage()] != []
    assert len(caplog.records) == 1


def test_a_function_that_forgets_async_is_told_so() -> None:
    with pytest.raises(GeneratorError, match="returned a coroutine"):
        run(lambda row: asynchronous(row), {"a": 1})


def test_numpy_scalars_become_python_values() -> None:
    numpy = pytest.importorskip("numpy")
    (value,) = run(lambda row: numpy.int64(3), {"a": 1})
    assert type(value) is int


@pytest.mark.parametrize("value", ["a\0b", "\ud800", None, object, [1]])
def test_values_are_handed_on_as_they_are(value: Any) -> None:
    assert run(lambda row: value, {"a": 1})[0] is value


# Batches

ROWS = pa.table({"row_index": [0, 2, 5], "row_id": [10, 12, 15], "a": ["x", "yy", "zzz"]})


def batch(result: Any, **fields: Any) -> pa.Table:
    return run(lambda rows: result(rows), ROWS, generation_strategy="batch", **{"dtype": "int", **fields})


def test_a_table_function_gets_and_returns_a_table() -> None:
    assert run(table, ROWS, dtype="int").to_pydict() == {"row_index": [0, 2, 5], "made": [1, 2, 3]}


@pytest.mark.parametrize(
    "result",
    [
        lambda rows: {"made": [3, 1, 2], "row_index": [5, 0, 2]},
        lambda rows: pa.record_batch({"made": [3, 1, 2], "row_index": [5, 0, 2]}),
        lambda rows: pa.RecordBatchReader.from_batches(
            pa.schema({"made": pa.int8(), "row_index": pa.int16()}),
            [pa.record_batch({"made": pa.array([3, 1, 2], pa.int8()), "row_index": pa.array([5, 0, 2], pa.int16())})],
        ),
    ],
)
def test_anything_like_a_table_will_do_in_any_order(result: Any) -> None:
    made = batch(result)
    assert made.to_pydict() == {"row_index": [5, 0, 2], "made": [3, 1, 2]}
    assert made.schema.types == [pa.int64(), pa.int64()]


def test_a_batch_of_nulls_has_the_columns_type() -> None:
    assert batch(lambda rows: {"row_index": [0, 2, 5], "made": [None] * 3}).schema.field("made").type == pa.int64()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda rows: {"made": [1, 2, 3]}, "without 'row_index'.*never by position"),
        (lambda rows: {"row_index": [0, 2, 5]}, "0 columns 'made'"),
        (lambda rows: {"row_index": [0, 2, 5], "made": ["x", "y", "z"]}, "'made' that is not int64"),
        (lambda rows: {"row_index": ["a"], "made": [1]}, "'row_index' that is not int64"),
        (lambda rows: 7, "must return a table or a dict of lists, not int"),
        (lambda rows: None, "must return a table or a dict of lists, not NoneType"),
        (lambda rows: {"row_index": [0], "made": [1, 2]}, "must return a table"),
        (lambda rows: pa.table([[1], [2], [0]], names=["made", "made", "row_index"]), "2 columns 'made'"),
    ],
)
def test_a_malformed_batch_is_an_error_that_says_why(result: Any, message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        batch(result)


# Declaring


@pytest.mark.parametrize(
    ("function", "fields", "strategy", "resource", "rows", "sql_type"),
    [
        (plain, {}, Strategy.CELL, THREADS, 64, "BIGINT"),
        (asynchronous, {}, Strategy.CELL, LOCAL, 1, "DOUBLE"),
        (asynchronous, {"max_rows_per_call": 8}, Strategy.CELL, LOCAL, 8, "DOUBLE"),
        (decorated, {}, Strategy.CELL, THREADS, 64, "VARCHAR"),
        (asking, {}, Strategy.CELL, "endpoint", 1, "VARCHAR"),
        (asking, {"model_aliases": ["writer", "judge"]}, Strategy.CELL, THREADS, 1, "VARCHAR"),
        (table, {}, Strategy.BATCH, THREADS, 1, "VARCHAR"),
        (plain, {"generation_strategy": "full"}, Strategy.BATCH, THREADS, 1, "BIGINT"),
        (plain, {"dtype": "DECIMAL(10, 2)"}, Strategy.CELL, THREADS, 64, "DECIMAL(10, 2)"),
    ],
)
def test_strategy_resource_and_type_follow_from_the_function(
    function: Any, fields: dict[str, Any], strategy: Strategy, resource: str, rows: int, sql_type: str
) -> None:
    declaration = declare(function, **{"required_columns": ["a"], **fields})
    assert declaration.strategy is strategy
    assert declaration.resource == resource or (resource == "endpoint" and "small" in str(declaration.resource))
    assert declaration.max_rows_per_call == rows
    assert declaration.outputs[0].sql_type == sql_type


def test_a_decorator_says_what_the_spec_need_not() -> None:
    declaration = declare(decorated)
    assert [reference.name for reference in declaration.inputs] == ["a"]
    assert [(o.name, o.sql_type, o.side_effect) for o in declaration.outputs] == [
        ("made", "VARCHAR", False),
        ("size", "BIGINT", True),
    ]


def test_the_spec_wins_over_the_decorator() -> None:
    declaration = declare(decorated, required_columns=[], side_effect_columns=["other"])
    assert declaration.inputs == ()
    assert [output.name for output in declaration.outputs] == ["made", "other"]


def test_a_function_that_needs_nothing_must_say_so() -> None:
    place, message = problem(plain, required_columns=None)
    assert place == "columns.0.required_columns"
    assert "[] if it needs none" in message


def test_taking_models_without_naming_them_is_a_problem() -> None:
    assert "takes models" in problem(lambda row, params, models: None)[1]


@pytest.mark.parametrize(
    "function",
    [lambda: 1, lambda a, b, c, d: 1, lambda *rows: 1, lambda row, *, option: 1],
    ids=["0", "4", "*", "keyword"],
)
def test_a_function_of_another_form_is_a_problem(function: Any) -> None:
    assert "a generator function is fn(row), fn(row, params) or fn(row, params, models)" in problem(function)[1]


@pytest.mark.parametrize("reference", ["function", "module:", ":function", "a b:c", "m:f()", 7, None])
def test_a_reference_is_a_module_and_a_function(reference: Any) -> None:
    place, message = problem(reference)
    assert place == "columns.0.generator_function"
    assert "'module:function'" in message


def test_a_function_beside_the_spec_is_found_and_the_path_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("from neighbour import SIZE\ndef size(row) -> int:\n    return SIZE\n")
    (tmp_path / "neighbour.py").write_text("SIZE = 5\n")
    before = list(sys.path)
    try:
        declaration = declare("functions:size", tmp_path, required_columns=[])
        assert declaration.outputs[0].sql_type == "BIGINT"
        assert load_function("functions:size", tmp_path).function({}) == 5
    finally:
        sys.modules.pop("neighbour", None)
    assert sys.path == before
    assert "functions" not in sys.modules


def test_two_directories_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "functions.py").write_text(f"def say(row):\n    return {name!r}\n")
    assert [load_function("functions:say", tmp_path / name).function({}) for name in ("one", "two")] == ["one", "two"]


def test_a_changed_module_is_read_again_and_changes_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "functions.py"
    fingerprints = []
    for number in (1, 2, 1):
        path.write_text(f"NUMBER = {number}\ndef say(row):\n    return NUMBER\n")
        assert load_function("functions:say", tmp_path).function({}) == number
        fingerprints.append(declare("functions:say", tmp_path, required_columns=[]).fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_params_are_part_of_the_fingerprint_and_the_number_of_rows_a_call_is_not() -> None:
    base, params, rows = (
        declare(with_params, required_columns=["a"], **fields).fingerprint
        for fields in ({}, {"generator_params": {"times": 2}}, {"max_rows_per_call": 5, "timeout_s": 3})
    )
    assert base == rows != params


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        ("", "missing_module_x:f", "Module 'missing_module_x' is not found"),
        ("import missing_module_x", "functions:f", "cannot be imported: No module named 'missing_module_x'"),
        ("def shuot(row): ...", "functions:shout", "no function 'shout'. Did you mean 'shuot'?"),
        ("shout = 3", "functions:shout", "is not callable but int"),
        ("1 / 0", "functions:shout", "raises when it is imported: ZeroDivisionError"),
        ("raise SystemExit(1)", "functions:shout", "raises when it is imported: SystemExit"),
        ("def broken(:", "functions:shout", "raises when it is imported: SyntaxError"),
    ],
)
def test_a_function_that_cannot_be_found_is_a_problem_with_its_place(
    tmp_path: Path, source: str, reference: str, message: str
) -> None:
    (tmp_path / "functions.py").write_text(source)
    place, found = problem(reference, tmp_path)
    assert place == "columns.0.generator_function"
    assert message in found


def test_a_decorator_refuses_a_text_where_a_list_belongs() -> None:
    with pytest.raises(TypeError, match=r"write required_columns=\['a'\]"):
        generator(required_columns="a")


def test_a_function_given_in_python_is_written_by_its_name() -> None:
    column = CustomColumn(name="made", generator_function=plain)
    assert column.model_dump(mode="json")["generator_function"] == f"{__name__}:plain"


def test_nothing_compiled_is_left_beside_a_spec_or_taken_for_its_source(tmp_path: Path) -> None:
    """Python takes a compiled file for that of a source with the same second and size."""
    source = tmp_path / "functions.py"
    source.write_text("def say(row):\n    return 1\n")
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    source.write_text("import helper\ndef say(row):\n    return helper.NUMBER\n")
    (tmp_path / "helper.py").write_text("NUMBER = 2\n")
    try:
        assert load_function("functions:say", tmp_path).function({}) == 2
    finally:
        sys.modules.pop("helper", None)
    assert [file.name.split(".")[0] for file in (tmp_path / "__pycache__").iterdir()] == ["functions"]
