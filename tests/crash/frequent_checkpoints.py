"""The command ``rowmill`` with an engine that folds its log into the file every 16 kB, not every 16 MB."""

from __future__ import annotations

from rowmill.cli.main import main
from rowmill.store import connection

if __name__ == "__main__":
    # The spec has no such setting, and nothing can change it once the connection is open.
    connection._HARDENED["checkpoint_threshold"] = "16kB"
    main()
