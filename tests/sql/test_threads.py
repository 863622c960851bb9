"""How many threads the engine spreads a statement over."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from run_state import RunState
from virtual_run import expression, llm, model, sampler

THREADS = "select current_setting('threads')"
DRAFT = llm("draft", "Write about {{ rating }}.")


UNIQUE = {"name": "unique", "column_type": "deduplicate", "columns": ["draft"]}


@pytest.mark.parametrize(
    ("columns", "fields", "is_one"),
    [
        ([sampler(), DRAFT], {}, True),
        ([sampler(), DRAFT], {"row_group_size": 200_000}, False),
        ([sampler(), DRAFT], {"run": {"max_active_rows": 200_000}}, False),
        ([sampler(), expression("double", "rating * 2")], {}, False),
        ([sampler(), DRAFT, UNIQUE], {}, False),
    ],
    ids=["few rows", "large row groups", "many active rows", "no tasks", "barrier"],
)
def test_statements_over_few_rows_stay_on_one_thread_and_those_over_many_get_all(
    state_of: Callable[..., RunState], columns: list[Mapping[str, Any]], fields: Mapping[str, Any], is_one: bool
) -> None:
    if os.cpu_count() == 1:
        pytest.skip("this machine has one core")
    models = [model()] if DRAFT in columns else []
    state = state_of(*columns, models=models, **fields)
    assert (state.sql(THREADS)[0][0] == 1) is is_one
