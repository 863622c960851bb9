"""A limit of address space (``ulimit -v``) that is too low for a run: libraries in C abort there without a word."""

from __future__ import annotations

import resource

from rowmill.errors import UsageError

LEAST_BYTES = 2 * 2**30
"""The engine, Arrow and their threads reserve most of it, and use little."""


def check_address_space() -> None:
    """Raises UsageError if the process may reserve too little to start a run."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < LEAST_BYTES:
        raise UsageError(
            f"The process may reserve {soft // 2**20:,} MiB of address space ('ulimit -v'), and a run needs "
            f"{LEAST_BYTES // 2**20:,} MiB at least, most of it unused: libraries would abort. Raise the limit "
            f"(ulimit -v {LEAST_BYTES // 1024}); to bound memory that is used, take a cgroup."
        )
