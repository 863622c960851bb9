"""A preview makes every type of model column with simulated models: no server, no key, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rowmill.engine.preparation import prepare
from rowmill.engine.preview import preview
from rowmill.spec.spec import Spec

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "column_type": "sampler", "sampler_type": "uuid"},
    {"name": "text", "column_type": "llm-text", "prompt": "On {{ id }}", "with_trace": "last_message"},
    {"name": "code", "column_type": "llm-code", "prompt": "Print {{ id }}", "code_lang": "python"},
    {
        "name": "order",
        "column_type": "llm-structured",
        "prompt": "Order {{ id }}",
        "output_format": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1, "maximum": 3}}},
    },
    {
        "name": "judge",
        "column_type": "llm-judge",
        "prompt": "Judge {{ text }} for {{ order.count }}",
        "scores": [{"name": "tone", "description": "How it sounds", "options": {1: "bad", 2: "good"}}],
    },
    {"name": "vector", "column_type": "embedding", "target_column": "text", "dimensions": 8},
    {"name": "photo", "column_type": "image", "prompt": "Draw {{ judge.tone.score }}"},
    {
        "name": "seen",
        "column_type": "llm-text",
        "prompt": "What is it?",
        "multi_modal_context": [{"modality": "image", "column_name": "photo"}],
    },
]


def test_every_type_of_model_column_can_be_previewed(tmp_path: Path) -> None:
    model = {
        "alias": "any",
        "provider": "simulated",
        "model": "m",
        "simulation": {"latency_ms": 0},
        "inference_parameters": {"temperature": {"distribution_type": "uniform", "params": {"low": 0.1, "high": 0.9}}},
    }
    columns = [column if column["name"] == "id" else {"model_alias": "any", **column} for column in COLUMNS]
    made = preview(prepare(Spec.from_data({"records": 9, "models": [model], "columns": columns}), tmp_path), 3, {})
    assert made.rows_dropped == 0
    rows = made.rows.to_pylist()
    assert len(rows) == 3
    for row in rows:
        assert row["code"].startswith("# ")
        assert row["order"]["count"] in (1, 2, 3)
        assert row["judge"]["tone"]["score"] in (1, 2)
        assert len(row["vector"]) == 8
        assert row["photo"] == f"photo/{row['row_id']}.png"
        assert row["seen"]
    assert list(tmp_path.iterdir()) == []
