"""``rowmill ui`` and ``rowmill run --ui`` as processes, and eight pages beside a run: one reader for all of them."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from pathlib import Path

import pytest
from command_line import CommandLine
from page import Page

from rowmill.cli.main import execute
from rowmill.ui.door import Door
from rowmill.ui.pulse import Look, Pulse

LONG = """
name: long
records: 100000
row_group_size: 50
models:
  - {alias: writer, provider: simulated, model: quick, max_parallel_requests: 8, simulation: {latency_ms: 20}}
columns:
  - {name: colour, column_type: sampler, sampler_type: category, params: {values: [red, green, blue]}}
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "Describe a {{ colour }} thing."}
"""


def test_a_file_that_is_no_run_gets_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.duckdb"
    path.write_text("notes", encoding="utf-8")
    assert execute(["ui", str(path), "--no-browser"]) == 5
    said = capsys.readouterr()
    assert "notes.duckdb is not a run database" in said.err
    assert not said.out


def test_the_address_is_the_first_line_and_ctrl_c_ends_the_page_at_once(rowmill: CommandLine, quick_run: Path) -> None:
    process = rowmill.start("ui", quick_run, "--no-browser")
    assert process.stdout is not None
    page = Page(process.stdout.readline().strip())
    assert page.get().status == 200
    process.send_signal(signal.SIGINT)
    ended = rowmill.end_of(process)
    assert ended.returncode == 0
    assert ended.stderr == ""


@pytest.mark.slow
def test_no_process_beside_a_run_has_its_keys(rowmill: CommandLine) -> None:
    (rowmill.directory / "long.yaml").write_text(LONG)
    rowmill.environment = {"WRITER_KEY": "sk-very-secret", "ROWMILL_SET_LANGUAGE": "de"}
    run = rowmill.start("run", "long.yaml", "--ui")
    assert run.stderr is not None
    assert "The page of this run" in run.stderr.readline()
    run.stderr.readline()  # it works
    children = _children(run.pid)
    assert len(children) == 2, "the page, and the last resort"
    for child in children:
        told = Path(f"/proc/{child}/environ").read_bytes()
        assert b"PATH=" in told
        assert b"very-secret" not in told
        assert b"ROWMILL_SET" not in told
    run.send_signal(signal.SIGINT)
    assert rowmill.end_of(run).returncode == 75


def _children(parent: int) -> list[int]:
    found = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    parts = [(int(text.split(" ", 1)[0]), text.rpartition(")")[2].split()) for text in found]
    return [pid for pid, rest in parts if int(rest[1]) == parent]


@pytest.mark.slow
def test_a_run_shows_its_page_and_eight_pages_have_one_reader(rowmill: CommandLine) -> None:
    (rowmill.directory / "long.yaml").write_text(LONG)
    run = rowmill.start("run", "long.yaml", "--ui")
    assert run.stderr is not None
    line = run.stderr.readline()
    assert line.startswith("The page of this run: http://127.0.0.1:")
    page = Page(line.rpartition(" ")[2].strip())
    assert page.get().status == 200
    assert page.post("act/count", verb="drain").status == 403

    database = rowmill.directory / "long.duckdb"
    looks, watched = asyncio.run(_watch(database))
    assert all(watched)
    assert looks <= max(map(len, watched)) + 2
    assert {look.number for look in watched[0]} == {look.number for look in watched[7]}
    assert watched[0][-1].status is not None
    assert watched[0][-1].status.state == "running"

    run.send_signal(signal.SIGINT)
    assert rowmill.end_of(run).returncode == 75


async def _watch(database: Path) -> tuple[int, list[list[Look]]]:
    """Eight pages that each see three looks; how often the run was asked for them."""
    pulse = Pulse(Door(database))

    async def one() -> list[Look]:
        found: list[Look] = []
        async with aclosing(pulse.looks_from(0)) as looks:
            async for look in looks:
                if look.status is not None:
                    found.append(look)
                if len(found) == 3:
                    break
        return found

    watched = await asyncio.gather(*(one() for _ in range(8)))
    await pulse.close()
    return pulse.looks, list(watched)
