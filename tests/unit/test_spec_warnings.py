"""What a spec says that its author may not mean."""

from __future__ import annotations

from typing import Any

from rowmill.engine.spec_warnings import spec_warnings
from rowmill.spec.spec import Spec


def _told(limits: list[int], records: int = 100_000, **run: Any) -> dict[str, str]:
    """What is told of a spec whose models take so many requests at once, by the field it is about."""
    models = [
        {"alias": f"m{place}", "model": f"m{place}", "provider": "simulated", "max_parallel_requests": limit}
        for place, limit in enumerate(limits)
    ]
    columns = [
        {"name": f"c{place}", "column_type": "llm-text", "model_alias": f"m{place}", "prompt": "Write."}
        for place in range(len(limits))
    ]
    spec = Spec.from_data({"records": records, "models": models, "columns": columns, "run": run})
    return {warning.place: warning.message for warning in spec_warnings(spec)}


def test_c5_models_that_take_more_than_a_bound_nobody_chose_are_told_of_with_the_number_to_set() -> None:
    (message,) = _told([4096]).values()
    assert "take 4,096 requests at once, but 1,024 tasks at most run" in message
    assert "run.max_in_flight is set: 4096 " in message
    assert list(_told([1000, 25])) == ["run.max_in_flight"]
    assert _told([1000, 24]) == {}


def test_what_was_chosen_is_not_doubted() -> None:
    assert _told([4096], max_in_flight=512) == {}
    assert _told([4096], max_in_flight=4096) == {}


def test_a_run_of_few_rows_is_not_told_of_bounds_it_never_meets() -> None:
    assert _told([4096], records=1000) == {}
    assert list(_told([4096, 4096], records=1000)) == ["run.max_in_flight"]


def test_a2_more_tasks_than_active_rows_are_told_of() -> None:
    (message,) = _told([16_384], max_in_flight=20_000).values()
    assert "16,384 requests at once need as many rows, but 8,192 rows at most" in message
    assert "run.max_active_rows is set: 65536 " in message
    assert list(_told([16_384])) == ["run.max_in_flight", "run.max_active_rows"]
    assert _told([16_384], max_in_flight=8192) == {}
    assert _told([16_384], max_in_flight=20_000, max_active_rows=16_384) == {}
