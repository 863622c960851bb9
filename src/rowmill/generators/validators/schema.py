"""Values that are JSON, judged by a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rowmill.generators.json_schema import SchemaCheck
from rowmill.generators.json_text import DECODER
from rowmill.generators.protocol import Call, UnusableAnswer
from rowmill.generators.rendering import unhurried
from rowmill.generators.validators.verdict import Validator, Verdict
from rowmill.task import Row
from rowmill.value.json_value import JsonText


class SchemaValidator(Validator):
    """Judges each target column by itself: texts are read as JSON, other values are taken as they are."""

    def __init__(self, targets: Sequence[str], schema: Mapping[str, Any]) -> None:
        self._targets = tuple(targets)
        self._check = SchemaCheck(schema)

    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """See :class:`Validator`. One target: its verdict; several: a verdict for each, by name."""
        judged: list[Verdict | Exception] = []
        for row in rows:
            verdicts = {target: await unhurried(self._verdict, row[target]) for target in self._targets}
            judged.append(verdicts if len(verdicts) > 1 else verdicts[self._targets[0]])
        return judged

    def _verdict(self, value: Any) -> Verdict:
        try:
            is_unread = isinstance(value, str) and not isinstance(value, JsonText)
            self._check(DECODER.decode(value) if is_unread else value)
        except (UnusableAnswer, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, UnusableAnswer) else f"It is no JSON: {error}"
            return {"is_valid": False, "error_messages": reason}
        return {"is_valid": True, "error_messages": None}
