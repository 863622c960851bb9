"""The SQL of the benchmarks, one statement a file in ``sql/`` beside this module."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rowmill.store.database.statements import fill_script, without_comments

_DIRECTORY = Path(__file__).with_name("sql")


@cache
def _text(name: str) -> str:
    return without_comments((_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")).rstrip(";")


def bench_script(name: str, **slots: str) -> str:
    """The SQL of ``sql/<name>.sql`` with its slots filled."""
    return fill_script(_text(name), **slots)
