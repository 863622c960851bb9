"""A wrong word, whatever it stands for, is answered with the one that was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from rowmill.cli.choice import Choice
from rowmill.cli.main import COMMANDS, execute, rowmill
from rowmill.errors import SpecError
from rowmill.spec.other_words import other_word_for_type
from rowmill.spec.registry import COLUMN_TYPES
from rowmill.spec.spec import Spec


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("show", "dropd"), "Did you mean 'dropped'?"),
        (("show", "atempts"), "Did you mean 'attempts'?"),
        (("export", "--format", "parqet"), "Did you mean 'parquet'?"),
        (("export", "--layout", "hugging-face"), "Did you mean 'huggingface'?"),
        (("status", "--format", "jsn"), "Did you mean 'json'?"),
        (("metrics", "--format", "prometeus"), "Did you mean 'prometheus'?"),
        (("completion", "bsh"), "Did you mean 'bash'?"),
        (("runn",), "Did you mean 'run'?"),
        (("stop",), "Did you mean 'drain'?"),
        (("filter",), "'rowmill help columns filter'"),
        (("help", "filter"), "Did you mean 'rowmill help columns filter'?"),
        (("help", "filters"), "Did you mean 'rowmill help columns Filter'?"),
        (("help", "atempt"), "Did you mean 'rowmill help views attempt'?"),
    ],
)
def test_a_wrong_word_of_a_command_line_names_the_nearest(
    arguments: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(arguments) == 2
    assert meant in capsys.readouterr().err


def test_every_choice_of_every_command_names_the_nearest() -> None:
    context = click.Context(rowmill)
    choices = [
        (name, parameter.type)
        for name in COMMANDS
        for parameter in _command(context, name).params
        if isinstance(parameter.type, click.Choice)
    ]
    assert len(choices) > 15
    assert {name for name, choice in choices if not isinstance(choice, Choice)} == set()


def _command(context: click.Context, name: str) -> click.Command:
    found = rowmill.get_command(context, name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "there", "meant"),
    [("spec.yml", "spec.yaml", "Did you mean 'spec.yaml'?"), ("spec.yml", "other.txt", "'rowmill init' writes")],
)
def test_a_wrong_spec_file_names_the_nearest_beside_it(
    given: str, there: str, meant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(there).write_text("records: 1\n")
    assert execute(["plan", given]) == 2
    assert meant in capsys.readouterr().err


def test_a_wrong_run_database_names_the_nearest_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("penguins.duckdb").touch()
    assert execute(["status", "penguin.duckdb"]) == 2
    assert "no run database 'penguin.duckdb'. Did you mean 'penguins.duckdb'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ({"column_type": "filter", "sql": "x > 1"}, "'rowmill help columns filter'"),
        ({"column_type": "where"}, "column_type select"),
        ({"column_type": "dedupe"}, "Did you mean 'deduplicate'?"),
        ({"column_type": "llm"}, "Did you mean 'llm-text'?"),
        ({"column_type": "category"}, "'column_type: sampler, sampler_type: category'"),
        ({"column_type": "python"}, "Did you mean 'custom'?"),
        ({"column_type": "expression", "expr": "x", "filter": "x > 1"}, "'rowmill help columns filter'"),
        ({"column_type": "expression", "expr": "x", "when": "x > 1"}, "'skip: {when: …}'"),
    ],
)
def test_a_column_in_the_words_of_another_tool_is_told_ours(column: dict[str, Any], meant: str) -> None:
    with pytest.raises(SpecError) as caught:
        Spec.from_data({"records": 1, "columns": [{"name": "a", **column}]})
    assert meant in str(caught.value)


def test_a_filter_at_the_top_of_a_spec_is_told_where_it_goes() -> None:
    with pytest.raises(SpecError, match="'rowmill help columns filter'"):
        Spec.from_data({"records": 1, "filter": "x > 1"})


def test_no_word_of_another_tool_is_a_column_type_of_ours() -> None:
    assert [name for name in COLUMN_TYPES.built_in if other_word_for_type("column type", name)] == []
