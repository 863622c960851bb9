"""Headless Chromium through its own driver: a page at any width, what its console says, what is on it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tempfile
import urllib.request
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from types import TracebackType
from typing import Any, Self

DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
WHY_NOT = "no chromium and chromedriver here: apt-get install chromium chromium-driver"

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
_TIMEOUT_S = 45.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One browser with one page. Use ``with``: neither it nor its driver outlives the block."""

    def __init__(self) -> None:
        assert DRIVER is not None, WHY_NOT
        assert BROWSER is not None, WHY_NOT
        self._profile = tempfile.mkdtemp(prefix="rowmill-browser-")
        self._driver = Popen([DRIVER, "--port=0"], stdout=PIPE, stderr=DEVNULL, text=True)
        assert self._driver.stdout is not None
        port = None
        while port is None:
            line = self._driver.stdout.readline()
            assert line, "chromedriver ended before it listened"
            found = re.search(r"started successfully on port (\d+)", line)
            port = found[1] if found else None
        self._url = f"http://127.0.0.1:{port}/session"
        options = {"binary": BROWSER, "args": [*_FLAGS, f"--user-data-dir={self._profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = self._ask("", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/{session['sessionId']}"

    def open(self, file: Path, width: int, *, dark: bool = False) -> None:
        """Shows a file at that width in pixels."""
        self.visit(file.as_uri(), width, dark=dark)

    def visit(self, url: str, width: int, *, dark: bool = False) -> None:
        """Shows an address at that width in pixels."""
        self.command("Emulation.clearDeviceMetricsOverride", {})
        self._ask("/url", {"url": url})
        self.resize(width, dark=dark)

    def resize(self, width: int, *, dark: bool = False) -> None:
        """Shows the page at another width."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False, "screenWidth": width}
        self.command("Emulation.setDeviceMetricsOverride", {**metrics, "screenHeight": 900})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """A command of the browser's own protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def value(self, expression: str) -> Any:
        """What a JavaScript expression says on the page."""
        return self.command("Runtime.evaluate", {"expression": expression, "returnByValue": True})["result"]["value"]

    def console(self) -> list[str]:
        """What the console has said since it was last asked."""
        return [entry["message"] for entry in self._ask("/se/log", {"type": "browser"})]

    def requested(self) -> list[str]:
        """The addresses the page has asked for since that was last asked."""
        entries = [json.loads(entry["message"])["message"] for entry in self._ask("/se/log", {"type": "performance"})]
        sent = [entry for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [entry["params"]["request"]["url"] for entry in sent]

    def picture(self, target: Path) -> None:
        """Saves the whole page as a picture."""
        height = self.value("document.documentElement.scrollHeight")
        width = self.value("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.command("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        target.write_bytes(base64.b64decode(shot["data"]))

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), method="POST")
        with _DIRECT.open(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with _DIRECT.open(urllib.request.Request(self._url, method="DELETE"), timeout=_TIMEOUT_S):
                pass
        finally:
            self._driver.terminate()
            self._driver.wait(_TIMEOUT_S)
            assert self._driver.stdout is not None
            self._driver.stdout.close()
            shutil.rmtree(self._profile, ignore_errors=True)
