"""Pictures: asked for over HTTP, written whole, named by column and row."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest
from generator_context import declared, problems
from provider_simulator import provider_simulator
from scripted_endpoint import response, scripted_endpoint
from scripted_provider import ScriptedProvider, handle

from rowmill.errors import ProviderError, Rejected, RunStopping, Transient, WriteFailed
from rowmill.generators.file_directory import FileDirectory, files_of, folder_of, link_files
from rowmill.generators.prompting.image import ImageColumn
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import Call
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.image_answer import as_answer, read_picture
from rowmill.providers.image_format import image_format_of
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.protocol import ImageRequest
from rowmill.providers.simulated import simulated_picture
from rowmill.spec.model import ModelConfig
from rowmill.task import OutcomeKind, classify

PNG = simulated_picture(b"x", "").content


def drawn(url: str, directory: Path, call: Call, key: str | None = None, **model: Any) -> Any:
    """The value of an image column whose model is at this URL."""
    config = ModelConfig.model_validate({"alias": "painter", "base_url": url, "model": "small", **model})
    column = ImageColumn(name="photo", model_alias="painter", prompt="A {{ thing }}")

    async def draw() -> Any:
        provider = OpenAIProvider(url, "small", key, 1)
        try:
            models = {"painter": ModelHandle(config, provider)}
            generator = column.bind(InvocationRuntime(directory, models, files=FileDirectory(directory / "files")))
            return await generator.generate({"thing": "dot"}, call)
        finally:
            await provider.aclose()

    return anyio.run(draw)


@pytest.mark.parametrize(
    "model", [{}, {"inference_parameters": {"extra_body": {"response_format": "url"}}}, {"image_route": "chat"}]
)
def test_a_picture_becomes_a_file_named_by_column_and_row(model: dict[str, Any], tmp_path: Path) -> None:
    call = Call(0, [17])
    with provider_simulator() as simulator:
        assert drawn(simulator.url, tmp_path, call, **model) == ["photo/17.png"]
        assert simulator.statistics()["requests"] == 1
    path = tmp_path / "files" / "photo" / "17.png"
    assert image_format_of(path.read_bytes()) == "png"
    assert [(request.model, request.error_type) for request in call.requests] == [("small", None)]
    assert call.requests[0].input_tokens > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_the_key_does_not_travel_to_the_url_of_a_picture(tmp_path: Path) -> None:
    async def go() -> tuple[Any, Any]:
        async with scripted_endpoint(response(200, PNG)) as files:
            address = files.url.replace("/v1", "/picture")
            answer = json.dumps({"data": [{"url": address}]})
            async with scripted_endpoint(response(200, answer)) as endpoint:
                provider = OpenAIProvider(endpoint.url, "small", "sk-secret", 1)
                picture = await provider.draw(ImageRequest("A dot"))
                await provider.aclose()
            return picture, files.requests[0].headers

    picture, headers = anyio.run(go)
    assert picture.content == PNG
    assert "authorization" not in headers


def test_a_row_made_again_replaces_its_file_in_whatever_format_and_leaves_nothing_behind(tmp_path: Path) -> None:
    files = FileDirectory(tmp_path)
    anyio.run(files.write, "photo", 1, "jpg", b"old")
    anyio.run(files.write, "photo", 11, "png", b"neighbour")
    assert anyio.run(files.write, "photo", 1, "png", b"new") == "photo/1.png"
    assert sorted(os.listdir(tmp_path / "photo")) == ["1.png", "11.png"]


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    (tmp_path / "photo").mkdir(parents=True)
    (tmp_path / "photo" / "5.png.partial").write_bytes(b"half")
    anyio.run(FileDirectory(tmp_path).write, "photo", 1, "png", b"new")
    assert os.listdir(tmp_path / "photo") == ["1.png"]


def test_many_files_at_once_are_all_there(tmp_path: Path) -> None:
    files = FileDirectory(tmp_path)

    async def write_all() -> None:
        async with anyio.create_task_group() as group:
            for row_id in range(40):
                group.start_soon(files.write, "photo", row_id, "png", b"%d" % row_id)

    anyio.run(write_all)
    assert {path.name: path.read_bytes() for path in (tmp_path / "photo").iterdir()} == {
        f"{row_id}.png": b"%d" % row_id for row_id in range(40)
    }


def test_a_file_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(WriteFailed, match="cannot be written") as caught:
        anyio.run(FileDirectory(tmp_path / "files").write, "photo", 1, "png", b"x")
    assert classify(caught.value) is OutcomeKind.STOP


def test_any_column_name_has_a_directory_of_its_own() -> None:
    names = ["photo", "../photo", "a/b", "a b", "a_b", "ünï", "x" * 200, "x" * 201, ".", ".."]
    folders = [folder_of(name) for name in names]
    assert len(set(folders)) == len(names)
    assert folders[0] == "photo"
    assert all("/" not in folder and not folder.startswith(".") for folder in folders)


def found(document: Any) -> Any:
    return read_picture(json.dumps(document).encode(), "http://host/v1", "small")


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, Transient),
        ({"data": []}, Transient),
        ({"data": [{}]}, Transient),
        ({"data": [{"b64_json": "%"}]}, Transient),
        ({"choices": [{"message": {"content": "I cannot draw."}}]}, Rejected),
        ({"choices": [{"message": {"content": "no", "images": []}, "finish_reason": "content_filter"}]}, Rejected),
    ],
)
def test_an_answer_without_picture_is_none(document: Any, error: type[ProviderError]) -> None:
    with pytest.raises(error) as caught:
        found(document)
    assert type(caught.value) is error


def test_bytes_that_are_no_picture_are_rejected_with_what_they_cost() -> None:
    text = base64.b64encode(b"<svg/>").decode()
    answer = found({"data": [{"b64_json": text}], "usage": {"input_tokens": 3, "output_tokens": 4}})
    with pytest.raises(Rejected, match="no png, jpg, gif or webp") as caught:
        as_answer(answer.content, answer)
    assert (caught.value.input_tokens, caught.value.output_tokens) == (3, 4)


@pytest.mark.parametrize(
    "whole",
    [
        PNG,
        b"\xff\xd8\xff\xe0" + bytes(5000) + b"\xff\xd9",
        b"GIF89a" + bytes(20) + b";",
        b"RIFF" + (24).to_bytes(4, "little") + b"WEBP" + bytes(20),
    ],
    ids=["png", "jpg", "gif", "webp"],
)
def test_v7_a_part_of_a_picture_is_no_picture(whole: bytes) -> None:
    def drawn(content: bytes) -> Any:
        text = base64.b64encode(content).decode()
        answer = found({"data": [{"b64_json": text}], "usage": {"input_tokens": 3, "output_tokens": 4}})
        return as_answer(answer.content, answer)

    assert drawn(whole).content == drawn(whole + b"\0").content[:-1] == whole
    with pytest.raises(Transient, match="ends early") as caught:
        drawn(whole[:-4])
    assert (caught.value.error_type, caught.value.output_tokens) == ("TruncatedAnswer", 4)


def test_a_provider_that_draws_nothing_stops_the_run() -> None:
    with pytest.raises(RunStopping, match="draws no pictures"):
        anyio.run(handle(ScriptedProvider()).draw, "A dot", [], Call(0, [0]))


def test_pictures_to_start_from_need_a_model_that_draws_in_chats() -> None:
    column = {
        "name": "photo",
        "column_type": "image",
        "model_alias": "writer",
        "prompt": "A dot",
        "multi_modal_context": [{"modality": "image", "column_name": "media"}],
    }
    media = {"name": "media", "column_type": "expression", "expr": "x"}
    assert "image_route: chat" in problems(media, column)["columns.1.multi_modal_context"]
    (plain,) = declared({key: value for key, value in column.items() if key != "multi_modal_context"})
    assert plain.models == {"writer": "image"}


def test_a_copy_of_a_run_database_gets_its_files_and_keeps_them_when_the_first_changes(tmp_path: Path) -> None:
    source, target = tmp_path / "run.duckdb", tmp_path / "other.duckdb"
    files = FileDirectory(files_of(source))
    name = anyio.run(files.write, "photo", 1, "png", b"first")
    (files.path / "photo" / "2.png.partial").write_bytes(b"half")
    link_files([source], target)
    anyio.run(files.write, "photo", 1, "png", b"second")
    assert anyio.run(FileDirectory(files_of(target)).read, name) == b"first"
    assert [path.name for path in files_of(target).rglob("*.*")] == ["1.png"]
    link_files([tmp_path / "without.duckdb"], tmp_path / "none.duckdb")
    assert not files_of(tmp_path / "none.duckdb").exists()
