"""A change of code is told, priced and accepted like a change of the spec, with the spec and without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rowmill.cli.main import execute
from rowmill.engine.reopening import prepare_inside
from rowmill.graph.fingerprint import earlier_fingerprint, fingerprint
from rowmill.store.database.connection import Connection

ROWS = 6
_CODE = "def size(row) -> int:\n    return len(row['kind'])\n"
_OTHER = "def size(row) -> int:\n    return len(row['kind']) + 1\n"
_RAISES = "def size(row) -> int:\n    raise ValueError('not yet')\n"
_STOPS_EARLY = {"error_window": 2}


class Project:
    """A spec with a function beside it, a column that needs the function's, and one that asks a model for that."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.database = directory / "run.duckdb"
        self._capsys = capsys
        self.spec(prompt="Say {{ double }}")
        self.code(_CODE)

    def spec(self, prompt: str, **fields: Any) -> None:
        model = {
            "alias": "writer",
            "provider": "simulated",
            "model": "small",
            "simulation": {"latency_ms": 0, "output_tokens": 10},
            "input_usd_per_million_tokens": 1000.0,
            "output_usd_per_million_tokens": 1000.0,
        }
        kinds = {"values": ["a", "bb", "ccc"]}
        columns = [
            {"name": "kind", "column_type": "sampler", "sampler_type": "category", "params": kinds},
            {"name": "size", "column_type": "custom", "generator_function": "functions:size",
             "required_columns": ["kind"], "max_rows_per_call": 1},
            {"name": "double", "column_type": "expression", "sql": "2 * size", "dtype": "int"},
            {"name": "said", "column_type": "llm-text", "model_alias": "writer", "prompt": prompt},
        ]  # fmt: skip
        data = {"name": "run", "records": ROWS, "row_group_size": 2, "seed": 3, "models": [model], "columns": columns}
        (self.directory / "spec.json").write_text(json.dumps(data | fields))

    def code(self, text: str) -> None:
        (self.directory / "functions.py").write_text(text)

    def rowmill(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and what was said."""
        named = {"SPEC": str(self.directory / "spec.json"), "DATABASE": str(self.database)}
        code = execute([named.get(argument, argument) for argument in arguments])
        return code, self._capsys.readouterr().err

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with Connection(self.database, read_only=True) as connection:
            return connection.execute(query)

    def requests(self) -> int:
        return int(self.sql("select count(*) from attempt where model is not null")[0][0])

    def sizes(self) -> list[int]:
        return [size for (size,) in self.sql("select size - length(kind) from dataset order by row_id")]


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Project(tmp_path, capsys)


@pytest.fixture
def made(project: Project) -> Project:
    """The same, with a complete run."""
    assert project.rowmill("run", "SPEC", "DATABASE")[0] == 0
    return project


def test_v2_what_shapes_no_value_is_no_change_with_the_spec_and_without(made: Project) -> None:
    made.code(
        '"""Sizes."""\n\n\ndef size(row: dict) -> int:\n    # of a kind\n    return len(row["kind"])\n\n\nx = 1\n'
    )
    assert made.rowmill("run", "SPEC", "DATABASE")[0] == 0
    assert made.rowmill("run", "DATABASE")[0] == 0


def test_v6_a_run_of_the_spec_inside_refuses_changed_code_as_one_of_the_spec_file_does(made: Project) -> None:
    made.code(_OTHER)
    for arguments in (("run", "SPEC", "DATABASE"), ("run", "DATABASE")):
        code, said = made.rowmill(*arguments)
        assert code == 5
        assert "column 'size' changed" in said
        assert "--accept-changes" in said
    assert made.sizes() == [0] * ROWS
    made.code(_CODE)
    assert made.rowmill("run", "DATABASE")[0] == 0


@pytest.mark.slow
def test_changed_code_is_accepted_without_the_spec(made: Project) -> None:
    made.code(_OTHER)
    assert made.rowmill("run", "DATABASE", "--accept-changes")[0] == 0
    assert made.sizes() == [1] * ROWS
    assert made.requests() == 2 * ROWS


@pytest.mark.slow
def test_a_run_database_of_an_older_rowmill_goes_on_and_is_known_by_the_code_from_then_on(made: Project) -> None:
    declared = {node.name: node.declaration for node in prepare_inside(made.database).graph.generators}
    older, newer = earlier_fingerprint(declared["size"]), fingerprint(declared["size"])
    assert older != newer
    with Connection(made.database) as connection, connection.transaction():
        connection.execute("update state.generator set fingerprint = $older where name = 'size'", {"older": older})
    assert made.rowmill("run", "DATABASE")[0] == 0
    assert made.sql("select fingerprint from state.generator where name = 'size'") == [(newer,)]
    made.code("# The same.\n" + _CODE)
    assert made.rowmill("run", "SPEC", "DATABASE")[0] == 0


@pytest.mark.slow
def test_a_change_of_code_under_which_no_cell_was_made_needs_no_consent(project: Project) -> None:
    project.spec("Say {{ double }}", run=_STOPS_EARLY)
    project.code(_RAISES)
    assert project.rowmill("run", "SPEC", "DATABASE")[0] == 1
    assert project.sql("select sum(done + dropped) from progress where column_name = 'size'") == [(0,)]
    project.code(_CODE)
    assert project.rowmill("run", "DATABASE")[0] == 0
    assert project.sizes() == [0] * ROWS
    assert project.sql("select count(*) from event where kind = 'spec changed'") == [(1,)]


@pytest.mark.slow
def test_a_change_of_the_spec_under_which_no_cell_was_made_needs_no_consent(project: Project) -> None:
    project.spec("Say {{ double }}", run=_STOPS_EARLY)
    project.code(_RAISES)
    assert project.rowmill("run", "SPEC", "DATABASE")[0] == 1
    project.code(_CODE)
    project.spec(prompt="Tell {{ double }}")
    assert project.rowmill("run", "SPEC", "DATABASE")[0] == 0
    assert len(project.sizes()) == ROWS


def test_a_change_under_which_rows_were_dropped_needs_consent(project: Project) -> None:
    project.spec("Say {{ double }}", run={"max_error_share": 1.0})
    project.code(_RAISES)
    assert project.rowmill("run", "SPEC", "DATABASE")[0] == 3
    project.code(_CODE)
    assert project.rowmill("run", "SPEC", "DATABASE")[0] == 5


@pytest.mark.slow
def test_values_of_a_changed_column_may_be_kept_and_with_them_what_depends_on_it(made: Project) -> None:
    made.code(_OTHER)
    code, said = made.rowmill("run", "SPEC", "DATABASE", "--accept-changes", "--keep-values", "size")
    assert code == 0
    assert "column 'size' changed, and keeps its values" in said
    assert made.sizes() == [0] * ROWS
    assert made.requests() == ROWS
    assert made.sql("select subject from event where kind = 'values kept'") == [("size",)]
    assert made.rowmill("run", "SPEC", "DATABASE")[0] == 0
    assert made.rowmill("run", "DATABASE")[0] == 0
    assert made.rowmill("extend", "DATABASE", "--records", str(ROWS + 2))[0] == 0
    assert made.rowmill("run", "DATABASE")[0] == 0
    assert made.sizes() == [0] * ROWS + [1, 1]


def test_only_what_was_made_for_what_is_there_may_be_kept(made: Project) -> None:
    made.code(_OTHER)
    made.spec("Tell {{ double }}")
    accept = ("run", "SPEC", "DATABASE", "--accept-changes", "--keep-values")
    for columns, message in {
        ("said",): "Column 'said' needs 'double', which is made again",
        ("kind", "--keep-values", "size"): "Column 'kind' did not change",
        ("sise",): "There is no column 'sise'. Did you mean 'size'?",
    }.items():
        code, said = made.rowmill(*accept, *columns)
        assert code == 2
        assert message in said
    made.code(_OTHER.replace("int", "float"))
    code, said = made.rowmill(*accept, "size", "--keep-values", "said")
    assert (code, "it was BIGINT as cell, and is DOUBLE as cell now" in said) == (2, True)
    assert made.rowmill("run", "SPEC", "DATABASE", "--keep-values", "size")[0] == 2
    assert made.sizes() == [0] * ROWS


def test_what_is_made_again_and_what_is_still_to_do_are_told_apart_beside_the_budget(made: Project) -> None:
    made.spec("Tell {{ double }}", records=2 * ROWS, run={"max_cost_usd": 0.5})
    spent = float(made.sql("select cost_usd from run_status")[0][0])
    assert spent > 0.05
    _, said = made.rowmill("run", "SPEC", "DATABASE")
    assert f"Again: 'said' for {ROWS} rows; about {ROWS} requests and $" in said
    assert f"Still to do: 'size' for {ROWS} rows, 'said' for {ROWS} rows; about {ROWS} requests and $" in said
    assert "output tokens)" in said
    assert "within the budget of $0.50 (max_cost_usd)" in said
    made.spec("Tell {{ double }}", records=2 * ROWS, run={"max_cost_usd": 0.1})
    target = str(made.directory / "fork.duckdb")
    code, said = made.rowmill("fork", "DATABASE", target, "--spec", "SPEC")
    assert code == 0
    assert "over the budget of $0.10 (max_cost_usd)" in said


def test_a_fork_without_a_change_says_what_is_still_to_do(made: Project) -> None:
    assert made.rowmill("extend", "DATABASE", "--records", str(ROWS + 2))[0] == 0
    code, said = made.rowmill("fork", "DATABASE", str(made.directory / "fork.duckdb"))
    assert code == 0
    assert "Nothing would be generated again. Still to do: 'size' for 2 rows, 'said' for 2 rows; about 2" in said
