"""Calling a user's function: for single rows or tables, on the event loop or in a worker thread.

Functions run in threads without a limit here: how many run at once is the dispatcher's to say. A thread
cannot be stopped: when its task is cancelled it is left behind, and its result is discarded.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pyarrow as pa

from rowmill.errors import GeneratorError
from rowmill.generators.custom.asked_model import AskedModel, BlockingModel
from rowmill.generators.custom.function import CustomFunction
from rowmill.generators.custom.kept_instance import KeptInstance
from rowmill.generators.custom.uncommon import is_uncommon, is_uncommon_of_coroutine
from rowmill.generators.protocol import BatchGenerator, Call, CellGenerator, Lasting, Model
from rowmill.source_line import said_by
from rowmill.spec.declaration import Output
from rowmill.task import Row
from rowmill.value.json_value import JsonObject
from rowmill.value.kind import is_text

_ARROW_TYPES = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_()}
"""Types to cast a table's columns to here, for a clear error; the others are left to the store."""

logger = logging.getLogger("rowmill.custom")


class _Function(Lasting):
    """What row and table functions have in common: how they are called, and the instance they may belong to."""

    def __init__(
        self,
        column: str,
        function: CustomFunction,
        outputs: Sequence[Output],
        params: Mapping[str, Any],
        models: Mapping[str, Model],
    ) -> None:
        self._column = column
        self._function = function
        self._instance = (
            None if function.of_class is None else KeptInstance(column, function.reference, function.of_class, params)
        )
        self._callable = function.function if self._instance is None else self._instance.generate
        self._outputs = tuple(outputs)
        self._names = tuple(output.name for output in outputs)
        self._params = params
        self._models = models
        self._limiter: anyio.CapacityLimiter | None = None
        self._warned = False

    async def aopen(self) -> None:
        """Sets up the instance of a class."""
        if self._instance is not None:
            await self._instance.open()

    async def aclose(self) -> None:
        """Closes it."""
        if self._instance is not None:
            await self._instance.close()

    def _arguments(self, call: Call, *subject: Any) -> tuple[Any, ...]:
        """``subject``: a row, a table, or a table and a state; params and models follow if the function takes them."""
        further = self._function.parameters - len(subject)
        if further == 0:
            return subject
        if further == 1:
            return *subject, dict(self._params)
        kind = AskedModel if self._function.is_async else BlockingModel
        return *subject, dict(self._params), {alias: kind(model, call) for alias, model in self._models.items()}

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(math.inf)
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    def _call(self, call: Call, *subject: Any) -> Any:
        try:
            result = self._callable(*self._arguments(call, *subject))
        except BaseException as error:
            if not is_uncommon(error):
                raise
            raise self._broken(f"raised {type(error).__name__}: {said_by(error)}") from error
        if inspect.iscoroutine(result):
            result.close()
            raise self._broken("returned a coroutine: write it with 'async def'.")
        return result

    def _broken(self, what: str) -> GeneratorError:
        return GeneratorError(f"'{self._function.reference}' of column '{self._column}' {what}")

    def _warn_of_undeclared(self, names: Sequence[str]) -> None:
        if names and not self._warned:
            self._warned = True
            logger.warning(
                "Column '%s': '%s' returns %s, which is not declared and left out. side_effect_columns would keep it.",
                self._column,
                self._function.reference,
                ", ".join(f"'{name}'" for name in names),
            )


