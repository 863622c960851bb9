"""Columns of type ``expression``: computed from the row, by a Jinja template or in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Literal, Self

from anyio.lowlevel import checkpoint
from pydantic import Field, model_validator

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import Call, CellGenerator, Runtime
from rowmill.generators.rendering import rendered_in_thread
from rowmill.generators.template_field import template_references
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import LOCAL, Declaration, DeclareContext, Output, Reference, SqlExpression, Strategy
from rowmill.spec.dtype import Dtype, sql_type
from rowmill.spec.registry import register_column_type
from rowmill.spec.rendering_budget import NeedsThread
from rowmill.spec.template import ROW, Template
from rowmill.task import Row
from rowmill.value.spelled import spelled

_ROWS_PER_CALL = 256
_LONGEST_TURN_S = 0.02
"""Of the event loop, before others get theirs."""
_PYTHON_TYPES: dict[str, type] = {"BIGINT": int, "DOUBLE": float, "BOOLEAN": bool, "VARCHAR": str}


@register_column_type
class ExpressionColumn(ColumnConfig):
    """A value computed from other columns: ``expr`` in sandboxed Jinja, or ``sql`` in DuckDB's dialect.

    What it gives must fit ``dtype`` without any loss: 6 / 2 is an int, 7 / 2 rejects its row. The text ``expr`` renders
    to fits if it spells a value of the type (``3``, ``3.0``; ``true``, ``false``, 1, 0). An ``expr`` of nothing but
    ``{{ column }}`` passes the value on, null included.
    """

    column_type: Literal["expression"] = "expression"
    expr: str | None = Field(default=None, min_length=1)
    """A Jinja template over the columns of the row. A null renders as ``None``, lists as in Python (``| tojson`` for
    JSON). An unknown name is an error. Exactly ``{{ column }}`` passes the value on, null included."""
    sql: str | None = Field(default=None, min_length=1)
    """In place of ``expr``: a scalar DuckDB expression over the columns of the row, without aggregates, subqueries, and
    functions that change from run to run (``now()``, ``random()``)."""
    dtype: Dtype = "str"
    """``int``, ``float``, ``str`` or ``bool``; with ``sql`` any of the [types](columns.md#types). Without it an
    expression makes text. A value that does not [fit](values.md#what-fits-a-column) (7/2 for ``int``) drops its row."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.expr is None) == (self.sql is None):
            raise ValueError("An expression has exactly one of 'expr' (Jinja) and 'sql'.")
        if self.expr is not None and sql_type(self.dtype) not in _PYTHON_TYPES:
            raise ValueError(f"A template makes int, float, str or bool, not {self.dtype}; use 'sql' for other types.")
        return self

    def declare(self, context: DeclareContext) -> Declaration:
        """One output. ``sql`` is evaluated in the database, ``expr`` here, hundreds of rows a call."""
        place = f"columns.{context.index}"
        source: dict[str, Any]
        if self.sql is not None:
            inputs = self._sql_references(context, f"{place}.sql")
            source = {
                "strategy": Strategy.SQL,
                "reason": "SQL expression: evaluated in the database",
                "sql": SqlExpression(self.sql, f"{place}.sql"),
                "fingerprint": {"sql": self.sql, "dtype": self.dtype},
            }
        else:
            inputs = template_references(context, self.expr, "expr")
            source = {
                "strategy": Strategy.CELL,
                "reason": "template rendered for each row",
                "resource": LOCAL,
                "max_rows_per_call": _ROWS_PER_CALL,
                "fingerprint": {"expr": self.expr, "dtype": self.dtype},
            }
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=inputs,
            outputs=(Output(self.name, sql_type(self.dtype), drop=self.drop),),
            propagate_skip=self.propagate_skip,
            **source,
        )

    def _sql_references(self, context: DeclareContext, place: str) -> tuple[Reference, ...]:
        analysis = context.analyse_sql(self.sql or "")
        if analysis.problem is not None:
            context.problem(place, analysis.problem)
        return tuple(Reference(column, place) for column in analysis.columns)

    def bind(self, runtime: Runtime) -> CellGenerator:
        """The renderer of ``expr``; ``sql`` has none."""
        template = Template(self.expr or "", f"{self.name}.expr")
        return ExpressionGenerator(template, self.name, sql_type(self.dtype), casts=runtime.casts_values)


class ExpressionGenerator(CellGenerator):
    """Renders a template and converts the text. Hardly ever waits, so a call may take many rows."""

    def __init__(self, template: Template, column: str, of: str, *, casts: bool = False) -> None:
        """``casts``: the run was begun when what did not fit was cut to its type, and goes on so."""
        self._read = cut if casts else spelled
        self._template = template
        self._column = column
        self._type = of
        self._python_type = _PYTHON_TYPES[of]
        self._passed_on = template.lone

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The value of one row."""
        return (await self._value(row),)

    async def generate_rows(self, rows: Sequence[Row], call: Call) -> Sequence[Sequence[Any] | Exception]:
        """The values of many rows, giving up the event loop in between only when others would wait for long."""
        results: list[Sequence[Any] | Exception] = []
        since = monotonic()
        for row in rows:
            try:
                results.append((await self._value(row),))
            except GeneratorError as error:
                results.append(error)
            if monotonic() - since > _LONGEST_TURN_S:
                await checkpoint()
                since = monotonic()
        return results

    async def _value(self, row: Row) -> Any:
        lone = self._passed_on
        if lone is not None and lone.column in row and not (lone.is_of_row and ROW in row):
            value = row[lone.column]
            if value is None or type(value) is self._python_type:
                return value
        try:
            text = self._template.render_briefly(row)
        except NeedsThread:
            text = await rendered_in_thread(self._template, row)
        if self._python_type is str:
            return text
        try:
            return self._read(text, self._python_type)
        except (ValueError, OverflowError):
            shown = ascii(text if len(text) <= 60 else text[:59] + "…")
            raise GeneratorError(
                f"Column '{self._column}' is {self._type}, but its expression gives {shown}.", "NotConvertible"
            ) from None


def cut(text: str, to: type) -> bool | int | float:
    """The older rule: the value a text is near to. Raises ValueError or OverflowError when it is near none."""
    text = text.strip()
    if to is float:
        return float(text)
    if to is bool:
        return text.lower() == "true" if text.lower() in {"true", "false"} else bool(int(float(text)))
    try:
        number = int(text)
    except ValueError:
        number = int(float(text))
    if not -(2**63) <= number < 2**63:
        raise OverflowError(number)
    return number
