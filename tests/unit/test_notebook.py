"""What notebooks show of previews and of the status of a run: HTML that needs nothing and cannot be steered."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import rowmill
from rowmill import notebook

HOSTILE = "<script>alert('é')</script>"
SPEC: dict[str, Any] = {
    "name": "shown",
    "records": 3,
    "seed_dataset": {"seed_type": "df"},
    "columns": [
        {"name": "sum", "column_type": "expression", "sql": "a * 1000", "dtype": "int"},
        {"name": "<b>", "column_type": "expression", "sql": "text || '!'"},
        {"name": "fails", "column_type": "expression", "sql": "if(a = 3, cast('<i>' || a as int), 1)", "dtype": "int"},
    ],
}


class Elements(HTMLParser):
    """The elements of a text, all of which must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_harmless(html: str) -> None:
    elements = Elements(html)
    assert elements.open == []
    assert elements.found <= {"div", "p", "b", "i", "table", "tr", "th", "td"}
    assert "http" not in html
    # Colours come from the page: whatever has one is translucent.
    assert set(re.findall(r"#[0-9a-f]{3,6}\b|rgb\(|(?<!-)color:", html)) == set()


@pytest.fixture
def table() -> Any:
    import pyarrow as pa

    return pa.table({"a": [1, 2, 3], "text": [HOSTILE, None, "x" * 5000], "raw": [b"1", None, b"123"]})


def test_a_preview_is_a_table_of_escaped_values(table: Any) -> None:
    html = rowmill.preview(SPEC, 3, seed=table)._repr_html_()
    assert_harmless(html)
    assert "&lt;script&gt;alert(&#x27;é&#x27;)&lt;/script&gt;!" in html
    assert "<b>2</b> · dropped <b>1</b>" in html
    assert "&lt;i&gt;" in html
    assert "2,000" in html
    assert "1 byte" in html
    assert "null" in html


def test_a_status_shows_how_far_each_column_is(tmp_path: Path, table: Any) -> None:
    rowmill.run(SPEC, tmp_path / "run.duckdb", seed=table)
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        html = database.status()._repr_html_()
    assert_harmless(html)
    assert "&lt;b&gt;" in html
    assert "2 of 3" in html
    assert "100 %" in html
    assert "&lt;i&gt;" in html


def test_what_is_shown_of_a_value_is_short() -> None:
    html = notebook.table(["v"], [["x" * 5000], [{"a": [1, None]}], [float("nan")], [True]])
    assert len(html) < 1500
    assert "{&quot;a&quot;: [1, null]}" in html
    assert "nan" in html
    assert "true" in html
