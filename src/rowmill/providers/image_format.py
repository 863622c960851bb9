"""What format an image is in, seen from its first bytes."""

from __future__ import annotations

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


def image_format_of(content: bytes) -> str | None:
    """``png``, ``jpg``, ``gif`` or ``webp``; None for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)
