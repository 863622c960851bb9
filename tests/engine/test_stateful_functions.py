"""Classes in place of functions: loaded once a worker, called like functions, closed in the end."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from help_page import PAGES, block_with

import rowmill
from rowmill import RunDatabase
from rowmill.engine.preparation import prepare
from rowmill.errors import RowmillError, RunStopping, SpecError
from rowmill.generators.custom.function import FunctionProblem, load_function
from rowmill.generators.custom.function_class import FunctionClass
from rowmill.generators.custom.kept_instance import KeptInstance
from rowmill.generators.custom.unrun import unrun

FUNCTIONS = """
import asyncio, os, threading
from pathlib import Path

TRACE = Path(__file__).parent / "trace"
MAIN = threading.main_thread()

def note(word):
    TRACE.mkdir(exist_ok=True)
    with open(TRACE / f"{word}-{os.getpid()}", "a") as file:
        file.write("x")

class Counted:
    def setup(self):
        note("setup")
        self.pid = os.getpid()
        self.on_main = threading.current_thread() is MAIN
    def generate(self, row) -> str:
        assert self.pid == os.getpid() and not self.on_main
        return f"{row['size']:.3f}"
    def close(self):
        note("close")

class Waiting:
    async def setup(self, params):
        await asyncio.sleep(0)
        note("setup")
        self.factor = params["factor"]
    async def generate(self, row, params) -> float:
        return self.factor * row["size"] + params["factor"]
    async def close(self):
        await asyncio.sleep(0)
        note("close")

class OfTables:
    def setup(self):
        self.word = "n"
    def generate(self, rows) -> str:
        return {"row_index": rows["row_index"], "made": [self.word] * len(rows)}

class OfAll:
    def setup(self):
        note("setup")
        self.word = "all"
    def generate(self, rows) -> str:
        return {"row_id": rows["row_id"], "made": [self.word] * len(rows)}

class Ordered:
    def setup(self):
        self.step = 1
    def generate(self, rows, state) -> int:
        last = state or 0
        return {"row_index": rows["row_index"], "made": [last + self.step] * len(rows)}, last + self.step

class Shared:
    def setup(self):
        self.barrier = threading.Barrier(2, timeout=10)
    def generate(self, row) -> str:
        self.barrier.wait()  # passes only if two calls are in it at once
        return "together"

class Asks:
    def setup(self):
        self.prompt = "Say something."
    def generate(self, row, params, models) -> bool:
        return bool(models["writer"].chat(self.prompt).text)

class Bare:
    def generate(self, row) -> int:
        return 1

class SetupFails:
    def setup(self):
        raise ValueError("no such model")
    def generate(self, row) -> int:
        return 1
    def close(self):
        note("close")

class SetupExits(SetupFails):
    def setup(self):
        raise SystemExit(3)

class SetupStops(SetupFails):
    def setup(self):
        next(iter(()))

class SetupFailsAsync(SetupFails):
    async def setup(self):
        raise TimeoutError("too slow")

class SetupCancels(SetupFails):
    async def setup(self):
        raise asyncio.CancelledError

class SetupYields(SetupFails):
    def setup(self):
        yield

class SetupReturnsCoroutine(SetupFails):
    def setup(self):
        return asyncio.sleep(0)

class MakingFails(SetupFails):
    def __init__(self):
        raise ValueError("not made")

class FailsLater(Counted):
    def generate(self, row) -> int:
        raise ValueError("not this row")

class CloseFails(Bare):
    def close(self):
        raise ValueError("cannot close")

class CloseExits(Bare):
    def close(self):
        raise SystemExit(3)
