"""JSON Schemas of answers: checking a schema, and values against it, with the optional library jsonschema."""

from __future__ import annotations

from typing import Any

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import UnusableAnswer

_MAX_FAULTS = 5
_LONGEST_FAULT = 300

MISSING = (
    "JSON Schemas are checked by the library jsonschema, which is not installed: pip install 'rowmill[structured]'."
)


def schema_problem(schema: Any) -> str | None:
    """Why values cannot be checked against this schema, or None when they can."""
    try:
        import jsonschema
    except ModuleNotFoundError:
        return MISSING
    if not isinstance(schema, dict):
        return "A JSON Schema is a mapping."
    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"This is not a valid JSON Schema: {error.message[:_LONGEST_FAULT]} ({error.json_path})"
    except RecursionError:
        return "The JSON Schema is nested too deeply."
    return None


class SchemaCheck:
    """Checks values against one schema. References lead only to places within it: nothing is fetched."""

    def __init__(self, schema: Any) -> None:
        """Raises :class:`~rowmill.errors.GeneratorError` when jsonschema is not installed."""
        try:
            import jsonschema
            from referencing import Registry
        except ModuleNotFoundError:
            raise GeneratorError(MISSING, "MissingPackage") from None
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        self._validator = kind(schema, registry=Registry())

    def __call__(self, value: Any) -> None:
        """Raises :class:`UnusableAnswer` with the first faults of a value that does not fit."""
        try:
            faults = sorted(self._validator.iter_errors(value), key=lambda error: str(error.json_path))
        except RecursionError:
            raise UnusableAnswer("It is nested too deeply.") from None
        except Exception as error:  # a reference that leads nowhere is found only when it is followed
            raise GeneratorError(
                f"The JSON Schema cannot be used: {error}"[:_LONGEST_FAULT], "InvalidSchema"
            ) from error
        if faults:
            shown = [f"{fault.json_path}: {fault.message[:_LONGEST_FAULT]}" for fault in faults[:_MAX_FAULTS]]
            more = f" And {len(faults) - _MAX_FAULTS} more." if len(faults) > _MAX_FAULTS else ""
            raise UnusableAnswer("It does not fit the JSON Schema. " + "; ".join(shown) + more)
