"""What format an image is in, seen from its first bytes."""

from __future__ import annotations

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)

_END_OF_PNG = b"IEND\xae\x42\x60\x82"
_END_OF_JPG = b"\xff\xd9"
_END_OF_GIF = b";"
_LONGEST_TAIL = 4096
"""What programs append to a picture at most."""


def image_format_of(content: bytes) -> str | None:
    """``png``, ``jpg``, ``gif`` or ``webp``; None for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)


def is_whole(content: bytes, name: str) -> bool:
    """Whether a picture of this format is there to its end, as far as that can be told without decoding it."""
    if name == "png":
        return _END_OF_PNG in content
    if name == "jpg":
        return _END_OF_JPG in content[-_LONGEST_TAIL:]
    if name == "gif":
        return content.rstrip(b"\0\r\n").endswith(_END_OF_GIF)
    return int.from_bytes(content[4:8], "little") + 8 <= len(content) + 1
