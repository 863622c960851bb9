"""Loading: from a YAML or JSON file to a spec, or to every problem it has."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rowmill.counted import plural
from rowmill.errors import Problem, SpecError
from rowmill.spec.name import safe_spec_name, text_problem
from rowmill.spec.spec import Spec
from rowmill.spec.spelling import doubtful_spellings
from rowmill.spec.yaml_loader import MAX_DEPTH, Spelling, load_yaml_with_spellings

_log = logging.getLogger("rowmill.spec")

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


def load_spec(path: str | Path) -> LoadedSpec:
    """Reads a spec file: JSON if its name ends in ``.json``, YAML otherwise. Logs its warnings.

    Raises :class:`~rowmill.errors.SpecError` with every problem found.
    """
    path = Path(path)
    format_: SpecFormat = "json" if path.suffix.lower() == ".json" else "yaml"
    spec, warnings = _parsed(_text(path), format_, path.stem)
    for warning in warnings:
        _log.warning("%s", warning)
    return LoadedSpec(spec, path.absolute().parent, path.absolute(), tuple(warnings))


def parse_spec(text: str, format_: SpecFormat = "yaml", name_hint: str = "dataset") -> Spec:
    """A spec from its text. ``name_hint`` becomes its name when the text gives none.

    Raises :class:`~rowmill.errors.SpecError` with every problem found.
    """
    return _parsed(text, format_, name_hint)[0]


def _parsed(text: str, format_: SpecFormat, name_hint: str) -> tuple[Spec, list[Problem]]:
    """The spec, and what may be meant otherwise than it is read."""
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
    problems += _value_problems(data)
    if any(problem.place == "" for problem in problems):  # too deep to look into
        raise SpecError(_limited(problems))
    reported = {problem.place for problem in problems}
    try:
        spec = Spec.from_data({"name": safe_spec_name(name_hint), **(_storable(data) if problems else data)})
    except SpecError as error:
        problems += [problem for problem in error.problems if problem.place not in reported]
    if problems:
        raise SpecError(_limited(problems))
    return spec, doubtful_spellings(spec, spellings)


def _limited(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MAX_REPORTED:
        return problems
    return [*problems[:MAX_REPORTED], Problem("", f"… and {plural(len(problems) - MAX_REPORTED, 'more problem')}.")]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError([Problem("", f"There is no spec file '{path}'. 'rowmill init' writes an example.")]) from None
    except IsADirectoryError:
        raise SpecError([Problem("", f"'{path}' is a directory; a spec is a YAML or JSON file.")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError([Problem("", f"The spec file '{path}' cannot be read: {reason}.")]) from error
    if len(content) > MAX_BYTES:
        message = f"'{path}' is larger than {MAX_BYTES // 2**20} MiB; a spec is a small YAML or JSON file."
        raise SpecError([Problem("", message)])
    if content[8:12] == b"DUCK":
        raise SpecError([Problem("", f"'{path}' is a DuckDB file, not a spec.")])
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SpecError([Problem("", f"'{path}' is encoded as UTF-16; save it as UTF-8.")])
    if b"\0" in content:
        raise SpecError([Problem("", f"'{path}' is a binary file; a spec is a YAML or JSON file.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"'{path}' is not encoded as UTF-8 (line {line}, byte {error.start}); save it as UTF-8."
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
