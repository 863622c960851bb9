"""A process that may reserve little memory ends with words, not with an abort."""

from __future__ import annotations

import resource
from pathlib import Path

import duckdb
import pytest

from rowmill.cli import address_space, failure
from rowmill.cli.main import execute
from rowmill.errors import WriteFailed
from rowmill.store.file.engine_errors import opening_error


def test_a_run_under_a_limit_that_is_too_low_says_which_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (500 * 2**20, resource.RLIM_INFINITY))
    assert execute(["run", str(tmp_path / "spec.yaml")]) == 2
    message = capsys.readouterr().err
    assert "500 MiB" in message
    assert f"ulimit -v {address_space.LEAST_BYTES // 1024}" in message


def test_memory_that_runs_out_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise MemoryError

    assert failure.guard(command) == 1
    assert "not enough memory" in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_for_lack_of_memory_is_not_called_damaged() -> None:
    error = opening_error(duckdb.OutOfMemoryException("Allocation failure"), Path("x.duckdb"))
    assert type(error) is WriteFailed
    assert "not enough memory" in str(error)
