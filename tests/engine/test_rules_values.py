"""V1 and V3: the same values whatever happens, and only values that fit; texts nobody expects, many columns."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from every import every
from virtual_run import Finished, Row, custom, expression, llm, model, prepared, sampler

from rowmill.errors import GeneratorError, Rejected, Transient
from rowmill.source_line import same_everywhere

Run = Callable[..., Finished]


def sampled(**fields: Any) -> Any:
    return prepared(
        sampler("rating", params={"values": [1, 2, 3], "weights": [1, 2, 3]}),
        sampler("size", sampler_type="gaussian", params={"mean": 10.0, "stddev": 2.0}),
        sampler("id", sampler_type="uuid", params={}),
        expression("twice", "rating * 2"),
        **{"records": 60, "row_group_size": 7, "seed": 11, **fields},
    )


# V1 -----------------------------------------------------------------------------------------------


def test_v1_sampled_values_do_not_depend_on_the_row_group_size(run: Run) -> None:
    assert run(sampled(row_group_size=7)).dataset() == run(sampled(row_group_size=60)).dataset()


def test_v1_sampled_values_are_the_same_in_a_longer_run(run: Run) -> None:
    assert run(sampled(records=60)).dataset() == run(sampled(records=90)).dataset()[:60]


def test_v1_sampled_values_are_the_same_after_an_extension(run: Run, tmp_path: Path) -> None:
    run(sampled(records=25), tmp_path / "run.duckdb")
    extended = run(sampled(records=60, row_group_size=4), tmp_path / "run.duckdb", starts_at_s=60.0)
    assert extended.dataset() == run(sampled(records=60)).dataset()


def test_v1_another_seed_samples_other_values(run: Run) -> None:
    assert run(sampled(seed=11)).column("id") != run(sampled(seed=12)).column("id")


def test_v1_a_column_samples_the_same_whatever_columns_stand_beside_it(run: Run) -> None:
    alone = run(prepared(sampler("rating"), records=40, seed=3)).column("rating")
    beside = run(prepared(sampler("other"), sampler("rating"), records=40, seed=3))
    assert beside.column("rating") == alone
    assert beside.column("other") != alone


def test_v1_sampled_values_do_not_depend_on_the_order_rows_finish_in(run: Run) -> None:
    async def slow(row: Row) -> str:
        await anyio.sleep(row["size"] * row["rating"] % 3)
        return "x"

    columns = [
        sampler("rating"),
        sampler("size", sampler_type="uniform", params={"low": 0.0, "high": 9.0}),
    ]
    quick = run(prepared(*columns, records=40, seed=5))
    mixed = run(prepared(*columns, custom("text", slow, ["size", "rating"]), records=40, seed=5, row_group_size=3))
    assert [(row["rating"], row["size"]) for row in mixed.dataset()] == [
        (row["rating"], row["size"]) for row in quick.dataset()
    ]


def seeded(tmp_path: Path, strategy: str, records: int, **fields: Any) -> Any:
    (tmp_path / "seed.csv").write_text("product\n" + "".join(f"p{number:02}\n" for number in range(20)))
    seed = {"path": "seed.csv", "sampling_strategy": strategy}
    return prepared(sampler("rating"), seed_dataset=seed, directory=tmp_path, records=records, seed=4, **fields)


def test_v1_shuffled_seed_data_uses_no_row_twice_before_all_were_used(run: Run, tmp_path: Path) -> None:
    """(peer) 20 rows held 15 distinct seed rows."""
    products = run(seeded(tmp_path, "shuffle", 45, row_group_size=6)).column("product")
    assert len(set(products[:20])) == 20
    assert products[20:40] == products[:20]
    assert products[:20] != sorted(products[:20])


def test_v1_shuffled_seed_data_stays_a_permutation_over_a_resume(run: Run, tmp_path: Path) -> None:
    run(seeded(tmp_path, "shuffle", 7), tmp_path / "run.duckdb")
    resumed = run(seeded(tmp_path, "shuffle", 20, row_group_size=3), tmp_path / "run.duckdb", starts_at_s=60.0)
    assert sorted(resumed.column("product")) == [f"p{number:02}" for number in range(20)]
    assert resumed.column("product") == run(seeded(tmp_path, "shuffle", 20)).column("product")


def test_v1_ordered_seed_data_wraps_around(run: Run, tmp_path: Path) -> None:
    products = run(seeded(tmp_path, "ordered", 45)).column("product")
    assert products == [f"p{number % 20:02}" for number in range(45)]


# V3 -----------------------------------------------------------------------------------------------


FITTING = [
    ("int", 2**63 - 1),
    ("int", None),
    ("float", 1.5),
    ("float", 3),
    ("bool", False),
    ("str", ""),
    ("HUGEINT", 2**100),
    ("UBIGINT", 2**64 - 1),
    ("DECIMAL(10, 2)", decimal.Decimal("12345678.90")),
    ("date", datetime.date(2024, 2, 29)),
    ("timestamp", datetime.datetime(2024, 2, 29, 12, 30, 1, 5)),
    ("time", datetime.time(23, 59, 59)),
    ("BLOB", b"\0\xff"),
    ("int[]", [1, None, 3]),
    ("str[]", []),
    ("uuid", uuid.UUID(int=5)),
]


def giving(value: object) -> Callable[[Row], Awaitable[object]]:
    """A function that returns that, whatever the row."""

    async def give(row: Row) -> object:
        return value

    return give


def test_v3_a_value_that_fits_its_column_comes_back_as_it_was(run: Run) -> None:
    columns = [custom(f"value_{number}", giving(value), dtype=dtype) for number, (dtype, value) in enumerate(FITTING)]
    done = run(prepared(*columns, records=1))
    assert done.sql("select message from dropped_row") == []
    (row,) = done.dataset()

    def check(number: int) -> None:
        dtype, value = FITTING[number]
        assert row[f"value_{number}"] == value, dtype

    every(range(len(FITTING)), check)


@pytest.mark.parametrize(("dtype", "value"), [("json", '{"a": [1, null]}'), ("uuid", str(uuid.UUID(int=7)))])
def test_v3_text_of_a_json_or_uuid_column_is_taken_if_it_is_valid(run: Run, dtype: str, value: str) -> None:
    async def giving(row: Row) -> object:
        return value

    done = run(prepared(custom("value", giving, dtype=dtype), records=1))
    assert [str(found) for found in done.column("value")] == [value]


MISFITTING = [
    ("int", "seven"),
    ("int", "7"),
    ("int", 7.5),
    ("int", True),
    ("int", 2**63),
    ("float", "1.5"),
    ("float", True),
    ("bool", 1),
    ("str", 5),
    ("str", ["a"]),
    ("str", b"bytes"),
    ("str", "half \ud800 pair"),
    ("UBIGINT", -1),
    ("TINYINT", 300),
    ("DECIMAL(4, 2)", decimal.Decimal("123.45")),
    ("date", "2024-02-29"),
    ("json", "{not json"),
    ("uuid", "not a uuid"),
    ("int[]", ["a"]),
    ("int[2]", [1, 2, 3]),
    ("int[]", object()),
]


# Of runs whose every row may fail.
WITHOUT_END = {"max_error_share": 1.0, "error_window": 1_000_000, "max_attempts": 2}


def test_v3_a_value_that_does_not_fit_is_rejected_with_column_type_and_value(run: Run) -> None:
    """A column for each of them, that does not fit in its own row, and fits in all others."""
    cases = len(MISFITTING)

    def misfit(number: int) -> Callable[[Row], Awaitable[object]]:
        async def give(row: Row) -> object:
            return MISFITTING[number][1] if row["case"] == number else None

        return give

    columns = [
        custom(f"value_{number}", misfit(number), ["case"], dtype=dtype) for number, (dtype, _) in enumerate(MISFITTING)
    ]
    seed = {"seed_type": "df", "df": pa.table({"case": range(cases + 2)})}
    done = run(prepared(*columns, seed_dataset=seed, records=cases + 2, row_group_size=cases, run=WITHOUT_END))
    dropped = {
        row_id: (*found, message)
        for row_id, *found, message in done.sql(
            "select row_id, column_name, reason, error_type, message from dropped_row"
        )
    }

    def check(number: int) -> None:
        column, reason, error_type, message = dropped[number]
        assert (column, reason, error_type) == (f"value_{number}", "rejected", "TypeMismatch")
        assert f"'value_{number}'" in message
        assert same_everywhere(ascii(MISFITTING[number][1]))[:20] in message

    every(range(cases), check)
    assert [row["case"] for row in done.dataset()] == [cases, cases + 1]
    assert done.violations() == []


def test_v3_the_message_shortens_the_value(run: Run) -> None:
    async def giving(row: Row) -> object:
        return "x" * 1_000_000

    done = run(prepared(custom("value", giving, dtype="int"), records=1))
    ((message,),) = done.sql("select message from dropped_row")
    assert len(message) < 300


def test_v3_one_misfit_among_several_columns_drops_the_row_and_writes_none_of_them(run: Run) -> None:
    async def giving(row: Row) -> object:
        return {"a": "text", "b": "not an int"}

    done = run(prepared(custom("a", giving, output_columns={"b": "int"}), records=2))
    assert done.dataset() == []
    assert "'b'" in done.sql("select message from dropped_row")[0][0]


def test_v3_a_batch_value_that_does_not_fit_rejects_the_batch(run: Run) -> None:
    async def giving(rows: pa.Table) -> pa.Table:
        return pa.table({"row_index": rows.column("row_index"), "value": ["seven"] * rows.num_rows})

    done = run(prepared(custom("value", giving, generation_strategy="batch", dtype="int"), records=2))
    assert [reason for (reason,) in done.sql("select reason from dropped_row")] == ["rejected", "rejected"]


def test_v3_the_dataset_has_the_types_of_the_spec(run: Run) -> None:
    async def giving(row: Row) -> object:
        return None

    dtypes = {"a": "int", "b": "str[]", "c": "DECIMAL(10, 2)", "d": "timestamp", "e": "json", "f": "uuid"}
    done = run(prepared(*(custom(name, giving, dtype=dtype) for name, dtype in dtypes.items()), records=1))
    assert done.sql("select column_name, column_type from (describe dataset) where column_name <> 'row_id'") == [
        ("a", "BIGINT"),
        ("b", "VARCHAR[]"),
        ("c", "DECIMAL(10,2)"),
        ("d", "TIMESTAMP"),
        ("e", "JSON"),
        ("f", "UUID"),
    ]


@pytest.mark.parametrize(
    "dtype", ["timestamptz", "time with time zone", "INTERVAL", "HUGEINT", "BLOB", "DECIMAL(38, 10)"]
)
def test_v3_a_column_of_any_type_can_be_the_input_of_another(run: Run, dtype: str) -> None:
    values = {
        "timestamptz": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "time with time zone": None,
        "INTERVAL": None,
        "HUGEINT": 2**90,
        "BLOB": b"x",
        "DECIMAL(38, 10)": decimal.Decimal("1.5"),
    }
    got: list[object] = []

    async def giving(row: Row) -> object:
        return values[dtype]

    async def taking(row: Row) -> str:
        got.append(row["value"])
        return "taken"

    done = run(prepared(custom("value", giving, dtype=dtype), custom("after", taking, ["value"]), records=1))
    assert done.sql("select after from dataset") == [("taken",)]
    assert got == [values[dtype]]


# Texts nobody expects -----------------------------------------------------------------------------


AWKWARD = [
    "",
    " ",
    "a\0b",
    "\0",
    "line\r\nbreak",
    "'; drop table state.run; --",
    '"quoted"',
    "{{ 1 }}",
    "💥\u202e",
    "\ufeff",
    "NULL",
]


def test_awkward_texts_come_through_a_chain_of_columns_unchanged(run: Run) -> None:
    texts = iter(AWKWARD * 4)

    async def first(row: Row) -> str:
        return next(texts)

    async def same(row: Row) -> str:
        return str(row["first"])

    done = run(
        prepared(
            custom("first", first, max_rows_per_call=1),
            custom("second", same, ["first"]),
            expression("third", "first || second", dtype="str"),
            {"name": "fourth", "column_type": "expression", "expr": "{{ third }}", "dtype": "str"},
            records=len(AWKWARD),
        )
    )
    assert sorted(done.column("first")) == sorted(AWKWARD)
    assert all(row["fourth"] == row["third"] == row["first"] * 2 for row in done.dataset())


ODD_ERRORS = [
    kind(text)
    for kind in (ValueError, GeneratorError, Rejected, Transient)
    for text in ("nul \0 inside", "half \ud800 pair", "x" * 1_000_000, "", "'; drop table state.run; --")
]


def test_the_text_of_an_error_may_be_anything(run: Run) -> None:
    async def failing(row: Row) -> str:
        raise ODD_ERRORS[row["case"]]

    seed = {"seed_type": "df", "df": pa.table({"case": range(len(ODD_ERRORS))})}
    done = run(prepared(custom("text", failing, ["case"]), seed_dataset=seed, records=len(ODD_ERRORS), run=WITHOUT_END))
    assert done.report is not None
    assert done.report.rows_dropped == len(ODD_ERRORS)

    def check(row_id: int) -> None:
        messages = done.sql(
            "select message from dropped_row where row_id = $row_id"
            " union all select message from attempt where row_id = $row_id",
            row_id=row_id,
        )
        assert len(messages) > 1
        assert all(message and len(message) <= 1000 for (message,) in messages)

    every(range(len(ODD_ERRORS)), check)


@pytest.mark.parametrize("name", ["nul \0 kind", "half \ud800 kind", "k" * 5000])
def test_the_type_name_of_an_error_may_be_anything(run: Run, name: str) -> None:
    async def failing(row: Row) -> str:
        raise Rejected("no", name)

    done = run(prepared(custom("text", failing), records=1))
    assert done.sql("select reason from dropped_row") == [("rejected",)]


def test_an_error_whose_text_cannot_be_made_is_still_an_error_of_its_row(run: Run) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def failing(row: Row) -> str:
        raise Broken

    done = run(prepared(custom("text", failing), records=1))
    assert done.sql("select reason, error_type from dropped_row") == [("rejected", "Broken")]


def test_a_cell_of_ten_megabytes_is_kept_and_handed_on(run: Run) -> None:
    async def large(row: Row) -> str:
        return "ü" * 5_000_000

    async def length(row: Row) -> int:
        return len(row["large"])

    done = run(prepared(custom("large", large), custom("length", length, ["large"], dtype="int"), records=2))
    assert done.column("length") == [5_000_000] * 2
    assert done.sql("select strlen(large) from dataset") == [(10_000_000,)] * 2


ODD_NAMES = [
    "größe",
    "two words",
    'a "quoted" name',
    "it's",
    "名前",
    "select",
    "value_0",
    "attempted_1",
    "attempts",
    "generator",
    "{columns}",
    "$now",
    "a.b",
    "--",
    "done",
    "place",
    "first_row",
    "x;y",
    "no_columns",
    "no_inputs",
    "result",
    "rowid",
]


def test_columns_may_have_any_name(run: Run) -> None:
    async def joined(row: Row) -> dict[str, object]:
        return {"all": "|".join(str(row[name]) for name in ODD_NAMES)}

    samplers = [sampler(name, values=[f"v{place}"]) for place, name in enumerate(ODD_NAMES)]
    done = run(prepared(*samplers, custom("all", joined, ODD_NAMES), records=2))
    assert done.column("all") == ["|".join(f"v{place}" for place in range(len(ODD_NAMES)))] * 2
    assert list(done.dataset()[0]) == ["row_id", *ODD_NAMES, "all"]


def columns_named(name: str) -> list[dict[str, Any]]:
    """A function of rows, one of row groups and an SQL column, each reading the one before."""

    async def cell(row: Row) -> dict[str, object]:
        return {f"{name} 1": "cell", f"{name} effect": 1}

    async def whole(rows: pa.Table) -> pa.Table:
        assert rows.column(f"{name} 1").to_pylist() == ["cell"] * rows.num_rows
        return pa.table({"row_index": rows.column("row_index"), name: ["batch"] * rows.num_rows})

    quoted = '"' + name.replace('"', '""') + '"'
    return [
        custom(f"{name} 1", cell, side_effect_columns={f"{name} effect": "int"}),
        custom(name, whole, [f"{name} 1"], generation_strategy="batch", skip={"when": f'{quoted[:-1]} 1" is null'}),
        expression(f"{name} 3", f"{quoted} || '!'", dtype="str"),
    ]


@pytest.mark.parametrize("names", [ODD_NAMES[:11], ODD_NAMES[11:]], ids=["first", "others"])
def test_a_generator_a_batch_and_an_sql_column_may_have_any_name(run: Run, names: list[str]) -> None:
    done = run(prepared(*(column for name in names for column in columns_named(name)), records=2))
    rows = done.dataset()

    def check(name: str) -> None:
        assert [row[f"{name} 3"] for row in rows] == ["batch!"] * 2

    every(names, check)
    assert done.violations() == []


def test_sql_expressions_chain_under_the_names_of_our_helper_columns(run: Run) -> None:
    done = run(
        prepared(
            sampler("rating"),
            expression("attempted_1", "rating + 1"),
            expression("attempted_2", "attempted_1 + 1"),
            expression("attempted_0", "rating"),
            records=5,
        )
    )
    assert all(row["attempted_2"] == row["rating"] + 2 for row in done.dataset())
    assert done.column("attempted_0") == done.column("rating")


# Many columns -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_spec_of_more_than_64_generators_works_in_both_words(run: Run) -> None:
    async def add(row: Row) -> int:
        (value,) = row.values()
        if value == 94:
            raise ValueError("given up by generator 65")
        return int(value) + 1

    columns: list[dict[str, Any]] = [sampler("c0", values=[0, 10, 20, 30])]
    for place in range(1, 75):
        before = f"c{place - 1}"
        if place % 3 == 0:
            columns.append(expression(f"c{place}", f"{before} + 1"))
        elif place == 70:
            columns.append(custom(f"c{place}", add, [before], dtype="int", skip={"when": f"{before} = 89", "value": 0}))
        else:
            columns.append(custom(f"c{place}", add, [before], dtype="int"))
    done = run(prepared(*columns, records=16, row_group_size=8))
    for row in done.dataset():
        if row["c0"] == 20:
            assert (row["c70"], row["c71"], row["c74"]) == (0, None, None)
        else:
            assert row["c74"] == row["c0"] + 74
    assert {row["c0"] for row in done.dataset()} == {0, 10, 20}
    assert done.sql("select distinct column_name, reason from dropped_row") == [("c65", "rejected")]
    assert done.sql("select skipped from progress where column_name = 'c74'") == [
        (sum(row["c0"] == 20 for row in done.dataset()),)
    ]
    assert done.violations() == []


def test_exactly_64_generators_use_the_sign_bit_of_the_word(run: Run) -> None:
    async def last(row: Row) -> int:
        return sum(row.values())

    names = [f"c{place}" for place in range(63)]
    columns = [sampler(name, values=[1]) for name in names]
    done = run(prepared(*columns, custom("total", last, names, dtype="int"), records=4))
    assert done.column("total") == [63] * 4
    assert done.violations() == []


@pytest.mark.slow
def test_a_wide_spec_of_200_llm_columns_finishes(run: Run) -> None:
    spec = prepared(
        sampler("id", sampler_type="uuid", params={}),
        *(llm(f"c{place}", f"{place} {{{{ id }}}}") for place in range(200)),
        models=[model(limit=64)],
        records=2,
    )
    done = run(spec)
    assert done.report is not None
    assert (done.report.rows_finished, done.report.exit_code) == (2, 0)
    assert done.sql("select requests from run_status") == [(400,)]