"""
_SIZE = {"name": "size", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def _spec(kind: Any, records: int = 4, run: dict[str, Any] | None = None, **column: Any) -> dict[str, Any]:
    reference = f"functions:{kind}" if isinstance(kind, str) else kind
    made = {"name": "made", "column_type": "custom", "generator_function": reference, "required_columns": ["size"]}
    settings = {"max_attempts": 1, "backoff_base_s": 0.01, **(run or {})}
    return {
        "name": "stateful",
        "records": records,
        "row_group_size": 2,
        "columns": [_SIZE, {**made, **column}],
        "run": settings,
    }


def _run(directory: Path, kind: Any, **fields: Any) -> list[Any]:
    rowmill.run(_spec(kind, **fields), directory / "run.duckdb", directory=directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        return [row["made"] for row in database.to_arrow().to_pylist()]


def _trace(directory: Path) -> dict[str, list[str]]:
    """What was noted, and by how many processes: a text for each, with an x for each time."""
    found: dict[str, list[str]] = {}
    for file in sorted(directory.glob("trace/*")):
        found.setdefault(file.name.partition("-")[0], []).append(file.read_text())
    return found


def test_a_class_is_set_up_once_off_the_event_loop_and_closed_once(directory: Path) -> None:
    assert len(_run(directory, "Counted", records=6)) == 6
    assert _trace(directory) == {"setup": ["x"], "close": ["x"]}


def test_an_async_class_and_its_setup_get_the_parameters(directory: Path) -> None:
    values = _run(directory, "Waiting", generator_params={"factor": 10})
    assert all(10 <= value <= 20 for value in values)
    assert _trace(directory) == {"setup": ["x"], "close": ["x"]}


@pytest.mark.parametrize(
    ("kind", "column", "values"),
    [
        ("Bare", {}, [1, 1, 1, 1]),
        ("OfTables", {"generation_strategy": "batch"}, ["n"] * 4),
        ("OfAll", {"generation_strategy": "dataset"}, ["all"] * 4),
        ("Ordered", {"generation_strategy": "batch", "ordered": True}, [1, 1, 2, 2]),
    ],
)
def test_generate_is_called_as_a_function_is(
    directory: Path, kind: str, column: dict[str, Any], values: list[Any]
) -> None:
    assert _run(directory, kind, **column) == values


def test_a_preview_sets_up_and_closes_too(directory: Path) -> None:
    assert rowmill.preview(_spec("Counted"), 2, directory=directory).rows.num_rows == 2
    assert _trace(directory) == {"setup": ["x"], "close": ["x"]}


def test_a_class_over_all_rows_is_set_up_in_the_process_of_the_run(directory: Path) -> None:
    executor = {"kind": "processes", "workers": 1}
    assert _run(directory, "OfAll", generation_strategy="dataset", run={"executor": executor}) == ["all"] * 4
    assert _trace(directory) == {"setup": ["x"]}


def test_calls_from_several_threads_share_the_instance(directory: Path) -> None:
    assert _run(directory, "Shared", max_rows_per_call=1) == ["together"] * 4


def test_a_class_may_ask_models(directory: Path) -> None:
    spec = _spec("Asks", model_aliases=["writer"])
    spec["models"] = [{"alias": "writer", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}]
    rowmill.run(spec, directory / "run.duckdb", directory=directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        assert [row["made"] for row in database.to_arrow().to_pylist()] == [True] * 4
        assert database.sql("from attempt where generator = 'made'").num_rows == 4


def test_each_worker_sets_up_once_and_the_process_of_the_run_does_not(directory: Path) -> None:
    executor = {"kind": "processes", "workers": 2}
    assert len(_run(directory, "Counted", records=40, run={"executor": executor})) == 40
    trace = _trace(directory)
    assert 1 <= len(trace["setup"]) <= 2
    assert set(trace["setup"]) == {"x"}
    assert trace["close"] == trace["setup"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("SetupFails", ["'setup' of class 'functions:SetupFails'", "ValueError: no such model", "functions.py:"]),
        ("SetupExits", ["SystemExit", "functions.py:"]),
        ("SetupStops", ["StopIteration", "functions.py:"]),
        ("SetupFailsAsync", ["TimeoutError: too slow", "functions.py:"]),
        ("SetupCancels", ["cancelled itself"]),
        ("SetupYields", ["without 'yield'"]),
        ("SetupReturnsCoroutine", ["async def"]),
        ("MakingFails", ["the constructor of class 'functions:MakingFails'", "not made", "functions.py:"]),
    ],
)
def test_an_error_of_setup_stops_the_run_and_drops_nothing(directory: Path, kind: str, words: list[str]) -> None:
    with pytest.raises(RunStopping) as caught:
        _run(directory, kind)
    assert [word for word in ["Column 'made'", "run again", *words] if word not in str(caught.value)] == []
    assert "close" not in _trace(directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        assert database.sql("from dropped_row").num_rows == 0
        (ended,) = database.sql("select end_reason from invocation").to_pylist()
    assert ended["end_reason"].startswith("failed: Column 'made'")


def test_a_run_goes_on_when_setup_is_mended(directory: Path) -> None:
    (directory / "functions.py").write_text(FUNCTIONS + "    def setup(self): open('/nowhere/at/all')\n")
    with pytest.raises(RunStopping):
        _run(directory, "CloseExits")
    (directory / "functions.py").write_text(FUNCTIONS)
    report = rowmill.run(_spec("CloseExits"), directory / "run.duckdb", directory=directory, accept_changes=True)
    assert (report.exit_code, report.rows_finished) == (0, 4)


def test_an_error_of_setup_in_a_worker_is_told_as_it_is_in_the_run(directory: Path) -> None:
    with pytest.raises(RunStopping, match=r"no such model \(functions\.py:\d+\)"):
        _run(directory, "SetupFails", run={"executor": {"kind": "processes", "workers": 1}})


def test_a_setup_that_is_interrupted_is_no_error_of_its_own() -> None:
    async def main() -> None:
        started = asyncio.Event()

        class Endless:
            async def setup(self) -> None:
                started.set()
                await asyncio.Event().wait()

        kind = FunctionClass(Endless, has_setup=True, setup_takes_params=False, has_close=False)
        task = asyncio.create_task(KeptInstance("made", "functions:Endless", kind, {}).open())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_it_is_closed_also_when_every_row_failed(directory: Path) -> None:
    assert _run(directory, "FailsLater") == []
    assert _trace(directory) == {"setup": ["x"], "close": ["x"]}


def test_it_is_closed_also_when_another_class_cannot_be_set_up(directory: Path) -> None:
    spec = _spec("Counted")
    spec["columns"].append({**spec["columns"][1], "name": "other", "generator_function": "functions:SetupFails"})
    with pytest.raises(RunStopping, match="'other'"):
        rowmill.run(spec, directory / "run.duckdb", directory=directory)
    assert _trace(directory) == {"setup": ["x"], "close": ["x"]}


@pytest.mark.parametrize(("kind", "words"), [("CloseFails", "cannot close"), ("CloseExits", "SystemExit")])
def test_an_error_of_close_is_a_warning(
    directory: Path, kind: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert _run(directory, kind) == [1] * 4
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert words in record.getMessage()
    assert f"'close' of class 'functions:{kind}'" in record.getMessage()


def test_an_error_of_close_in_a_worker_is_a_warning_of_the_run(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert _run(directory, "CloseFails", run={"executor": {"kind": "processes", "workers": 1}}) == [1] * 4
    assert "cannot close" in caplog.text


class Direct:
    """Given as itself."""

    def setup(self) -> None:
        self.word = "direct"

    def generate(self, row: dict[str, Any]) -> str:
        return self.word


def test_in_python_the_class_itself_can_be_given(directory: Path) -> None:
    assert _run(directory, Direct) == ["direct"] * 4


_ODD = """
import abc, rowmill
from dataclasses import dataclass
from odd_base import Base

