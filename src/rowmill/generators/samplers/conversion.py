"""``convert_to``: what a sampler column holds in place of the sampler's own values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from rowmill.generators.samplers.category_parameters import CategoryParameters, SubcategoryParameters
from rowmill.generators.samplers.parameters import FORMATTED, SamplerParameters

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
_DIRECTIVE = re.compile(r"%(-?.?)", re.DOTALL)
_DIRECTIVES = frozenset(
    [*"aAbBcdfgGHIjmMnpSuUVwWxXyY%", "-d", "-H", "-I", "-j", "-m", "-M", "-S", "-y"]  # of DuckDB's strftime
)
_GREATEST_WHOLE = 2.0**63 - 1024
"""The greatest number with a fraction that is a 64-bit whole number, too."""


class Conversion(NamedTuple):
    """How values become those of the column."""

    sql_type: str
    """Of the column."""
    compared_type: str
    """Of the values constraints look at."""
    rounded: bool = False
    strftime: str | None = None
    can_fail: bool = False


def conversion_of(parameters: Sequence[SamplerParameters], convert_to: str | None) -> Conversion:
    """The conversion of values made with any of these parameters. Raises ValueError where there is none."""
    own_type = _common_type(parameters)
    if convert_to is None:
        return Conversion(own_type, own_type)
    kinds = parameters[0].converts_to
    if FORMATTED in kinds:
        problem = _format_problem(convert_to)
        if problem:
            raise ValueError(problem)
        return Conversion("VARCHAR", own_type, strftime=convert_to)
    if not kinds:
        raise ValueError("Values of this sampler type cannot be converted; leave 'convert_to' out.")
    if convert_to not in kinds:
        raise ValueError(f"convert_to is float, int or str, not '{convert_to[:60]}'.")
    if convert_to == "str":
        return Conversion("VARCHAR", own_type)
    sql_type = "BIGINT" if convert_to == "int" else "DOUBLE"
    for each in parameters:
        if isinstance(each, (CategoryParameters, SubcategoryParameters)) and own_type == "VARCHAR":
            _check_texts(each.constants(), convert_to)
    rounded = convert_to == "int" and own_type == "DOUBLE"
    return Conversion(sql_type, sql_type, rounded, can_fail=rounded and not all(map(_fits_64_bits, parameters)))


def _common_type(parameters: Sequence[SamplerParameters]) -> str:
    types = list(dict.fromkeys(each.sql_type() for each in parameters))
    if len(types) == 1:
        return types[0]
    if set(types) == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    raise ValueError(f"'params' and 'conditional_params' make values of different types: {' and '.join(types[:2])}.")


def _fits_64_bits(parameters: SamplerParameters) -> bool:
    extent = parameters.extent()
    return extent is not None and extent[0] >= -_GREATEST_WHOLE and extent[1] <= _GREATEST_WHOLE


def _check_texts(values: Sequence[str], convert_to: str) -> None:
    for value in values:
        if convert_to == "int" and not _WHOLE_NUMBER.fullmatch(value):
            raise ValueError(f"The value '{value[:60]}' is no whole number, so it cannot be converted to int.")
        if convert_to == "float" and not _is_number(value):
            raise ValueError(f"The value '{value[:60]}' is no number, so it cannot be converted to float.")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _format_problem(text: str) -> str | None:
    """Why DuckDB's strftime would not take a format, or None."""
    for match in _DIRECTIVE.finditer(text):
        if match[1] not in _DIRECTIVES:
            hint = {"F": " Write %Y-%m-%d.", "T": " Write %H:%M:%S.", "D": " Write %m/%d/%y.", "e": " Write %-d."}
            return (
                f"'%{match[1]}' is not part of a format of dates.{hint.get(match[1], '')} For example: %Y-%m-%d %H:%M."
            )
    if not _DIRECTIVE.search(text):
        return f"'{text[:60]}' is not a format of dates: it has no '%'. For example: %Y-%m-%d %H:%M."
    return None
