"""Parameters: named values of a spec, given when it is read. Afterwards the spec is complete without them.

A template that names one begins with ``{% set language = "de" %}``; in SQL the literal stands in the place of the name.
Every other text that only names parameters is rendered when the spec is read: ``path: "seeds/{{ language }}.csv"``,
``records: "{{ rows }}"`` (a number).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import JsonValue, ValidationError, model_validator

from rowmill.errors import Problem, SpecError
from rowmill.spec.column import StrictModel
from rowmill.spec.name import RESERVED_COLUMN_NAMES, fold
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.problems import problems_of
from rowmill.spec.template import Template, is_template

Value = str | int | float | bool
Path = tuple[str | int, ...]

ENVIRONMENT_PREFIX = "ROWMILL_SET_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_TRUTHS = {"true": True, "false": False}
_JINJA_WORDS = (
    "and block caller cycler dict elif else endfor endif false for if in is joiner kwargs loop macro namespace none not"
    " or range raw row self set true varargs with"
)
_SQL_WORDS = (
    "all analyse analyze and any array as asc asymmetric at between both by case cast check collate collation column"
    " constraint create cross date default deferrable desc describe distinct do else end except exists false"
    " fetch filter for foreign from full glob grant group having ilike in initially inner intersect interval into"
    " is isnull join lambda lateral leading left like limit natural not notnull null nulls offset on"
    " only or order outer over overlaps partition pivot placing primary qualify references returning right row"
    " select semi set show similar some summarize symmetric table then time timestamp to trailing true try_cast union"
    " unique unpivot using variadic when where window with within without"
)
_OF_JINJA = frozenset(_JINJA_WORDS.split())
_OF_SQL = frozenset(_SQL_WORDS.split())
_ROW_TEMPLATES = frozenset({"prompt", "system_prompt", "expr", "when"})
_SQL_FIELDS = frozenset({"sql", "when", "predicate", "order_by", "where"})
_SQL_TOKENS = re.compile(
    r"""(?P<other>'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*|/\*.*?\*/|[0-9][\w.]*)"""
    r"""|"(?P<quoted>(?:[^"]|"")*)"|(?P<word>[^\W\d]\w*)""",
    re.DOTALL,
)
_LONE_NAME = re.compile(r"\s*\{\{-?\s*([A-Za-z_]\w*)\s*-?\}\}\s*")


class Parameter(StrictModel):
    """A value a spec asks for when it is read."""

    type: Literal["str", "int", "float", "bool"] = "str"
    """Of which type it is."""
    default: JsonValue = None
    """Its value when none is given. Default: none: it must be given."""
    choices: tuple[JsonValue, ...] = ()
    """The values it may have. Default: any."""
    description: str = ""
    """What it is for, for people."""

    @model_validator(mode="after")
    def _values_have_the_type(self) -> Self:
        for value in self.choices:
            self._typed(value)
        if self.default is not None:
            self.value_of(self.default)
        return self

    def value_of(self, given: object) -> Value:
        """The value, of the right type, of a text from a command line or of a value of Python. Raises ValueError."""
        value = self._typed(given)
        if self.choices and value not in self._allowed():
            hint = did_you_mean(str(value), [str(choice) for choice in self.choices])
            raise ValueError(f"{value!r} is none of {', '.join(str(choice) for choice in self.choices)}.{hint}")
        return value

    def _allowed(self) -> list[Value]:
        return [self._typed(choice) for choice in self.choices]

    def _typed(self, given: object) -> Value:
        text = given.strip() if isinstance(given, str) else None
        if self.type == "str" and isinstance(given, str):
            if "\0" in given or any("\ud800" <= character <= "\udfff" for character in given):
                raise ValueError("The text contains a character that cannot be stored.")
            return given
        if self.type == "int" and (type(given) is int or (text is not None and _INT.fullmatch(text))):
            number = int(given)  # type: ignore[call-overload]
            if abs(number) < 2**63:
                return int(number)
        if self.type == "float" and (type(given) in (int, float) or text):
            try:
                value = float(given)  # type: ignore[arg-type]
            except ValueError:
                value = float("nan")
            if value - value == 0:
                return value
        if self.type == "bool" and (type(given) is bool or (text is not None and text.lower() in _TRUTHS)):
            return given if isinstance(given, bool) else _TRUTHS[str(text).lower()]
        wanted = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}[self.type]
        raise ValueError(f"Expected {wanted}, not {str(given)[:60]!r}.")


def values_of(
    declared: object, given: Mapping[str, object], environ: Mapping[str, str], columns: list[str]
) -> dict[str, Value]:
    """The value of every parameter: what is given, what the environment says, the default. In this order.

    ``declared`` is the field ``parameters`` of a spec. Raises SpecError with every problem found.
    """
    if declared is None:
        declared = {}
    if not isinstance(declared, Mapping):
        raise SpecError([Problem("parameters", "Expected a mapping: {language: {type: str, default: en}}.")])
    problems: list[Problem] = []
    parameters: dict[str, Parameter] = {}
    names = {fold(column): column for column in columns}
    for name, fields in declared.items():
        problem = _name_problem(str(name), names, parameters)
        if problem:
            problems.append(Problem(f"parameters.{name}", problem))
        try:
            parameters[str(name)] = Parameter.model_validate(fields)
        except ValidationError as error:
            problems += [
                Problem(f"parameters.{name}" + (f".{one.place}" if one.place else ""), one.message)
                for one in problems_of(error, Parameter, fields)
            ]
    for name in given:
        if name not in declared:
            hint = did_you_mean(name, list(parameters)) or (
                f" It has {', '.join(parameters)}." if parameters else " It has none."
            )
            problems.append(Problem("parameters", f"The spec has no parameter '{name[:100]}'.{hint}"))
    values: dict[str, Value] = {}
    for name, parameter in parameters.items():
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        chosen = given.get(name, environ.get(variable, parameter.default))
        if chosen is None:
            text = f"Parameter '{name}' has no value: say --set {name}=VALUE, set {variable}, or give it a default."
            problems.append(Problem(f"parameters.{name}", text))
            continue
        try:
            values[name] = parameter.value_of(chosen)
        except ValueError as error:
            source = "" if name in given or variable not in environ else f" ({variable})"
            problems.append(Problem(f"parameters.{name}", f"{error}{source}"))
    if problems:
        raise SpecError(problems)
    return values


