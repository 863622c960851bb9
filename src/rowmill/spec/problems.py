"""Problems: what pydantic found wrong, in plain words, with the place in the spec and the nearest name."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from rowmill.errors import Problem, SpecError
from rowmill.spec.column import StrictModel
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.other_words import other_word_for_field

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_EXPECTED = {
    "int": "a whole number",
    "int_from_float": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "string": "text",
    "bool": "true or false",
    "dict": "a mapping of fields",
    "model": "a mapping of fields",
    "mapping": "a mapping of fields",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "date": "a date",
    "datetime": "a date and time",
    "time": "a time",
    "finite_number": "a finite number",
    "none_required": "nothing",
    "time_delta": "a time span",
    "bytes": "text",
    "url": "a URL",
    "uuid": "a UUID",
    "callable": "a function",
    "frozen_set": "a list",
    "iterable": "a list",
    "json": "JSON",
    "json_invalid": "JSON",
    "is_instance_of": "an object of another kind",
    "model_class": "a mapping of fields",
    "dataclass": "a mapping of fields",
    "string_unicode": "valid Unicode text",
    "string_sub": "text",
    "int_parsing_size": "a whole number that is not that long",
    "date_from_datetime_inexact": "a date without a time",
    "date_from_datetime": "a date",
    "datetime_from_date": "a date and time",
    "datetime_object_invalid": "a date and time",
}
"""Of an error type without its ending ('int_parsing', 'int_type' → 'int'): what a value there is."""
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_SECRET_WORDS = ("key", "token", "secret", "password")


def failing(title: str, errors: Sequence[tuple[tuple[str | int, ...], str]]) -> ValidationError:
    """An error to raise in a validator, with one message for each location below the validated value."""
    # The messages are arguments, not templates: a name with braces must not be taken for one.
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type=PydanticCustomError("rowmill", "{text}", {"text": text}), loc=location, input=None)
            for location, text in errors
        ],
    )


def problems_of(error: ValidationError, model: type[BaseModel], data: object) -> list[Problem]:
    """All problems of a failed validation of ``data`` as ``model``, in document order."""
    found = [_problem(details, model, data) for details in error.errors(include_url=False)]
    return in_document_order(found, data)


def first_reason(error: ValidationError) -> str:
    """The first problem of a failed validation in our own words, where its place is clear."""
    return _message(error.errors(include_url=False)[0], ())


def in_document_order(problems: Iterable[Problem], data: object) -> list[Problem]:
    """The problems without repetition, in the order their places have in the document."""

    def position(problem: Problem) -> list[int]:
        positions = []
        here = data
        for part in problem.place.split("."):
            step = _step(here, part)
            if step is None:
                positions.append(1 << 60)
                break
            index, here = step
            positions.append(index)
        return positions

    return sorted(dict.fromkeys(problems), key=position)


def _step(here: object, part: str) -> tuple[int, object] | None:
    if isinstance(here, Mapping):
        for index, (key, value) in enumerate(here.items()):
            if str(key) == part:
                return index, value
    elif isinstance(here, Sequence) and not isinstance(here, str) and part.isdecimal() and int(part) < len(here):
        return int(part), here[int(part)]
    return None


def _problem(details: ErrorDetails, model: type[BaseModel], data: object) -> Problem:
    path, levels, annotations = _walk(details, model, data)
    place = ".".join(str(part) for part in path)
    if details["type"] == "extra_forbidden":
        return Problem(place, _unknown_field(str(details["loc"][-1]), path, levels))
    options = list(dict.fromkeys(option for annotation in annotations for option in _options_of(annotation)))
    return Problem(place, _message(details, path, options))


def _walk(
    details: ErrorDetails, model: type[BaseModel], data: object
) -> tuple[list[str | int], list[dict[str, None]], list[object]]:
    """The part of pydantic's location that is in the document, the names known at each level, the field's types."""
    annotations: list[object] = []
    path: list[str | int] = []
    levels: list[dict[str, None]] = []
    here = data
    models: list[type[BaseModel]] = [model]
    location = details["loc"]
    missing = details["type"] == "missing"
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(part, int) and isinstance(here, (list, tuple)) and part < len(here):
            here = here[part]
            if isinstance(here, Mapping):
                cls = _class_of_item(path, here)
                models = [cls] if cls is not None else models
        elif (
            isinstance(part, str)
            and isinstance(here, Mapping)
            and (part in here or (last and (missing or any(part in each.model_fields for each in models))))
        ):
            fields = [each for each in models if part in each.model_fields]
            if fields or last or not models:  # otherwise the key of a free mapping, whose values are of these models
                levels.append({name: None for each in models for name in each.model_fields})
                annotations = [each.model_fields[part].annotation for each in fields]
                models = [inner for each in fields for inner in _models_of_field(each, part, here)]
            here = here.get(part)
        else:  # the name of a union's branch or a validator: pydantic's, not the document's
            continue
        path.append(part)
    return path, levels, annotations


def _class_of_item(path: list[str | int], item: Mapping[str, Any]) -> type[BaseModel] | None:
    """The class of a column or processor, which is told by one of its fields."""
    from rowmill.spec.registry import COLUMN_TYPES, PROCESSORS

    if path not in (["columns"], ["processors"]):
        return None
    try:
        if path == ["columns"]:
            return COLUMN_TYPES.find(str(item.get("column_type")))
        return PROCESSORS.find(str(item.get("processor_type")))
    except SpecError:  # reported by the validation itself
        return None


def _models_of_field(model: type[BaseModel], field: str, data: Mapping[str, Any]) -> list[type[BaseModel]]:
    try:
        chosen = model.field_model(field, data) if issubclass(model, StrictModel) else None
    except SpecError:  # of a plug-in that cannot be loaded: reported by the validation itself
        chosen = None
    return _models_in(model.model_fields[field].annotation) if chosen is None else [chosen]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]


def _unknown_field(name: str, path: Sequence[str | int], levels: Sequence[Mapping[str, None]]) -> str:
    known = levels[-1] if levels else {}
    hint = did_you_mean(name, known)
    if not hint and any(name in level for level in levels[:-1]):
        hint = f" '{name}' is a field of the level above."
    hint = hint or other_word_for_field(name)
    if not hint and known:
        hint = f" Known fields: {', '.join(known)}."
    return f"Unknown field '{name}'.{hint}"


def _message(details: ErrorDetails, path: Sequence[str | int], options: Sequence[str] = ()) -> str:
    """Our own words for a type of error. What pydantic says in its own is never shown: it changes with the version."""
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    given = _shown(details["input"], path)
    if kind == "missing":
        return f"Field '{path[-1] if path else details['loc'][-1]}' is required."
    if kind in {"value_error", "assertion_error"}:
        return _sentence(str(context.get("error") or "This value is not allowed."))
    if kind == "rowmill":
        return str(context["text"])
    if kind in {"literal_error", "enum"}:
        options = options or re.findall(r"'([^']*)'", str(context["expected"]))
        return _not_one_of(options, details["input"], given)
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return f"Is none of the kinds that are allowed here{given}."
    if kind == "multiple_of":
        return f"Must be a multiple of {context['multiple_of']}{given}."
    if kind == "string_pattern_mismatch":
        return f"Must have the form {context['pattern']}{given}."
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = context[key]
        shown = int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        return f"Must be {words} {shown}{given}."
    if kind in {"string_too_short", "too_short"}:
        return "Must not be empty." if context["min_length"] == 1 else f"Needs at least {context['min_length']}."
    if kind in {"string_too_long", "too_long"}:
        unit = "characters" if kind == "string_too_long" else "entries"
        return f"Has more than {context['max_length']} {unit}."
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_attributes")
    if stem in _EXPECTED:
        is_unquoted = stem == "string" and given and isinstance(details["input"], (int, float))
        return f"Expected {_EXPECTED[stem]}{given}.{' Quote it to get text.' if is_unquoted else ''}"
    if given:
        return f"This value is not allowed here{given.replace(', not ', ': ', 1)}."
    return "This value is not allowed here."


def _sentence(message: str) -> str:
    return message if message.endswith((".", "?", "!")) else message + "."


def _options_of(annotation: object) -> list[str]:
    """The values a field may have, if it says them: its literals and the members of its enums."""
    if typing.get_origin(annotation) is Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [option for inner in typing.get_args(annotation) for option in _options_of(inner)]


def _not_one_of(names: Sequence[str], value: object, given: str) -> str:
    hint = did_you_mean(value, names) if isinstance(value, str) else ""
    return f"Must be one of {', '.join(names)}{given}.{hint}"


def is_secret(path: Sequence[str | int]) -> bool:
    """Whether the name of a field in the path says that its value may be a secret."""
    return any(word in str(part).lower() for part in path for word in _SECRET_WORDS if part != "max_tokens")


def _shown(value: object, path: Sequence[str | int]) -> str:
    """``, not 'abc'``: what was given, shortened; nothing where it may be a secret."""
    if is_secret(path):
        return ""
    if value is None:
        return ", not nothing"
    if isinstance(value, (bool, int, float, str)):
        text = repr(value) if not isinstance(value, bool) else str(value).lower()
        return f", not {text}" if len(text) <= 60 else f", not {text[:57]}…"
    kinds: list[tuple[type, str]] = [(Mapping, "a mapping"), (list, "a list"), (tuple, "a list")]
    return next((f", not {words}" for kind, words in kinds if isinstance(value, kind)), "")
