"""The blueprint of a run database: all that is needed to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rowmill.graph.graph import Graph
from rowmill.graph.shard import Shard
from rowmill.spec.spec import Spec
from rowmill.store.layout.seed_reader import SeedFile


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that is needed to make the run database of a spec."""

    spec: Spec
    graph: Graph
    spec_directory: Path
    seed_file: SeedFile | None
    limits: Mapping[str, int]
    """Per resource how many tasks may run at once."""
    shard: Shard | None = None
    """Which rows of the run; None: all."""
