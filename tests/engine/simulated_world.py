"""The worlds a simulation takes place in, drawn from a seed: a spec, its endpoints, and what interrupts the run.

Every column's value can be told from the row alone (:meth:`World.expected`), so that a finished row can be judged
whatever happened on the way to it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa
from moody_endpoint import Mood, MoodyEndpoint, Phase, answer_to
from virtual_run import custom, expression, llm, model, prepared, sampler

from rowmill.engine.preparation import Prepared
from rowmill.providers.protocol import ChatRequest

Kind = Literal["llm", "asked", "local", "template", "sql", "batch", "ordered"]
Interruption = Literal["crash before the turn", "crash after the turn", "drain", "cancel", "callback raises"]
_KINDS: tuple[Kind, ...] = ("llm",) * 5 + ("asked", "asked", "local", "template", "sql", "batch", "ordered")
_CALLED = ("llm", "asked", "local")
_WITH_MODEL = ("llm", "asked")
_INTERRUPTIONS: tuple[Interruption, ...] = (
    "crash before the turn",
    "crash before the turn",
    "crash after the turn",
    "crash after the turn",
    "drain",
    "cancel",
    "callback raises",
)
SKIPPED = "(skipped)"
BREAKS_SQL = 4
BREAKS_SKIP = 5


@dataclass(frozen=True)
class SkipPlan:
    """When cells of a column are skipped: at one rating, in Jinja or SQL; it may break at another one."""

    language: Literal["jinja", "sql"]
    rating: int | None
    """None: always."""
    on_error: Literal["drop", "skip"]
    breaks: bool

    def field(self) -> dict[str, Any]:
        """``skip`` of the spec."""
        if self.language == "jinja":
            wanted = "true" if self.rating is None else f"rating == {self.rating}"
            text = f"{{{{ 1 // (rating - {BREAKS_SKIP}) == 7 or {wanted} }}}}" if self.breaks else f"{{{{ {wanted} }}}}"
        else:
            wanted = "rating > 0" if self.rating is None else f"rating = {self.rating}"
            broken = "cast('x' || rating as integer) = 7"
            text = f"case when rating = {BREAKS_SKIP} then {broken} else {wanted} end" if self.breaks else wanted
        return {"when": text, "value": SKIPPED, "on_error": self.on_error}


@dataclass(frozen=True)
class ColumnPlan:
    """A column of the world that has to be made."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    alias: str | None
    weight: float = 1.0
    skip: SkipPlan | None = None
    propagates: bool = True
    may_drop: bool = False
    breaks: bool = False
    """SQL only: it fails where the rating is :data:`BREAKS_SQL`."""

    def prompt(self, row: Mapping[str, Any]) -> str:
        """What is asked for a row: all the value depends on."""
        return "|".join([self.name, str(row["id"]), *(str(row[name]) for name in self.inputs)])

    def batch_prompt(self, row_ids: Sequence[int]) -> str:
        """What is asked for a row group."""
        return f"{self.name}|rows {','.join(map(str, row_ids))}"

    def filters(self, row: Mapping[str, Any]) -> bool:
        """Whether the generator leaves the row out."""
        return self.may_drop and int(answer_to(f"filter {self.name} {row['id']}"), 16) % 6 == 0


