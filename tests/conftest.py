"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from rowmill.inspect.place import DIRECTORY_VARIABLE

# Under load a single example may be slow; a time-out per test is set in pyproject.toml.
settings.register_profile("rowmill", deadline=None)
settings.load_profile("rowmill")

# Where a shell started the tests in the background, interrupts are ignored, and so they would be in every process that
# a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests count requests; those of the health check itself take this away.
os.environ["ROWMILL_SKIP_HEALTH_CHECKS"] = "1"


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Collects garbage after a test while it is still the one to blame for an unclosed resource."""
    yield
    gc.collect()


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for the sockets of this test alone; its name is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="rowmill-", dir="/tmp") as directory:
        path = Path(directory) / "sockets"
        monkeypatch.setenv(DIRECTORY_VARIABLE, str(path))
        yield path
