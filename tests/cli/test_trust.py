"""What a run starts by its spec is told to a user who has not seen it, and asked for on a terminal."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from rowmill.cli.main import execute
from rowmill.cli.trust import started_by
from rowmill.spec.spec import Spec


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions.py").write_text("open('it ran', 'w').close()\ndef size(row) -> int: return 1\n")
    path = tmp_path / "spec.yaml"
    path.write_text(
        "name: x\nrecords: 1\ncolumns:\n"
        "  - {name: b, column_type: custom, generator_function: 'functions:size', required_columns: []}\n"
    )
    return path


def test_a_script_is_told_in_one_line_once_and_goes_on(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["run", str(spec)]) == 0
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "New to you" in line]
    assert "the function functions:size" in told
    assert stat.S_IMODE((spec.parent / "state" / "rowmill" / "told").stat().st_mode) == 0o600
    assert execute(["run", str(spec), "again.duckdb"]) == 0
    assert "New to you" not in capsys.readouterr().err


def test_who_was_told_in_a_script_is_still_asked_on_a_terminal(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["run", str(spec)]) == 0
    assert not (spec.parent / "state" / "rowmill" / "trusted").exists()
    monkeypatch.setattr("sys.stdin", _Terminal("n\n"))
    assert execute(["run", str(spec), "again.duckdb"]) == 2
    assert "the function functions:size" in capsys.readouterr().err


def test_a_script_that_can_keep_nothing_is_told_each_time(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(spec))  # a file: nothing can be made below it
    for database in ("first.duckdb", "second.duckdb"):
        assert execute(["run", str(spec), database]) == 0
        assert "New to you" in capsys.readouterr().err


def test_who_says_no_has_run_nothing(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal("n\n"))
    assert execute(["run", str(spec)]) == 2
    message = capsys.readouterr().err
    assert "the function functions:size" in message
    assert "Nothing was started." in message
    assert not (spec.parent / "it ran").exists()
    assert not (spec.parent / "x.duckdb").exists()


@pytest.mark.parametrize("agrees_by", ["answer", "--yes"])
def test_what_was_agreed_to_is_remembered_for_the_user_alone(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], agrees_by: str
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal("y\n"))
    assert execute(["run", str(spec), *(["--yes"] if agrees_by == "--yes" else [])]) == 0
    kept = spec.parent / "state" / "rowmill" / "trusted"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "size" not in kept.read_text()
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", _Terminal(""))  # a question would find no answer
    assert execute(["run", "x.duckdb"]) == 0
    assert "new to you" not in capsys.readouterr().err.lower()


def test_functions_programs_and_keys_are_named_with_where_they_go(tmp_path: Path) -> None:
    spec = Spec.from_data(
        {
            "records": 1,
            "models": [
                {
                    "alias": "w",
                    "provider": "openai",
                    "base_url": "http://a.example/v1",
                    "model": "m",
                    "api_key": "${K}",
                },
                {
                    "alias": "v",
                    "base_url": ["http://b.example/v1", "http://c.example/v1"],
                    "model": "m",
                    "api_key": "${K}",
                },
            ],
            "mcp_providers": [{"name": "t", "command": "tool", "args": ["--fast"]}],
            "columns": [
                {"name": "a", "column_type": "custom", "generator_function": "f:g", "required_columns": []},
                {
                    "name": "b",
                    "column_type": "validation",
                    "target_columns": ["a"],
                    "validator_type": "local_callable",
                    "validator_params": {"validation_function": "f:check"},
                },
            ],
        }
    )
    assert {each.what for each in started_by(spec, tmp_path)} == {
        "the function f:g",
        "the function f:check",
        "the program 'tool --fast'",
        "the value of $K goes to http://a.example/v1",
        "the value of $K goes to http://b.example/v1 and http://c.example/v1",
    }
    elsewhere = {each.digest for each in started_by(spec, tmp_path / "elsewhere")}
    assert len(elsewhere & {each.digest for each in started_by(spec, tmp_path)}) == 2
