"""The run databases that released Rowmills left behind (tests/released), and how they go on."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

from crashing_connection import CrashingConnection
from scenario import Driver, Specs, World, contradictions, new_world, outcome_of, written_results

from rowmill.store.database.connection import Connection

RELEASED = Path(__file__).parents[1] / "released"
RELEASED_VERSIONS = sorted(int(re.findall(r"\d+", file.name)[0]) for file in RELEASED.glob("schema_*.duckdb.gz"))


def released_run(version: int, directory: Path, specs: Specs) -> Path:
    """The run database a released Rowmill left behind, with its spec's directory where this machine has it."""
    return unpacked_run(f"schema_{version}", directory, specs)


def unpacked_run(name: str, directory: Path, specs: Specs) -> Path:
    """The same of any file that ``tests/released/make.py`` made, by its name without its endings."""
    path = directory / f"{name}.duckdb"
    path.write_bytes(gzip.decompress((RELEASED / f"{name}.duckdb.gz").read_bytes()))
    with Connection(path) as connection, connection.transaction():
        connection.execute(
            "update state.run set spec_directory = $directory", {"directory": str(specs.first.directory)}
        )
    return path


def world_of(connection: CrashingConnection, specs: Specs) -> World:
    """The endpoints as an old database knows them."""
    world = new_world(specs)
    world.acknowledged = written_results(connection)
    for name, row_id, row_group, started_at, asked in connection.execute(
        "select g.name, a.row_id, a.row_group, epoch(max(a.started_at)), count(*) from state.attempt as a"
        " inner join state.generator as g on a.generator = g.generator group by all"
    ):
        world.asked[name, row_group if row_id is None else row_id] = asked
        world.attempts += asked
        world.now = max(world.now, started_at)
    return world


def finish(path: Path, specs: Specs) -> dict[str, Any]:
    """Lets the run go on to its end, and be extended."""
    with CrashingConnection(path) as connection:
        world = world_of(connection, specs)
    with Driver(path, specs, world) as driver:
        driver.drive()
        assert contradictions(driver.connection) == []
        return outcome_of(driver.connection)
