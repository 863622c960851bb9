"""Metrics over HTTP while a run works: read from its run database each time somebody asks, at most once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rowmill.errors import RowmillError, UsageError
from rowmill.metrics.collector import Read, read_file, registry_of
from rowmill.store.reading.figures import Figures

_FRESH_S = 1.0


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``PORT`` (then 127.0.0.1). Raises UsageError for anything else."""
    host, separator, port = text.rpartition(":")
    if separator and host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"'{text}' is no address: an IPv6 address stands in brackets, as in [::1]:9464.")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536) or (separator and not host):
        raise UsageError(f"'{text}' is no address to serve metrics on: HOST:PORT, as in 127.0.0.1:9464.")
    return host or "127.0.0.1", int(port)


@contextmanager
def serving(database: Path, address: str) -> Iterator[str]:
    """Serves the metrics of ``database`` on ``address`` until the block ends; gives host and port.

    Raises UsageError if the address is none, cannot be served on, or prometheus-client is not there.
    """
    host, port = parse_address(address)
    registry = registry_of(_kept_fresh(lambda: read_file(database)))
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise UsageError(
            f"Metrics cannot be served on {host}:{port}: {error.strerror or error}. Name another port."
        ) from error
    try:
        yield f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _kept_fresh(read: Read) -> Read:
    """``read``, whose figures (or error) count for a second: many askers cost as much as one."""
    asking = threading.Lock()
    known: tuple[float, Figures | RowmillError] | None = None

    def fresh() -> Figures:
        nonlocal known
        with asking:
            if known is None or time.monotonic() - known[0] > _FRESH_S:
                try:
                    found: Figures | RowmillError = read()
                except RowmillError as error:
                    found = error
                known = (time.monotonic(), found)
            if isinstance(known[1], RowmillError):
                raise known[1]
            return known[1]

    return fresh
