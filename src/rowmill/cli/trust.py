"""What a run starts that its spec brings, and where keys go: told before a run that is new to this user.

On a terminal the user is asked once; what was agreed to is remembered in ``rowmill/trusted`` below
``$XDG_STATE_HOME`` (``~/.local/state``), readable by the user alone, as digests. A script is told in one line, once,
and goes on; what it was told stands in ``rowmill/told`` beside it, and is still asked for on a terminal.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from rowmill.cli.logs import complain, tell
from rowmill.cli.terminal_text import safe_message
from rowmill.errors import UsageError

if TYPE_CHECKING:
    from rowmill.spec.spec import Spec

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_AGREED, _TOLD = "trusted", "told"
_FUNCTIONS = ("generator_function", "embedding_function", "validation_function")


class Started(NamedTuple):
    """Something a run does because its spec says so."""

    what: str
    """In words, for people."""
    digest: str


def started_by(spec: Spec, directory: Path) -> list[Started]:
    """The functions and commands a run of the spec starts, and the endpoints that get a key; each once."""
    place = str(directory.resolve())
    found = dict.fromkeys(_said(spec.model_dump(mode="json", by_alias=True)))
    return [
        Started(words, hashlib.sha256(json.dumps([words, place if is_here else ""]).encode()).hexdigest())
        for words, is_here in found
    ]


def _said(spec: dict[str, object]) -> Iterator[tuple[str, bool]]:
    """Words, and whether they mean something else in another directory."""
    for column in _mappings(spec.get("columns")):
        parameters = column.get("validator_params")
        for holder in (column, *_mappings([parameters])):
            for field in _FUNCTIONS:
                if isinstance(holder.get(field), str):
                    yield f"the function {holder[field]}", True
    for provider in _mappings(spec.get("mcp_providers")):
        if isinstance(provider.get("command"), str):
            words = [str(provider["command"]), *map(str, _items(provider.get("args")))]
            yield f"the program '{' '.join(words)}'", True
        yield from _keys(provider, provider.get("endpoint") or provider.get("command"))
    for model in _mappings(spec.get("models")):
        for field, value in model.items():
            if field.endswith("command") and value:
                yield f"the program '{value if isinstance(value, str) else ' '.join(map(str, _items(value)))}'", True
        yield from _keys(model, model.get("base_url") or model.get("provider"))


def _keys(holder: dict[str, object], receivers: object) -> Iterator[tuple[str, bool]]:
    receiver = " and ".join(map(str, _items(receivers))) or receivers
    for name in dict.fromkeys(_VARIABLE.findall(json.dumps(holder))):
        yield f"the value of ${name} goes to {receiver}", False


def _mappings(value: object) -> list[dict[str, object]]:
    return [each for each in _items(value) if isinstance(each, dict)]


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def agree(started: Sequence[Started], *, yes: bool) -> None:
    """Tells what is new to this user. Asks on a terminal; raises UsageError if the answer is no."""
    known = _kept(_AGREED)
    new = [each for each in started if each.digest not in known]
    if not new:
        return
    if not yes and not sys.stdin.isatty():
        _tell_once(new)
        return
    if not yes:
        complain("This run starts what is new to you ('rowmill help trust'):")
        for each in new:
            complain(f"  {each.what}")
        if not click.confirm(safe_message("Start it?"), err=True):
            raise UsageError("Nothing was started.")
    try:
        _remember(_AGREED, new)
    except OSError as error:
        complain(f"What you agreed to could not be remembered in {_file(_AGREED)}: {error.strerror}.")


def _tell_once(new: Sequence[Started]) -> None:
    told = _kept(_TOLD)
    untold = [each for each in new if each.digest not in told]
    if not untold:
        return
    tell(f"New to you, starts with this run: {'; '.join(each.what for each in untold)} ('rowmill help trust').")
    with suppress(OSError):  # nowhere to keep it, as in many a container: the next run tells it again
        _remember(_TOLD, untold)


def _file(name: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "rowmill" / name


def _kept(name: str) -> frozenset[str]:
    try:
        return frozenset(_file(name).read_text(encoding="ascii", errors="replace").split())
    except OSError:  # none yet, or none we may read: everything is new
        return frozenset()


def _remember(name: str, new: Sequence[Started]) -> None:
    file = _file(name)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write("".join(f"{each.digest}\n" for each in new))
