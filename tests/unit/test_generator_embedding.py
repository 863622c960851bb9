"""Embedding columns: many rows a request, and no row pays for the fault of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from generator_context import declared, problems
from scripted_provider import handle

from rowmill.errors import GeneratorError, RateLimited, Rejected, RunStopping, SpecError
from rowmill.generators.prompting.embedding import EmbeddingColumn
from rowmill.generators.protocol import Call
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.protocol import ChatAnswer, ChatRequest, EmbeddingAnswer, EmbeddingRequest

TEXT = {"name": "text", "column_type": "expression", "expr": "a text"}


class ScriptedEmbedder:
    """Makes vectors of two numbers, rejects every request with the text ``bad``, and keeps what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[EmbeddingRequest] = []
        self._error = error

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        raise AssertionError("nobody asked for a chat")

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        self.asked.append(request)
        if self._error is not None:
            raise self._error
        if "bad" in request.texts:
            raise Rejected("too long", "ContextTooLong")
        return EmbeddingAnswer([[float(len(text)), 0.5] for text in request.texts], 3 * len(request.texts))

    async def aclose(self) -> None:
        """Nothing to close."""


def column(**fields: Any) -> dict[str, Any]:
    return {"name": "vector", "column_type": "embedding", "target_column": "text", "model_alias": "writer", **fields}


def vectors(embedder: ScriptedEmbedder, texts: Sequence[Any], call: Call | None = None, **fields: Any) -> Any:
    made = EmbeddingColumn.model_validate(column(**fields))
    generator = made.bind(InvocationRuntime(Path(), {"writer": handle(embedder)}))
    rows = [{"text": text} for text in texts]
    return anyio.run(generator.generate_rows, rows, call or Call(0, range(len(texts))))


def test_all_rows_of_a_call_are_one_request() -> None:
    embedder = ScriptedEmbedder()
    call = Call(0, [0, 1, 2])
    assert vectors(embedder, ["a", "bb", "ccc"], call) == [([1.0, 0.5],), ([2.0, 0.5],), ([3.0, 0.5],)]
    (request,) = embedder.asked
    assert list(request.texts) == ["a", "bb", "ccc"]
    assert request.parameters == {"seed": 3}
    assert [(journaled.input_tokens, journaled.error_type) for journaled in call.requests] == [(9, None)]


def test_null_stays_null_and_is_not_sent() -> None:
    embedder = ScriptedEmbedder()
    assert vectors(embedder, [None, "a"]) == [(None,), ([1.0, 0.5],)]
    assert list(embedder.asked[0].texts) == ["a"]
    embedder = ScriptedEmbedder()
    assert vectors(embedder, [None]) == [(None,)]
    assert embedder.asked == []


def test_what_is_no_text_is_the_error_of_its_row_alone() -> None:
    wrong, right = vectors(ScriptedEmbedder(), [[1], "a"])
    assert isinstance(wrong, GeneratorError)
    assert "'text' is list for this row" in str(wrong)
    assert right == ([1.0, 0.5],)


def test_only_the_guilty_row_of_a_rejected_request_is_rejected() -> None:
    embedder = ScriptedEmbedder()
    call = Call(0, range(8))
    results = vectors(embedder, ["a"] * 5 + ["bad"] + ["a"] * 2, call)
    assert [isinstance(result, Rejected) for result in results] == [place == 5 for place in range(8)]
    assert len(call.requests) == len(embedder.asked) == 7
    assert sum(request.error_type == "ContextTooLong" for request in call.requests) == 4


@pytest.mark.parametrize("error", [RateLimited("slow down", 1.0), RunStopping("no key", "Authentication")])
def test_other_errors_are_those_of_the_whole_call(error: Exception) -> None:
    embedder = ScriptedEmbedder(error)
    with pytest.raises(type(error)):
        vectors(embedder, ["a", "b"])
    assert len(embedder.asked) == 1


