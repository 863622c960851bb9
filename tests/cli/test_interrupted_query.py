"""Ctrl-C in a query on a file that no run works on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

import pytest
from command_line import CommandLine
from terminal import Terminal

pytestmark = pytest.mark.usefixtures("executed")

_ENDLESS = {
    "one that gives no row": "select count(*) from range(10000000) as a, range(10000000) as b"
    " where a.range + b.range = -1",
    "one that gives rows late": "select a.range as n from range(10000000) as a, range(10000000) as b"
    " where hash(a.range, b.range) = 1",
}


def _wait_for_work(process: Popen[Any], file: Path) -> None:
    """Until the process has the file open and has used a moment of processor time since: its query runs."""
    descriptors = Path(f"/proc/{process.pid}/fd")
    while not any(_target(link) == str(file) for link in descriptors.iterdir()):
        _wait_a_little(process)
    began = _processor_ticks(process)
    while _processor_ticks(process) < began + os.sysconf("SC_CLK_TCK") // 4:
        _wait_a_little(process)


def _wait_a_little(process: Popen[Any]) -> None:
    with pytest.raises(TimeoutExpired):  # it must not end
        process.wait(0.02)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _processor_ticks(process: Popen[Any]) -> int:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("query", _ENDLESS.values(), ids=_ENDLESS)
def test_a_query_on_a_free_file_ends_at_ctrl_c_as_any_interrupted_command(
    rowmill: CommandLine, quick_run: Path, query: str
) -> None:
    asking = rowmill.start("sql", quick_run, query)
    _wait_for_work(asking, quick_run)
    asking.send_signal(signal.SIGINT)
    done = rowmill.end_of(asking)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "Interrupted.")


def test_the_prompt_stays_when_a_query_on_a_free_file_is_interrupted(rowmill: CommandLine, quick_run: Path) -> None:
    environment = {"XDG_STATE_HOME": str(rowmill.directory / "kept")}
    with Terminal([*rowmill.command, "sql", quick_run], rowmill.directory, environment=environment) as terminal:
        terminal.read_until("rowmill> ")
        for query in _ENDLESS.values():
            terminal.raw = ""
            terminal.enter(f"{query};")
            _wait_for_work(terminal.process, quick_run)
            terminal.process.send_signal(signal.SIGINT)
            terminal.read_until("Interrupted.\n")
            terminal.read_until_it_ends_with("rowmill> ")
        terminal.enter("select 17 + 4 as sum;")
        terminal.read_until("21")
        terminal.enter(".quit")
        terminal.read_to_end()
        assert terminal.process.returncode == 0
