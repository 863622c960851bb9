"""Verdicts: what a validator says of each row, and the type they have in the dataset."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from rowmill.counted import plural
from rowmill.errors import GeneratorError
from rowmill.generators.json_schema import SchemaCheck
from rowmill.generators.json_type import JsonType, json_type
from rowmill.generators.protocol import Call, UnusableAnswer
from rowmill.task import Row

Verdict = dict[str, Any]
"""``is_valid`` and what else the validator tells, by name, in the fields of the validator's type."""

PLAIN_TYPE = 'STRUCT("is_valid" BOOLEAN, "error_messages" VARCHAR)'
_WITH_DETAILS = 'STRUCT("is_valid" BOOLEAN, "details" JSON)'


class Validator(ABC):
    """Judges values. The rows of a call hold the target columns only, in the order of the spec."""

    @abstractmethod
    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """One verdict for each row, or the error that kept it from being judged.

        An error of the whole call is raised.
        """

    async def aclose(self) -> None:
        """Lets go of what it holds open. By itself it holds nothing."""
        return


class PlugInValidator(Validator):
    """A validator of a plug-in, whose verdicts are checked like those of any code that is not ours."""

    def __init__(self, validator: Validator, name: str) -> None:
        self._validator = validator
        self._verdicts = ForeignVerdicts(f"Validator '{name}'", None)

    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """See :class:`Validator`."""
        output = await self._validator.judge(rows, call)
        if len(output) != len(rows):
            return self._verdicts.verdicts(output, len(rows))  # says what is wrong
        return [each if isinstance(each, Exception) else self._verdicts.verdicts([each], 1)[0] for each in output]

    async def aclose(self) -> None:
        """Closes the validator."""
        await self._validator.aclose()


class ForeignVerdicts:
    """Verdicts of somebody else's code: checked, and brought into the fields of the column's type."""

    def __init__(self, source: str, output_schema: Mapping[str, Any] | None) -> None:
        """``source`` names it in messages; ``output_schema``: of the whole output, or of one verdict."""
        self._source = source
        self._check = SchemaCheck(output_schema) if output_schema is not None else None
        self._is_of_whole = output_schema is not None and _verdict_schema(output_schema) is not output_schema
        self._type = _struct_of(output_schema)

    def verdicts(self, output: Sequence[Any], rows: int) -> list[Verdict]:
        """The verdicts. Raises GeneratorError when there are not as many as rows, or one of them is none."""
        if len(output) != rows:
            raise self._broken(f"gave {plural(len(output), 'verdict')} for {plural(rows, 'row')}; each row needs one.")
        for position, verdict in enumerate(output):
            if not isinstance(verdict, Mapping) or not isinstance(verdict.get("is_valid"), bool):
                raise self._broken(f"gave no is_valid of true or false for row {position} of the call.")
        if self._check is not None:
            try:
                if self._is_of_whole:
                    self._check({"data": list(output)})
                else:
                    for verdict in output:
                        self._check(verdict)
            except UnusableAnswer as error:
                raise self._broken(f"gave what its output_schema does not allow: {error}") from error
        return [self._converted(verdict) for verdict in output]

    def _converted(self, verdict: Mapping[str, Any]) -> Verdict:
        if self._type is not None:
            try:
                converted: Verdict = self._type.convert(verdict)
            except UnusableAnswer as error:
                raise self._broken(f"gave a value that cannot be kept: {error}") from error
            return converted
        details = {name: value for name, value in verdict.items() if name != "is_valid"}
        try:
            text = json.dumps(details, allow_nan=False) if details else None
        except (TypeError, ValueError) as error:
            raise self._broken(f"gave details that are no JSON: {error}.") from error
        return {"is_valid": verdict["is_valid"], "details": text}

    def _broken(self, what: str) -> GeneratorError:
        return GeneratorError(f"{self._source} {what}", "MalformedVerdict")


def type_of_verdicts(output_schema: Mapping[str, Any] | None) -> str:
    """The DuckDB type of :class:`ForeignVerdicts`: the schema's fields, or ``details`` as JSON."""
    found = _struct_of(output_schema)
    return _WITH_DETAILS if found is None else found.sql_type


def _struct_of(output_schema: Mapping[str, Any] | None) -> JsonType | None:
    if output_schema is None:
        return None
    found = json_type(_verdict_schema(output_schema))
    return found if found.sql_type.startswith("STRUCT") and '"is_valid" BOOLEAN' in found.sql_type else None


def _verdict_schema(output_schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part about one verdict of a schema that is about the whole output, ``{"data": [verdict, …]}``."""
    data = (output_schema.get("properties") or {}).get("data")
    items = data.get("items") if isinstance(data, Mapping) else None
    return items if isinstance(items, Mapping) else output_schema