def test_a_known_length_makes_an_array_and_another_one_stops_the_run() -> None:
    assert declared(TEXT, column())[1].outputs[0].sql_type == "FLOAT[]"
    assert declared(TEXT, column(dimensions=3))[1].outputs[0].sql_type == "FLOAT[3]"
    with pytest.raises(RunStopping, match=r"have 2 dimensions, and its 'dimensions' say 3"):
        vectors(ScriptedEmbedder(), ["a"], dimensions=3)


def test_many_rows_share_a_call_and_its_endpoint_with_chats() -> None:
    chat = {"name": "said", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ text }}"}
    _, said, vector = declared(TEXT, chat, column(max_rows_per_call=10))
    assert vector.max_rows_per_call == 10
    assert vector.resource == said.resource
    assert vector.fingerprint == {"model": {"provider": "simulated", "model": "small", "parameters": {}}}


def functions(directory: Path) -> Path:
    (directory / "vectors.py").write_text(
        "import asyncio\n"
        "def lengths(texts):\n    return [[len(text), 1] for text in texts]\n"
        "async def later(texts):\n    await asyncio.sleep(0)\n    return [[0.5] for _ in texts]\n"
        "def few(texts):\n    return [[1.0]]\n"
        "def none(texts):\n    return None\n"
        "def huge(texts):\n    return [[1e39] for _ in texts]\n"
        "def by_text(texts):\n    return {text: [1.0] for text in texts}\n"
        "def by_place(texts):\n    return [{0: 1.0} for _ in texts]\n"
        "def as_set(texts):\n    return [{1.0, 2.0} for _ in texts]\n"
        "def flat(texts):\n    return [1.0 for _ in texts]\n"
        "def raises(texts):\n    raise SystemExit(3)\n"
    )
    return directory


def local(directory: Path, name: str, *texts: str) -> Any:
    made = EmbeddingColumn.model_validate(column(model_alias=None, embedding_function=f"vectors:{name}"))
    generator = made.bind(InvocationRuntime(functions(directory)))
    return anyio.run(generator.generate_rows, [{"text": text} for text in texts], Call(0, range(len(texts))))


def test_a_local_function_is_a_source_of_vectors_too(tmp_path: Path) -> None:
    assert local(tmp_path, "lengths", "a", "bb") == [([1, 1],), ([2, 1],)]
    assert local(tmp_path, "later", "a") == [([0.5],)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("few", "returned 1 vector for 2 texts"),
        ("none", "must return a list of vectors, not NoneType"),
        ("by_text", "must return a list of vectors; a dict is none"),
        ("by_place", "must return a list of vectors; a dict is none"),
        ("as_set", "must return a list of vectors; a set is none"),
        ("flat", "must return a list of vectors; a float is none"),
        ("huge", "no 32-bit float"),
        ("raises", "raised SystemExit"),
    ],
)
def test_a_function_that_makes_something_else_is_told_so(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=reason):
        local(tmp_path, name, "a", "b")


def test_the_source_of_a_function_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    functions(tmp_path)
    of = column(model_alias=None, embedding_function="vectors:lengths")
    first = declared(TEXT, of, directory=tmp_path)[1]
    assert first.resource == "local/threads"
    file = tmp_path / "vectors.py"
    file.write_text(f"{file.read_text()}# said, not done\n")
    assert declared(TEXT, of, directory=tmp_path)[1].fingerprint == first.fingerprint
    file.write_text(file.read_text().replace("len(", "1 + len("))
    assert declared(TEXT, of, directory=tmp_path)[1].fingerprint != first.fingerprint


def test_exactly_one_source_is_needed() -> None:
    for wrong in ({"model_alias": None}, {"embedding_function": "vectors:lengths"}):
        with pytest.raises(SpecError, match="Give either 'model_alias' or 'embedding_function'"):
            declared(TEXT, column(**wrong))


def test_a_function_that_is_not_there_is_a_problem_of_the_spec(tmp_path: Path) -> None:
    functions(tmp_path)
    found = problems(TEXT, column(model_alias=None, embedding_function="vectors:length"), directory=tmp_path)
    assert "Did you mean 'lengths'" in found["columns.1.embedding_function"]
