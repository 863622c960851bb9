"""Loading: from a YAML or JSON file to a spec, or to every problem it has."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rowmill.counted import plural
from rowmill.errors import Problem, SpecError
from rowmill.spec.assembling import assemble, needs_assembling, refuse_shadowed
from rowmill.spec.name import safe_spec_name, text_problem
from rowmill.spec.nearest import did_you_mean_file
from rowmill.spec.spec import Spec
from rowmill.spec.spelling import doubtful_spellings
from rowmill.spec.yaml_loader import MAX_DEPTH, Spelling, load_yaml_with_spellings

_log = logging.getLogger("rowmill.spec")

STANDARD_INPUT = "-"
"""In the place of a spec file."""
MAX_BYTES = 16 * 1024 * 1024
"""A larger spec file is taken for a mistake."""
MAX_REPORTED = 100
"""Problems listed at most; the rest is counted."""

SpecFormat = Literal["yaml", "json"]


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A spec and where it came from. Relative paths in it start at ``directory``."""

    spec: Spec
    directory: Path
    path: Path
    warnings: tuple[Problem, ...] = ()
    """What may be meant otherwise than it is read."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """The values of the spec's parameters; it is complete without them."""

    def refuse_shadowed(self, columns: Iterable[str]) -> None:
        """Raises SpecError for a column of the seed data that has the name of a parameter."""
        refuse_shadowed(self.parameters, columns)


def load_spec(path: str | Path, parameters: Mapping[str, object] | None = None) -> LoadedSpec:
    """Reads a spec file: JSON if its name ends in ``.json``, YAML otherwise. Logs its warnings.

    ``-`` reads standard input. ``parameters`` gives values to those of the spec; then the environment
    (``ROWMILL_SET_NAME``) and their defaults do. Raises :class:`~rowmill.errors.SpecError` with every problem found.
    """
    path = Path(path)
    is_input = str(path) == STANDARD_INPUT
    text = _standard_input() if is_input else _text(path)
    directory = Path.cwd() if is_input else path.absolute().parent
    format_: SpecFormat = "json" if path.suffix.lower() == ".json" else "yaml"
    data, spellings = _data(text, format_)
    name = "dataset" if is_input else path.stem
    spec, warnings, values = _made(data, spellings, name, directory, parameters or {}, path.name)
    for warning in warnings:
        _log.warning("%s", warning)
    return LoadedSpec(spec, directory, path.absolute(), tuple(warnings), values)


def spec_of_data(
    data: Mapping[str, Any], directory: Path, parameters: Mapping[str, object] | None = None
) -> tuple[Spec, tuple[str, ...]]:
    """A spec of plain data of a program, which may hold all that a spec file may; and its parameters' names."""
    if not parameters and not needs_assembling(data):
        return Spec.from_data(data), ()
    made, _, values = _made(dict(data), [], "dataset", directory, parameters or {}, "the spec")
    return made, tuple(values)


def parse_spec(text: str, format_: SpecFormat = "yaml", name_hint: str = "dataset") -> Spec:
    """A spec from its text. ``name_hint`` becomes its name when the text gives none.

    Raises :class:`~rowmill.errors.SpecError` with every problem found.
    """
    data, spellings = _data(text, format_)
    return _made(data, spellings, name_hint, Path.cwd(), {}, "the spec")[0]


def _data(text: str, format_: SpecFormat) -> tuple[dict[str, Any], list[Spelling]]:
    """The data of a spec's text, and values whose spelling is not kept."""
    unreadable = text_problem(text)
    if unreadable:
        raise SpecError([Problem("", f"The text of the spec {unreadable}.")])
    spellings: list[Spelling] = []
    if format_ == "yaml":
        data, problems, spellings = load_yaml_with_spellings(text)
    else:
        data, problems = _load_json(text)
    if data is None and not problems:
        problems = [Problem("", "The spec is empty. 'rowmill init' writes an example.")]
    elif not isinstance(data, dict) and not problems:
        kind = "a list" if isinstance(data, list) else f"a single value ({str(data)[:40]!r})"
        problems = [Problem("", f"A spec is a mapping of fields such as 'records' and 'columns', not {kind}.")]
    if not isinstance(data, dict):
        raise SpecError(problems)
    return _Data(data, problems), spellings


class _Data(dict[str, Any]):
    """A mapping with what was wrong with its text."""

    def __init__(self, data: dict[str, Any], problems: list[Problem]) -> None:
        super().__init__(data)
        self.problems = problems


