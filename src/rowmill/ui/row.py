"""One row: every column with what made it, its attempts, its times, and the values it had before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rowmill.errors import RowmillError, UsageError
from rowmill.generators.prompting.image import ImageColumn
from rowmill.generators.prompting.llm_code import LlmCodeColumn
from rowmill.generators.prompting.prompt_column import PromptColumn
from rowmill.graph.graph import WORD_BITS
from rowmill.spec.column import ColumnConfig
from rowmill.spec.spec import Spec
from rowmill.spec.template import Template
from rowmill.store.database.connection import quote
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.reader import Reader
from rowmill.ui.cell import LONG, Cell, Cells, Message
from rowmill.ui.rows import KINDS, neighbour, read_spec
from rowmill.value.json_value import json_text
from rowmill.value.python_value import python_rows, python_values

sql = statements_of("reading/page", "reshape/rebuild")

_KIND_OF_PLACE = {"finished": "finished", "active": "live", "parked": "live", "dropped": "dropped"}
_NOT_SHOWN = {"name", "column_type", "prompt", "system_prompt", "drop"}


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """A column of a row."""

    name: str
    column_type: str
    sql_type: str
    state: str
    """done, skipped, or not made."""
    cell: Cell
    value: Any
    """The value in full, of which ``cell`` may be the beginning."""
    in_dataset: bool
    prompt: Sequence[Message] = ()
    """What the model was asked, rendered again from the row."""
    prompt_problem: str = ""
    media: Sequence[str] = ()
    """Columns whose media stood before the prompt."""
    recipe: str = ""
    """How a column is made that asks no model, as the spec says it."""
    language: str = ""
    """Of code."""
    previous: Sequence[tuple[str, Cell]] = ()
    """The values it had, and under which version of the spec."""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row and all that is known of it."""

    row_id: int
    place: str
    row_group: int
    columns: Sequence[ShownColumn]
    drop: Mapping[str, Any] | None
    deferrals: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    trace: Sequence[Mapping[str, Any]]
    admitted_at: datetime | None
    finished_at: datetime | None
    waited_s: float | None
    worked_s: float | None
    lower: int | None
    greater: int | None

    @property
    def kind(self) -> str:
        """The key of :data:`.KINDS` under which it is listed."""
        return _KIND_OF_PLACE[self.place]


def read_row(reader: Reader, row_id: int) -> ShownRow:
    """The row. Raises UsageError if it is not there."""
    found = _rows(reader, sql.whole_row.text, row_id=row_id)
    if not found:
        for drop in _rows(reader, sql.drop_of_row.text, row_id=row_id):
            raise UsageError(
                f"Row {row_id} was dropped at column '{drop['column_name']}' ({drop['reason']}: {drop['message']}), "
                "and the values it had are not in the run database."
            )
        raise UsageError(f"There is no row {row_id} yet: it has not entered, or the run plans fewer rows.")
    values = found[0]
    group = values["row_group"]
    kind = KINDS[_KIND_OF_PLACE[values["place"]]]
    about = {"row_id": row_id, "row_group": group}
    attempts = _rows(reader, sql.attempts_of_row.text, **about)
    trace = _rows(reader, sql.trace_of_row.text, row_id=row_id)
    times = _rows(reader, sql.times_of_row_group.text, row_group=group) or [{"admitted_at": None, "finished_at": None}]
    waited_s, worked_s = _times(trace, attempts)
    return ShownRow(
        row_id=row_id,
        place=values["place"],
        row_group=group,
        columns=_columns(reader, values),
        drop=next(iter(_rows(reader, sql.drop_of_row.text, row_id=row_id)), None),
        deferrals=_rows(reader, sql.deferrals_of_row.text, **about),
        attempts=attempts,
        trace=trace,
        **times[0],
        waited_s=waited_s,
        worked_s=worked_s,
        lower=neighbour(reader, kind, row_id, is_greater=False),
        greater=neighbour(reader, kind, row_id, is_greater=True),
    )


def read_value(reader: Reader, row_id: int, column: str) -> Any:
    """A value of a row in full. Raises UsageError for a row or a column that is not there."""
    known = [row["column_name"] for row in _rows(reader, sql.columns_of_run.text)]
    if column not in known:
        raise UsageError(f"The run has no column '{column}'.")
    values = python_values(reader.table(sql.whole_value.fill(column=quote(column)), {"row_id": row_id})["value"])
    if not values:
        raise UsageError(f"There is no row {row_id} yet.")
    return values[0]


