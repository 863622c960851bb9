"""Functions that are read from their source: the same facts as when they are imported, and nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowmill.cli.main import execute
from rowmill.generators.custom.function import FunctionProblem, load_function
from rowmill.generators.custom.unrun import unrun

_MODULE = """
import rowmill
from helper import imported
from helper import imported as other
import pyarrow as pa
from typing import Optional

@rowmill.generator(required_columns=["a"], side_effect_columns={"b": "int"}, ordered=True)
def decorated(row, params=None) -> int:
    return 1

async def waits(row: dict) -> "float": ...
def table(rows: pa.Table): ...
def quoted(rows: "pa.Table") -> str | None: ...
def stream(rows: pa.RecordBatchReader) -> Optional[bool]: ...
def later(row): ...
def later(row, params, models) -> bool: ...
class Kind:
    @staticmethod
    def static(row) -> int: ...
    @classmethod
    def of_class(cls, row) -> int: ...
    def plain(self, row) -> int: ...
if True:
    def inside(row) -> str: ...
else:
    def inside(row, params) -> str: ...
try:
    def tried(row) -> str: ...
except ImportError:
    pass
"""


def _write(directory: Path, module: str = _MODULE) -> None:
    (directory / "functions.py").write_text(module)
    (directory / "helper.py").write_text("def imported(row, params) -> int: ...\n")


_NAMES = [
    "decorated", "waits", "table", "quoted", "stream", "later", "Kind.static", "Kind.of_class", "Kind.plain", "inside",
    "tried", "imported", "other",
]  # fmt: skip


@pytest.mark.parametrize("name", _NAMES)
def test_what_is_read_of_a_function_is_what_is_found_when_it_is_imported(tmp_path: Path, name: str) -> None:
    _write(tmp_path)
    with unrun():
        read = load_function(f"functions:{name}", tmp_path)
    imported = load_function(f"functions:{name}", tmp_path)
    facts = ["reference", "parameters", "is_async", "takes_rows", "takes_stream", "dtype", "source_sha256", "traits"]
    assert {fact: getattr(read, fact) for fact in facts} == {fact: getattr(imported, fact) for fact in facts}


@pytest.mark.parametrize("name", ["json:dumps", "rowmill.counted:plural", "shutil:which"])
def test_a_function_of_an_installed_module_is_read_too(name: str) -> None:
    with unrun():
        read = load_function(name, None)
    assert read.parameters == load_function(name, None).parameters


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing:f", "Module 'missing' is not found"),
        ("functions:decoratd", "Did you mean 'decorated'?"),
        ("broken:f", "SyntaxError"),
        ("odd:made", "--import-functions"),
        ("odd:computed", "no plain literals"),
        ("odd:round_and_round", "--import-functions"),
        ("odd:needs", "cannot be called"),
        ("math:sqrt", "--import-functions"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_do(tmp_path: Path, reference: str, message: str) -> None:
    _write(tmp_path)
    (tmp_path / "broken.py").write_text("def f(:")
    (tmp_path / "odd.py").write_text(
        "import rowmill\nfrom odd import round_and_round\nmade = print\nNAMES = ['a']\n"
        "@rowmill.generator(required_columns=NAMES)\ndef computed(row): ...\ndef needs(row, *, more): ...\n"
    )
    with unrun(), pytest.raises(FunctionProblem) as caught:
        load_function(reference, tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_validate_and_plan_run_nothing_of_a_spec_unless_told(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "it ran"
    (tmp_path / "functions.py").write_text(f"open({str(trace)!r}, 'w').close()\ndef size(row) -> int: return 1\n")
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: x\nrecords: 1\ncolumns:\n"
        "  - {name: a, column_type: expression, expr: x}\n"
        "  - {name: b, column_type: custom, generator_function: 'functions:size', required_columns: [a]}\n"
        "  - {name: c, column_type: validation, target_columns: [b], validator_type: local_callable,\n"
        "     validator_params: {validation_function: 'functions:size'}}\n"
    )
    assert execute([command, str(spec)]) == 0
    assert not trace.exists()
    assert execute([command, str(spec), "--import-functions"]) == 0
    assert trace.exists()
    capsys.readouterr()
