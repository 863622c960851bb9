"""In which order tests are run: what may take long begins first, so that no process is left with it at the end.

And which modules are looked into at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

_CLUSTER = "cluster"
"""The fixture of a cluster that takes 10 s to start, and whose tests wait most of the time."""


def has_no_slow_tests(module: Path) -> bool:
    """Whether a module marks no test as slow: where only those are wanted it need not be imported."""
    return module.name.startswith("test_") and "mark.slow" not in module.read_text(encoding="utf-8")


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Modules by the longest time-out a test of theirs asks for; what they share is made once, so none is torn apart.

    Before all others come those that share a cluster: one process has them all, which starts the only one, and waits
    while the others compute. Otherwise the order stays as it is.
    """
    longest: dict[Path, float] = defaultdict(float)
    waiting: set[Path] = set()
    for item in items:
        longest[item.path] = max(longest[item.path], _time_out(item))
        if _CLUSTER in getattr(item, "fixturenames", ()):
            waiting.add(item.path)
    return sorted(items, key=lambda item: (item.path not in waiting, -longest[item.path]))


def _time_out(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None and marker.args else 0.0
