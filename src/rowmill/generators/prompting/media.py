"""Media beside a prompt: images, sound and film from columns of the row, as the parts chat endpoints take.

=========  ==================================================  =====================================
modality   from a URL                                          from base64, binary values, files
=========  ==================================================  =====================================
image      ``image_url``                                       ``image_url`` with a data URL
audio      ``audio_url`` (vLLM and others; not OpenAI)         ``input_audio``
video      ``video_url`` (vLLM and others; not OpenAI)         ``video_url`` with a data URL
=========  ==================================================  =====================================
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from rowmill.errors import GeneratorError
from rowmill.providers.image_format import image_format_of
from rowmill.spec.column import StrictModel
from rowmill.spec.declaration import DeclareContext, Reference
from rowmill.task import Row

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+);base64,(?P<data>[A-Za-z0-9+/=\s]*)")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "mp3": "audio/mpeg",
    "mov": "video/quicktime",
}
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}


class MediaFiles(Protocol):
    """Where generated files are."""

    async def read(self, name: str) -> bytes | None:
        """The content of a generated file, None if there is none of that name."""
        ...


class _MediaContext(StrictModel):
    column_name: str = Field(min_length=1)
    """The column that holds it: a URL, base64, a ``data:`` URL, binary, what an ``image`` column made, or a list of
    these. Null shows nothing."""
    data_type: Literal["url", "base64"] | None = None
    """What the column holds; given, nothing is guessed. Default: seen from each value."""

    def reference(self, place: str) -> Reference:
        """The column it is about."""
        return Reference(self.column_name, f"{place}.column_name")


class ImageContext(_MediaContext):
    """An image: a URL, base64 (with or without ``data:``), a binary value, or what an ``image`` column made."""

    modality: Literal["image"] = "image"
    """A picture."""
    image_format: Literal["png", "jpg", "jpeg", "gif", "webp"] | None = None
    """Where the value does not tell it. Default: seen from each value."""


class AudioContext(_MediaContext):
    """Sound: a URL, base64, or a binary value."""

    modality: Literal["audio"] = "audio"
    """Sound."""
    audio_format: Literal["mp3", "wav"] | None = None
    """Where the value does not tell it. Default: seen from each value."""


class VideoContext(_MediaContext):
    """A film: a URL, base64, or a binary value."""

    modality: Literal["video"] = "video"
    """A film."""
    video_format: Literal["mp4", "mov", "webm"] | None = None
    """Where the value does not tell it. Default: seen from each value."""


MediaContext = Annotated[ImageContext | AudioContext | VideoContext, Field(discriminator="modality")]


def media_references(context: DeclareContext, contexts: Sequence[MediaContext]) -> tuple[Reference, ...]:
    """The columns media come from; a base64 column without a format is a problem of the spec."""
    place = f"columns.{context.index}.multi_modal_context"
    for position, media in enumerate(contexts):
        if media.data_type == "base64" and _format(media) is None:
            context.problem(
                f"{place}.{position}", f"With data_type base64 say what it is: {media.modality}_format is missing."
            )
    return tuple(media.reference(f"{place}.{position}") for position, media in enumerate(contexts))


async def media_parts(contexts: Sequence[MediaContext], row: Row, files: MediaFiles | None) -> list[dict[str, Any]]:
    """The parts of a message that show a row's media, in the order of the contexts; null values have none.

    Raises :class:`~rowmill.errors.GeneratorError` for a value that is no such media.
    """
    parts = []
    for media in contexts:
        for value in _values(row[media.column_name]):
            try:
                parts.append(await _part(media, value, files))
            except ValueError as error:
                raise GeneratorError(
                    f"Column '{media.column_name}' holds no {media.modality} for this row: {error}", "NoMedia"
                ) from error
    return parts


def without_media(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages for people: data in them is replaced by how much it is."""
    return [
        {**message, "content": [_shortened(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _shortened(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type", "")
    inner = part.get(kind)
    if not isinstance(inner, dict):
        return part
    if str(inner.get("url", "")).startswith("data:"):
        head, _, data = str(inner["url"]).partition(",")
        return {**part, kind: {**inner, "url": f"{head},… ({len(data) * 3 // 4} bytes)"}}
    if "data" in inner:
        return {**part, kind: {**inner, "data": f"… ({len(inner['data']) * 3 // 4} bytes)"}}
    return part


def _values(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    if isinstance(value, list | tuple):
        return [item for item in value if item is not None]
    return [] if value is None else [value]


async def _part(media: MediaContext, value: Any, files: MediaFiles | None) -> dict[str, Any]:
    if isinstance(value, bytes | bytearray | memoryview):
        return _data_part(media, bytes(value))
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} is none")
    text = value.strip()
    if media.data_type == "url" or (media.data_type is None and _URL.fullmatch(text)):
        if not (_URL.fullmatch(text) or _DATA_URL.fullmatch(text)):
            raise ValueError(f"{text[:80]!r} is no http(s) URL")
        return _url_part(media, text)
    named = _DATA_URL.fullmatch(text)
    if named is not None:
        return _data_part(media, _decoded(named["data"]), named["type"])
    if media.data_type is None and files is not None and (content := await files.read(text)) is not None:
        return _data_part(media, content)
    return _data_part(media, _decoded(text))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{text[:40]!r} is neither a URL nor base64") from None


def _format(media: MediaContext) -> str | None:
    found: str | None = getattr(media, f"{media.modality}_format")
    return found


def _media_type(media: MediaContext, content: bytes, named: str | None) -> str:
    name = _format(media)
    given = None if name is None else _MEDIA_TYPES.get(name, f"{media.modality}/{name}")
    if named is not None:
        if not named.startswith(f"{media.modality}/"):
            raise ValueError(f"it is {named}")
        seen = image_format_of(content) if media.modality == "image" else None
        # Endpoints refuse a picture whose label is not what it is.
        return named if seen is None else _MEDIA_TYPES.get(seen, f"image/{seen}")
    if given is None and media.modality == "image":
        name = image_format_of(content)
        given = None if name is None else _MEDIA_TYPES.get(name, f"image/{name}")
    if given is None:
        raise ValueError(f"its format is unknown; say it as {media.modality}_format")
    return given


def _data_part(media: MediaContext, content: bytes, named: str | None = None) -> dict[str, Any]:
    if not content:
        raise ValueError("it is empty")
    kind = _media_type(media, content, named)
    text = base64.b64encode(content).decode("ascii")
    if media.modality == "audio":
        known = _AUDIO_FORMATS.get(kind)
        if known is None:
            raise ValueError(f"{kind} is neither mp3 nor wav")
        return {"type": "input_audio", "input_audio": {"data": text, "format": known}}
    return _url_part(media, f"data:{kind};base64,{text}")


def _url_part(media: MediaContext, url: str) -> dict[str, Any]:
    name = f"{media.modality}_url"
    return {"type": name, name: {"url": url}}
