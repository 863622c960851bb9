"""What each sampler can be told (``params``), and which call of our SQL macros makes its values.

A sampler type is one class here or in :mod:`rowmill.generators.samplers.category_parameters`, and one macro in
``sql/functions/sampler.sql``.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rowmill.spec.column import StrictModel
from rowmill.spec.declaration import ColumnValue, DeclareContext, SamplerCall
from rowmill.spec.name import text_problem
from rowmill.spec.said_moment import no_short_number

Number = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
DecimalPlaces = Annotated[int, Field(ge=0, le=15)]

FORMATTED = "strftime"
"""In :attr:`SamplerParameters.converts_to`: the values are moments, which are written in a format."""

_STEP_S = {"D": 86_400, "h": 3_600, "m": 60, "s": 1}
_STEP_MONTHS = {"Y": 12, "M": 1}
_LONGEST_S = 100_000_000 * 86_400


class SamplerParameters(StrictModel):
    """The parameters of one sampler type."""

    converts_to: ClassVar[frozenset[str]] = frozenset({"float", "int", "str"})
    """What ``convert_to`` may name; with :data:`FORMATTED`, a strftime format."""

    def sql_type(self) -> str:
        """The DuckDB type of the values."""
        return "DOUBLE"

    def call(self) -> SamplerCall:
        """The macro that makes the values, and its arguments after (seed, column name, row_id)."""
        raise NotImplementedError(type(self).__name__)

    def extent(self) -> tuple[float, float] | None:
        """No value is less than the first or greater than the second; None where that is not known, or no number."""
        return None

    def parents(self) -> dict[str, str]:
        """Columns the values depend on, by the field that names them."""
        return {}

    def check(self, context: DeclareContext, place: str) -> None:
        """Records what is wrong only in view of other columns."""


class UniformParameters(SamplerParameters):
    """Numbers from ``low`` up to ``high``, all equally likely."""

    low: Number
    """The least."""
    high: Number
    """The greatest."""
    decimal_places: DecimalPlaces | None = None
    """Digits after the point; also with 0 the values are floats. Default: not rounded."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is greater than high ({self.high:g}).")
        if self.high - self.low == float("inf"):
            raise ValueError("high - low is more than a number can hold.")
        return self

    def call(self) -> SamplerCall:
        return SamplerCall("sample_uniform", (self.low, self.high, self.decimal_places))

    def extent(self) -> tuple[float, float]:
        if self.decimal_places is None:
            return (self.low, self.high)
        half_step = 0.5 * 10.0**-self.decimal_places
        return (self.low - half_step, self.high + half_step)


class GaussianParameters(SamplerParameters):
    """Normally distributed numbers."""

    mean: Number
    """The middle."""
    stddev: Annotated[Number, Field(ge=0)]
    """Standard deviation."""
    decimal_places: DecimalPlaces | None = None
    """Digits after the point. Default: not rounded."""

    def call(self) -> SamplerCall:
        return SamplerCall("sample_gaussian", (self.mean, self.stddev, self.decimal_places))

    def extent(self) -> tuple[float, float]:
        """No value is more than 8.6 standard deviations from the mean, nor rounded by more than a half."""
        reach = 8.6 * self.stddev + (0.0 if self.decimal_places is None else 0.5)
        return (self.mean - reach, self.mean + reach)


class BernoulliParameters(SamplerParameters):
    """1 with probability ``p``, otherwise 0."""

    p: Probability
    """How likely 1 is, 0 to 1."""

    def sql_type(self) -> str:
        return "BIGINT"

    def call(self) -> SamplerCall:
        return SamplerCall("sample_bernoulli", (self.p,))

    def extent(self) -> tuple[float, float]:
        return (1 if self.p == 1 else 0, 1 if self.p else 0)


def _storable(text: str) -> str:
    problem = text_problem(text)
    if problem:
        raise ValueError(f"The text {problem}.")
    return text


class UuidParameters(SamplerParameters):
    """Version-4 UUIDs, or their first eight digits (``short_form``: repeats are likely beyond some 10,000 rows)."""

    converts_to: ClassVar[frozenset[str]] = frozenset()

    prefix: Annotated[str, AfterValidator(_storable)] | None = None
    """Put in front of each."""
    short_form: bool = False
    """Only the first eight digits: repeats are likely beyond some 10,000 rows."""
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

    converts_to: ClassVar[frozenset[str]] = frozenset({FORMATTED})

    start: Annotated[datetime, BeforeValidator(no_short_number), AfterValidator(_in_utc)]
    """The first moment."""
    end: Annotated[datetime, BeforeValidator(no_short_number), AfterValidator(_in_utc)]
    """Excluded."""
    unit: Literal["Y", "M", "D", "h", "m", "s"] = "D"
    """Values are whole units after ``start``: years, months, days, hours, minutes or seconds."""

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

    def extent(self) -> tuple[float, float]:
        """In seconds."""
        first = datetime(1970, 1, 1)
        return ((self.start - first).total_seconds(), (self.end - first).total_seconds())

    def _last_month(self) -> int:
        """The greatest number of months after ``start`` that is still before ``end``."""
        start, end = self.start, self.end
        months = (end.year - start.year) * 12 + end.month - start.month
        day = min(start.day, monthrange(end.year, end.month)[1])
        return months if (day, start.time()) < (end.day, end.time()) else months - 1


class TimedeltaParameters(SamplerParameters):
    """Moments a number of units after those of another column: from ``dt_min`` to before ``dt_max``, equally likely."""

    converts_to: ClassVar[frozenset[str]] = frozenset({FORMATTED})

    dt_min: Annotated[int, Field(ge=0)]
    """The fewest units."""
    dt_max: Annotated[int, Field(gt=0)]
    """Excluded."""
    reference_column_name: Annotated[str, Field(min_length=1)]
    """The column whose moments the values follow."""
    unit: Literal["D", "h", "m", "s"] = "D"
    """Days, hours, minutes or seconds."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.dt_min >= self.dt_max:
            raise ValueError(f"dt_min ({self.dt_min}) is not less than dt_max ({self.dt_max}).")
        if self.dt_max * _STEP_S[self.unit] > _LONGEST_S:
            raise ValueError(f"dt_max ({self.dt_max} {self.unit}) is more than 100 million days, beyond all calendars.")
        return self

    def sql_type(self) -> str:
        return "TIMESTAMP"

    def call(self) -> SamplerCall:
        reference = ColumnValue(self.reference_column_name)
        return SamplerCall("sample_timedelta", (reference, self.dt_min, _STEP_S[self.unit], self.dt_max - self.dt_min))

    def parents(self) -> dict[str, str]:
        return {"reference_column_name": self.reference_column_name}
