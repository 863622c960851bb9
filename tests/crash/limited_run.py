"""``rowmill run SPEC DATABASE`` in a process that may write files up to a size, and says which row groups it finished.

limited_run.py SPEC DATABASE [LARGEST_FILE_BYTES]
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
from functools import partial
from pathlib import Path

import anyio

from rowmill.cli.failure import guard
from rowmill.engine.invocation import run
from rowmill.engine.preparation import prepare
from rowmill.task import FinishedRowGroup


def _acknowledge(finished: FinishedRowGroup) -> None:
    print(finished.row_group, flush=True)


def _run(spec: Path, database: Path, largest: int | None) -> int:
    prepared = prepare(spec)
    if largest is not None:
        # Writing beyond the limit is then an error of the call (EFBIG), not the end of the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    report = anyio.run(partial(run, prepared, database, on_row_group_finished=_acknowledge))
    return report.exit_code


if __name__ == "__main__":
    # As a program that does not want to see logs does.
    logging.getLogger("rowmill").addHandler(logging.NullHandler())
    limit = int(sys.argv[3]) if len(sys.argv) > 3 else None
    sys.exit(guard(lambda: _run(Path(sys.argv[1]), Path(sys.argv[2]), limit)))
