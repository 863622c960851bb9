"""What the steering verbs share: the answer of a run, for people on stderr and for programs on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rowmill.cli.choice import Choice
from rowmill.cli.logs import tell
from rowmill.cli.output import write_exactly
from rowmill.cli.place import existing_database

if TYPE_CHECKING:
    from rowmill.store.turn.control_request import ControlAnswer

_Function = TypeVar("_Function", bound=Callable[..., Any])


def answer_option(function: _Function) -> _Function:
    """Adds ``--format`` to a verb; the command receives ``answer_format``."""
    return click.option(
        "--format",
        "answer_format",
        type=Choice(["text", "json"], case_sensitive=False),
        default="text",
        show_default=True,
        help="json: what was done, as an object on stdout.",
    )(function)


def steer_and_say(
    database: Path | None, verb: str, answer_format: str, arguments: Mapping[str, Any] | None = None
) -> None:
    """Has a request applied, by the run or directly, and says what became of it."""
    from rowmill.inspect.steering import steer

    say_answer(verb, steer(existing_database(database), verb, arguments), answer_format)


def say_answer(verb: str, answer: ControlAnswer, answer_format: str) -> None:
    """Writes an answer: one line for people on stderr, or an object on stdout."""
    if answer_format == "json":
        found = {"verb": verb, "outcome": answer.outcome, "message": answer.message, "rows": answer.rows}
        write_exactly(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        tell(answer.message)
