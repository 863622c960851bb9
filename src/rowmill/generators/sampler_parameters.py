"""What each sampler can be told (``params``), and which call of our SQL macros makes its values.

A sampler type is one class here or in :mod:`rowmill.generators.category_parameters`, and one macro in
``sql/functions/sampler.sql``.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rowmill.spec.column import StrictModel
from rowmill.spec.declaration import DeclareContext, SamplerCall
from rowmill.spec.name import text_problem

Number = Annotated[float, Field(allow_inf_nan=False)]
DecimalPlaces = Annotated[int, Field(ge=0, le=15)]

_STEP_S = {"D": 86_400, "h": 3_600, "m": 60, "s": 1}
_STEP_MONTHS = {"Y": 12, "M": 1}


class SamplerParameters(StrictModel):
    """The parameters of one sampler type."""

    def sql_type(self) -> str:
        """The DuckDB type of the values."""
        return "DOUBLE"

    def call(self) -> SamplerCall:
        """The macro that makes the values, and its arguments after (seed, column name, row_id)."""
        raise NotImplementedError(type(self).__name__)

    def parents(self) -> dict[str, str]:
        """Columns the values depend on, by the field that names them."""
        return {}

    def check(self, context: DeclareContext, place: str) -> None:
        """Records what is wrong only in view of other columns."""


class UniformParameters(SamplerParameters):
    """Numbers from ``low`` up to ``high``, all equally likely."""

    low: Number
    high: Number
    decimal_places: DecimalPlaces | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is greater than high ({self.high:g}).")
        if self.high - self.low == float("inf"):
            raise ValueError("high - low is more than a number can hold.")
        return self

    def call(self) -> SamplerCall:
        return SamplerCall("sample_uniform", (self.low, self.high, self.decimal_places))


class GaussianParameters(SamplerParameters):
    """Normally distributed numbers."""

    mean: Number
    stddev: Annotated[Number, Field(ge=0)]
    decimal_places: DecimalPlaces | None = None

    def call(self) -> SamplerCall:
        return SamplerCall("sample_gaussian", (self.mean, self.stddev, self.decimal_places))


class BernoulliParameters(SamplerParameters):
    """1 with probability ``p``, otherwise 0."""

    p: Annotated[float, Field(ge=0, le=1)]

    def sql_type(self) -> str:
        return "BIGINT"

    def call(self) -> SamplerCall:
        return SamplerCall("sample_bernoulli", (self.p,))


def _storable(text: str) -> str:
    problem = text_problem(text)
    if problem:
        raise ValueError(f"The text {problem}.")
    return text


class UuidParameters(SamplerParameters):
    """Version-4 UUIDs, or their first eight digits (``short_form``: repeats are likely beyond some 10,000 rows)."""

    prefix: Annotated[str, AfterValidator(_storable)] | None = None
    short_form: bool = False
    uppercase: bool = False
    """Concerns the digits; the prefix stays as it is."""

    def sql_type(self) -> str:
        return "VARCHAR"

    def call(self) -> SamplerCall:
        if not (self.prefix or self.short_form or self.uppercase):
            return SamplerCall("sample_uuid")
        return SamplerCall("sample_uuid_text", (self.prefix or "", 8 if self.short_form else 36, self.uppercase))


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


class DatetimeParameters(SamplerParameters):
    """Moments a whole number of units after ``start`` and before ``end``, all equally likely.

    Moments with a time zone are turned into UTC, as the values have none.
    """

    start: Annotated[datetime, AfterValidator(_in_utc)]
    end: Annotated[datetime, AfterValidator(_in_utc)]
    """Exclusive."""
    unit: Literal["Y", "M", "D", "h", "m", "s"] = "D"

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start ({self.start}) is not before end ({self.end}).")
        return self

    def sql_type(self) -> str:
        return "TIMESTAMP"

    def call(self) -> SamplerCall:
        if self.unit in _STEP_S:
            step_s = _STEP_S[self.unit]
            steps = -((self.start - self.end) // timedelta(seconds=step_s))
            return SamplerCall("sample_datetime_by_seconds", (self.start, step_s, steps))
        step_months = _STEP_MONTHS[self.unit]
        steps = self._last_month() // step_months + 1
        return SamplerCall("sample_datetime_by_months", (self.start, step_months, steps))

    def _last_month(self) -> int:
        """The greatest number of months after ``start`` that is still before ``end``."""
        start, end = self.start, self.end
        months = (end.year - start.year) * 12 + end.month - start.month
        day = min(start.day, monthrange(end.year, end.month)[1])
        return months if (day, start.time()) < (end.day, end.time()) else months - 1