def _name_problem(name: str, columns: Mapping[str, str], others: Mapping[str, object]) -> str | None:
    folded = fold(name)
    if not _NAME.fullmatch(name):
        return f"'{name[:100]}' cannot be the name of a parameter: letters, digits and '_', not beginning with a digit."
    if folded in RESERVED_COLUMN_NAMES:
        return f"'{name}' is the name of one of Rowmill's own columns; choose another."
    if name in _OF_JINJA or folded in _OF_SQL:
        return f"'{name}' is a word of {'Jinja' if name in _OF_JINJA else 'SQL'}; choose another."
    if folded in columns:
        return f"'{name}' is a column, too: a prompt that names it would mean either. Rename one of them."
    twin = next((other for other in others if fold(other) == folded), None)
    return None if twin is None else f"'{twin}' and '{name}' differ only in case, which SQL does not see."


class Filling:
    """Puts the values of parameters into the plain data of a spec; remembers which were used."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        self._folded = {fold(name): name for name in values}
        self._any = re.compile("|".join(map(re.escape, values)), re.IGNORECASE) if values else None
        self.used: set[str] = set()

    def filled(self, data: Any, path: Path = ()) -> Any:
        """The data with values in the place of names; the path is that of ``data`` in the spec."""
        if self._any is None:
            return data
        if isinstance(data, Mapping):
            return {
                self._key(key, path): inner
                if isinstance(key, str) and key.startswith("x-") and not path
                else self.filled(inner, (*path, key))
                for key, inner in data.items()
            }
        if isinstance(data, list):
            return [self.filled(inner, (*path, place)) for place, inner in enumerate(data)]
        return self._text(data, path) if isinstance(data, str) and self._any.search(data) else data

    def _key(self, key: Any, path: Path) -> Any:
        is_condition = bool(path) and path[-1] == "conditional_params" and isinstance(key, str)
        return self._sql(key) if is_condition else key

    def _text(self, text: str, path: Path) -> Any:
        field = path[-1] if path else ""
        if is_template(text):
            return self._template(text, path)
        if path[:1] == ("columns",) and field in _SQL_FIELDS and len(path) > 2:
            return self._sql(text)
        if path[:1] == ("columns",) and len(path) > 3 and path[-2] in _SQL_FIELDS:
            return self._sql(text)
        return text

    def _template(self, text: str, path: Path) -> Any:
        try:
            references = Template(text).references
        except SpecError:
            return text  # said where templates are judged
        mine = [name for name in references if name in self._values]
        if not mine:
            return text
        self.used.update(mine)
        if (path[:1] == ("columns",) and path[-1] in _ROW_TEMPLATES) or path[:1] == ("processors",):
            return "".join(f"{{% set {name} = {_in_jinja(self._values[name])} %}}" for name in mine) + text
        if set(references) != set(mine):
            return text
        alone = _LONE_NAME.fullmatch(text)
        if alone is not None:
            return self._values[alone[1]]
        return Template(text, ".".join(map(str, path))).render(self._values)

    def _sql(self, text: str) -> str:
        return "".join(self._pieces(text))

    def _pieces(self, text: str) -> Iterator[str]:
        end = 0
        for token in _SQL_TOKENS.finditer(text):
            yield text[end : token.start()]
            end = token.end()
            name = self._folded.get(fold(token["word"] or (token["quoted"] or "").replace('""', '"')))
            if name is None or not _is_value(text[: token.start()], text[end:]):
                yield token[0]
                continue
            self.used.add(name)
            yield _in_sql(self._values[name])
        yield text[end:]


_BEFORE = re.compile(r"(\.|\bas|\blambda)\s*$", re.IGNORECASE)
_AFTER = re.compile(r"\s*(\(|\.(?!\d)|:=|=>|->(?!>))")
_IN_STRUCT = re.compile(r"[{,]\s*$")
_OF_STRUCT = re.compile(r"\s*:(?!:)")


def _is_value(before: str, after: str) -> bool:
    """Whether a name stands where a value does: it is no field, function, alias or name of an argument."""
    names_a_field = _IN_STRUCT.search(before) and _OF_STRUCT.match(after)
    return not (names_a_field or _BEFORE.search(before[-40:]) or _AFTER.match(after))


def _in_jinja(value: Value) -> str:
    # Not as ASCII: Jinja reads a surrogate pair as two halves. What ends a block is no end within a text.
    return json.dumps(value, ensure_ascii=False)


def _in_sql(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"({value})" if isinstance(value, int) else f"cast({value!r} as double)"