def _made(
    data: dict[str, Any],
    spellings: list[Spelling],
    name_hint: str,
    directory: Path,
    parameters: Mapping[str, object],
    file_name: str,
) -> tuple[Spec, list[Problem], Mapping[str, object]]:
    """The spec of some data; what in it may be meant otherwise than it is read; the values of its parameters."""
    problems = list(getattr(data, "problems", ()))
    problems += _value_problems(data)
    if any(problem.place == "" for problem in problems):  # too deep to look into
        raise SpecError(_limited(problems))
    reported = {problem.place for problem in problems}
    assembled = assemble(_storable(data) if problems else data, directory, parameters, os.environ, file_name)
    try:
        spec = Spec.from_data({"name": safe_spec_name(name_hint), **assembled.data})
    except SpecError as error:
        problems += [assembled.placed(problem) for problem in error.problems if problem.place not in reported]
    if problems:
        raise SpecError(_limited(problems))
    return spec, [*doubtful_spellings(spec, spellings), *assembled.warnings], assembled.parameters


def _limited(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MAX_REPORTED:
        return problems
    return [*problems[:MAX_REPORTED], Problem("", f"… and {plural(len(problems) - MAX_REPORTED, 'more problem')}.")]


def _standard_input() -> str:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise SpecError([Problem("", "The spec is to come from standard input, and there is none.")])
    return _decoded(stream.read(MAX_BYTES + 1), "The standard input")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = did_you_mean_file(path, (".yaml", ".yml", ".json")) or " 'rowmill init' writes an example."
        raise SpecError([Problem("", f"There is no spec file '{path}'.{hint}")]) from None
    except IsADirectoryError:
        raise SpecError([Problem("", f"'{path}' is a directory; a spec is a YAML or JSON file.")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError([Problem("", f"The spec file '{path}' cannot be read: {reason}.")]) from error
    return _decoded(content, f"'{path}'")


def _decoded(content: bytes, what: str) -> str:
    if len(content) > MAX_BYTES:
        message = f"{what} is larger than {MAX_BYTES // 2**20} MiB; a spec is a small YAML or JSON file."
        raise SpecError([Problem("", message)])
    if content[8:12] == b"DUCK":
        raise SpecError([Problem("", f"{what} is a DuckDB file, not a spec.")])
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SpecError([Problem("", f"{what} is encoded as UTF-16; save it as UTF-8.")])
    if b"\0" in content:
        raise SpecError([Problem("", f"{what} is a binary file; a spec is a YAML or JSON file.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{what} is not encoded as UTF-8 (line {line}, byte {error.start}); save it as UTF-8."
        raise SpecError([Problem("", message)]) from None


class _NotJson(ValueError):
    """A value JSON does not have."""


def _load_json(text: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    problems.append(Problem("", f"Field '{key[:100]}' appears twice in one mapping."))
                seen.add(key)
        return made

    def constant(name: str) -> Any:
        raise _NotJson(f"'{name}' is not a JSON number")

    if not text.strip():
        return None, []
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant), problems
    except json.JSONDecodeError as error:
        message = f"The spec is not valid JSON: {error.msg}."
        return None, [Problem(f"line {error.lineno}, column {error.colno}", message)]
    except RecursionError:
        return None, [Problem("", "The spec is nested too deeply.")]
    except ValueError as error:
        return None, [Problem("", f"The spec is not valid JSON: {error}.")]


def _storable(value: Any) -> Any:
    """The value without what :func:`_value_problems` reports, so that the rest of it can be validated too."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "?")
    if isinstance(value, dict):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list) else value


def _value_problems(data: Mapping[str, Any]) -> list[Problem]:
    """Values nothing of Rowmill can keep: NUL, lone surrogates, NaN, infinity, extreme depth."""
    problems: list[Problem] = []
    open_values: list[Iterator[tuple[Any, Any]]] = [iter(data.items())]
    place: list[str] = []
    while open_values:
        item = next(open_values[-1], None)
        if item is None:
            open_values.pop()
            if place:
                place.pop()
            continue
        key, value = item
        here = ".".join([*place, str(key)])
        for text, what in ((key, "The field's name"), (value, "The text")):
            problem = text_problem(text) if isinstance(text, str) else None
            if problem:
                shown = here.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
                problems.append(Problem(shown, f"{what} {problem}."))
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(Problem(here, "The number is not finite; a spec has no NaN and no infinity."))
        elif isinstance(value, (dict, list)):
            if len(open_values) >= MAX_DEPTH:
                return [Problem("", f"The spec is nested too deeply (more than {MAX_DEPTH} levels).")]
            open_values.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
            place.append(str(key))
    return problems
