"""Assembling: what a spec file leaves to other places is put into it, so that the spec is complete by itself.

In this order: model lists of other files (``include``), prompts of other files (``prompt_file``), models of one's own
(:mod:`rowmill.spec.own_models`), values of parameters. A run database keeps the result and needs none of them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from rowmill.errors import Problem, SpecError
from rowmill.spec.name import fold
from rowmill.spec.own_models import own_entries, own_models_file
from rowmill.spec.parameter import Filling, values_of
from rowmill.spec.yaml_loader import load_yaml

PROMPT_FILES: Final = {"prompt_file": "prompt", "system_prompt_file": "system_prompt"}
"""Fields of columns that name a file, and the fields its text is for."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_FILES: Final = 100


@dataclass(frozen=True, slots=True)
class Assembled:
    """A spec that needs nothing else."""

    data: dict[str, Any]
    parameters: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[int, str] = field(default_factory=dict)
    """Of models that come from elsewhere: their place in the spec → where they stand (``models.yaml: models.0``)."""

    def placed(self, problem: Problem) -> Problem:
        """The problem, at the place where a person finds it."""
        first, _, rest = problem.place.partition(".")
        number, _, inner = rest.partition(".")
        origin = self.origins.get(int(number)) if first == "models" and number.isdecimal() else None
        return problem if origin is None else replace(problem, place=f"{origin}{f'.{inner}' if inner else ''}")


def needs_assembling(data: Mapping[str, Any]) -> bool:
    """Whether plain data leaves anything to other places."""
    columns = data.get("columns")
    names_files = isinstance(columns, list) and any(
        isinstance(column, Mapping) and not PROMPT_FILES.keys().isdisjoint(column) for column in columns
    )
    return "parameters" in data or "include" in data or names_files or bool(_missing_aliases(data))


def assemble(
    data: Mapping[str, Any],
    directory: Path,
    parameters: Mapping[str, object],
    environ: Mapping[str, str],
    file_name: str,
) -> Assembled:
    """The spec complete by itself. ``directory`` is where its paths start. Raises SpecError with all problems found."""
    made = dict(data)
    problems: list[Problem] = []
    models, origins = _models(made, directory, file_name, environ, problems)
    columns = _with_prompts(made.get("columns"), directory, problems)
    if models is not None:
        made["models"] = models
    if columns is not None:
        made["columns"] = columns
    declared = made.pop("parameters", None)
    made.pop("include", None)
    values = {}
    try:
        values = values_of(declared, parameters, environ, _column_names(columns))
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems)
    filling = Filling(values)
    filled: dict[str, Any] = filling.filled(made)
    unused = [name for name in values if name not in filling.used]
    warnings = tuple(Problem(f"parameters.{name}", f"Parameter '{name}' is used nowhere.") for name in unused)
    return Assembled(filled, values, warnings, origins)


def refuse_shadowed(parameters: Iterable[str], columns: Iterable[str]) -> None:
    """Raises SpecError for a column of the seed data that has the name of a parameter."""
    known = {fold(column): column for column in columns}
    problems = [
        Problem(f"parameters.{name}", f"The seed data has a column '{known[fold(name)]}', too. Rename the parameter.")
        for name in parameters
        if fold(name) in known
    ]
    if problems:
        raise SpecError(problems)


def _column_names(columns: Any) -> list[str]:
    listed = columns if isinstance(columns, (list, tuple)) else ()
    return [column["name"] for column in listed if isinstance(column, Mapping) and isinstance(column.get("name"), str)]


