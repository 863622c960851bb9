"""Python code, judged by ruff: all rows of a call in one process.

Levels are those of pylint, which many of ruff's rules come from: a syntax error is fatal, F and PLE are errors, PLW
warnings, PLC conventions, E, SIM and PLR refactorings. Code is valid without a fatal one and without an error. The
score is pylint's (its documentation, option ``evaluation``): 0 with a fatal one, otherwise
10 - 10 × (5 × errors + warnings + refactorings + conventions) / statements, and at least 0.
No configuration of the machine is looked at.
"""

from __future__ import annotations

import ast
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import Call
from rowmill.generators.validators.verdict import Validator, Verdict
from rowmill.task import Row

MISSING = "Python code is judged by ruff 0.15.3 or newer, which is not installed: pip install 'rowmill[validators]'."
PYTHON_TYPE = (
    'STRUCT("is_valid" BOOLEAN, "python_linter_score" DOUBLE, "python_linter_severity" VARCHAR, '
    '"python_linter_messages" STRUCT("type" VARCHAR, "symbol" VARCHAR, "line" BIGINT, "column" BIGINT, '
    '"message" VARCHAR)[])'
)
_RULES = "E,F6,F7,F8,SIM,PLC,PLE,PLR,PLW"
_LEVELS = ("fatal", "error", "warning", "convention", "refactor")
_LEVEL_OF = {
    "E": "refactor",
    "F": "error",
    "SIM": "refactor",
    "PLC": "convention",
    "PLE": "error",
    "PLR": "refactor",
    "PLW": "warning",
}


def is_installed() -> bool:
    """Is there a ruff to ask?"""
    try:
        _ = _ruff()
    except GeneratorError:
        return False
    return True


class PythonValidator(Validator):
    """Judges the code in each target column by itself."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = tuple(targets)

    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """See :class:`Validator`. One target: its verdict; several: a verdict for each, by name."""
        codes = [row[target] for row in rows for target in self._targets]
        verdicts = await _verdicts(codes)
        width = len(self._targets)
        if width == 1:
            return verdicts
        return [
            dict(zip(self._targets, verdicts[start : start + width], strict=True))
            for start in range(0, len(verdicts), width)
        ]


async def _verdicts(codes: Sequence[Any]) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="rowmill-code-") as directory:
        await anyio.to_thread.run_sync(_write, Path(directory), codes)
        found = await _diagnostics(directory)
    return [_verdict(code, found.get(f"code_{number}.py", [])) for number, code in enumerate(codes)]


def _write(directory: Path, codes: Sequence[Any]) -> None:
    for number, code in enumerate(codes):
        (directory / f"code_{number}.py").write_text("" if code is None else str(code), encoding="utf-8", newline="")


async def _diagnostics(directory: str) -> dict[str, list[dict[str, Any]]]:
    command = [_ruff(), "check", "--isolated", "--no-cache", "--select", _RULES, "--output-format", "json", directory]
    done = await anyio.run_process(command, check=False)
    if done.returncode not in (0, 1):
        raise GeneratorError(f"ruff failed: {done.stderr.decode(errors='replace')[:300]}", "LinterFailed")
    found: dict[str, list[dict[str, Any]]] = {}
    for diagnostic in json.loads(done.stdout or b"[]"):
        found.setdefault(Path(diagnostic["filename"]).name, []).append(diagnostic)
    return found


def _verdict(code: Any, diagnostics: Sequence[dict[str, Any]]) -> Verdict:
    if code is None:
        return _judged([{"type": "fatal", "symbol": "null", "line": 0, "column": 0, "message": "There is no code."}], 0)
    messages = [
        {
            "type": _level(diagnostic.get("code")),
            "symbol": str(diagnostic.get("code")),
            "line": diagnostic["location"]["row"],
            "column": diagnostic["location"]["column"],
            "message": diagnostic["message"],
        }
        for diagnostic in diagnostics
    ]
    return _judged(sorted(messages, key=lambda each: (_LEVELS.index(each["type"]), each["line"])), _statements(code))


def _judged(messages: list[dict[str, Any]], statements: int) -> Verdict:
    levels = Counter(each["type"] for each in messages)
    lost = 5 * levels["error"] + levels["warning"] + levels["convention"] + levels["refactor"]
    score = 0.0 if levels["fatal"] else max(0.0, 10.0 - 10.0 * lost / max(statements, 1))
    return {
        "is_valid": not levels["fatal"] and not levels["error"],
        "python_linter_score": score,
        "python_linter_severity": messages[0]["type"] if messages else "none",
        "python_linter_messages": messages,
    }


def _level(code: str | None) -> str:
    if code is None or code in {"invalid-syntax", "E999"}:
        return "fatal"
    return _LEVEL_OF.get(code.rstrip("0123456789"), "warning")


def _statements(code: Any) -> int:
    try:
        return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(str(code))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0


def _ruff() -> str:
    try:
        from ruff import find_ruff_bin

        return str(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        raise GeneratorError(MISSING, "MissingPackage") from None
