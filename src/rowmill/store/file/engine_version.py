"""Which versions of the engine Rowmill is made for: it rests on how they lay out a file, and on what they promise."""

from __future__ import annotations

import duckdb

from rowmill.errors import WrongVersion

MADE_FOR = "2.0."


def check_engine(version: str = duckdb.__version__) -> None:
    """Raises :class:`~rowmill.errors.WrongVersion` if the installed engine is none Rowmill is made for."""
    if not version.startswith(MADE_FOR):
        raise WrongVersion(
            f"Rowmill is made for DuckDB {MADE_FOR}x, found {version}: its files may be laid out differently. "
            "Install one it is made for, such as with: pip install 'duckdb>=2.0.0,<2.1'. Nothing was opened or changed."
        )
