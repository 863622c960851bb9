"""The validator ``shortness``."""

from collections.abc import Sequence
from typing import Any

from rowmill.generators.protocol import Call
from rowmill.generators.validators.parameters import ValidatorParameters
from rowmill.generators.validators.verdict import Validator
from rowmill.task import Row


class ShortnessParameters(ValidatorParameters):
    """What a spec says under ``validator_params``."""

    most: int

    def validator(self, targets: Sequence[str]) -> "Shortness":
        """What judges the target columns."""
        return Shortness(self.most)


class Shortness(Validator):
    """Finds values valid that have few characters."""

    def __init__(self, most: int) -> None:
        self._most = most

    async def judge(self, rows: Sequence[Row], call: Call) -> list[dict[str, Any]]:
        """A verdict for each row: ``is_valid``, and what else there is to tell."""
        longest = [max(len(str(value)) for value in row.values()) for row in rows]
        return [{"is_valid": length <= self._most, "length": length} for length in longest]