@dataclass
class World:
    """All that a seed decides."""

    seed: int
    columns: tuple[ColumnPlan, ...]
    moods: dict[str, Mood]
    settings: dict[str, Any]
    models: list[dict[str, Any]]
    records: int
    row_group_size: int
    interruptions: tuple[tuple[Interruption, int], ...]
    """What cuts the first invocations off, and in which turn of theirs."""
    in_file: bool
    has_callback: bool
    clock: Callable[[], float] = field(default=lambda: 0.0)
    """Seconds since the run began; set by the simulation."""
    local: dict[str, MoodyEndpoint] = field(default_factory=dict)
    """What keeps local functions busy."""

    def spec(self, **settings: Any) -> Prepared:
        """The spec, found good; ``settings`` of ``run`` in place of the world's own."""
        made = [sampler("id", sampler_type="uuid", params={}), sampler("rating")]
        made += [self._column(plan) for plan in self.columns]
        return prepared(
            *made,
            records=self.records,
            row_group_size=self.row_group_size,
            models=self.models,
            seed=self.seed,
            run={**self.settings, **settings},
        )

    def expected(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values of a finished row with this ``id`` and ``rating``; None if it has to be dropped."""
        found = dict(row)
        skipped: set[str] = set()
        for plan in self.columns:
            rule = plan.skip
            if plan.propagates and skipped.intersection(plan.inputs):
                is_skipped = True
            elif rule is not None and rule.breaks and row["rating"] == BREAKS_SKIP:
                if rule.on_error == "drop":
                    return None
                is_skipped = True
            else:
                is_skipped = rule is not None and rule.rating in (None, row["rating"])
            if is_skipped:
                skipped.add(plan.name)
                found[plan.name] = SKIPPED if rule else None
            elif plan.filters(row) or (plan.breaks and row["rating"] == BREAKS_SQL):
                return None
            else:
                prompt = plan.prompt(found)
                found[plan.name] = prompt if plan.kind in ("template", "sql") else answer_to(prompt)
        return found

    def _column(self, plan: ColumnPlan) -> dict[str, Any]:
        names = ["id", *plan.inputs]
        fields: dict[str, Any] = {"weight": plan.weight, "propagate_skip": plan.propagates}
        if plan.skip is not None:
            fields["skip"] = plan.skip.field()
        template = "|".join([plan.name, *(f"{{{{ {name} }}}}" for name in names)])
        if plan.kind == "llm":
            return llm(plan.name, template, plan.alias or "", **fields)
        if plan.kind == "template":
            return {"name": plan.name, "column_type": "expression", "expr": template, "dtype": "str", **fields}
        if plan.kind == "sql":
            parts = ", ".join(f"coalesce({name}::varchar, 'None')" for name in names)
            text = f"concat_ws('|', '{plan.name}', {parts})"
            if plan.breaks:
                text += f" || left(cast(case when rating = {BREAKS_SQL} then 'x' else '1' end as integer)::varchar, 0)"
            return expression(plan.name, text, "str", **fields)
        if plan.alias is not None:
            fields["model_aliases"] = [plan.alias]
        fields["dtype"] = "str"
        if plan.kind in _CALLED:
            return custom(plan.name, self._cell_function(plan), names, **fields)
        fields |= {"generation_strategy": "batch", "may_drop_rows": plan.may_drop}
        if plan.kind == "ordered":
            fields["ordered"] = True
            return custom(plan.name, self._ordered_function(plan), names, **fields)
        return custom(plan.name, self._batch_function(plan), names, **fields)

    async def _ask(self, plan: ColumnPlan, prompt: str, models: Mapping[str, Any]) -> str:
        if plan.alias is not None:
            return str((await models[plan.alias].chat(prompt)).text)
        return (await self.local[plan.name].chat(ChatRequest([{"role": "user", "content": prompt}]))).text

    def _cell_function(self, plan: ColumnPlan) -> Callable[..., Any]:
        async def without_models(row: dict[str, Any]) -> str:
            return await self._ask(plan, plan.prompt(row), {})

        async def with_models(row: dict[str, Any], params: dict[str, Any], models: dict[str, Any]) -> str:
            return await self._ask(plan, plan.prompt(row), models)

        return without_models if plan.alias is None else with_models

    async def _batch(self, plan: ColumnPlan, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        await self._ask(plan, plan.batch_prompt(rows["row_id"].to_pylist()), models)
        kept = [row for row in reversed(rows.to_pylist()) if not plan.filters(row)]
        return pa.table(
            {
                "row_index": pa.array([row["row_index"] for row in kept], type=pa.int64()),
                plan.name: pa.array([answer_to(plan.prompt(row)) for row in kept], type=pa.string()),
            }
        )

    def _batch_function(self, plan: ColumnPlan) -> Callable[..., Any]:
        async def without_models(rows: pa.Table) -> pa.Table:
            return await self._batch(plan, rows, {})

        async def with_models(rows: pa.Table, params: dict[str, Any], models: dict[str, Any]) -> pa.Table:
            return await self._batch(plan, rows, models)

        return without_models if plan.alias is None else with_models

    def _ordered_function(self, plan: ColumnPlan) -> Callable[..., Any]:
        """Its state is the row it has come to: it must never go back, whatever was retried or crashed (R10)."""

        async def work(rows: pa.Table, state: Any, models: Mapping[str, Any]) -> tuple[pa.Table, Any]:
            first, last = rows["row_id"][0].as_py(), rows["row_id"][-1].as_py()
            reached = -1 if state is None else state["reached"]
            assert reached < first, f"{plan.name} was at row {reached} and is asked for row {first}"
            return await self._batch(plan, rows, models), {
                "reached": last,
                "calls": (state or {"calls": 0})["calls"] + 1,
            }

        async def without_models(rows: pa.Table, state: Any) -> tuple[pa.Table, Any]:
            return await work(rows, state, {})

        async def with_models(
            rows: pa.Table, state: Any, params: dict[str, Any], models: dict[str, Any]
        ) -> tuple[pa.Table, Any]:
            return await work(rows, state, models)

        return without_models if plan.alias is None else with_models


def draw_world(seed: int, *, tasks: int) -> World:
    """The world of a seed, with about so many tasks."""
    draw = random.Random(f"world {seed}")
    models, moods = _endpoints(draw)
    aliases = [model["alias"] for model in models]
    columns = _columns(draw, aliases)
    called = [plan for plan in columns if plan.kind in _CALLED]
    records = max(4, tasks // max(1, len(called)))
    in_file = draw.random() < 0.6 or any(mood.stops_at_request for mood in moods.values())
    settings = _settings(draw)
    if settings["error_window"] < 100:
        # Rows that come back after the run was stopped are handed to an ordered column late: that is no going back.
        columns = tuple(replace(plan, kind="batch") if plan.kind == "ordered" else plan for plan in columns)
        in_file = True
    interruptions = tuple((draw.choice(_INTERRUPTIONS), draw.randrange(1, 25)) for _ in range(draw.randrange(1, 5)))
    world = World(
        seed=seed,
        columns=columns,
        moods=moods,
        settings=settings,
        models=models,
        records=records,
        row_group_size=min(records, draw.choice([1, 2, 3, 5, 8, 13, 40])),
        interruptions=interruptions if in_file else (),
        in_file=in_file,
        has_callback=draw.random() < 0.6,
    )
    for plan in columns:
        if plan.alias is None:
            mood = Mood("uniform", draw.choice([0.0, 0.2, 2.0]), 0.1, 4.0, 0.1, rejected=draw.choice([0.0, 0.03]))
            world.local[plan.name] = MoodyEndpoint(plan.name, mood, str(seed), lambda: world.clock())
    return world


def _endpoints(draw: random.Random) -> tuple[list[dict[str, Any]], dict[str, Mood]]:
    models: list[dict[str, Any]] = []
    moods: dict[str, Mood] = {}
    for number in range(draw.randrange(1, 5)):
        name = f"model{number}"
        fields: dict[str, Any] = {
            "timeout_s": draw.choice([5.0, 20.0, 60.0]),
            "input_usd_per_million_tokens": 1.0,
            "output_usd_per_million_tokens": 2.0,
        }
        if draw.random() < 0.2:
            fields["ramp_up_s"] = draw.choice([1.0, 10.0])
        limit = draw.choice([1, 2, 4, 8, 8, 32])
        models.append(model(f"alias{number}", limit, model=name, **fields))
        if draw.random() < 0.2:
            models.append(model(f"other{number}", limit + draw.choice([0, 3]), model=name, **fields))
        moods[f"simulated/{name}"] = _mood(draw)
    return models, moods


def _mood(draw: random.Random) -> Mood:
    def some(share: float, most: float) -> float:
        return draw.uniform(0.0, most) if draw.random() < share else 0.0

    return Mood(
        latency=draw.choice(["constant", "constant", "uniform", "lognormal"]),
        latency_s=draw.choice([0.02, 0.5, 2.0, 2.0]),
        rate_limited=some(0.4, 0.3),
        retry_after_s=draw.choice([0.0, 0.5, 7.0, 45.0]),
        transient=some(0.4, 0.3),
        truncated=some(0.2, 0.2),
        hanging=some(0.2, 0.1),
        rejected=some(0.3, 0.1),
        slow_start_s=draw.choice([0.0, 0.0, 0.0, 5.0]),
        phases=tuple(_phase(draw) for _ in range(draw.choice([0, 0, 0, 1, 2]))),
        stops_at_request=draw.choice([None] * 6 + [draw.randrange(1, 40)]),
    )


def _phase(draw: random.Random) -> Phase:
    kind = draw.choice(["dead", "hanging", "refusing", "refusing", "failing", "slow"])
    starts_s = draw.choice([0.0, draw.uniform(0.0, 20.0)])
    retry_after_s = draw.choice([None, 20.0, 60.0])
    lasts_s = draw.choice([3.0, 30.0, 600.0])
    if kind == "hanging" or (kind == "refusing" and retry_after_s is None):
        lasts_s = 20.0  # long enough: it asks again every two seconds
    return Phase(kind, starts_s, starts_s + lasts_s, retry_after_s)  # type: ignore[arg-type]


def _columns(draw: random.Random, aliases: Sequence[str]) -> tuple[ColumnPlan, ...]:
    columns: list[ColumnPlan] = []
    for number in range(draw.randrange(2, 7)):
        kind = draw.choice(_KINDS) if number else "llm"
        names = [plan.name for plan in columns]
        inputs = tuple(sorted(draw.sample(names, min(len(names), draw.choice([0, 1, 1, 1, 2])))))
        needs_model = kind in _WITH_MODEL or (kind in ("batch", "ordered") and draw.random() < 0.5)
        skip = None
        if draw.random() < 0.3:
            language: Literal["jinja", "sql"] = "sql" if kind == "sql" or draw.random() < 0.5 else "jinja"
            on_error: Literal["drop", "skip"] = "drop" if draw.random() < 0.5 else "skip"
            skip = SkipPlan(language, draw.choice([None, 1, 2, 3, 3]), on_error, draw.random() < 0.3)
        columns.append(
            ColumnPlan(
                f"column{number}",
                kind,
                inputs,
                draw.choice(aliases) if needs_model else None,
                weight=draw.choice([1.0, 1.0, 0.5, 4.0]),
                skip=skip,
                propagates=draw.random() < 0.7,
                may_drop=kind == "batch" and draw.random() < 0.3,
                breaks=kind == "sql" and draw.random() < 0.3,
            )
        )
    return tuple(columns)


def _settings(draw: random.Random) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "max_in_flight": draw.choice([1, 3, 16, 1024, 1024]),
        "max_active_rows": draw.choice([1, 10, 8192, 8192]),
        "max_active_row_groups": draw.choice([1, 2, 5, 64, 64]),
        "max_parked_rows": draw.choice([1, 10, 1_000_000, 1_000_000]),
        "max_attempts": draw.choice([2, 4, 4, 10]),
        "backoff_base_s": draw.choice([0.1, 1.0, 5.0]),
        "task_timeout_s": 300.0,
        "error_window": 100_000,
        "max_error_share": 1.0,
    }
    if draw.random() < 0.15:
        settings["give_up_after_s"] = draw.choice([30.0, 300.0])
    if draw.random() < 0.15:
        settings |= {"error_window": draw.choice([5, 10]), "max_error_share": 0.5}
    return settings