def _times(
    trace: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    """Seconds the tasks of a row waited and worked. Without a trace only the requests are known."""
    if trace:
        return (
            sum(task["waiting_ms"] or 0 for task in trace) / 1000,
            sum(task["working_ms"] or 0 for task in trace) / 1000,
        )
    if not attempts:
        return None, None
    worked_s = sum(each["duration_ms"] or 0 for each in attempts) / 1000
    return None, worked_s


def _columns(reader: Reader, values: Mapping[str, Any]) -> list[ShownColumn]:
    columns = _rows(reader, sql.columns_of_run.text)
    spec = read_spec(reader)
    cells = Cells(spec)
    needs: dict[int, set[int]] = {}
    for edge in _rows(reader, sql.needs_of_generators.text):
        needs.setdefault(edge["generator"], set()).add(edge["upstream"])
    previous = _previous(reader, values["row_id"], cells)
    known = {column["column_name"] for column in columns}
    row = {name: value for name, value in values.items() if name in known or name == "row_id"}
    found = []
    for column in columns:
        name, generator = column["column_name"], column["generator"]
        is_done = _has(values, "done", generator)
        config = spec.column_of(column["generator_name"]) if spec is not None else None
        is_first = config is not None and name == config.name
        can_ask = all(_has(values, "done", upstream) for upstream in needs.get(generator, ()))
        prompt, problem, media = _prompt(config, spec, row, can_ask=can_ask) if is_first else ((), "", ())
        found.append(
            ShownColumn(
                name=name,
                column_type=column["column_type"],
                sql_type=column["sql_type"],
                state="skipped" if _has(values, "skipped", generator) else "done" if is_done else "not made",
                cell=cells.whole(name, values[name]),
                value=values[name],
                in_dataset=column["in_dataset"],
                prompt=prompt,
                prompt_problem=problem,
                media=media,
                recipe=_recipe(config) if is_first and not prompt and not problem else "",
                language=config.code_lang.partition(":")[0] if is_first and isinstance(config, LlmCodeColumn) else "",
                previous=previous.get(name, ()),
            )
        )
    return found


def _has(values: Mapping[str, Any], kind: str, generator: int) -> bool:
    return bool(values[f"{kind}_{generator // WORD_BITS}"] & (1 << generator % WORD_BITS))


def _prompt(
    config: ColumnConfig | None, spec: Spec | None, row: Mapping[str, Any], *, can_ask: bool
) -> tuple[Sequence[Message], str, Sequence[str]]:
    """What was asked, why that cannot be said, and whose media came before it."""
    if not isinstance(config, (PromptColumn, ImageColumn)) or spec is None:
        return (), "", ()
    media = tuple(each.column_name for each in config.multi_modal_context or ())
    if not can_ask:
        return (), "The prompt needs columns that are not made yet.", media
    try:
        if isinstance(config, ImageColumn):
            return (Message("user", Template(config.prompt, f"{config.name}.prompt").render(row)),), "", media
        model = spec.model_of(config.model_alias)
        if model is None:
            return (), f"The spec has no model '{config.model_alias}'.", media
        messages = config.opening(row, model)
    except RowmillError as error:
        return (), str(error), media
    return tuple(Message(each["role"], each["content"]) for each in messages), "", media


def _recipe(config: ColumnConfig | None) -> str:
    if config is None:
        return ""
    said = {
        name: value
        for name, value in config.model_dump(mode="json", exclude_unset=True, warnings=False).items()
        if name not in _NOT_SHOWN
    }
    return json_text(said, indent=2)[:LONG] if said else ""


def _previous(reader: Reader, row_id: int, cells: Cells) -> dict[str, list[tuple[str, Cell]]]:
    """By column the values from before changes of the spec."""
    found: dict[str, list[tuple[str, Cell]]] = {}
    for table in _rows(reader, sql.retained_tables.text):
        (name,) = table.values()
        column, _, version = str(name).rpartition("@")
        query = sql.previous_value.fill(column=quote(column), table=quote(str(name)))
        for value in python_values(reader.table(query, {"row_id": row_id})["value"]):
            found.setdefault(column, []).append((version, cells.whole(column, value)))
    return found


def _rows(reader: Reader, query: str, **parameters: object) -> list[dict[str, Any]]:
    return list(python_rows(reader.table(query, parameters or None)))
