"""One row on a terminal or as JSON: what it holds, what made it, and what a model was asked for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowmill.cli.figures import count, plural
from rowmill.cli.output import say, write_exactly
from rowmill.cli.terminal_text import escaped, safe

if TYPE_CHECKING:
    from rowmill.ui.cell import Cell, Message
    from rowmill.ui.row import ShownColumn, ShownRow

_INDENT = "  "


def show_row(database: Path, row_id: int, chosen: Sequence[str], *, as_json: bool) -> None:
    """Writes the row, all its columns or the chosen ones. Raises UsageError for one that is not there."""
    from rowmill.inspect.opening import open_reader
    from rowmill.ui.row import read_row
    from rowmill.ui.row_record import chosen_columns, row_record
    from rowmill.value.json_value import json_text

    with open_reader(database) as reader:
        row = read_row(reader, row_id)
    columns = chosen_columns(row, chosen)
    if as_json:
        write_exactly(json_text(row_record(row, columns), indent=2) + "\n")
    else:
        _draw(row, columns)


def show_prompt(database: Path, row_id: int, column: str, *, as_json: bool) -> None:
    """Writes what the model of a column is or was asked for the row. Raises UsageError where nothing is asked."""
    from rowmill.inspect.opening import open_reader
    from rowmill.ui.row_record import asked_prompt
    from rowmill.value.json_value import json_text

    with open_reader(database) as reader:
        found = asked_prompt(reader, row_id, column)
    if as_json:
        write_exactly(json_text(found.as_record(), indent=2) + "\n")
        return
    state = "sent" if found.requests else "not sent: skipped" if found.state == "skipped" else "not sent yet"
    if found.state == "done" and not found.requests:
        state = "no request is on record"
    named = f"{found.model_alias} ({found.model})" if found.model else found.model_alias
    _head(f"{column} of row {row_id}, model {named}: {state}")
    if found.media:
        say(escaped(f"{_INDENT}before the prompt: media of {', '.join(found.media)}"))
    _write_messages(found.messages)


def _draw(row: ShownRow, columns: Sequence[ShownColumn]) -> None:
    times = [
        f"{word} {when:%Y-%m-%d %H:%M:%S}"
        for word, when in (("entered", row.admitted_at), ("its group finished", row.finished_at))
        if when is not None
    ]
    _head(", ".join([f"Row {row.row_id}: {row.place}", f"row group {row.row_group}", *times]))
    if row.drop is not None:
        say(_failure(f"Dropped at column '{row.drop['column_name']}', {row.drop['reason']}", row.drop))
    for waiting in row.deferrals:
        say(_failure(f"Deferred: {waiting['generator']}", waiting))
        if waiting["explanation"]:
            say(escaped(f"{_INDENT}{waiting['explanation']}"))
    for column in columns:
        left_out = "" if column.in_dataset else ", not in the dataset"
        say("")
        _head(f"{column.name} ({column.column_type}, {column.sql_type}{left_out})")
        if column.state != "done":
            say(f"{_INDENT}{column.state}")
        else:
            _write_cell(column.cell, column.language)
        for version, cell in column.previous:
            say(escaped(f"{_INDENT}before, in spec version {version}:"))
            _write_cell(cell, column.language)
    if row.attempts:
        say("")
        _head(plural(len(row.attempts), "attempt"))
        _write_attempts(row.attempts)


def _failure(what: str, told: Mapping[str, Any]) -> str:
    kind = f" ({told['error_type']})" if told["error_type"] else ""
    message = f": {told['message']}" if told["message"] else ""
    return escaped(f"{what}{kind}{message} ({plural(told['attempts'], 'attempt')})")


def _write_attempts(attempts: Sequence[Mapping[str, Any]]) -> None:
    for each in attempts:
        words = [f"{each['started_at']:%H:%M:%S}", str(each["generator"]), str(each["outcome"])]
        words += [str(each["model"])] if each["model"] else []
        words += [f"{each['duration_ms'] / 1000:.1f} s"] if each["duration_ms"] is not None else []
        if each["input_tokens"] is not None or each["output_tokens"] is not None:
            words.append(f"{count(each['input_tokens'] or 0)} + {count(each['output_tokens'] or 0)} tokens")
        words += [f"{each['error_type'] or ''} {each['message'] or ''}".strip()]
        say(escaped(_INDENT + ", ".join(word for word in words if word)))


def _write_cell(cell: Cell, language: str) -> None:
    if cell.kind == "null":
        say(f"{_INDENT}null")
    elif cell.messages:
        _write_messages(cell.messages)
    elif cell.size:
        say(
            f"{_INDENT}{'image' if cell.kind == 'image' else 'binary'}, {plural(cell.size, 'byte')}: {cell.text[:47]} …"
        )
    elif cell.kind == "code" and language and sys.stdout.isatty():
        _write_code(cell.text, language)
    else:
        _write_text(cell.text)
    if cell.is_cut and not cell.size:
        say(f"{_INDENT}… (--format json has all of it)")


def _write_messages(messages: Sequence[Message]) -> None:
    for message in messages:
        _head(f"{_INDENT}{message.role}:")
        if message.thoughts:
            _write_text(f"(thought) {message.thoughts}", 2)
        _write_text(message.text, 2)


def _write_text(text: str, depth: int = 1) -> None:
    say("\n".join(_INDENT * depth + line for line in safe(text).split("\n")))


def _head(text: str) -> None:
    if not sys.stdout.isatty():
        say(escaped(text))
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(escaped(text), style="bold"), soft_wrap=True)


def _write_code(text: str, language: str) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.syntax import Syntax

    code = Syntax(safe(text), language, background_color="default", word_wrap=True)
    Console(highlight=False).print(Padding(code, (0, 0, 0, len(_INDENT))))
