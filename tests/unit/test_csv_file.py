"""CSV files: their texts unchanged, or refused with file, line, what was expected and what was found."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seed_reading import described, refusal_of, rows_of, types_of, values_of

LATE = b"a,b\n" + b"1,2\n" * 40_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,x,y\n", ["line 2", "expected 2 fields", "(a, b)", "found 3 fields ('1', 'x', 'y')"]),
        (b"a,b,c\n1,x\n", ["line 2", "expected 3 fields", "found 2 fields"]),
        (LATE + b"1,2,3\n" + b"1,2\n" * 9, ["line 40,002", "expected 2 fields", "found 3 fields"]),
        (LATE + b"1\n", ["line 40,002", "expected 2 fields", "found 1 field ('1')"]),
        (b'a,b\n"x\ny\nz",1\n2\n', ["line 5", "found 1 field"]),
        (b'a,b\n1,"x\n\ny"\n2,"z"3\n', ["line 5", "'3' follows the closing quotation mark of column 'b'"]),
        (b"a,b\r\n1,2\r\n3,4\n", ["line 3", "mixed line ends", "ends in LF, those before it in CR LF"]),
        (b"a,b\n1,2\r\n", ["line 2", "mixed line ends", "ends in CR LF, those before it in LF"]),
        (LATE + b"1,2\r\n", ["line 40,002", "mixed line ends"]),
        (LATE.replace(b"\n", b"\r\n") + b"1,2\n3,4\r\n", ["line 40,002", "mixed line ends"]),
        (b"a,b\n1,\r2\n", ["line 2", "mixed line ends"]),
        (b"a,b\r1,2\r3,4\n5,6\r", ["line 3", "mixed line ends"]),
        (b'a,b\n5" disk,1\n', ["line 2", "stray quotation mark in column 'a'", "5\" disk"]),
        (b'a,b\n5" disk,1\n3" disk,2\n', ["line 2", "stray quotation mark in column 'a'"]),
        (b'a,b\n1, "2"\n', ["line 2", "stray quotation mark in column 'b'"]),
        (b'a,b\n1,"2\\"3"\n', ["line 2", "follows the closing quotation mark of column 'b'", 'twice ("")']),
        (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', ["line 3", "the quotation mark that opens column 'b' is never closed"]),
        (b"a,b\n1,2\n3,\x00\n", ["line 3", "a NUL byte"]),
        (b"a,b\n1,2\n3,caf\xe9\n", ["line 3", "not UTF-8 text (bytes e9"]),
        (LATE + b"\xff,2\n", ["line 40,002", "not UTF-8"]),
        ("a,b\n1,2\n".encode("utf-16"), ["line 1", "UTF-16"]),
        (b"", ["line 1", "is empty"]),
        (b"\r\n\r\n", ["is empty"]),
        (b"\xef\xbb\xbf", ["is empty"]),
        (b"a,b,a\n1,2,3\n", ["line 1", "more than one column is named 'a'"]),
        (b'Zip,b,"zIP"\n1,2,3\n', ["line 1", "'Zip', 'zIP'"]),
        (b"\n\na,b\n1,2,3\n", ["line 4", "as line 3 names them"]),
        (b'"a",b\n"1","2"\n"3"\n', ["line 3", "found 1 field"]),
        (b'"a","b"\n"1","2"\n"3","4","5"\n', ["line 3", "found 3 fields"]),
        (b'"a","b"\n"1","2"\n"3","4"x\n', ["line 3", "'x' follows"]),
    ],
)  # fmt: skip
def test_a_shape_that_leaves_a_doubt_is_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    told = refusal_of(tmp_path, "s.csv", content)
    for word in ["s.csv", *words]:
        assert word in told


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a,b\n1,x\n2,y", [("1", "x"), ("2", "y")]),
        (b"a,b\r\n1,x\r\n2,y\r\n", [("1", "x"), ("2", "y")]),
        (b"a,b\r\n1,x", [("1", "x")]),
        (b"a,b\r1,x\r2,y\r", [("1", "x"), ("2", "y")]),
        (b"\xef\xbb\xbfa,b\n1,x\n", [("1", "x")]),
        (b"\n\na,b\n\n1,x\n\n\n2,y\n\n", [("1", "x"), ("2", "y")]),
        (b'a,b\n"1","x"\n', [("1", "x")]),
        (b'a,b\n"",""\n,\n', [("", ""), (None, None)]),
        (b'a,b\n"x, ""y""\r\nz",1\n', [('x, "y"\r\nz', "1")]),
        (b'a,b\r\n"x\ny",1\r\n', [("x\ny", "1")]),
        (b'"a","b"\n"1",""\n"","x"\n', [("1", ""), ("", "x")]),
        (b"a;b\n1,5;x\n", [("1,5", "x")]),
        (b"a|b\n1|x\n", [("1", "x")]),
        (b"sep=;\r\na,1;b\r\n1;x\r\n", [("1", "x")]),
        (b'"a,c";b\n1;x\n', [("1", "x")]),
        (b"a,b\n 1 ,\tx\n", [(" 1 ", "\tx")]),
        (b"a,b\nNULL,NA\nnull,\\N\n", [("NULL", "NA"), ("null", "\\N")]),
        ("a,b\nä,\u2028名\n".encode(), [("ä", "\u2028名")]),
    ],
)
def test_texts_are_as_they_are_between_the_separators(
    tmp_path: Path, content: bytes, rows: list[tuple[str | None, str | None]]
) -> None:
    assert [tuple(row.values()) for row in rows_of(tmp_path, "s.csv", content, types="str")] == rows


def test_a_single_column_keeps_its_empty_lines_as_nulls(tmp_path: Path) -> None:
    assert values_of(tmp_path, "s.csv", 'a\nx\n\n""\ny\n') == ["x", None, "", "y"]


def test_names_are_trimmed_and_empty_ones_numbered(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, "s.csv", 'a, b ,,"c ""d"""\n1,2,3,4\n')
    assert row == {"a": 1, "b": 2, "column2": 3, 'c "d"': 4}


