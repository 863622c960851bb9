"""The parameters of each kind of validator."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_serializer, field_validator

from rowmill.generators.custom.function import function_name
from rowmill.generators.validators.verdict import Validator
from rowmill.spec.column import StrictModel

if TYPE_CHECKING:
    ValidatorType = Literal["code", "local_callable", "remote", "json_schema", "sql"]
else:
    ValidatorType = str  # those of plug-ins, too
_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_IS_TRUE = "coalesce(cast(({predicate}\n) as boolean), false)"
_VERDICT = "struct_pack(is_valid := {is_true}, error_messages := case when {is_true} then null else {message} end)"


class ValidatorParameters(StrictModel):
    """What every kind has."""

    def fingerprint(self) -> dict[str, JsonValue]:
        """What shapes verdicts."""
        shaping: dict[str, JsonValue] = self.model_dump(mode="json", exclude=set(_NOT_SHAPING))
        return shaping

    def validator(self, targets: Sequence[str]) -> Validator:
        """Of a plug-in: what judges those columns. A verdict is a mapping with ``is_valid`` and whatever else it tells.

        What ``judge`` does happens on the event loop; work that takes long belongs into a thread.
        """
        raise NotImplementedError(type(self).__name__)


_NOT_SHAPING = ("timeout", "max_retries", "retry_backoff", "max_parallel_requests")


class CodeParameters(ValidatorParameters):
    """Code in a language: Python, or a dialect of SQL."""

    code_lang: Literal[
        "python", "sql:sqlite", "sql:postgres", "sql:mysql", "sql:tsql", "sql:bigquery", "sql:ansi", "sql:duckdb"
    ]
    """``python`` is judged by ruff, a dialect of SQL by sqlfluff's parser. Needs ``pip install 'rowmill[validators]'``.
    Nothing is run."""


class FunctionParameters(ValidatorParameters):
    """A Python function that judges a table of rows."""

    validation_function: Any
    """``module:function``, installed or beside the spec; in Python also the function itself. It takes a
    ``pyarrow.Table`` of the targets and ``row_index``, and returns ``is_valid`` for each row: a table, a dict of lists,
    or a list of dicts (with ``row_index`` they may come in any order)."""
    output_schema: dict[str, Any] | None = None
    """A JSON Schema of what it returns beside ``is_valid``: the fields of the verdict. Default: the verdict has
    ``details``, what else it told, as JSON."""

    @field_validator("validation_function")
    @classmethod
    def _is_a_function(cls, value: object) -> object:
        if not callable(value) and not (isinstance(value, str) and _REFERENCE.fullmatch(value)):
            raise ValueError("Write the function as 'module:function', for example 'checks:is_polite'.")
        return value

    @field_serializer("validation_function")
    def _as_reference(self, value: str | Callable[..., Any]) -> str:
        return value if isinstance(value, str) else function_name(value)


class RemoteParameters(ValidatorParameters):
    """An HTTP endpoint that judges rows."""

    endpoint_url: str
    """Gets ``{"data": [{target: value}, …]}``, answers ``{"data": [{"is_valid": …}, …]}``."""
    output_schema: dict[str, Any] | None = None
    """As of ``local_callable``."""
    timeout: _Seconds = 30.0
    """Of one request, seconds."""
    max_retries: int = Field(default=3, strict=True, ge=0, le=1000)
    """Tries after the first."""
    retry_backoff: _Seconds = 2.0
    """Wait before the first retry, seconds; doubled each time."""
    max_parallel_requests: int = Field(default=4, strict=True, ge=1, le=100_000)
    """Requests at once."""

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"'{value[:100]}' is no URL like http://127.0.0.1:8000/validate.")
        if parts.username or parts.password:
            raise ValueError("The URL carries a user name or password, which would be written into the run database.")
        return value

    @property
    def resource(self) -> str:
        """What its requests occupy."""
        return f"validator/{self.endpoint_url.partition('?')[0]}"


class SchemaParameters(ValidatorParameters):
    """A JSON Schema the values must fit."""

    json_schema: dict[str, Any]
    """For the value, or for the JSON a text holds."""


class SqlParameters(ValidatorParameters):
    """A condition over the columns of the row, in DuckDB's SQL; null counts as not valid."""

    predicate: str = Field(min_length=1)
    """A condition in SQL over the columns of the row, evaluated in the database; null counts as not valid."""
    message: str | None = None
    """What is told of rows for which it does not hold. Default: the predicate."""

    def verdict(self) -> str:
        """The SQL expression of the verdict."""
        text = self.message if self.message is not None else f"not true: {self.predicate.strip()}"
        is_true = _IS_TRUE.format(predicate=self.predicate)
        return _VERDICT.format(is_true=is_true, message="'" + text.replace("'", "''") + "'")
