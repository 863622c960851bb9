"""A command forked from the server that imported Rowmill differs in nothing a test can see from one executed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import command_line
import pytest
from command_line import CommandLine
from fork_server import ForkServer

TESTS = Path(__file__).parents[1]
SPEC = """
name: told
records: 1
columns:
  - {name: told, column_type: custom, generator_function: "telling:tell", required_columns: []}
"""
# What a process can see of itself, told on stderr by a function of a spec.
FUNCTIONS = """
import json, os, signal, sys, threading

def tell(row):
    streams = (sys.stdin, sys.stdout, sys.stderr)
    told = {
        "arguments": sys.argv,
        "directory": os.getcwd(),
        "path": sys.path[0],
        "main": sys.modules["__main__"].__spec__.name,
        "environment": dict(os.environ),
        "terminals": [stream.isatty() for stream in streams],
        "encodings": [(stream.encoding, stream.errors) for stream in streams],
        "buffering": [(stream.line_buffering, stream.seekable()) for stream in streams],
        "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in signal.valid_signals()],
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "input": sys.stdin.read(),
    }
    print(json.dumps(told), file=sys.stderr)
    return "told"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "telling.py").write_text(FUNCTIONS)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def server() -> ForkServer:
    return command_line._server()


def test_what_a_forked_command_sees_of_itself_is_what_an_executed_one_sees(directory: Path) -> None:
    def told(*, executes: bool) -> dict[str, Any]:
        rowmill = CommandLine(directory, environment={"ROWMILL_DEBUG": "1"}, executes=executes)
        done = rowmill("preview", "spec.yaml", "--rows", "1", input="typed ä\n")
        assert done.returncode == 0, done.stderr
        return {"stdout": done.stdout, "args": done.args, **json.loads(done.stderr.splitlines()[0])}

    forked, executed = told(executes=False), told(executes=True)
    assert forked["input"] == "typed ä\n"
    assert forked["environment"]["ROWMILL_DEBUG"] == "1"
    assert forked == executed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["run", "-h"],
        [],
        ["frobnicate"],
        ["run", "nowhere.yaml"],
        ["validate", "spec.yaml"],
        ["completion", "bash"],
        ["status", "spec.yaml"],
    ],
)
def test_a_forked_command_says_and_ends_with_what_an_executed_one_does(directory: Path, arguments: list[str]) -> None:
    forked, executed = CommandLine(directory)(*arguments), CommandLine(directory, executes=True)(*arguments)
    assert (forked.returncode, forked.stdout, forked.stderr) == (executed.returncode, executed.stdout, executed.stderr)


PROGRAM = """
import json, sys
import rowmill.errors
main = sys.modules["__main__"]
def typed() -> int: ...
assert typed.__annotations__ == {"return": int}
print(json.dumps([sys.argv, __name__, globals().get("__file__"), vars(main) is globals(), main.rowmill.__name__]))
raise SystemExit(sys.argv[-1])
"""


def test_another_program_is_forked_as_well_and_is_what_an_executed_one_is(directory: Path) -> None:
    (directory / "program.py").write_text(PROGRAM.replace("main =", "import telling\nmain ="))
    for words in (("program.py", "a word"), ("-c", PROGRAM, "a word")):
        forked, executed = (CommandLine(directory, (sys.executable,), executes=executes) for executes in (False, True))
        assert forked.may_be_forked(None, *words)
        one, other = forked(*words), executed(*words)
        assert (one.returncode, one.stderr) == (1, "a word\n")
        assert (one.args, one.returncode, one.stdout, one.stderr) == (
            other.args, other.returncode, other.stdout, other.stderr,
        )  # fmt: skip


def test_a_command_is_forked_unless_its_start_would_differ(directory: Path) -> None:
    def forks(**environment: str) -> bool:
        # Whatever tests before this one left in the environment of this process: that is what is added to.
        return CommandLine(directory).may_be_forked({**command_line._AT_THE_BEGINNING, **environment})

    assert forks()
    assert forks(ROWMILL_QUIET="1", NO_COLOR="1")
    for name in ("PYTHONPATH", "PYTHONIOENCODING", "TZ", "HF_TOKEN", "LANG", "A_KEY"):
        assert not forks(**{name: "x"})
    for command in ((sys.executable,), (sys.executable, "-m", "pip"), (sys.executable, "-I", "x.py"), ("setpriv", "x")):
        assert not CommandLine(directory, command).may_be_forked(command_line._AT_THE_BEGINNING)


def test_commands_of_this_session_are_forked(directory: Path) -> None:
    """What fixtures of all tests set, or a test left in the environment, would have each command executed."""
    differing = dict(os.environ).items() ^ command_line._AT_THE_BEGINNING.items()
    assert CommandLine(directory).may_be_forked(), sorted({name for name, _ in differing})


def test_an_executed_command_is_a_new_interpreter(directory: Path) -> None:
    """It notices what the server cannot: a package that is not there any more."""
    rowmill = CommandLine(directory, environment={"PYTHONPATH": str(directory)})
    package = directory / "rowmill"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit(41)")
    assert rowmill("--version").returncode == 41


def test_a_command_that_takes_too_long_is_killed(server: ForkServer, directory: Path) -> None:
    (directory / "telling.py").write_text("import time\ndef tell(row):\n    time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        server.run(["preview", "spec.yaml"], directory, dict(os.environ), None, 0.5)


def test_the_exit_code_of_a_killed_command_is_the_signal(server: ForkServer, directory: Path) -> None:
    (directory / "telling.py").write_text("import os\ndef tell(row):\n    os.kill(os.getpid(), 9)")
    done = server.run(["preview", "spec.yaml"], directory, dict(os.environ), None, 30)
    assert done.returncode == -signal.SIGKILL


def test_what_is_not_read_does_not_hold_a_command_up(server: ForkServer, directory: Path) -> None:
    done = server.run(["--version"], directory, dict(os.environ), b"x" * 1_000_000, 30)
    assert done.returncode == 0
    assert done.stdout.startswith(b"rowmill ")


SESSION = """
import os, sys
from pathlib import Path
from fork_server import fork_server

with fork_server() as server:
    directory = Path(sys.argv[1])
    child = server.start(["preview", "spec.yaml"], directory, directory / "errors.txt")
    while not (directory / "begun").exists():
        assert server.wait(child, 0.01) is None, (directory / "errors.txt").read_text()
    print(child, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_no_process_outlives_the_one_that_started_the_server(directory: Path) -> None:
    (directory / "telling.py").write_text("import time\ndef tell(row):\n    open('begun', 'w')\n    time.sleep(600)")
    killed = subprocess.run(
        [sys.executable, "-c", SESSION, str(directory)], cwd=TESTS, capture_output=True, text=True, timeout=60
    )  # the server and its child hold these pipes: their end is that of both
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.strip().isdigit()
