"""NVIDIA DataDesigner as a peer: installed into an environment of its own, measured by a script of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("peer_data_designer.py")
_PACKAGE = "data-designer"
_TIMEOUT_S = 600


class Unavailable(Exception):
    """The peer could not be installed, or did not finish."""


def chained_no_ops(rows: int) -> dict[str, Any]:
    """Seconds, CPU seconds, peak memory and version of DataDesigner making three chained no-op columns.

    Raises Unavailable.
    """
    python = _environment()
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ,
            "NEMO_TELEMETRY_ENABLED": "false",
            "DATA_DESIGNER_SKIP_MODEL_HEALTH_CHECKS": "1",
            "DATA_DESIGNER_DISABLE_VERSION_CHECK": "1",
            "DATA_DESIGNER_HOME": directory,
        }
        environment.pop("PYTHONPATH", None)
        try:
            done = subprocess.run(
                [str(python), str(_SCRIPT), str(rows)],
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{rows} rows took more than {_TIMEOUT_S} s.") from None
    if done.returncode:
        raise Unavailable(f"It ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment() -> Path:
    """The Python of the peer's environment, made the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "rowmill-benchmarks" / _PACKAGE
    python = directory / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = directory / ".installed"
    if stamp.exists():
        return python
    print(f"Installing {_PACKAGE} into {directory} …", file=sys.stderr)
    venv.create(directory, clear=True, with_pip=True)
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"pip could not install {_PACKAGE}: {done.stderr.strip()[-500:]}")
    stamp.touch()
    return python
