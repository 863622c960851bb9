"""Estimates: what a run will send, receive, cost and take, told from a few rows. Always marked as estimates.

A preview tells it from its own answers. A plan makes a few rows with every model simulated, for nothing: prompts are
rendered from real rows, answers are taken to be as long as ``max_tokens`` allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.preview import preview
from rowmill.errors import RowmillError
from rowmill.graph.endpoint import endpoints
from rowmill.spec.model import ModelConfig, SimulationConfig
from rowmill.spec.spec import Spec

_ROWS = 5
_ASSUMED_OUTPUT = 200
"""Tokens of an answer whose model has no ``max_tokens``."""
_MOST_SEED_ROWS = 200_000
"""More would take a plan too long."""
_HARMLESS = frozenset(
    {
        "seed-dataset", "sampler", "expression", "llm-text", "llm-code", "llm-structured", "llm-judge", "embedding",
        "deduplicate", "rank", "select",
    }
)  # fmt: skip
"""Column types that run no code of the user's and reach nothing outside."""
_HARMLESS_VALIDATORS = frozenset({"sql", "json_schema"})


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a number of rows takes, about."""

    rows: int
    from_rows: int
    """How many rows it is told from."""
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """None where no price is known."""
    seconds: float | None
    """None where no latency was measured."""
    assumed_output_tokens: int | None = None
    """Of an answer of a model without ``max_tokens``, where that was taken for granted."""
    budget_usd: float | None = None

    def as_json(self) -> dict[str, Any]:
        """All fields, as JSON has them."""
        return asdict(self)


def estimate_of(spec: Spec, attempts: Iterable[Mapping[str, Any]], made: int) -> Estimate | None:
    """The estimate for all rows of a spec from the attempts of the first ``made``; None if there were none."""
    asked = [attempt for attempt in attempts if attempt["outcome"] != "reused"]
    if not asked or made < 1:
        return None
    factor = spec.planned_records / made
    costs = [attempt["cost_usd"] for attempt in asked if attempt["cost_usd"] is not None]
    return Estimate(
        rows=spec.planned_records,
        from_rows=made,
        requests=round(len(asked) * factor),
        input_tokens=round(sum(attempt["input_tokens"] or 0 for attempt in asked) * factor),
        output_tokens=round(sum(attempt["output_tokens"] or 0 for attempt in asked) * factor),
        cost_usd=sum(costs) * factor if costs else None,
        seconds=_seconds(spec, asked, factor),
        budget_usd=spec.run.max_cost_usd,
    )


def plan_estimate(prepared: Prepared) -> Estimate | str | None:
    """The estimate before anything is asked; why there is none, in words; None for a spec that asks no model."""
    spec = prepared.spec
    asked = {alias for node in prepared.graph.generators for alias in node.declaration.models}
    if not asked or not spec.planned_records:
        return None
    others = [column.name for column in spec.columns if not _is_harmless(column)]
    if others:
        return f"{', '.join(others)} would run code or reach other services: 'rowmill preview' tells it"
    seed_file = prepared.seed_file
    if seed_file is not None and seed_file.rows.look().num_rows > _MOST_SEED_ROWS:
        return f"the seed data has more than {_MOST_SEED_ROWS:,} rows: 'rowmill preview' tells it"
    models = tuple(_simulated(model) for model in spec.models)
    unbounded = any(m.alias in asked and m.inference_parameters.max_tokens is None for m in spec.models)
    unlimited: dict[str, Any] = dict.fromkeys(
        ("max_cost_usd", "max_tokens", "max_requests", "deadline", "answer_cache")
    )
    run = spec.run.model_copy(update=unlimited)
    # What a simulated answer is worth says nothing of real ones: no verdict on it leaves a row out.
    columns = tuple(
        each.model_copy(update={"on_invalid": "keep"}) if each.column_type == "validation" else each
        for each in spec.columns
    )
    free = spec.model_copy(update={"models": models, "columns": columns, "run": run})
    try:
        made = preview(prepare(free, prepared.directory), _ROWS, {})
    except RowmillError as error:
        return f"a few rows could not be made: {error}"
    found = estimate_of(spec, made.attempts, made.made.num_rows + made.rows_dropped)
    if found is None:
        return None
    return replace(found, seconds=None, assumed_output_tokens=_ASSUMED_OUTPUT if unbounded else None)


def _is_harmless(column: Any) -> bool:
    reaches_out = getattr(column, "tool_alias", None) or getattr(column, "multi_modal_context", None)
    if column.column_type == "validation":
        return column.validator_type in _HARMLESS_VALIDATORS and column.on_invalid != "regenerate"
    return column.column_type in _HARMLESS and not reaches_out


def _simulated(model: ModelConfig) -> ModelConfig:
    """A model of the same prices and parameters that costs nothing and answers at once, at full length."""
    length = min(model.inference_parameters.max_tokens or _ASSUMED_OUTPUT, 1_000_000)
    return ModelConfig(
        alias=model.alias,
        provider="simulated",
        model=model.alias,
        inference_parameters=model.inference_parameters,
        simulation=SimulationConfig(latency_ms=0.0, output_tokens=length),
        input_usd_per_million_tokens=model.input_usd_per_million_tokens,
        output_usd_per_million_tokens=model.output_usd_per_million_tokens,
    )


def _seconds(spec: Spec, asked: list[Mapping[str, Any]], factor: float) -> float:
    """The time of the endpoint with most to do, at its limit and the latency that was measured."""
    slowest = 0.0
    for endpoint in endpoints(spec).values():
        names = {model.model for model in endpoint.models}
        busy_ms = sum(attempt["duration_ms"] for attempt in asked if attempt["model"] in names)
        slowest = max(slowest, busy_ms * factor / endpoint.limit / 1000)
    return slowest
