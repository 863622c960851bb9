"""The sampler ``dice``."""

from collections.abc import Sequence
from pathlib import Path

from rowmill.generators.drawn_parameters import DrawnParameters


class DiceParameters(DrawnParameters):
    """What a spec says under ``params``."""

    sides: int = 6

    def sql_type(self) -> str:
        """The type of the values."""
        return "BIGINT"

    def sampler(self, directory: Path | None) -> "Dice":
        """What makes the values."""
        return Dice(self.sides)


class Dice:
    """Throws one dice for each row."""

    def __init__(self, sides: int) -> None:
        self._sides = sides

    def draw(self, numbers: Sequence[int]) -> list[int]:
        """A value for each number of 128 random bits, which belongs to its row."""
        return [1 + number % self._sides for number in numbers]
