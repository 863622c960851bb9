"""A run as nobody designs a page for: wide columns, long texts, pictures, conversations, drops, an older prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rowmill
from rowmill.spec.spec import Spec

PIXEL = (
    "89504E470D0A1A0A0000000D4948445200000001000000010802000000907753DE0000000C49444154789C63F8CFC0000003010100C9FE"
    "92EF0000000049454E44AE426082"
)
"""A picture of one red pixel, as hexadecimal digits."""
SPEC: dict[str, Any] = {
    "name": "customer-support-dialogues-with-tools-and-pictures-2026-11",
    "records": 120,
    "row_group_size": 20,
    "models": [
        {
            "alias": "writer",
            "provider": "simulated",
            "model": "a-large-language-model-with-a-long-name-instruct-2411",
            "max_parallel_requests": 16,
            "input_usd_per_million_tokens": 3,
            "output_usd_per_million_tokens": 15,
            "simulation": {"latency_ms": 2, "rejected": 0.08, "transient": 0.05, "output_tokens": 250},
        },
        {
            "alias": "coder",
            "provider": "simulated",
            "model": "coder",
            "simulation": {"latency_ms": 1, "answer": "```python\ndef total(items):\n    return sum(items)\n```"},
        },
        {"alias": "painter", "provider": "simulated", "model": "painter", "simulation": {"latency_ms": 1}},
    ],
    "columns": [
        {"name": "customer", "column_type": "sampler", "sampler_type": "uuid"},
        {
            "name": "a column with spaces, \"quotes\" & <angles>",
            "column_type": "sampler",
            "sampler_type": "category",
            "params": {"values": ["short", "رسالة طويلة باللغة العربية", "a long category that does not end soon"]},
        },
        *(
            {
                "name": f"feature_number_{number:02}",
                "column_type": "expression",
                "sql": f"sqrt(length(customer) * {number}.0)",
                "dtype": "float",
            }
            for number in range(1, 19)
        ),
        {
            "name": "tags",
            "column_type": "expression",
            "sql": "[customer[1:4], 'tag', null, repeat('long tag ', 12)]",
            "dtype": "VARCHAR[]",
        },
        {
            "name": "address",
            "column_type": "expression",
            "sql": "{'street': customer, 'lines': ['a', 'b'], 'geo': {'lat': 1.5, 'lon': null}}",
            "dtype": "STRUCT(street VARCHAR, lines VARCHAR[], geo STRUCT(lat DOUBLE, lon DOUBLE))",
        },
        {
            "name": "icon",
            "column_type": "expression",
            "sql": f"unhex('{PIXEL}')",
            "dtype": "BLOB",
        },
        {
            "name": "noise",
            "column_type": "expression",
            "sql": "unhex('00ff00ff')",
            "dtype": "BLOB",
        },
        {
            "name": "unbroken",
            "column_type": "expression",
            "sql": "repeat('Donaudampfschifffahrtsgesellschaft', 12)",
            "dtype": "str",
        },
        {
            "name": "review",
            "column_type": "llm-text",
            "model_alias": "writer",
            "system_prompt": "You are a customer of a shop in a bad mood.",
            "prompt": "Write a review as {{ customer }}.\n\nBe specific.",
            "with_trace": True,
        },
        {"name": "code", "column_type": "llm-code", "model_alias": "coder", "code_lang": "python", "prompt": "Sum."},
        {"name": "portrait", "column_type": "image", "model_alias": "painter", "prompt": "Draw {{ customer }}."},
        {
            "name": "verdict",
            "column_type": "expression",
            "sql": "if(length(review) % 5 = 0, null, length(review) % 5)",
            "dtype": "int",
        },
    ],
    "run": {"max_error_share": 1, "backoff_base_s": 0.01, "max_tokens": 400_000},
}  # fmt: skip


def ugly_run(path: Path) -> None:
    """The run, finished, its review made twice: the first answers are its previous values."""
    rowmill.run(SPEC, path)
    rowmill.run(changed(), path, accept_changes=True)


def changed() -> Spec | dict[str, Any]:
    """The same with another prompt for the review."""
    spec: dict[str, Any] = json.loads(json.dumps(SPEC))
    for column in spec["columns"]:
        if column["name"] == "review":
            column["prompt"] = "Write a long review as {{ customer }}.\n\nBe specific, " + "and go on at length. " * 20
    return spec
