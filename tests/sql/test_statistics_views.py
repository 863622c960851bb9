"""What the dataset's columns hold: column_statistics, column_value, column_histogram, judge_score."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_state import RunState
from virtual_run import expression, prepared, sampler

from rowmill.engine.preparation import prepare_stored
from rowmill.spec.spec import Spec
from rowmill.store.layout.layout import _as_text

COLUMNS = [
    sampler("rating"),
    expression("ratio", "1.5", "float"),
    expression("born", "timestamp '2020-01-01'", "datetime"),
    expression("is_good", "true", "bool"),
    expression("text of it", "'x'", "str"),
    expression("tags", "['a']", "VARCHAR[]"),
    expression("parts", "{'a': 1}", "STRUCT(a INT)"),
    expression("hidden", "1", "int", drop=True),
]


@pytest.fixture
def state():  # type: ignore[no-untyped-def]
    """100 rows whose values are known."""
    with RunState(prepared(*COLUMNS, records=100)) as found:
        found.sql(
            "insert into state.dataset_row by name select i as row_id, 0 as row_group, i as row_index, 0 as done_0,"
            " 0 as skipped_0, i % 4 as rating, case when i = 7 then 'nan'::double else i / 10 end as ratio,"
            " timestamp '2020-01-01' + to_days(i::integer) as born, i % 10 = 0 as is_good,"
            " case when i >= 10 then repeat('y', (i % 3 + 1)::integer) end as \"text of it\", ['a', 'b'] as tags,"
            " {'a': i % 2} as parts, 1 as hidden from range(100) as r(i)"
        )
        yield found


def _statistics(state: RunState, column: str) -> dict[str, object]:
    query = "from column_statistics where column_name = $column"
    names, (row,) = state.store.connection.columns(query, {"column": column})
    return dict(zip(names, row, strict=True))


def test_every_column_of_the_dataset_has_a_row_in_declaration_order(state: RunState) -> None:
    names = [name for (name,) in state.sql("select column_name from column_statistics")]
    assert names == ["rating", "ratio", "born", "is_good", "text of it", "tags", "parts"]


def test_numbers_have_moments_and_bounds(state: RunState) -> None:
    found = _statistics(state, "rating")
    assert (found["rows"], found["nulls"], found["distinct_values"]) == (100, 0, 4)
    assert (found["minimum"], found["maximum"], found["mean"]) == ("0", "3", 1.5)
    assert found["stddev"] == pytest.approx(1.1236664)
    assert found["median"] == pytest.approx(1.5, abs=0.5)
    assert found["mean_length"] is None


def test_the_bounds_of_integers_are_exact() -> None:
    with RunState(prepared(expression("big", "1", "int"))) as state:
        state.sql(
            "insert into state.dataset_row by name select i as row_id, 0 as row_group, i as row_index, 0 as done_0,"
            " 0 as skipped_0, 9_007_199_254_740_993 + 2 * i as big from range(2) as r(i)"
        )
        found = _statistics(state, "big")
        assert (found["minimum"], found["maximum"]) == ("9007199254740993", "9007199254740995")


def test_what_is_no_finite_number_is_left_out_of_moments(state: RunState) -> None:
    found = _statistics(state, "ratio")
    assert (found["nulls"], found["maximum"]) == (0, "9.9")
    assert found["mean"] == pytest.approx((495 - 0.7) / 99)


def test_texts_have_lengths_and_nulls(state: RunState) -> None:
    found = _statistics(state, "text of it")
    assert (found["rows"], found["nulls"]) == (100, 10)
    assert (found["min_length"], found["mean_length"], found["max_length"]) == (1, 2.0, 3)
    assert (found["minimum"], found["mean"]) == (None, None)


def test_times_have_bounds(state: RunState) -> None:
    found = _statistics(state, "born")
    assert (found["minimum"], found["maximum"]) == ("2020-01-01 00:00:00", "2020-04-09 00:00:00")


def test_the_most_frequent_values_are_counted_exactly(state: RunState) -> None:
    query = 'select value, "rows" from column_value where column_name = $column order by all'
    assert state.sql(query, column="rating") == [("0", 25), ("1", 25), ("2", 25), ("3", 25)]
    assert state.sql(query, column="is_good") == [("false", 90), ("true", 10)]
    assert state.sql(query, column="parts") == [('{"a":0}', 50), ('{"a":1}', 50)]
    assert state.sql(query, column="tags") == [("2 values", 100)]


def test_a_histogram_counts_every_value_once(state: RunState) -> None:
    totals = dict(state.sql('select column_name, sum("rows")::int from column_histogram group by all'))
    assert totals == {"rating": 100, "ratio": 99, "born": 100, "text of it": 90, "parts": 100}
    bins = state.sql("select bin, lower, upper from column_histogram where column_name = 'ratio' order by bin")
    assert len(bins) == 20
    assert bins[0][1] == 0
    assert bins[-1][2] == pytest.approx(9.9)


def test_statistics_of_no_rows_and_of_no_columns_are_there() -> None:
    with RunState(prepared(*COLUMNS)) as state:
        assert _statistics(state, "rating")["rows"] == 0
        assert state.sql("from column_histogram") == []
    nothing_left = prepared(sampler("rating"), sampler("other")).spec.model_dump(mode="json")
    for column in nothing_left["columns"]:
        column["drop"] = True  # as an earlier version accepted it
    accepted = prepare_stored(Spec.from_data(nothing_left).to_json(), Path(), ())
    with RunState(accepted) as state:
        assert state.sql("from column_statistics") == []
        assert state.sql("from column_value") == []


def test_judged_scores_are_counted_by_answer() -> None:
    judge = {
        "name": "verdict",
        "column_type": "llm-judge",
        "model_alias": "writer",
        "prompt": "Judge.",
        "scores": [{"name": "style", "description": "How?", "options": {"1": "bad", "2": "good"}}],
    }
    model = {"alias": "writer", "provider": "simulated", "model": "writer"}
    with RunState(prepared(judge, models=[model])) as state:
        ((kind,),) = state.sql("select data_type from duckdb_columns() where column_name = 'verdict' limit 1")
        value = "{'style': {'reasoning': 'r', 'score': '2'}}"
        state.sql(
            "insert into state.dataset_row by name select i as row_id, 0 as row_group, i as row_index, 0 as done_0,"
            f" 0 as skipped_0, case when i < 3 then to_json({value})::{kind} end as verdict from range(4) as r(i)"
        )
        assert state.sql("from judge_score") == [("verdict", "style", "2", 3)]


@pytest.mark.parametrize(
    ("sql_type", "text"),
    [
        ("FLOAT[3]", "len(c) || ' values'"),
        ("BLOB", "octet_length(c) || ' bytes'"),
        ("MAP(VARCHAR, INT)", "to_json(c)::varchar"),
        ("VARCHAR", "c::varchar"),
    ],
)
def test_what_nobody_reads_counts_by_its_size(sql_type: str, text: str) -> None:
    assert _as_text("c", sql_type) == text