def test_a_tsv_file_is_separated_by_tabs_even_if_its_header_has_more_commas(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "s.tsv", "a,b,c\td\n1\t2\n") == [{"a,b,c": 1, "d": 2}]


def test_it_is_told_that_a_csv_file_has_semicolons(tmp_path: Path) -> None:
    (told,) = described(tmp_path, "s.csv", "a;b\n1;2\n").remarks
    assert "s.csv: its fields are separated by semicolons" in told
    assert described(tmp_path, "t.csv", "a,b\n1,2\n").remarks == ()


@pytest.mark.slow
@pytest.mark.parametrize("size", [3 << 20, 60 << 20])
def test_a_huge_cell_reads_as_it_does_from_other_formats(tmp_path: Path, size: int) -> None:
    text = ('He said "x, y";' + "." * 48 + "\n") * (size // 64)
    (tmp_path / "s.csv").write_text('a,b\n"' + text.replace('"', '""') + '",1\nshort,2\n')
    (tmp_path / "s.jsonl").write_text(json.dumps({"a": text, "b": 1}) + '\n{"a": "short", "b": 2}\n')
    pq.write_table(pa.table({"a": [text, "short"], "b": [1, 2]}), tmp_path / "s.parquet")
    for name in ("s.csv", "s.jsonl", "s.parquet"):
        assert rows_of(tmp_path, name) == [{"a": text, "b": 1}, {"a": "short", "b": 2}]


@pytest.mark.slow
def test_a_fault_behind_a_huge_field_is_found_as_fast_as_the_field_is_read(tmp_path: Path) -> None:
    marks = '"' + '""' * 3_000_000 + '"'
    assert "line 2: 'x' follows" in refusal_of(tmp_path, "s.csv", f"a,b\n1,{marks}x\n")
    assert values_of(tmp_path, "s.csv", f"a,b\n{marks},1\n") == ['"' * 3_000_000]


@pytest.mark.parametrize("compress", [gzip.compress, lambda data: pa.compress(data, "zstd", asbytes=True)])
def test_compressed_files_are_read_and_refused_alike(tmp_path: Path, compress: object) -> None:
    name = "s.csv.gz" if compress is gzip.compress else "s.csv.zst"
    assert callable(compress)
    assert values_of(tmp_path, name, compress(b"a,b\n007,1\n")) == ["007"]
    assert "line 3: expected 2 fields" in refusal_of(tmp_path, name, compress(b"a,b\n1,2\n3\n"))
    assert "compressed" in refusal_of(tmp_path, name, compress(b"a,b\n" + b"1,2\n" * 99)[:18])
    assert values_of(tmp_path, name, compress(b"a,b\n1,2\n") + compress(b"3,4\n")) == [1, 3]


def test_what_calls_itself_gz_and_is_not_is_refused(tmp_path: Path) -> None:
    assert "s.csv.gz" in refusal_of(tmp_path, "s.csv.gz", b"a,b\n1,2\n")


FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.none() | FIELDS, min_size=2, max_size=2), min_size=1, max_size=8),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quotes_all=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path: Path, rows: list[list[str | None]], separator: str, end: str, quotes_all: bool
) -> None:
    def field(text: str | None) -> str:
        if text is None:
            return ""
        plain = text and not set(text) & set('",;\t|\r\n') and not quotes_all
        return text if plain else '"' + text.replace('"', '""') + '"'

    lines = [separator.join("ab"), *(separator.join(map(field, row)) for row in rows)]
    content = end.join(lines).encode() + end.encode()
    found = rows_of(tmp_path, "s.csv", content, types="str")
    assert [list(row.values()) for row in found] == rows


def test_columns_of_files_are_matched_by_name_and_guessed_together(tmp_path: Path) -> None:
    (tmp_path / "p1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "p2.csv").write_text("b;a\ny;007\n")
    assert types_of(tmp_path, "p*.csv") == ["VARCHAR", "VARCHAR"]
    assert rows_of(tmp_path, "p*.csv") == [{"a": "1", "b": "x"}, {"a": "007", "b": "y"}]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("a,b,c\n1,2,3\n", "p1.csv has no 'c'"),
        ("a\n1\n", "it lacks 'b'"),
        ("a,B\n1,2\n", "Did you mean 'b'?"),
        ("x,y\n", "it lacks 'a', 'b'"),
        ("", "is empty"),
    ],
)
def test_files_with_other_columns_are_refused(tmp_path: Path, second: str, words: str) -> None:
    (tmp_path / "p1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "p2.csv").write_text(second)
    told = refusal_of(tmp_path, "p*.csv")
    assert "p2.csv" in told
    assert words in told


def test_a_file_that_is_only_a_header_adds_no_rows(tmp_path: Path) -> None:
    (tmp_path / "p1.csv").write_text("a\n")
    (tmp_path / "p2.csv").write_text("a\n1\n")
    assert values_of(tmp_path, "p*.csv") == [1]
    assert "holds no rows" in refusal_of(tmp_path, "p1.csv")
