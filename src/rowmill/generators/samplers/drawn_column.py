"""Sampler columns that are made in Python: their declaration, and the generator that makes the values.

Which parameters count for a row is a column of its own, evaluated in the database (``<name>__params``, not in the
dataset): conditions are then the same SQL as those of other samplers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import Call, CellGenerator
from rowmill.generators.samplers.conversion import Conversion
from rowmill.generators.samplers.drawn_parameters import DrawnParameters, ParametersProblem, RowSampler, draw_number
from rowmill.generators.samplers.parameters import SamplerParameters
from rowmill.spec.declaration import Bound, ColumnValue, Declaration, Output, Reference, SqlExpression, Strategy
from rowmill.task import Row

ROWS_PER_CALL = 512

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda value, other: value < other,
    "le": lambda value, other: value <= other,
    "gt": lambda value, other: value > other,
    "ge": lambda value, other: value >= other,
}


def parameters_problem(parameters: DrawnParameters, directory: Path | None) -> tuple[str, str] | None:
    """What keeps parameters from making values, and the field that is to blame."""
    try:
        parameters.check_sampler(directory)
        parameters.sql_type_in(directory)
    except ParametersProblem as problem:
        return problem.field, str(problem)
    return None


def content_of(parameters: SamplerParameters, directory: Path | None) -> dict[str, Any]:
    """What shapes the values beside the parameters themselves."""
    try:
        return parameters.content(directory) if isinstance(parameters, DrawnParameters) else {}
    except ParametersProblem:  # reported with its place
        return {}


def common_type(parameters: Sequence[DrawnParameters], directory: Path | None) -> str:
    """The DuckDB type of the values of all these parameters. Raises ValueError if there is none."""
    try:
        types = dict.fromkeys(each.sql_type_in(directory) for each in parameters)
    except ParametersProblem:  # reported with its place
        return "JSON"
    if len(types) > 1:
        raise ValueError("'params' and 'conditional_params' make values of different types.")
    return next(iter(types))


def chooser_name(column: str) -> str:
    """The column that says which parameters count for a row: 0 for ``params``, else the number of the condition."""
    return f"{column}__params"


def chooser(column: str, column_place: str, conditions: Sequence[str], inputs: Sequence[Reference]) -> Declaration:
    """The generator of that column; of several conditions that hold, the last counts."""
    place = f"{column_place}.conditional_params"
    branches = [
        f"when cast(({condition}\n) as boolean) then {number}"
        for number, condition in reversed(list(enumerate(conditions, start=1)))
    ]
    return Declaration(
        name=chooser_name(column),
        column_type="sampler",
        place=place,
        inputs=tuple(Reference(reference.name, place) for reference in inputs),
        outputs=(Output(chooser_name(column), "BIGINT", drop=True),),
        strategy=Strategy.SQL,
        reason=f"which parameters of '{column}' count: evaluated in the database",
        sql=SqlExpression(f"case {' '.join(branches)} else 0 end", place),
        fingerprint={"conditions": list(conditions)},
    )


class DrawnCells(CellGenerator):
    """Makes values from the numbers of their rows. The rows of a call make no difference to each other."""

    def __init__(
        self,
        column: str,
        seed: int,
        samplers: Sequence[RowSampler],
        conversion: Conversion,
        *,
        bounds: Sequence[Bound] = (),
        attempts: int = 1,
        unmet: str = "",
    ) -> None:
        """``samplers``: for ``params``, then for each condition."""
        self._column = column
        self._seed = seed
        self._samplers = samplers
        self._conversion = conversion
        self._bounds = bounds
        self._attempts = attempts
        self._unmet = unmet
        self._limiter: anyio.CapacityLimiter | None = None

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The value of one row."""
        (result,) = await self.generate_rows([row], call)
        if isinstance(result, Exception):
            raise result
        return result

    async def generate_rows(self, rows: Sequence[Row], call: Call) -> Sequence[Sequence[Any] | Exception]:
        """Per row its value, or that it meets no constraint; in a worker thread."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(math.inf)
        return await anyio.to_thread.run_sync(self.values, rows, call.row_ids, limiter=self._limiter)

    def values(self, rows: Sequence[Row], row_ids: Sequence[int]) -> list[Sequence[Any] | Exception]:
        """The same, here and now."""
        results: list[Sequence[Any] | Exception] = [GeneratorError(self._unmet, "ConstraintNotMet") for _ in rows]
        chosen: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            chosen.setdefault(row.get(chooser_name(self._column)) or 0, []).append(position)
        for number, waiting in chosen.items():
            for attempt in range(self._attempts):
                if not waiting:
                    break
                # As SQL does it: attempt a is drawn as if the column were named with U+001F and a.
                name = f"{self._column}\x1f{attempt}" if attempt else self._column
                numbers = [draw_number(self._seed, name, row_ids[position]) for position in waiting]
                rejected = []
                for position, value in zip(waiting, self._samplers[number].draw(numbers), strict=True):
                    try:
                        converted = self._converted(value)
                    except GeneratorError as error:
                        results[position] = error
                        continue
                    if self._is_within(converted, rows[position]):
                        results[position] = (self._written(converted),)
                    else:
                        rejected.append(position)
                waiting = rejected
        return results

    def _converted(self, value: Any) -> Any:
        if self._conversion.compared_type == "BIGINT":
            if not math.isfinite(value) or not -(2**63) <= round(value) < 2**63:
                raise GeneratorError(f"Column '{self._column}': {value} is no 64-bit whole number.", "NotConvertible")
            return round(value)
        return float(value) if self._conversion.compared_type == "DOUBLE" else value

    def _written(self, value: Any) -> Any:
        return str(value) if self._conversion.sql_type == "VARCHAR" else value

    def _is_within(self, value: Any, row: Mapping[str, Any]) -> bool:
        for bound in self._bounds:
            other = row[bound.value.name] if isinstance(bound.value, ColumnValue) else bound.value
            if other is not None and not _HOLDS[bound.operator](value, other):
                return False
        return True
