"""What lies under a run database: a file system that locks and syncs as the engine needs it, and room to grow."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph-fuse",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    }
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_LEAST_ROOM_BYTES = 64 * 2**20


def network_file_system(path: Path, mounts: str | None = None) -> str | None:
    """The type of the file system ``path`` lies on if it is one over a network (``nfs4``); else, or if unknown, None.

    ``mounts``: the text of /proc/self/mountinfo (default: this process's; only Linux has one).
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    found, longest = None, -1
    for line in mounts.splitlines():
        fields, _, described = line.partition(" - ")
        places, kind = fields.split(), described.split()
        if len(places) < 5 or not kind:
            continue
        mounted = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), places[4]))
        # Of mounts in one place the last one is on top.
        if (path == mounted or mounted in path.parents) and len(mounted.parts) >= longest:
            found, longest = kind[0], len(mounted.parts)
    return found if found in _NETWORK else None


def missing_room(path: Path) -> str | None:
    """Says so if there is less room beside ``path`` than its copy needs; None if there is enough."""
    free = shutil.disk_usage(path.parent).free
    wanted = max(path.stat().st_size, _LEAST_ROOM_BYTES)
    if free >= wanted:
        return None
    return f"{free / 2**20:,.0f} MiB are free, a checkpoint or a copy may need {wanted / 2**20:,.0f} MiB"
