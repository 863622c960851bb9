"""Reading the sessions of an agent: a file each, read by the module of its agent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Location
from rowmill.seeds.rollout import atif, claude_code, codex, hermes, pi
from rowmill.seeds.rollout.session import ROLLOUT_SCHEMA, MalformedSession, Session

__all__ = ["ROLLOUT_SCHEMA", "read_rollouts"]

_Parse = Callable[[Sequence[dict[str, Any]], str, Mapping[str, Any]], Session]
_AGENTS: dict[str, tuple[Callable[[PurePosixPath], bool], _Parse, str | None]] = {
    "atif": (atif.is_session, atif.session, None),
    "claude_code": (claude_code.is_session, claude_code.session, claude_code.INDEX_NAME),
    "codex": (codex.is_session, codex.session, None),
    "hermes_agent": (hermes.is_session, hermes.session, hermes.INDEX_NAME),
    "pi_coding_agent": (pi.is_session, pi.session, None),
}
"""Per agent: which files are sessions, how one is read, and the name of the file that tells more about them."""

_REPORTED = 20


def read_rollouts(location: Location, files: Sequence[tuple[str, str]], agent: str) -> pa.Table:
    """One row for each session (files are name and relative path); empty files are none.

    Raises SpecError that names every file (up to twenty) that is not what the agent writes.
    """
    is_session, parse, index_name = _AGENTS[agent]
    index = _index(location, files, index_name, agent)
    rows = []
    problems = []
    for name, relative in files:
        path = PurePosixPath(relative)
        if not is_session(path):
            continue
        try:
            records = _records(location, name)
            if records:
                rows.append(parse(records, path.stem, index).row(agent, name))
        except MalformedSession as error:
            message = f"{name} is not a session of {agent}: {error}. Leave it out with file_pattern, or mend it."
            problems.append(Problem("seed_dataset.path", message))
    if problems:
        raise SpecError(problems[:_REPORTED])
    return pa.Table.from_pylist(rows, schema=ROLLOUT_SCHEMA)


def _records(location: Location, name: str) -> list[dict[str, Any]]:
    """The JSON objects of a file: one for ``.json``, one a line otherwise."""
    with location.open(name) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedSession(f"it is not UTF-8 ({error})") from error
    pieces = [(1, text)] if name.endswith(".json") else enumerate(text.split("\n"), start=1)
    records = []
    for line, piece in pieces:
        if not piece.strip():
            continue
        try:
            record = json.loads(piece)
        except ValueError as error:
            raise MalformedSession(f"line {line} is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise MalformedSession(f"line {line} is not a JSON object")
        records.append(record)
    return records


def _index(location: Location, files: Sequence[tuple[str, str]], index_name: str | None, agent: str) -> dict[str, Any]:
    """What the agent's own list of sessions tells, by session; nothing if it keeps none."""
    found: dict[str, Any] = {}
    if index_name is None:
        return found
    beside = {str(name).rpartition("/")[0] + "/" + index_name for name, _ in files}
    for name in sorted(beside):
        try:
            records = _records(location, name)
        except FileNotFoundError:
            continue
        except MalformedSession as error:
            raise SpecError([Problem("seed_dataset.path", f"{name} is no list of sessions: {error}.")]) from error
        for record in records:
            found.update(claude_code.indexed(record) if agent == "claude_code" else hermes.indexed(record))
    return found
