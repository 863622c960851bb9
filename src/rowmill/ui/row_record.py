"""One row, and what a model was asked for it, as plain data: what ``show row`` and ``show prompt`` print as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowmill.errors import UsageError
from rowmill.spec.nearest import did_you_mean
from rowmill.store.reading.reader import Reader
from rowmill.ui.cell import Message
from rowmill.ui.row import ShownColumn, ShownRow, read_row
from rowmill.ui.rows import read_spec


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """What the model of a column is or was asked for a row."""

    row_id: int
    column: str
    model_alias: str
    model: str | None
    state: str
    """done, skipped, or not made."""
    requests: int
    """Of the column and this row, on record."""
    messages: Sequence[Message]
    media: Sequence[str]
    """Columns whose media stood before the prompt."""

    def as_record(self) -> dict[str, Any]:
        """The fields are a contract."""
        return {
            "row_id": self.row_id,
            "column": self.column,
            "model_alias": self.model_alias,
            "model": self.model,
            "state": self.state,
            "requests": self.requests,
            "messages": [{"role": message.role, "content": message.text} for message in self.messages],
            "media": list(self.media),
        }


def chosen_columns(row: ShownRow, names: Sequence[str]) -> list[ShownColumn]:
    """The named columns of a row, all of them if none is named. Raises UsageError for one it does not have."""
    by_name = {column.name: column for column in row.columns}
    for name in names:
        if name not in by_name:
            raise UsageError(f"The run has no column '{name}'.{did_you_mean(name, by_name)}")
    return [by_name[name] for name in names] if names else list(row.columns)


def row_record(row: ShownRow, columns: Sequence[ShownColumn]) -> dict[str, Any]:
    """All that is known of a row. The fields are a contract."""
    return {
        "row_id": row.row_id,
        "state": row.place,
        "row_group": row.row_group,
        "admitted_at": row.admitted_at,
        "finished_at": row.finished_at,
        "columns": {
            column.name: {
                "column_type": column.column_type,
                "type": column.sql_type,
                "state": column.state,
                "in_dataset": column.in_dataset,
                "value": column.value,
                "messages": [{"role": each.role, "content": each.text} for each in column.prompt],
                "previous_versions": [version for version, _ in column.previous],
            }
            for column in columns
        },
        "dropped": row.drop,
        "deferred": list(row.deferrals),
        "attempts": list(row.attempts),
        "tasks": list(row.trace),
    }


def asked_prompt(reader: Reader, row_id: int, column: str) -> AskedPrompt:
    """What the model of a column is or was asked for the row. Raises UsageError where nothing is asked."""
    row = read_row(reader, row_id)
    spec = read_spec(reader)
    found = next((each for each in row.columns if each.name == column), None)
    if found is None:
        raise UsageError(f"The run has no column '{column}'.{did_you_mean(column, [c.name for c in row.columns])}")
    if found.prompt_problem:
        raise UsageError(f"The prompt of '{column}' for row {row_id} cannot be rendered: {found.prompt_problem}")
    if not found.prompt:
        asked = [each.name for each in row.columns if each.prompt]
        hint = f" Columns that do: {', '.join(asked)}." if asked else ""
        raise UsageError(f"Column '{column}' ({found.column_type}) asks no model with a prompt.{hint}")
    config = spec.column_of(column) if spec is not None else None
    alias = str(getattr(config, "model_alias", ""))
    model = spec.model_of(alias) if spec is not None else None
    return AskedPrompt(
        row_id,
        column,
        alias,
        model.model if model is not None else None,
        found.state,
        sum(1 for each in row.attempts if each["generator"] == column and each["model"]),
        found.prompt,
        found.media,
    )
