"""A run database as a process that is killed now leaves it behind."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_of_database(source: Path, target: Path) -> Path:
    """What a process killed now leaves behind: the file, its log and its kept blocks, copied while they are open."""
    shutil.copyfile(source, target)
    for ending in (".wal", ".undo"):
        beside, copied = (path.with_name(path.name + ending) for path in (source, target))
        copied.unlink(missing_ok=True)
        if beside.exists():
            shutil.copyfile(beside, copied)
    return target
