"""Makes the run database of a released schema version, for the tests of ``rowmill migrate``. Run it once per release.

    python tests/released/make.py          writes tests/released/schema_N.duckdb.gz and every_place_N.duckdb.gz, N the
                                           newest schema version
    python tests/released/make.py engine   writes tests/released/engine_X.duckdb.gz, X the DuckDB that is installed

The run of ``tests/crash/scenario.py``, stopped in the middle: rows finished, active, dropped, skipped and deferred, an
invocation that never signed out. And, as ``every_place_N.duckdb.gz``, that of
``tests/crash/every_place.py``: row groups that are active, parked, waiting for a barrier, due and finished. Such a file
is never made again for the same version, and always with the oldest DuckDB that Rowmill supports.
"""

from __future__ import annotations

import gzip
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "crash")]

from every_place import stop_in_every_place  # noqa: E402
from scenario import Driver, new_world, write_specs  # noqa: E402

from rowmill.store.layout import schema  # noqa: E402

_TURNS = 12


class _Enough(Exception):
    """The run has come far enough."""


class _StoppingDriver(Driver):
    turns = 0

    def step(self, name: str, function: Callable[[], object]) -> object:  # type: ignore[override]
        result = function()
        self.turns += name == "turn"
        if self.turns == _TURNS:
            raise _Enough
        return result


def main() -> None:
    version = schema.migrations()[-1][0]
    target, every_place = HERE / f"schema_{version}.duckdb.gz", HERE / f"every_place_{version}.duckdb.gz"
    is_of_engine = sys.argv[1:] == ["engine"]
    if is_of_engine:
        target = HERE / f"engine_{duckdb.__version__}.duckdb.gz"
    made = (target,) if is_of_engine else (target, every_place)
    for file in made:
        if file.exists():
            sys.exit(f"{file} is there already: a released file is never made again.")
    socket.gethostname = lambda: "released"
    # The directory of a spec is kept in the file.
    directory = Path(tempfile.gettempdir()) / "released"
    directory.mkdir()
    try:
        specs = write_specs(directory)
        database = directory / "run.duckdb"
        try:
            with _StoppingDriver(database, specs, new_world(specs)) as driver:
                driver.drive(drained_after_turns=4)
        except _Enough:
            pass
        target.write_bytes(gzip.compress(database.read_bytes(), 9, mtime=0))
        if not is_of_engine:
            database = directory / "places.duckdb"
            stop_in_every_place(database)
            every_place.write_bytes(gzip.compress(database.read_bytes(), 9, mtime=0))
    finally:
        shutil.rmtree(directory)
    for file in made:
        print(file, file.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
