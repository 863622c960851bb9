"""What the tests of column types share: declaring a column the way the graph does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rowmill.errors import SpecError
from rowmill.graph.declaring import Declaring
from rowmill.spec.declaration import Declaration, SqlAnalysis
from rowmill.spec.spec import Spec

MODELS = (
    {"alias": "writer", "provider": "simulated", "model": "small", "timeout_s": 7.5},
    {"alias": "judge", "provider": "simulated", "model": "large"},
)


def declared(*columns: dict[str, Any], directory: Path | None = None, known: Sequence[str] = ()) -> list[Declaration]:
    """The declarations of these columns. Raises SpecError with every problem, as reading a spec would.

    ``known`` are the columns any SQL expression is said to name.
    """
    spec = Spec.from_data({"records": 10, "seed": 11, "models": MODELS, "columns": columns})

    def analyse(text: str, *, over_dataset: bool = False) -> SqlAnalysis:
        return SqlAnalysis(tuple(known), "not SQL" if "!" in text else None)

    context = Declaring(spec, analyse, directory)
    declarations = context.declarations([])
    if context.problems:
        raise SpecError(context.problems)
    return declarations


def problems(*columns: dict[str, Any], directory: Path | None = None) -> dict[str, str]:
    """What is wrong with these columns: place → message."""
    try:
        declared(*columns, directory=directory)
    except SpecError as error:
        return {problem.place: problem.message for problem in error.problems}
    return {}
