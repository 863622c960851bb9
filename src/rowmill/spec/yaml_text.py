"""A spec written as people write it: YAML with what differs from the defaults, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from rowmill.errors import UsageError
from rowmill.spec.yaml_writer import dump_yaml


def yaml_text(spec: BaseModel) -> str:
    """The YAML that reads back as an equal spec.

    Left out are fields that hold their defaults, but for the name and for those that say of which kind a part is
    (``column_type``, …). Raises UsageError for a function that no other program could import.
    """
    whole = spec.model_dump(mode="json")
    _refuse_what_cannot_be_imported(whole)
    short = {"name": whole["name"], **spec.model_dump(mode="json", exclude_defaults=True)}
    return dump_yaml(_with_kinds(whole, short))


def _refuse_what_cannot_be_imported(part: Any) -> None:
    if isinstance(part, list):
        for inner in part:
            _refuse_what_cannot_be_imported(inner)
    elif isinstance(part, Mapping):
        for name, value in part.items():
            if name.endswith("_function") and isinstance(value, str) and _is_of_one_program(value):
                raise UsageError(
                    f"A spec file cannot name the function '{value}': only this program has it. Move it to the top "
                    "level of a module, for example functions.py beside the spec file, and import it from there."
                )
            _refuse_what_cannot_be_imported(value)


def _is_of_one_program(reference: str) -> bool:
    return reference.startswith("__main__:") or "<locals>" in reference or "<lambda>" in reference


def _with_kinds(whole: Any, short: Any) -> Any:
    if isinstance(whole, list):
        return [_with_kinds(one, other) for one, other in zip(whole, short, strict=True)]
    if not isinstance(whole, Mapping):
        return short
    return {
        name: _with_kinds(value, short[name]) if name in short else value
        for name, value in whole.items()
        if name in short or (_is_kind(name) and value is not None)
    }


def _is_kind(name: str) -> bool:
    return name.endswith("_type") or name == "modality"
