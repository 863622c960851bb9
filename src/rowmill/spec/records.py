"""How many records: a number of rows to plan, or a number of rows that must survive (P6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from rowmill.spec.column import StrictModel
from rowmill.spec.problems import failing

_MOST = 10**15
_AT_MOST_TIMES = 10


class AcceptedRecords(StrictModel):
    """Rows are planned until ``accepted`` of them are finished."""

    accepted: Annotated[int, Field(strict=True, ge=1, le=_MOST)]
    """Rows that must survive."""
    at_most: Annotated[int, Field(strict=True, ge=1, le=_MOST)] | None = None
    """Rows to try in all. Default: 10 × ``accepted``."""

    @model_validator(mode="after")
    def _bound_leaves_room(self) -> AcceptedRecords:
        if self.at_most is not None and self.at_most < self.accepted:
            text = (
                f"at_most must be at least accepted, {self.accepted}: so many rows are tried even if none is dropped."
            )
            raise failing("AcceptedRecords", [(("at_most",), text)])
        return self

    @property
    def most(self) -> int:
        """Rows to try in all, at most."""
        return self.at_most if self.at_most is not None else min(_MOST, _AT_MOST_TIMES * self.accepted)


_Count = Annotated[int, Field(strict=True, ge=0, le=_MOST)]
_COUNT: TypeAdapter[int] = TypeAdapter(_Count)


ALL = "all"
"""Each seed row once: a number as soon as the seed rows are known."""


def _choose(value: object, _handler: ValidatorFunctionWrapHandler) -> int | AcceptedRecords | Literal["all"]:
    """A mapping is validated as :class:`AcceptedRecords`, all else as a number: a union's messages would name both."""
    if isinstance(value, (AcceptedRecords, Mapping)):
        return AcceptedRecords.model_validate(value)
    if value == ALL:
        return "all"
    return _COUNT.validate_python(value)


Records = Annotated[_Count | AcceptedRecords | Literal["all"], WrapValidator(_choose)]
