"""Rows judged by a Python function of the user's: a table in, a verdict for each row out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pyarrow as pa

from rowmill.errors import GeneratorError
from rowmill.generators.custom.function import CustomFunction
from rowmill.generators.custom.uncommon import is_uncommon
from rowmill.generators.protocol import Call
from rowmill.generators.rendering import unhurried
from rowmill.generators.validators.verdict import ForeignVerdicts, Validator, Verdict
from rowmill.source_line import said_by
from rowmill.task import Row
from rowmill.value.fitting import known_array

_INDEX = "row_index"


class FunctionValidator(Validator):
    """Calls ``fn(rows)``: ``rows`` is a pyarrow.Table of the target columns and ``row_index``.

    It returns a table, a frame, a dict of lists or a list of dicts with ``is_valid``. Verdicts belong to rows by
    ``row_index`` if they have one, else by their order.
    """

    def __init__(
        self,
        function: CustomFunction,
        targets: Sequence[str],
        output_schema: Mapping[str, Any] | None,
        arrow_types: Mapping[str, pa.DataType],
    ) -> None:
        """``arrow_types``: those of the targets, as the engine has them."""
        self._function = function
        self._targets = tuple(targets)
        self._name = f"Validator '{function.reference}'"
        self._verdicts = ForeignVerdicts(self._name, output_schema)
        self._types = arrow_types
        self._limiter: anyio.CapacityLimiter | None = None

    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """See :class:`Validator`. What the function raises is the error of every row of the call."""
        columns: dict[str, Any] = {_INDEX: list(range(len(rows)))}
        for target in self._targets:
            columns[target] = known_array([row[target] for row in rows], self._types.get(target))
        table = pa.table(columns)
        if self._function.is_async:
            output = await self._function.function(table)
        else:
            self._limiter = self._limiter or anyio.CapacityLimiter(math.inf)
            output = await anyio.to_thread.run_sync(self._guarded, table, abandon_on_cancel=True, limiter=self._limiter)
        in_order = self._in_order(_rows_of(output, self._name), len(rows))
        return await unhurried(self._verdicts.verdicts, in_order, len(rows))

    def _guarded(self, table: pa.Table) -> Any:
        try:
            return self._function.function(table)
        except BaseException as error:
            if not is_uncommon(error):
                raise
            raise GeneratorError(f"{self._name} raised {type(error).__name__}: {said_by(error)}") from error

    def _in_order(self, output: list[Any], rows: int) -> list[Any]:
        """The verdicts by ``row_index``, which goes away. Raises GeneratorError when they are not those of the rows."""
        if not output or not all(isinstance(each, Mapping) and _INDEX in each for each in output):
            return output
        by_index = {each[_INDEX]: {k: v for k, v in each.items() if k != _INDEX} for each in output}
        if len(by_index) != len(output) or by_index.keys() != set(range(rows)):
            message = f"{self._name} must give every row_index it was given, each once."
            raise GeneratorError(message, "MalformedVerdict")
        return [by_index[index] for index in range(rows)]


def _rows_of(output: Any, name: str) -> list[Any]:
    if hasattr(output, "__arrow_c_stream__"):
        return list(pa.RecordBatchReader.from_stream(output).read_all().to_pylist())
    if isinstance(output, Mapping):
        try:
            return [dict(zip(output, values, strict=True)) for values in zip(*output.values(), strict=True)]
        except (TypeError, ValueError) as error:
            raise GeneratorError(f"{name} returned columns of unlike length: {error}", "MalformedVerdict") from error
    if isinstance(output, (list, tuple)):
        return list(output)
    message = f"{name} returned {type(output).__name__}; return a table, a dict of lists or a list of dicts."
    raise GeneratorError(message, "MalformedVerdict")
