"""Columns of type ``custom``: made by a Python function of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_serializer, field_validator

from rowmill.generators.custom.function import CustomFunction, FunctionProblem, function_name, load_function
from rowmill.generators.custom.generator import FunctionBatches, FunctionCells, OrderedBatches
from rowmill.generators.custom.over_dataset import FunctionOverDataset
from rowmill.generators.protocol import Generator, Runtime
from rowmill.spec.column import ColumnConfig, Items
from rowmill.spec.declaration import LOCAL, THREADS, Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.dtype import Dtype, sql_type
from rowmill.spec.registry import register_column_type

_ROWS_PER_THREAD_HOP = 64
_STRATEGIES = {"cell_by_cell": "cell", "full": "batch", "full_column": "batch"}
_Words = Literal["cell", "batch", "dataset", "cell_by_cell", "full", "full_column"]
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def _with_dtypes(columns: object) -> object:
    return dict.fromkeys(columns, "str") if isinstance(columns, (list, tuple)) else columns


Columns = Annotated[dict[str, Dtype], BeforeValidator(_with_dtypes, json_schema_input_type=dict[str, str] | Items[str])]
"""Columns by name with their dtype; a list of names means text."""


@register_column_type
class CustomColumn(ColumnConfig):
    """A column made by ``fn(row)``, ``fn(row, params)`` or ``fn(row, params, models)``, sync or async.

    ``row`` is a dict of the required columns; with strategy ``batch`` a ``pyarrow.Table`` of the row group, which has
    ``row_index`` and ``row_id`` too. A function that asks one model occupies that model's endpoint while it runs; one
    that asks several, or none, occupies the event loop (async) or a worker thread.

    With strategy ``dataset`` it is called once, with all rows: a ``pyarrow.Table`` with ``row_id``, or, if its first
    parameter is annotated so, a ``pyarrow.RecordBatchReader``; it returns ``row_id`` and its columns, or yields them
    part by part (R6).

    With ``ordered``, row groups are taken one at a time, lowest first. A batch function then is ``fn(rows, state)``,
    ``fn(rows, state, params)`` or ``fn(rows, state, params, models)`` and returns ``(table, new_state)``: the state is
    plain JSON values, None at first, committed with the table and handed to the next call, also after a crash (R10).

    A class is made and set up once in each process that calls it; its ``generate`` then is the function, and what is
    kept in ``self`` is shared by all its calls and shapes no value.
    """

    column_type: Literal["custom"] = "custom"
    generator_function: Any
    """``module:function``: a module beside the spec, or an installed one; in Python also the function itself. Or
    ``module:Class`` with ``generate`` and, if there is something to load, ``setup`` and ``close``."""
    generation_strategy: Literal["cell", "batch", "dataset"] | None = None
    """``cell``: a row a call; ``batch``: a row group a call; ``dataset``: all rows in one call. Default: what the
    decorator says, else what the function's annotation tells, else ``cell``."""
    generator_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Plain values for the function's parameter ``params``."""
    dtype: Dtype | None = None
    """The type of this column; for lists, JSON and all that is not ``int``, ``float``, ``str``, ``bool`` or one of
    these with ``| None`` it must be said. Default: the function's return annotation, else ``str``."""
    required_columns: Items[str] | None = None
    """The columns it needs, ``[]`` for none. Must be said here or in the decorator. Default: the decorator's."""
    output_columns: Columns = Field(default_factory=dict)
    """Further columns in their own right, made by the same call: ``{name: dtype}``, or a list of names, which are text
    (R11)."""
    side_effect_columns: Columns | None = None
    """The same, as by-products of this column. Default: the decorator's."""
    model_aliases: Items[str] | None = None
    """Models the function may ask. Default: the decorator's."""
    may_drop_rows: bool = False
    """A ``batch`` or ``dataset`` function may return fewer rows; the missing ones are dropped as ``filtered`` (R5)."""
    ordered: bool | None = None
    """One row group at a time, lowest unfinished first, whatever the retries; a ``batch`` function then keeps a state
    (R10). Default: the decorator's, else ``false``."""
    max_rows_per_call: int | None = Field(default=None, ge=1, le=100_000)
    """Sync ``cell`` functions: rows a worker thread takes at once. Default: 64, and 1 if it is async or asks models."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Deadline of one call. A sync function that overruns it goes on in its thread; its result is discarded. Default:
    ``run.task_timeout_s``."""

    @field_validator("generator_function")
    @classmethod
    def _is_a_function(cls, value: object) -> object:
        if not callable(value) and not (isinstance(value, str) and _REFERENCE.fullmatch(value)):
            raise ValueError("Write the function as 'module:function', for example 'functions:word_count'.")
        return value

    @field_serializer("generator_function")
    def _as_reference(self, value: str | Callable[..., Any]) -> str:
        return value if isinstance(value, str) else function_name(value)

    @field_validator("generation_strategy", mode="before", json_schema_input_type=_Words | None)
    @classmethod
    def _own_word(cls, value: object) -> object:
        return _STRATEGIES.get(value, value) if isinstance(value, str) else value

    def declare(self, context: DeclareContext) -> Declaration:
        """Imports the function; what the spec leaves open is read from its decorator and signature."""
        place = f"columns.{context.index}"
        try:
            function = load_function(self.generator_function, context.spec_directory, may_be_class=True)
        except FunctionProblem as problem:
            context.problem(f"{place}.generator_function", str(problem))
            function = None
        strategy, reason = self._strategy(function)
        if function is not None:
            self._check_form(function, context, f"{place}.generator_function")
        is_ordered = self._is_ordered(function)
        aliases = self._aliases(function)
        endpoints = [context.endpoint(alias, f"{place}.model_aliases") for alias in aliases]
        is_async = function is not None and function.is_async
        rows_per_call = 1 if is_async or aliases else _ROWS_PER_THREAD_HOP
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=self._inputs(function, context, f"{place}.required_columns"),
            outputs=self._outputs(function),
            strategy=strategy,
            reason=reason,
            resource=endpoints[0] if len(endpoints) == 1 else LOCAL if is_async else THREADS,
            max_rows_per_call=1 if strategy is not Strategy.CELL else self.max_rows_per_call or rows_per_call,
            timeout_s=self.timeout_s,
            may_drop_rows=self.may_drop_rows,
            is_ordered=is_ordered,
            models=dict.fromkeys(aliases, "chat"),
            can_answer_differently=strategy is not Strategy.DATASET,
            propagate_skip=self.propagate_skip,
            fingerprint={
                "function": function.reference if function else None,
                "code_sha256": function.code_sha256 if function else None,
                "params": self.generator_params,
                "models": [model.fingerprint() for alias in aliases if (model := context.spec.model_of(alias))],
                "outputs": {output.name: output.sql_type for output in self._outputs(function)},
            }
            | ({"ordered": True} if is_ordered else {}),
            source_sha256=function.source_sha256 if function else None,
        )

    def _strategy(self, function: CustomFunction | None) -> tuple[Strategy, str]:
        if self.generation_strategy is not None:
            return Strategy(self.generation_strategy), f"generation_strategy is {self.generation_strategy}"
        if function is not None and function.traits.strategy is not None:
            return Strategy(function.traits.strategy), "as the function's decorator says"
        if function is not None and function.takes_stream:
            return Strategy.DATASET, "the function's first parameter is a stream over the dataset"
        if function is not None and function.takes_rows:
            return Strategy.BATCH, "the function's first parameter is a table"
        return Strategy.CELL, "the function takes one row"

    def _is_ordered(self, function: CustomFunction | None) -> bool:
        if self.ordered is not None:
            return self.ordered
        return function.traits.ordered if function else False

    def _keeps_state(self, function: CustomFunction) -> bool:
        return self._is_ordered(function) and self._strategy(function)[0] is Strategy.BATCH

    def _check_form(self, function: CustomFunction, context: DeclareContext, place: str) -> None:
        """Whether the function takes what it would be called with."""
        keeps_state = self._keeps_state(function)
        least, most = (2, 4) if keeps_state else (1, 3)
        if not least <= function.parameters <= most:
            forms = (
                "an ordered batch function is fn(rows, state), fn(rows, state, params) or "
                "fn(rows, state, params, models), and returns (table, new_state)"
                if keeps_state
                else "a generator function is fn(row), fn(row, params) or fn(row, params, models)"
            )
            if function.of_class is not None:
                forms = forms.replace("fn(", "generate(self, ").replace("a generator function is", "it is")
            context.problem(place, f"'{function.signature}' cannot be called: {forms}.")
        elif function.parameters == most and not self._aliases(function):
            context.problem(place, f"'{function.reference}' takes models but no model_aliases say which.")
        if self._strategy(function)[0] is Strategy.DATASET:
            if self._is_ordered(function):
                context.problem(
                    place, f"'{function.reference}' sees all rows at once: 'ordered' does not go with that."
                )
            if function.is_async and function.takes_stream:
                context.problem(
                    place, f"'{function.reference}' reads a stream, which would hold up all other calls: write 'def'."
                )

    def _aliases(self, function: CustomFunction | None) -> tuple[str, ...]:
        if self.model_aliases is not None:
            return tuple(self.model_aliases)
        return function.traits.model_aliases if function else ()

    def _inputs(self, function: CustomFunction | None, context: DeclareContext, place: str) -> tuple[Reference, ...]:
        names = self.required_columns
        if names is None and function is not None:
            names = function.traits.required_columns
            if names is None:
                context.problem(
                    place,
                    f"Nothing says which columns '{function.reference}' needs. List them in required_columns, here "
                    "or in @rowmill.generator(required_columns=[…]); [] if it needs none.",
                )
        return tuple(Reference(name, place) for name in dict.fromkeys(names or ()))

    def _outputs(self, function: CustomFunction | None) -> tuple[Output, ...]:
        effects = self.side_effect_columns
        if effects is None:
            effects = dict(function.traits.side_effect_columns) if function else {}
        dtype = self.dtype or (function.dtype if function else None) or "str"
        outputs = [Output(self.name, sql_type(dtype), drop=self.drop)]
        outputs += [Output(name, sql_type(of), drop=self.drop) for name, of in self.output_columns.items()]
        outputs += [Output(name, sql_type(of), side_effect=True, drop=self.drop) for name, of in effects.items()]
        return tuple(outputs)

    def bind(self, runtime: Runtime) -> Generator:
        """The function, ready to be called."""
        function = load_function(self.generator_function, runtime.spec_directory, may_be_class=True)
        models = {alias: runtime.model(alias) for alias in self._aliases(function)}
        arguments = (self.name, function, self._outputs(function), self.generator_params, models)
        if self._keeps_state(function):
            return OrderedBatches(*arguments)
        strategy = self._strategy(function)[0]
        if strategy is Strategy.DATASET:
            return FunctionOverDataset(*arguments)
        return (FunctionBatches if strategy is Strategy.BATCH else FunctionCells)(*arguments)
