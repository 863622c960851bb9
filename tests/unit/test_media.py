"""Media beside a prompt, and what is kept of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from generator_context import declared, problems
from pydantic import TypeAdapter
from scripted_provider import ScriptedProvider, handle

from rowmill.errors import GeneratorError
from rowmill.generators.file_directory import FileDirectory
from rowmill.generators.prompting.llm_text import LlmTextColumn
from rowmill.generators.prompting.media import MediaContext, media_parts
from rowmill.generators.protocol import Call
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.protocol import ChatAnswer
from rowmill.providers.simulated import simulated_picture

PNG = simulated_picture(b"x", "").content
PNG_TEXT = base64.b64encode(PNG).decode()
PNG_URL = f"data:image/png;base64,{PNG_TEXT}"


def shown(context: dict[str, Any], value: Any, files: FileDirectory | None = None) -> list[dict[str, Any]]:
    """The parts of a row whose column ``media`` holds this value."""
    media: MediaContext = TypeAdapter(MediaContext).validate_python({"column_name": "media", **context})
    return anyio.run(media_parts, [media], {"media": value}, files)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


IMAGE = {"modality": "image"}
AUDIO = {"modality": "audio", "audio_format": "wav"}
VIDEO = {"modality": "video", "video_format": "mov"}


@pytest.mark.parametrize(
    ("context", "value", "expected"),
    [
        (IMAGE, "http://127.0.0.1/a.png", [image("http://127.0.0.1/a.png")]),
        (IMAGE | {"data_type": "url"}, " HTTPS://127.0.0.1/a ", [image("HTTPS://127.0.0.1/a")]),
        (IMAGE, PNG_TEXT, [image(PNG_URL)]),
        (IMAGE, PNG_URL, [image(PNG_URL)]),
        (IMAGE, PNG, [image(PNG_URL)]),
        (IMAGE, PNG_URL.replace("image/png", "image/jpeg"), [image(PNG_URL)]),
        (IMAGE, "data:image/avif;base64,AAAA", [image("data:image/avif;base64,AAAA")]),
        (IMAGE | {"data_type": "base64", "image_format": "jpg"}, "AAAA", [image("data:image/jpeg;base64,AAAA")]),
        (IMAGE, None, []),
        (IMAGE, [PNG, None, "http://127.0.0.1/b"], [image(PNG_URL), image("http://127.0.0.1/b")]),
        (IMAGE, '["http://127.0.0.1/b"]', [image("http://127.0.0.1/b")]),
        (AUDIO, b"RIFF", [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]),
        (AUDIO, "http://127.0.0.1/a.wav", [{"type": "audio_url", "audio_url": {"url": "http://127.0.0.1/a.wav"}}]),
        (
            AUDIO,
            "data:audio/mpeg;base64,AAAA",
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}],
        ),
        (VIDEO, b"abc", [{"type": "video_url", "video_url": {"url": "data:video/quicktime;base64,YWJj"}}]),
    ],
)
def test_each_value_becomes_the_part_that_shows_it(context: dict[str, Any], value: Any, expected: Any) -> None:
    assert shown(context, value) == expected


@pytest.mark.parametrize(
    ("context", "value", "reason"),
    [
        (IMAGE, "not an image", "neither a URL nor base64"),
        (IMAGE, "AAAA", "its format is unknown; say it as image_format"),
        (IMAGE, b"", "it is empty"),
        (IMAGE, 3, "a int is none"),
        (IMAGE, "data:audio/wav;base64,AAAA", "it is audio/wav"),
        (IMAGE | {"data_type": "url"}, PNG_TEXT, "is no http"),
        ({"modality": "audio"}, b"abc", "say it as audio_format"),
    ],
)
def test_a_value_that_is_no_such_media_rejects_its_row(context: dict[str, Any], value: Any, reason: str) -> None:
    with pytest.raises(GeneratorError, match=reason) as caught:
        shown(context, value)
    assert caught.value.error_type == "NoMedia"


def test_what_an_image_column_made_is_read_from_its_file(tmp_path: Path) -> None:
    files = FileDirectory(tmp_path / "files")
    name = anyio.run(files.write, "photo", 3, "png", PNG)
    assert shown(IMAGE, name, files) == [image(PNG_URL)]


def test_no_other_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    files = FileDirectory(tmp_path / "files")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "photo/../../secret.png"):
        with pytest.raises(GeneratorError):
            shown(IMAGE, name, files)


def test_media_come_before_the_prompt_and_the_trace_says_only_how_much_they_are() -> None:
    provider = ScriptedProvider(ChatAnswer("A dot."))
    column = LlmTextColumn.model_validate(
        {
            "name": "seen",
            "model_alias": "writer",
            "prompt": "What is it?",
            "with_trace": True,
            "multi_modal_context": [IMAGE | {"column_name": "media"}],
        }
    )
    generator = column.bind(InvocationRuntime(Path(), {"writer": handle(provider)}))
    _, trace = anyio.run(generator.generate, {"media": PNG}, Call(0, [0]))
    assert provider.requests[0].messages[-1]["content"] == [image(PNG_URL), {"type": "text", "text": "What is it?"}]
    kept = json.loads(trace)[0]["content"]
    assert kept[0]["image_url"]["url"].startswith("data:image/png;base64,… (")
    assert PNG_TEXT not in trace


def seen(**context: Any) -> dict[str, Any]:
    return {
        "name": "seen",
        "column_type": "llm-text",
        "model_alias": "writer",
        "prompt": "What is it?",
        "multi_modal_context": [context],
    }


MEDIA = {"name": "media", "column_type": "expression", "expr": "http://127.0.0.1/a.png"}


def test_the_column_of_a_context_is_an_input_and_part_of_the_fingerprint() -> None:
    plain = {key: value for key, value in seen().items() if key != "multi_modal_context"}
    with_media = declared(MEDIA, seen(modality="image", column_name="media"))[1]
    assert [reference.name for reference in with_media.inputs] == ["media"]
    assert "multi_modal_context" not in declared(plain)[0].fingerprint
    other = declared(MEDIA, seen(modality="image", column_name="media", data_type="url"))[1]
    assert other.fingerprint != with_media.fingerprint


def test_base64_without_a_format_is_a_problem_of_the_spec() -> None:
    found = problems(MEDIA, seen(modality="audio", column_name="media", data_type="base64"))
    assert "audio_format is missing" in found["columns.1.multi_modal_context.0"]


def test_the_format_of_another_modality_is_an_unknown_field() -> None:
    found = problems(MEDIA, seen(modality="audio", column_name="media", image_format="png"))
    assert "Unknown field 'image_format'" in found["columns.1.multi_modal_context.0.image_format"]