class FunctionCells(_Function, CellGenerator):
    """A function of one row. Sync ones do all rows of a call in one hop to a thread."""

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The outputs of one row."""
        if self._function.is_async:
            try:
                result = await self._callable(*self._arguments(call, dict(row)))
            except BaseException as error:
                if not is_uncommon_of_coroutine(error):
                    raise
                raise self._broken(f"raised {type(error).__name__}: {said_by(error)}") from error
            return self._values(result, row)
        (values,) = await self.generate_rows([row], call)
        if isinstance(values, Exception):
            raise values
        return values

    async def generate_rows(self, rows: Sequence[Row], call: Call) -> Sequence[Sequence[Any] | Exception]:
        """Per row its outputs or what the function raised for it."""
        if self._function.is_async:
            return await super().generate_rows(rows, call)
        results: Sequence[Sequence[Any] | Exception] = await self._in_thread(lambda: self._work(rows, call))
        return results

    def _work(self, rows: Sequence[Row], call: Call) -> list[Sequence[Any] | Exception]:
        results: list[Sequence[Any] | Exception] = []
        for row in rows:
            try:
                results.append(self._values(self._call(call, dict(row)), row))
            except Exception as error:  # noqa: BLE001  recorded: becomes this row's outcome, classified by type
                results.append(error)
        return results

    def _values(self, result: Any, row: Row) -> Sequence[Any]:
        if not isinstance(result, Mapping) or self._is_value(result):
            if len(self._names) > 1:
                raise self._broken(
                    f"returned {type(result).__name__}; it makes several columns, so it must return a dict with "
                    f"{self._listed(self._names)}."
                )
            return (_plain(result),)
        missing = [name for name in self._names if name not in result]
        if missing:
            raise self._broken(f"returned a dict without {self._listed(missing)}.")
        if len(result) > len(self._names):
            self._warn_of_undeclared([str(name) for name in result if name not in self._names and name not in row])
        return [_plain(result[name]) for name in self._names]

    def _is_value(self, result: Mapping[str, Any]) -> bool:
        """What a JSON column held, given back whole: a value, not columns by name."""
        return isinstance(result, JsonObject) and len(self._names) == 1 and self._names[0] not in result

    @staticmethod
    def _listed(names: Sequence[str]) -> str:
        return ", ".join(f"'{name}'" for name in names)


def _plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _family(kind: pa.DataType) -> str:
    """Types that can become one another if no value loses anything by it."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return "text" if is_text(kind) else str(kind)


class TableFunction(_Function):
    """What functions of a row group and of the whole dataset have in common: tables come back."""

    _key = "row_index"
    """The column that says which row a result belongs to."""

    async def _result(self, call: Call, *subject: Any) -> Any:
        if not self._function.is_async:
            return await self._in_thread(lambda: self._call(call, *subject))
        try:
            return await self._callable(*self._arguments(call, *subject))
        except BaseException as error:
            if not is_uncommon_of_coroutine(error):
                raise
            raise self._broken(f"raised {type(error).__name__}: {said_by(error)}") from error

    def _table(self, result: Any, given: Sequence[str]) -> pa.Table:
        """A result as a table of its key and the outputs; ``given``: names of the columns the function got."""
        try:
            table = result if isinstance(result, pa.Table) else pa.table(result)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise self._broken(
                f"must return a table or a dict of lists, not {type(result).__name__}: {error}"
            ) from error
        if self._key not in table.column_names:
            raise self._broken(
                f"returned a table without '{self._key}'. Results belong to rows by their {self._key}, never by "
                f"position: return the input's '{self._key}' column along with the values."
            )
        known = {*self._names, *given}
        self._warn_of_undeclared([name for name in table.column_names if name not in known])
        columns = {self._key: pa.int64()} | {o.name: _ARROW_TYPES.get(o.sql_type) for o in self._outputs}
        return pa.table({name: self._column_of(table, name, of) for name, of in columns.items()})

    def _column_of(self, table: pa.Table, name: str, of: pa.DataType | None) -> pa.ChunkedArray:
        if table.column_names.count(name) != 1:
            raise self._broken(
                f"returned a table with {table.column_names.count(name)} columns '{name}'; it must have one."
            )
        column = table.column(name)
        if of is not None and not pa.types.is_null(column.type) and _family(column.type) != _family(of):
            if of == pa.string():
                raise self._broken(f"returned a column '{name}' of {column.type}; it must be text.")
            raise self._broken(f"returned a column '{name}' that is not {of}: it is {column.type}.")
        try:
            return column if of is None else column.cast(of)
        except pa.ArrowException as error:
            raise self._broken(f"returned a column '{name}' that is not {of}: {str(error)[:300]}") from error


class FunctionBatches(TableFunction, BatchGenerator):
    """A function of a whole row group: an Arrow table in, anything like one out."""

    async def generate_batch(self, rows: pa.Table, call: Call) -> pa.Table:
        """``row_index`` and the outputs, with the declared types. Which rows come back is the store's to check (R5)."""
        return self._table(await self._result(call, rows), rows.column_names)


class OrderedBatches(FunctionBatches):
    """A function of a row group and of what it returned for the row group before (R10)."""

    async def generate_in_order(self, rows: pa.Table, state: Any, call: Call) -> tuple[pa.Table, Any]:
        """The table as for :class:`FunctionBatches`, and the new state; that it is JSON is the store's to check."""
        result = await self._result(call, rows, state)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._broken(
                f"must return the table and the new state, (table, new_state), not {type(result).__name__}."
            )
        table, new_state = result
        return self._table(table, rows.column_names), new_state
