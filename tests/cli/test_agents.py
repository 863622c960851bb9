"""For coding agents: one page, problems with suggestions, and a run database over MCP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from command_line import CommandLine
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from run_state import RunState
from virtual_run import llm, model, prepared, sampler

from rowmill.agents import reading
from rowmill.agents.server import server_of
from rowmill.cli.help_page import source
from rowmill.cli.main import COMMANDS
from rowmill.errors import UsageError
from rowmill.store.reading.status import Details, Status

PAGE = source("agents")


def _crashed(path: Path) -> Path:
    spec = prepared(sampler(), llm("note", "Write."), models=[model()], records=20, row_group_size=5)
    with RunState(spec, path) as state:
        state.take()
        state.write_deferral("note", 0, 1, until_s=60)
        state.write_drop("note", 3)
    return path


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_is_printed_as_it_is(rowmill: CommandLine) -> None:
    assert rowmill.output_of("help", "--agents") == PAGE
    assert rowmill("help", "spec", "--agents").returncode == 2


def test_the_spec_of_the_page_is_valid_and_runs(rowmill: CommandLine) -> None:
    spec = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    (rowmill.directory / "spec.yaml").write_text(spec)
    assert json.loads(rowmill.output_of("validate", "spec.yaml", "--format", "json"))["warnings"] == []
    assert rowmill("run", "spec.yaml", "-q").returncode == 0
    for question in re.findall(r'^rowmill sql penguins\.duckdb "(.*?)"', PAGE, re.MULTILINE):
        assert json.loads(rowmill.output_of("sql", "reviews.duckdb", question, "--format", "json")) == []


def test_the_commands_fields_and_reasons_of_the_page_exist() -> None:
    named = set(re.findall(r"rowmill ([a-z-]+)", PAGE))
    assert named <= COMMANDS.keys()
    fields = {*Status.__dataclass_fields__, *Details.__dataclass_fields__}
    table = PAGE.partition("| field | what it tells |")[2].partition("\n\n")[0]
    for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE):
        assert set(re.findall(r"`(\w+)`", cell)) <= fields
    table = PAGE.partition("| reason | usual cause")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    reasons = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    (comment,) = re.findall(r"^\| `reason` \| (.* by_hand .*)\. \|$", source("views"), re.MULTILINE)
    assert reasons == set(re.split(r", | or ", comment))


def test_a_problem_has_its_place_what_is_wrong_and_what_was_probably_meant(rowmill: CommandLine) -> None:
    spec = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0])
    spec["columns"][2]["model_alias"] = "writr"
    (rowmill.directory / "spec.yaml").write_text(yaml.safe_dump(spec))
    done = rowmill("validate", "spec.yaml", "--format", "json")
    assert done.returncode == 2
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["place"], problem["suggestion"]) == ("columns.2.model_alias", "writer")
    assert "writr" in problem["message"]


# Over MCP ------------------------------------------------------------------------------------------------------------


def _call(path: Path, name: str, **arguments: Any) -> Any:
    async def called() -> Any:
        async with Client(server_of(path)) as client:
            return await client.call_tool(name, arguments)

    return anyio.run(called)


def _told(path: Path, name: str, **arguments: Any) -> Any:
    answer = _call(path, name, **arguments)
    assert not answer.is_error, answer
    return json.loads(answer.content[0].text)


def test_a_client_over_standard_input_and_output_reads_a_run(rowmill: CommandLine, quick_run: Path) -> None:
    command, *arguments = rowmill.command
    server = StdioServerParameters(
        command=str(command), args=[*map(str, arguments), "mcp", str(quick_run)], env=dict(rowmill._environment())
    )

    async def talk() -> tuple[list[str], Any]:
        async with Client(stdio_client(server)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            return tools, await client.call_tool("sql", {"query": "select count(*) as n from dataset"})

    tools, answer = anyio.run(talk)
    assert tools == ["status", "sql", "show", "explain", "spec_schema", "guide"]
    assert json.loads(answer.content[0].text) == {"rows": [{"n": 20}], "has_more": False}


def test_the_status_is_that_of_the_command(rowmill: CommandLine, quick_run: Path) -> None:
    (status,) = json.loads(rowmill.output_of("status", quick_run, "--format", "json"))
    told = _told(quick_run, "status")
    for found in (told, status):
        found.pop("read_at")
    assert told == status


def test_a_listing_has_a_condition_columns_and_an_end(quick_run: Path) -> None:
    told = _told(quick_run, "show", what="rows", where="row_id >= 5", columns=["row_id", "note"], most_rows=2)
    assert [row["row_id"] for row in told["rows"]] == [5, 6]
    assert told["has_more"] is True
    assert set(told["rows"][0]) == {"row_id", "note"}


def test_a_run_explains_itself(tmp_path: Path) -> None:
    told = _told(_crashed(tmp_path / "x.duckdb"), "explain")
    assert told["state"] == "stopped"
    assert told["drop_reasons"][0]["rows"] == 1
    assert told["deferral_reasons"][0]["tasks"] == 1


def test_a_row_explains_itself(tmp_path: Path, quick_run: Path) -> None:
    path = _crashed(tmp_path / "x.duckdb")
    assert _told(path, "explain", row_id=3)["dropped"][0]["column_name"] == "note"
    assert _told(path, "explain", row_id=1)["deferred"][0]["generator"] == "note"
    finished = _told(quick_run, "explain", row_id=4)
    assert finished["values"][0]["row_id"] == 4
    assert finished["attempts"][0]["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("sql", {"query": "drop table state.run"}, ""),
        ("sql", {"query": "from read_csv('/etc/passwd')"}, ""),
        ("sql", {"query": "from nothing"}, "nothing"),
        ("sql", {"query": "from dataset", "most_rows": 0}, "1 to 1,000 rows"),
        ("show", {"what": "secrets"}, "There is no listing 'secrets'"),
        ("explain", {"row_id": 99}, "Nothing is known of row 99"),
    ],
)
def test_what_is_wrong_is_said_in_our_words_and_nothing_is_changed(
    quick_run: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    before = quick_run.read_bytes()
    answer = _call(quick_run, name, **arguments)
    assert answer.is_error
    assert words in answer.content[0].text
    assert "Traceback" not in answer.content[0].text
    assert quick_run.read_bytes() == before


def test_a_long_text_is_cut_and_says_so(quick_run: Path) -> None:
    told = _told(quick_run, "sql", query="select repeat('x', 10000) as long, [repeat('y', 5000)] as inner_text")
    assert told["rows"][0]["long"].endswith("… (10,000 characters in all)")
    assert len(told["rows"][0]["inner_text"][0]) < 4_100


@pytest.mark.parametrize("read", [reading.read_status, reading.explain_run])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(UsageError, match=r"none\.duckdb"):
        read(tmp_path / "none.duckdb")


def test_the_command_refuses_what_is_no_run_database_before_it_serves(rowmill: CommandLine) -> None:
    assert rowmill("mcp", "none.duckdb").returncode == 2
