"""Problems and warnings of a spec, for programs."""

from __future__ import annotations

from collections.abc import Sequence

from rowmill.errors import Problem
from rowmill.spec.nearest import suggested


def listed(problems: Sequence[Problem]) -> list[dict[str, str | None]]:
    """Each with its place, its message, and the name that was probably meant, or None."""
    return [
        {"place": problem.place, "message": problem.message, "suggestion": suggested(problem.message)}
        for problem in problems
    ]
