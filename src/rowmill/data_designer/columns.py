"""Columns: DataDesigner's column configurations as those of a spec. Most have the same fields; here is what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rowmill.data_designer.condition import NotSql, as_sql
from rowmill.data_designer.note import Notes
from rowmill.spec.column import ColumnConfig
from rowmill.spec.registry import COLUMN_TYPES

_DEFAULTS: dict[str, Any] = {"drop": False, "skip": None, "propagate_skip": True, "convert_to": None}
_ISO_FORMAT = "%Y-%m-%dT%H:%M:%S"
_MOMENT_FORMATS = ("%Y", "%Y-%m", "%Y/%m/%d", "%m/%d/%Y", "%m/%d/%Y %H:%M", "%B %d, %Y", "%b %d, %Y", "%d %B %Y")


def imported_column(config: Mapping[str, Any], place: str, notes: Notes) -> dict[str, Any] | None:
    """The column of a spec, or None (and a note) where Rowmill has no such type."""
    kind = config.get("column_type")
    cls = COLUMN_TYPES.find(kind) if isinstance(kind, str) else None
    if cls is None:
        notes.add(place, f"Column '{config.get('name')}': there is no column type '{kind}'; it is left out.")
        return None
    column = {
        field: value
        for field, value in config.items()
        if value is not None and not (field in _DEFAULTS and value == _DEFAULTS[field])
    }
    special = _SPECIAL.get(str(kind))
    if special is not None:
        special(column, place, notes)
    if str(kind) in _DIFFERS:
        notes.add(place, f"Column '{column.get('name')}': {_DIFFERS[str(kind)]}")
    if column.get("with_trace") not in (None, False, "none"):
        notes.add(f"{place}.with_trace", f"'{column.get('name')}__trace' is JSON text, no list of messages.")
    return _in_order(_without_unknown(column, cls, place, notes))


def _without_unknown(column: dict[str, Any], cls: type[ColumnConfig], place: str, notes: Notes) -> dict[str, Any]:
    kept = {}
    for field, value in column.items():
        if field in cls.model_fields:
            is_default = value == cls.model_fields[field].default or (field, value) == ("with_trace", "none")
            if field == "column_type" or not is_default:
                kept[field] = value
        elif value not in (False, [], {}, ""):
            notes.add(f"{place}.{field}", f"Column '{column['name']}': '{field}' has no equivalent; it is left out.")
    return kept


def _in_order(column: dict[str, Any]) -> dict[str, Any]:
    first = ("name", "column_type", "sampler_type")
    return {key: column[key] for key in first if key in column} | {k: v for k, v in column.items() if k not in first}


def _sampler(column: dict[str, Any], place: str, notes: Notes) -> None:
    kind = column.get("sampler_type")
    column["params"] = _params(str(kind), column.get("params") or {}, f"{place}.params", notes)
    conditional: dict[str, Any] = {}
    for condition, params in (column.pop("conditional_params", None) or {}).items():
        where = f"{place}.conditional_params.{condition}"
        try:
            text = as_sql(condition)
        except NotSql as problem:
            notes.add(where, f"Write this condition as SQL: {problem}.")
            text = condition
        conditional[text] = _params(str(kind), params, where, notes)
    if conditional:
        column["conditional_params"] = conditional
    if kind in {"datetime", "timedelta"} and not column.get("convert_to"):
        column["convert_to"] = _ISO_FORMAT  # what DataDesigner writes
    if kind in {"uuid", "person", "person_from_faker"} and column.pop("convert_to", None):
        notes.add(f"{place}.convert_to", f"Values of a {kind} sampler are not converted, here or in DataDesigner.")
    if kind == "uuid" and not column["params"].get("short_form"):
        notes.add(place, f"Column '{column['name']}': UUIDs have their hyphens, which DataDesigner leaves out.")


def _params(kind: str, given: Mapping[str, Any], place: str, notes: Notes) -> dict[str, Any]:
    params = {field: value for field, value in given.items() if field != "sampler_type" and value is not None}
    for flag in ("short_form", "uppercase", "with_synthetic_personas"):
        if params.get(flag) is False:
            del params[flag]
    if params.get("unit") == "D":
        del params["unit"]
    if kind == "category" and "values" in params:
        params["values"] = _of_one_kind(params["values"])
    if kind == "subcategory" and "values" in params:
        every = [value for values in params["values"].values() for value in values]
        texts = any(isinstance(value, str) for value in every)
        params["values"] = {
            key: [str(value) if texts else value for value in values] for key, values in params["values"].items()
        }
    if kind == "datetime":
        for field in ("start", "end"):
            params[field] = _moment(params.get(field), f"{place}.{field}", notes)
    if kind == "person":
        params["file"] = f"people_{params.get('locale', 'en_US')}.parquet"
        notes.add(
            f"{place}.file",
            f"Rowmill brings no managed people; '{params['file']}' is to be a parquet or csv file of them. Fields that "
            "DataDesigner derives (birth_date, email_address, phone_number, national_id) are those of the file.",
        )
    return params


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Values as NumPy, and so DataDesigner, mixes them: beside a text, numbers become text."""
    return [str(value) for value in values] if any(isinstance(value, str) for value in values) else list(values)


def _moment(value: object, place: str, notes: Notes) -> object:
    """A moment in ISO 8601, if it can be read as one."""
    text = str(value)
    try:
        return datetime.fromisoformat(text).isoformat(sep=" ")
    except ValueError:
        pass
    for form in _MOMENT_FORMATS:
        try:
            return datetime.strptime(text, form).isoformat(sep=" ")
        except ValueError:
            continue
    notes.add(place, f"Write '{text}' as a date and time of ISO 8601, for example 2024-01-31 or 2024-01-31T08:00.")
    return text


def _custom(column: dict[str, Any], place: str, notes: Notes) -> None:
    name = column.get("generator_function")
    column["generator_function"] = f"functions:{name}"
    notes.add(
        f"{place}.generator_function",
        f"Column '{column['name']}': a configuration holds only the name of its function. Put '{name}' into "
        "functions.py beside the spec, with @rowmill.generator(required_columns=[…], side_effect_columns=[…]).",
    )
    if "dtype" not in column:
        notes.add(
            f"{place}.dtype",
            f"Column '{column['name']}': a configuration does not say what '{name}' returns, so its values are taken "
            "for texts. Where they are none, add their dtype: int, float, bool, json, 'VARCHAR[]' …",
        )
    if column.get("generation_strategy") == "full_column":
        notes.add(
            f"{place}.generation_strategy",
            f"'{name}' gets a pyarrow.Table of a row group, no DataFrame (that is rows.to_pandas()), and returns its "
            "columns with row_index.",
        )


def _validation(column: dict[str, Any], place: str, notes: Notes) -> None:
    params = {field: value for field, value in (column.get("validator_params") or {}).items() if value is not None}
    params.pop("validator_type", None)
    function = params.get("validation_function")
    if isinstance(function, str) and ":" not in function:
        params["validation_function"] = f"functions:{function}"
        notes.add(
            f"{place}.validator_params.validation_function",
            f"Column '{column['name']}': put '{function}' into functions.py beside the spec.",
        )
    column["validator_params"] = params


_DIFFERS = {
    "embedding": "its value is the vector itself, where DataDesigner has a record with a list 'embeddings'.",
    "image": "its value is the path of one file, where DataDesigner has a list of them.",
}
_SPECIAL: dict[str, Callable[[dict[str, Any], str, Notes], None]] = {
    "sampler": _sampler,
    "custom": _custom,
    "validation": _validation,
}
