"""The environment of processes of ours that need no secret: what is named here, and nothing else.

A run has keys of its endpoints in its environment. Whoever may look at a process of the same user can read its
environment; so the fewer processes have them, the better.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_NEEDED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "TERM", "NO_COLOR",
        "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "ROWMILL_SOCKET_DIRECTORY", "ROWMILL_DEBUG",
        # What a browser needs to show itself.
        "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "BROWSER", "DBUS_SESSION_BUS_ADDRESS", "DESKTOP_SESSION",
    }
)  # fmt: skip
_NEEDED_BEGINNINGS = ("LC_", "PYTHON", "XDG_", "DYLD_")


def without_secrets(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the interpreter, the engine and a browser need of an environment (default: that of this process)."""
    return {
        name: value
        for name, value in (os.environ if environ is None else environ).items()
        if name in _NEEDED or name.startswith(_NEEDED_BEGINNINGS)
    }
