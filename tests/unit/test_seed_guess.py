"""The type of a column of texts is guessed so that nothing is lost (V4)."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seed_reading import described, values_of

from rowmill.seeds.guess import guess_type


def guess(*texts: str | None) -> str:
    return guess_type(pa.chunked_array([pa.array(texts, pa.string())])).sql_type


@pytest.mark.parametrize(
    ("sql_type", "texts"),
    [
        ("BIGINT", ["12", "-3", "0", None]),
        ("BIGINT", ["9223372036854775807", "-9223372036854775808"]),
        ("DOUBLE", ["-3.5", "0.1", "1.0"]),
        ("DOUBLE", ["0.1234567890123456", "0.30000000000000004", "123456789012345.5", "-0.0"]),
        ("DOUBLE", ["1e-05", "1.5e+16", "5e-324", "1.7976931348623157e+308"]),
        ("BOOLEAN", ["true", "false", None]),
        ("DATE", ["2026-01-31", "1900-02-28", "0001-01-01", "9999-12-31"]),
        ("TIMESTAMP", ["2026-01-31 10:00:00", "1969-12-31 23:59:59.000001"]),
        ("TIME", ["10:00:00", "23:59:59.123456"]),
    ],
)
def test_what_is_spelled_the_one_way_becomes_what_it_is(sql_type: str, texts: list[str | None]) -> None:
    assert guess(*texts) == sql_type


@pytest.mark.parametrize(
    "text",
    [
        "12E5", "1e5", "1E5", "11.10", "1.", ".5", "+1", "-0", "007", "00", "0x1F", "1_000", "1,000", "12 ", " 12",
        "12\n",
        "9223372036854775808", "1" * 42, "inf", "-inf", "NaN", "nan", "infinity", "0.10000000000000001", "1e16",
        "1e+016",
        "0.00001", "10000000000000000.0", "1e400", "1e-400", "1.0f", "٣", "１２", "½", "0b1", "1e", "--1", "- 1",
        "True", "TRUE", "t", "yes", "no", "on", "T", "3:16", "24:00:00", "10:00", "10:00:60", "10:00:00.5", "10:00:00Z",
        "03/04/2025", "03-04-2025", "2024-1-2", "2026-02-30", "2026-13-01", "0000-01-01", "10000-01-01", "-0044-03-15",
        "0044-03-15 (BC)", "epoch", "today", "2026-01-31T10:00:00", "2026-01-31 10:00", "2026-01-31 10:00:00.5",
        "2026-01-31 10:00:00.100000", "2026-01-31 10:00:00+00", "2026-01-31 10:00:00Z", "2026-01-31 24:00:00",
        "2026-01-31 10:00:00 UTC", "20260131", "BBD0", "1d", "", "NULL", "[1]", "{}", "1 day",
    ],
)  # fmt: skip
def test_what_is_spelled_another_way_stays_a_text_and_its_column_with_it(text: str) -> None:
    if text == "20260131":
        assert guess(text) == "BIGINT"  # written back it is the same text
        return
    assert guess(text) == "VARCHAR"
    for beside in ("1", "1.5", "true", "2026-01-31", "2026-01-31 10:00:00", "10:00:00"):
        assert guess(*[beside] * 500, text) == "VARCHAR"
        assert guess(text, *[beside] * 500) == "VARCHAR"


@pytest.mark.parametrize("texts", [["1", "1.5"], ["1", "true"], ["2026-01-31", "2026-01-31 10:00:00"]])
def test_texts_of_two_types_stay_texts(texts: list[str]) -> None:
    assert guess(*texts) == "VARCHAR"


def test_a_column_without_a_value_is_text() -> None:
    assert guess(None, None) == "VARCHAR"
    assert guess() == "VARCHAR"


def test_a_column_is_looked_at_to_its_last_row(tmp_path: Path) -> None:
    content = "a,b\n" + "1,\n" * 100_000 + "007,x\n"
    assert values_of(tmp_path, "s.csv", content)[-1] == "007"


def test_quoted_and_unquoted_are_the_same_but_for_empty(tmp_path: Path) -> None:
    assert values_of(tmp_path, "s.csv", 'a,b\n"1",x\n2,y\n,z\n') == [1, 2, None]
    assert values_of(tmp_path, "s.csv", 'a,b\n"1",x\n"",y\n') == ["1", ""]


@pytest.mark.slow
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_guessed_from_its_one_spelling_which_python_and_sql_share(value: float) -> None:
    text = repr(value)
    found = guess_type(pa.chunked_array([pa.array([text])]))
    assert found.sql_type == "DOUBLE"
    assert repr(found.column[0].as_py()) == text
    with duckdb.connect() as engine:
        assert engine.execute("select $1::double::varchar", [value]).fetchall() == [(text,)]


@pytest.mark.slow
@given(st.lists(st.text(max_size=12), min_size=1))
def test_whatever_is_guessed_is_written_back_as_the_same_text(texts: list[str]) -> None:
    _check_written_back(texts)


SPELLINGS = st.from_regex(
    r"-?[0-9]{1,20}|-?[0-9]{1,18}\.[0-9]{1,18}|[0-9](\.[0-9]{1,3})?e[+-][0-9]{2,3}|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"( [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)?|[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?|true|false",
    fullmatch=True,
)


@pytest.mark.slow
@given(SPELLINGS)
def test_what_looks_like_a_value_is_written_back_as_the_same_text(text: str) -> None:
    _check_written_back([text])


def _check_written_back(texts: list[str]) -> None:
    column = guess_type(pa.chunked_array([pa.array(texts, pa.string())])).column
    values = column.to_pylist()
    written = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    assert written == texts  # as Python and templates write them
    with duckdb.connect() as engine:
        engine.register("guessed", pa.table({"a": column}))
        assert [text for (text,) in engine.execute("select a::varchar from guessed").fetchall()] == texts  # as SQL does


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["10", "12.5"], "all look like numbers, but not all are spelled the one way that loses nothing, such as '10'"),
        (["1.5", "11.10"], "such as '11.10'; if they are, say float"),
        (["yes", "no"], "words for true and false"),
        (["True", "false"], "such as 'True'; if they are, say bool"),
        (["03/04/2025"], "dates, though not which number is the day"),
        (["2026-1-2"], "say date"),
        (["2026-01-31T10:00:00"], "say timestamp"),
        (["2026-01-31 10:00:00Z"], "say timestamptz"),
        (["1", "NA"], "'NA' is a text, all others look like numbers; where there is no value, leave the field empty"),
        (["9007199254740993"], "integers beyond 2^53"),
    ],
)
def test_a_doubtful_guess_has_a_remark(texts: list[str], words: str) -> None:
    remark = guess_type(pa.chunked_array([pa.array(texts)])).remark
    assert remark is not None
    assert words in remark


@pytest.mark.parametrize(
    "texts", [["007", "12"], ["1" * 42], ["abc"], ["12"], ["1.5"], ["9007199254740992"], ["x", "1"]]
)
def test_a_guess_without_a_doubt_has_none(texts: list[str]) -> None:
    assert guess_type(pa.chunked_array([pa.array(texts)])).remark is None


def test_where_a_type_comes_from_is_known(tmp_path: Path) -> None:
    facts = described(tmp_path, "s.csv", "a,b\n1,2\n", types={"b": "str"}).facts
    assert [(fact.sql_type, fact.origin) for fact in facts] == [("BIGINT", "guessed"), ("VARCHAR", "said")]
    (fact,) = described(tmp_path, "s.jsonl", '{"a": "1"}\n').facts
    assert (fact.sql_type, fact.origin) == ("VARCHAR", "file")
