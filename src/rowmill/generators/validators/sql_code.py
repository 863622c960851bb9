"""SQL code, judged by sqlfluff's parser for its dialect. It is only parsed: nothing runs, no template is rendered."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from threading import Lock
from typing import Any

import anyio.to_thread

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import Call
from rowmill.generators.validators.verdict import Validator, Verdict
from rowmill.task import Row

MISSING = "SQL code is judged by sqlfluff, which is not installed: pip install 'rowmill[validators]'."
_LOADING = Lock()
"""sqlfluff fills a dialect when it is first asked for, and fails in a thread that asks meanwhile."""
_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_WORDS = 10_000
"""The parser takes a millisecond or more for each, and nothing stops it."""
_NO_SCALE = re.compile(r"\bDECIMAL\(\d+\)", re.IGNORECASE)


def is_installed() -> bool:
    """Is there a sqlfluff to ask?"""
    return importlib.util.find_spec("sqlfluff") is not None


class SqlCodeValidator(Validator):
    """Judges the SQL in each target column by itself."""

    def __init__(self, targets: Sequence[str], dialect: str) -> None:
        self._targets = tuple(targets)
        self._dialect = dialect

    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """See :class:`Validator`. One target: its verdict; several: a verdict for each, by name."""
        return await anyio.to_thread.run_sync(self._judge, rows, abandon_on_cancel=True)

    def _judge(self, rows: Sequence[Row]) -> list[Verdict | Exception]:
        try:
            from sqlfluff.core import FluffConfig, Linter
        except ImportError:
            raise GeneratorError(MISSING, "MissingPackage") from None
        with _LOADING:
            linter = Linter(config=FluffConfig(overrides={"dialect": self._dialect, "templater": "raw"}))
        judged: list[Verdict | Exception] = []
        for row in rows:
            verdicts = {target: _verdict(linter, row[target]) for target in self._targets}
            judged.append(verdicts if len(verdicts) > 1 else verdicts[self._targets[0]])
        return judged


def _verdict(linter: Any, code: Any) -> Verdict:
    if code is None or not str(code).strip():
        return {"is_valid": False, "error_messages": "There is no code."}
    if sum(1 for _ in _WORD.finditer(str(code))) > _MOST_WORDS:
        return {"is_valid": False, "error_messages": f"More than {_MOST_WORDS:,} words: too long to be judged."}
    try:
        faults = [violation.desc() for violation in linter.parse_string(str(code)).violations]
    except RecursionError:
        faults = ["The SQL is nested too deeply."]
    if _NO_SCALE.search(str(code)):
        faults.append("A DECIMAL has a precision but no scale.")
    return {"is_valid": not faults, "error_messages": "\n".join(faults) or None}