class Nothing: ...
class Needs:
    def __init__(self, model): ...
    def generate(self, row): ...
@dataclass
class Fields:
    model: str
    def generate(self, row): ...
class NeedsByName:
    def __init__(self, *, model): ...
    def generate(self, row): ...
class NoRow:
    def generate(self): ...
class TooMany:
    def generate(self, row, params, models, more, still): ...
class OddSetup:
    def setup(self, model, device): ...
    def generate(self, row): ...
class OddClose:
    def close(self, how): ...
    def generate(self, row): ...
class State:
    def generate(self, rows, state, params, models) -> int: ...

@rowmill.generator(required_columns=["size"], side_effect_columns={"b": "int"})
class Marked:
    def __init__(self, device="cpu"): ...
    def setup(self, params=None): ...
    def generate(self, row, params) -> int: ...
class MarkedWithin:
    @rowmill.generator(required_columns=["size"])
    async def generate(self, row) -> "float": ...
class Inherits(Base):
    def close(self): ...
class InheritsMark(Marked): ...
class Static:
    @staticmethod
    def generate(row) -> bool: ...
class Outer:
    class Inner:
        @classmethod
        def generate(cls, row, params) -> str: ...
"""
_BASE = "class Base:\n    def setup(self, params): ...\n    def generate(self, row) -> int: ...\n"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Nothing", "no method 'generate'"),
        ("Needs", "without arguments"),
        ("Fields", "without arguments"),
        ("NeedsByName", "without arguments"),
        ("NoRow", "generate(self, row)"),
        ("TooMany", "generate(self, row)"),
        ("OddSetup", "setup(self, params)"),
        ("OddClose", "close(self)"),
        ("State", "generate(self, row)"),
    ],
)
@pytest.mark.parametrize("is_read", [True, False])
def test_a_class_that_cannot_be_used_is_a_problem_of_the_spec(
    directory: Path, kind: str, words: str, is_read: bool
) -> None:
    (directory / "odd.py").write_text(_ODD)
    (directory / "odd_base.py").write_text(_BASE)
    spec = _spec(kind)
    spec["columns"][1]["generator_function"] = f"odd:{kind}"
    (directory / "spec.json").write_text(json.dumps(spec))
    with unrun() if is_read else nullcontext(), pytest.raises(SpecError) as caught:
        prepare(directory / "spec.json")
    (problem,) = caught.value.problems
    assert problem.place == "columns.1.generator_function"
    assert words in problem.message


@pytest.mark.parametrize(
    "name", ["Marked", "MarkedWithin", "Inherits", "InheritsMark", "Static", "Outer.Inner", "State"]
)
def test_what_is_read_of_a_class_is_what_is_found_when_it_is_imported(directory: Path, name: str) -> None:
    (directory / "odd.py").write_text(_ODD)
    (directory / "odd_base.py").write_text(_BASE)
    with unrun():
        read = load_function(f"odd:{name}", directory, may_be_class=True)
    imported = load_function(f"odd:{name}", directory, may_be_class=True)
    facts = ["reference", "parameters", "is_async", "takes_rows", "dtype", "source_sha256", "traits"]
    assert {fact: getattr(read, fact) for fact in facts} == {fact: getattr(imported, fact) for fact in facts}
    for fact in ("has_setup", "setup_takes_params", "has_close"):
        assert getattr(read.of_class, fact) == getattr(imported.of_class, fact)


@pytest.mark.parametrize("is_read", [True, False])
def test_a_class_where_only_a_function_can_be_is_refused(directory: Path, is_read: bool) -> None:
    with unrun() if is_read else nullcontext(), pytest.raises(FunctionProblem, match="is a class"):
        load_function("functions:Bare", directory)


def test_a_changed_class_changes_the_fingerprint(directory: Path) -> None:
    before = load_function("functions:Bare", directory, may_be_class=True)
    (directory / "functions.py").write_text(FUNCTIONS.replace("return 1", "return 2"))
    after = load_function("functions:Bare", directory, may_be_class=True)
    assert before.source_sha256 != after.source_sha256


def test_the_embedder_of_the_page_works(directory: Path) -> None:
    (directory / "functions.py").write_text(block_with(PAGES["functions"], "python", "class Embedder"))
    spec = _spec("Embedder", dtype="DOUBLE[]")
    spec["columns"].insert(1, {"name": "note", "column_type": "expression", "expr": "A note of {{ size }}"})
    del spec["columns"][2]["required_columns"]
    rowmill.run(spec, directory / "run.duckdb", directory=directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        vectors = [row["made"] for row in database.to_arrow().to_pylist()]
    assert [len(vector) for vector in vectors] == [64] * 4
    assert all(abs(sum(each * each for each in vector) - 1) < 1e-6 for vector in vectors)


def test_the_local_llm_of_the_page_can_be_imported_without_vllm_and_says_what_it_needs(directory: Path) -> None:
    (directory / "functions.py").write_text(block_with(PAGES["functions"], "python", "import vllm"))
    found = load_function("functions:LocalWriter", directory, may_be_class=True)
    assert (found.takes_rows, found.dtype) == (True, "str")
    with pytest.raises(RowmillError, match="vllm"):
        _run(directory, "LocalWriter", required_columns=["size"])