def _models(
    data: Mapping[str, Any], directory: Path, file_name: str, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[list[Any] | None, dict[int, str]]:
    """The spec's models, with those of other files behind them, and where these stand."""
    own = data.get("models", [])
    if not isinstance(own, (list, tuple)):
        return None, {}
    models: list[Any] = list(own)
    origins: dict[int, str] = {}
    declared = dict.fromkeys(_aliases(models), file_name)
    if "include" in data:
        for origin, entry in _included(data["include"], directory, directory, (), problems):
            alias = entry.get("alias") if isinstance(entry, Mapping) else None
            source = origin.partition(":")[0]
            if isinstance(alias, str) and alias in declared:
                text = f"The model alias '{alias}' of {source} is declared in {declared[alias]} already."
                problems.append(Problem("include", text))
                continue
            if isinstance(alias, str):
                declared[alias] = source
            origins[len(models)] = origin
            models.append(entry)
    wanted = _missing_aliases({**data, "models": models})
    if wanted:
        file = own_models_file(environ)
        for number, entry in own_entries(file) if file.exists() else ():
            if isinstance(entry, Mapping) and entry.get("alias") in wanted:
                origins[len(models)] = f"{file}: models.{number}"
                models.append(_moved(entry, file.parent))
    return (models if "models" in data or models else None), origins


def _missing_aliases(data: Mapping[str, Any]) -> set[str]:
    """The aliases columns name that no model of the spec has."""
    models = data.get("models")
    declared = set(_aliases(models if isinstance(models, (list, tuple)) else ()))
    columns = data.get("columns")
    found = set()
    for column in columns if isinstance(columns, (list, tuple)) else ():
        if isinstance(column, Mapping):
            given = [column.get("model_alias"), *_texts(column.get("model_aliases"))]
            found |= {alias for alias in given if isinstance(alias, str) and "{{" not in alias}
    return found - declared


def _texts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _aliases(models: Iterable[Any]) -> Iterator[str]:
    for model in models:
        alias = model.get("alias") if isinstance(model, Mapping) else getattr(model, "alias", None)
        if isinstance(alias, str):
            yield alias


def _included(
    value: Any, directory: Path, root: Path, open_files: tuple[Path, ...], problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    """The entries of the files an ``include`` names, and of those they include, each with where it stands."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        problems.append(Problem("include", "Expected the name of a file with a list of models, or a list of names."))
        return
    for name in names:
        try:
            path = _inside(name, directory, root, "include")
            shown = path.relative_to(root.absolute()).as_posix()
            if path in open_files:
                loop = " → ".join(each.name for each in (*open_files[open_files.index(path) :], path))
                raise SpecError([Problem("include", f"The files include each other: {loop}.")])
            if len(open_files) >= _MOST_FILES:
                raise SpecError([Problem("include", f"More than {_MOST_FILES} files include each other.")])
            document = _document(path, shown)
            for number, entry in enumerate(document.get("models") or []):
                yield f"{shown}: models.{number}", _moved(entry, path.parent, root)
            if "include" in document:
                yield from _included(document["include"], path.parent, root, (*open_files, path), problems)
        except SpecError as error:
            problems += error.problems


def _document(path: Path, shown: str) -> Mapping[str, Any]:
    """What an included file holds: a list of models, or a mapping with ``models`` and ``include``."""
    text = _read(path, shown, "include")
    if path.suffix.lower() == ".json":
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError([Problem("include", f"'{shown}' is not valid JSON: {error}.")]) from None
    else:
        data, found = load_yaml(text)
        if found:
            raise SpecError([Problem(f"{shown}: {each.place}".rstrip(": "), each.message) for each in found])
    if isinstance(data, list):
        return {"models": data}
    known = isinstance(data, dict) and all(key in ("models", "include") or key.startswith("x-") for key in data)
    if not known or not isinstance(data.get("models", []), list):
        text = f"'{shown}' is no list of models: it holds a list, or a mapping with 'models' and 'include'."
        raise SpecError([Problem("include", text)])
    fields: Mapping[str, Any] = data
    return fields


def _moved(entry: Any, directory: Path, root: Path | None = None) -> Any:
    """A model of another file: its paths start there."""
    ca_file = entry.get("ca_file") if isinstance(entry, Mapping) else None
    if not isinstance(ca_file, str) or ca_file.startswith(("~", "/")):
        return entry
    place = directory / ca_file
    return {**entry, "ca_file": str(place if root is None else place.relative_to(root.absolute()))}


def _with_prompts(columns: Any, directory: Path, problems: list[Problem]) -> Any:
    """The columns with the texts of the files they name."""
    if not isinstance(columns, (list, tuple)):
        return columns
    made = []
    for number, column in enumerate(columns):
        if isinstance(column, Mapping) and not PROMPT_FILES.keys().isdisjoint(column):
            column = dict(column)
            for file_field, text_field in PROMPT_FILES.items():
                if file_field in column:
                    name = column.pop(file_field)
                    place = f"columns.{number}.{file_field}"
                    try:
                        if column.get(text_field) is not None:
                            text = f"The column has a '{text_field}' of its own; leave out one of them."
                            raise SpecError([Problem(place, text)])
                        if not isinstance(name, str):
                            raise SpecError([Problem(place, "Expected the name of a text file.")])
                        column[text_field] = _read(_inside(name, directory, directory, place), name, place)
                    except SpecError as error:
                        problems += error.problems
        made.append(column)
    return made


def _inside(name: str, directory: Path, root: Path, place: str) -> Path:
    """The file of that name. Raises SpecError for one outside of the spec's directory."""
    if not name.strip() or "\0" in name:
        raise SpecError([Problem(place, "Expected the name of a file.")])
    if PurePosixPath(name).is_absolute() or name.startswith("~"):
        text = f"'{name}' is no path below the directory of the spec; copy or link the file there."
        raise SpecError([Problem(place, text)])
    parts: list[str] = list(directory.absolute().relative_to(root.absolute()).parts)
    for part in PurePosixPath(name).parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            text = f"'{name}' leaves the directory of the spec; copy or link the file there."
            raise SpecError([Problem(place, text)])
    return root.absolute().joinpath(*parts)


def _read(path: Path, shown: str, place: str) -> str:
    try:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "is not there" if not path.exists() else "is no file"
            raise SpecError([Problem(place, f"The file '{shown}' {what} ({path}).")])
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SpecError([Problem(place, f"The file '{shown}' cannot be read: {error.strerror or error}.")]) from error
    if len(content) > _MOST_BYTES:
        raise SpecError([Problem(place, f"The file '{shown}' is larger than {_MOST_BYTES // 2**20} MiB.")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = f"The file '{shown}' is not encoded as UTF-8 (byte {error.start})."
        raise SpecError([Problem(place, text)]) from None
    if "\0" in text:
        raise SpecError([Problem(place, f"The file '{shown}' is a binary file.")])
    return text
