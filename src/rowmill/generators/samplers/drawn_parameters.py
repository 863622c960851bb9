"""Samplers that are made in Python, from numbers that are functions of (run seed, column, row_id) all the same (V1).

The number of a row is the one ``draw_number`` of ``sql/functions/sampler.sql`` makes, so no generator is advanced from
row to row and any row can be made alone, whatever rows share its call.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rowmill.generators.samplers.parameters import SamplerParameters
from rowmill.spec.declaration import SamplerCall

_TO_UNIT = 2.0**-52
_LOW_BITS = 2**53 - 1


class ParametersProblem(Exception):
    """What is wrong with parameters, and which of them: ``field`` is empty when it is all of them."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class RowSampler(Protocol):
    """Makes values from numbers."""

    def draw(self, numbers: Sequence[int]) -> Sequence[Any]:
        """One value for each number of 128 random bits: the same value for the same number, whatever the others."""
        ...


class DrawnParameters(SamplerParameters):
    """The base of parameters of samplers made in Python."""

    converts_to: ClassVar[frozenset[str]] = frozenset()

    def call(self) -> SamplerCall:
        """Never asked for: see :meth:`sampler`."""
        raise NotImplementedError(type(self).__name__)

    def sampler(self, directory: Path | None) -> RowSampler:
        """What makes the values; paths start at ``directory``. Raises :class:`ParametersProblem`."""
        raise NotImplementedError(type(self).__name__)

    def check_sampler(self, directory: Path | None) -> None:
        """Raises :class:`ParametersProblem` where :meth:`sampler` would, perhaps at less cost."""
        self.sampler(directory)

    def sql_type_in(self, directory: Path | None) -> str:
        """The DuckDB type of the values. Raises :class:`ParametersProblem`."""
        return self.sql_type()

    def content(self, directory: Path | None) -> dict[str, Any]:
        """What shapes the values beside the parameters, for the fingerprint (V2)."""
        return {}


def draw_number(seed: int, column: str, row_id: int) -> int:
    """128 random bits: the first draw of a row, as SQL makes it."""
    digest = md5(f"{seed}:{column}:{row_id}:0".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest, "little")


def open_unit(number: int) -> float:
    """A number between 0 and 1, neither included, from the highest bits."""
    return ((number >> 76) + 0.5) * _TO_UNIT


def second_unit(number: int) -> float:
    """A number from 0 to below 1 from the lowest bits, independent of the first."""
    return (number & _LOW_BITS) * 2.0**-53
