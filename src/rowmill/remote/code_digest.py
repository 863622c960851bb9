"""What shapes the values of a column as a worker finds it: the source of functions, parameters, models (W6)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rowmill.graph.declaring import Declaring
from rowmill.graph.fingerprint import fingerprint
from rowmill.spec.declaration import SqlAnalysis
from rowmill.spec.spec import Spec


def code_digests(spec: Spec, columns: Collection[str], directory: Path) -> dict[str, str]:
    """Per column what its generator is made of. The same on the driver and on a worker with the same code.

    The spec travels with the worker, so its SQL is not looked into again.
    """
    declaring = Declaring(spec, _without_analysis, directory, judges=False)
    wanted = set(columns)
    return {column.name: fingerprint(column.declare(declaring)) for column in spec.columns if column.name in wanted}


def _without_analysis(_text: str, *, over_dataset: bool = False) -> SqlAnalysis:
    return SqlAnalysis(())
