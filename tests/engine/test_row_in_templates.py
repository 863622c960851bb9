"""``{{ row["Customer Name"] }}``: columns whose names are no single word, in every template of a spec."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import rowmill
from rowmill.errors import SpecError

MODEL = {"alias": "m", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0, "answer": "x"}}
SEED = pa.table(
    {
        "Customer Name": ["Ann", None],
        "unit-price": [1.5, 2.5],
        "signed up": [datetime.date(2024, 2, 29), None],
        "big number": pa.array([2**63, None], pa.uint64()),
    }
)


def expression(name: str, expr: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "column_type": "expression", "expr": expr, **fields}


def spec(*columns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    seed = {"seed_type": "df"}
    return {"name": "x", "records": 2, "models": [MODEL], "seed_dataset": seed, "columns": [*columns], **fields}


def problem_of(*columns: dict[str, Any], seed: pa.Table = SEED) -> str:
    with pytest.raises(SpecError) as caught:
        rowmill.preview(spec(*columns), 1, seed=seed)
    return str(caught.value)


def test_a_column_whose_name_is_several_words_is_used_in_every_template(tmp_path: Path) -> None:
    shape = {"name": '{{ row["Customer Name"] }}', "at": "{{ row['signed up'] }}", "n": '{{ row["big number"] }}'}
    report = rowmill.run(
        spec(
            expression("hello", "Hello {{ row['Customer Name'] }}{% if row[\"unit-price\"] > 2 %}!{% endif %}"),
            expression("price", '{{ row["unit-price"] }}', dtype="float"),
            expression("again", "{{ row.hello | upper }}"),
            {
                "name": "note",
                "column_type": "llm-text",
                "model_alias": "m",
                "prompt": 'About {{ row["Customer Name"] }}, {{ row["again"] }}',
                "skip": {"when": '{{ row["signed up"] is none }}', "value": "skipped"},
            },
            processors=[{"name": "shape", "processor_type": "schema_transform", "template": shape}],
        ),
        tmp_path / "x.duckdb",
        seed=SEED,
    )
    assert report.exit_code == 0
    with rowmill.RunDatabase.open(tmp_path / "x.duckdb") as database:
        rows = database.to_arrow().to_pylist()
        database.export(tmp_path / "shaped.arrow", processor="shape")
    assert [row["hello"] for row in rows] == ["Hello Ann", "Hello None!"]
    assert [row["again"] for row in rows] == ["HELLO ANN", "HELLO NONE!"]
    assert [(row["price"], row["note"]) for row in rows] == [(1.5, "x"), (2.5, "skipped")]
    shaped = pa.ipc.open_file(tmp_path / "shaped.arrow").read_all()
    assert shaped.schema.types == [
        SEED.schema.field(name).type for name in ("Customer Name", "signed up", "big number")
    ]
    assert shaped["n"].to_pylist() == [2**63, None]


def test_a_column_called_row_comes_first() -> None:
    seed = pa.table({"row": [{"x": 1}], "x": [2]})
    previewed = rowmill.preview(spec(expression("y", "{{ row['x'] }}"), expression("z", "{{ x }}")), 1, seed=seed)
    assert [(row["y"], row["z"]) for row in previewed.rows.to_pylist()] == [("1", "2")]


def test_an_error_tells_how_a_name_of_several_words_is_written() -> None:
    assert 'written {{ row["Customer Name"] }}' in problem_of(expression("y", "Dear {{ Customer Name }},"))
    assert 'written {{ row["Customer Name"] }}' in problem_of(expression("y", "{{ Customer Name | upper }}"))
    assert 'In Jinja it is {{ row["unit-price"] }}' in problem_of(expression("y", "{{ unit-price }}"))
    assert "row[" not in problem_of(expression("y", "{{ a if }}"))


def test_an_unknown_column_of_the_row_is_told_with_the_nearest() -> None:
    told = problem_of(expression("y", "{{ row['Custommer Name'] }}"))
    assert "Column 'Custommer Name' is not defined. Did you mean 'Customer Name'?" in told
    assert "Column 'row' is not defined" in problem_of(expression("y", "{{ row }}"))
    assert "refers to itself" in problem_of(expression("y", "{{ row.y }}"))
