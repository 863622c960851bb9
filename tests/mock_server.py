"""aimock, a server that plays many providers, from npm: a program nobody here wrote. It has a journal of all requests.

Chaos it makes is real: the journal says how often. Without node, npm or the package the tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PACKAGE = "@copilotkit/aimock@1.43.0"


def install_mock_server(directory: Path) -> Path:
    """Installs the package there; returns its script. Skips the test where that cannot be."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("aimock needs node and npm, which are not here: apt-get install nodejs npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", _PACKAGE]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=100)
    if done.returncode:
        pytest.skip(f"{_PACKAGE} cannot be had from npm: {done.stderr.strip()[-300:]}")
    return directory / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"


@dataclass
class MockServer:
    """A server that listens; ``url`` is what a spec calls ``base_url``."""

    url: str

    def statuses(self) -> Counter[int]:
        """How often it answered a request of a model with each status."""
        return Counter(entry["response"]["status"] for entry in self.entries() if entry["method"] == "POST")

    def entries(self) -> list[dict[str, Any]]:
        """What it was asked, in order."""
        found: list[dict[str, Any]] = self._ask("GET", "journal?limit=100000")
        return found

    def make_chaos(self, **rates: float) -> None:
        """From now on answers fail at these rates."""
        self._ask("POST", "chaos", rates)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self.url.removesuffix("/v1") + "/__aimock/" + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


@contextmanager
def mock_server(script: Path, directory: Path, fixtures: Sequence[dict[str, Any]]) -> Iterator[MockServer]:
    """The server at work with these answers, gone after the block."""
    file = directory / "fixtures.json"
    file.write_text(json.dumps({"fixtures": list(fixtures)}))
    command = ["node", str(script), "--port", "0", "--journal-max", "0", "-f", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = ""
        while (found := re.search(r"listening on (http://[\d.]+:\d+)", said)) is None:
            line = process.stdout.readline()
            assert line, f"aimock ended before it listened: {said}"
            said += line
        yield MockServer(found[1] + "/v1")
    finally:
        process.kill()
        process.communicate()
