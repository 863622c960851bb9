"""One thing is one thing: numbers and their nouns."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

import rowmill
from rowmill.counted import beside, plural
from rowmill.errors import SpecError
from rowmill.graph.building import build_graph
from rowmill.spec.spec import Spec
from rowmill.store.layout.expression import ExpressionAnalyst

SOURCE = Path(rowmill.__file__).parent


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (12345, "12,345 rows")])
def test_a_noun_has_an_s_unless_there_is_one_of_it(number: int, text: str) -> None:
    assert plural(number, "row") == text


DROPPED = [{"name": name, "column_type": "expression", "sql": "1", "drop": True} for name in ("a", "b")]


@pytest.mark.parametrize(
    "spec",
    [
        {"columns": DROPPED},
        {
            "columns": [{**column, "drop": False} for column in DROPPED],
            "processors": [{"name": "none", "processor_type": "drop_columns", "column_names": ["*"]}],
        },
    ],
)
def test_a_spec_whose_dataset_has_no_column_left_is_refused(spec: dict[str, object]) -> None:
    made = Spec.from_data({"name": "x", "records": 1, **spec})
    with closing(ExpressionAnalyst()) as analyst, pytest.raises(SpecError, match="No column is left in the dataset"):
        build_graph(made, (), analyst.analyse)
    with closing(ExpressionAnalyst()) as analyst:
        assert build_graph(made, (), analyst.analyse, judges=False).generators  # one that was accepted goes on (V6)


def test_a_hundred_thousand_columns_are_refused_for_what_they_are() -> None:
    columns = [{"name": f"c{number}", "column_type": "expression", "sql": "1"} for number in range(100_000)]
    with pytest.raises(SpecError) as refused:
        Spec.from_data({"name": "x", "records": 1, "columns": columns})
    assert [str(each) for each in refused.value.problems] == [
        "The spec has 100,000 columns; a dataset may have 10,000 of them. (columns)"
    ]


def test_amounts_beside_each_other_look_different_when_they_are() -> None:
    assert beside(0.503, 0.5) == ("$0.503", "$0.500")
    assert beside(0.25, 0.5) == ("$0.25", "$0.50")
    assert beside(0.5, 0.5) == ("$0.50", "$0.50")
    assert beside(0.0001, 0.005) == ("$0.00010", "$0.005")


_NOUNS = "rows|requests|columns|tasks|answers|calls|row groups|files|values|models|records|cells|shards|bytes|elements"
_COUNTED = re.compile(rf"\{{(?![^{{}}]*[A-Z_]{{4}})[^{{}}]*\}} ({_NOUNS})\b(?!/s)")
"""A number that is written out before a noun of many; constants of ours are never one."""
_MORE_THAN_ONE = (
    "There are no {kind} rows",
    "The spec has {count:,} columns",
    "None of {attempts:,} values drawn",
    "A frame of {len(frame)} bytes",
    "holds a value of {longest:,} bytes",
    "has a name of {size} bytes",
    "* 3 // 4} bytes",
    "replayed from its log ({size:,} bytes)",
    "Wrote {file} ({short_count(size)} bytes)",
    "{table.column_names.count(name)} columns '{name}'",
    "{given - missing} of {given} rows",
    "{written} rows passed the barrier",
    "{count(status.records)} rows ({far})",
)
"""Where the number is never one, or the noun is none of what is counted."""


def test_every_number_of_things_in_a_message_is_spelled_with_its_noun() -> None:
    found = {
        f"{path.name}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if _COUNTED.search(line) and not any(each in line for each in _MORE_THAN_ONE)
    }
    assert found == set()
