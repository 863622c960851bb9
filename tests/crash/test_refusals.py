"""Every refusal leaves everything as it was, to the byte: the file, its log, its kept blocks, what lies beside them.

Each is asked of a run database that was closed, and of one whose process was killed, with commits in its log only. The
same holds for what only says what it would do (``--dry-run``), and for what finds nothing to do.
"""

from __future__ import annotations

import gzip
import io
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen

import duckdb
import pytest
from killed_run import killed_run
from released_run import released_run
from scenario import Specs, copy_of_database, new_world, write_specs

from rowmill.cli.main import COMMANDS, execute
from rowmill.engine.preparation import prepare
from rowmill.store.database.connection import Connection
from rowmill.store.file.log import log_of
from rowmill.store.run_store import RunStore

_HERE = Path(__file__).resolve().parent
_DATABASE = "run.duckdb"
_DAMAGED_HEADER = 20


@dataclass(frozen=True)
class Refusal:
    """A command line, how it ends, and a few words it says."""

    line: str
    code: int
    words: str
    typed: str | None = None
    """What a person at a terminal answers; None: nobody is there."""

    def __str__(self) -> str:
        return self.line if self.typed is None else f"{self.line} ({self.typed.strip()})"


_REFUSALS = [
    # Another spec
    Refusal("run changed.yaml run.duckdb", 5, "column 'draft' changed"),
    Refusal("run changed-and-longer.yaml run.duckdb", 5, "column 'draft' changed"),
    Refusal("run changed.yaml run.duckdb --resume", 5, "column 'draft' changed"),
    Refusal("run reseeded.yaml run.duckdb", 5, "--accept-changes"),
    Refusal("run other-cities.yaml run.duckdb", 5, "--accept-changes"),
    Refusal("run removed.yaml run.duckdb", 5, "verdict"),
    Refusal("run removed.yaml run.duckdb --accept-changes", 2, "--yes"),
    Refusal("run removed.yaml run.duckdb --accept-changes", 2, "Nothing was changed", typed="n\n"),
    Refusal("run removed.yaml run.duckdb --accept-changes", 130, "Interrupted", typed=""),
    Refusal("run first.yaml run.duckdb --purge", 2, "--yes"),
    Refusal("run first.yaml run.duckdb --purge", 2, "Nothing was changed", typed="n\n"),
    Refusal("run shorter.yaml run.duckdb", 2, "not cut"),
    Refusal("run shorter.yaml run.duckdb --accept-changes", 2, "not cut"),
    Refusal("run wrong.yaml run.duckdb", 2, "colums"),
    Refusal("run wrong.yaml run.duckdb --accept-changes --yes", 2, "colums"),
    # A call that makes no sense
    Refusal("run run.duckdb --accept-changes --keep-values nothing", 2, "nothing"),
    Refusal("run run.duckdb --purge", 2, "--yes"),
    Refusal("run run.duckdb first.yaml", 2, "the spec comes first"),
    Refusal("run nowhere.duckdb", 2, "There is no run database"),
    Refusal("run nowhere.yaml", 2, "nowhere.yaml"),
    Refusal("run first.yaml nowhere/run.duckdb", 2, "nowhere"),
    Refusal("run first.yaml run.duckdb --slowly", 2, "--slowly"),
    Refusal("extend run.duckdb", 2, "--records"),
    Refusal("extend run.duckdb --records 4", 2, "not cut"),
    Refusal("extend run.duckdb --records 4 --dry-run", 2, "not cut"),
    Refusal("extend run.duckdb --records -4", 2, "-4"),
    Refusal("extend run.duckdb --records 20 --row-group-size 0", 2, "0"),
    Refusal("extend nowhere.duckdb --records 20", 2, "There is no run database"),
    Refusal("rerun run.duckdb", 2, "--column"),
    Refusal("rerun run.duckdb --column draught --yes", 2, "Did you mean 'draft'?"),
    Refusal("rerun run.duckdb --column draft", 2, "--yes"),
    Refusal("rerun run.duckdb --column draft", 2, "Nothing was changed", typed="n\n"),
    Refusal("rerun run.duckdb --column draft --yes --where nothing=1", 2, "There is no column 'nothing'"),
    Refusal("rerun run.duckdb --column draft --yes --where row_id<<>", 2, "--where"),
    Refusal("rerun nowhere.duckdb --column draft --yes", 2, "There is no run database"),
    Refusal("retry run.duckdb", 2, "Say what to retry"),
    Refusal("retry run.duckdb --dropped --deferred", 2, "Say what to retry"),
    Refusal("retry run.duckdb --dropped --where nothing=1", 2, "nothing"),
    Refusal("retry run.duckdb --deferred --where nothing=1", 2, "nothing"),
    Refusal("retry nowhere.duckdb --dropped", 2, "There is no run database"),
    Refusal("fork run.duckdb", 2, "TARGET"),
    Refusal("fork run.duckdb taken.duckdb", 2, "exists already"),
    Refusal("fork run.duckdb run.duckdb", 2, "exists already"),
    Refusal("fork run.duckdb dangling.duckdb", 2, "exists already"),
    Refusal("fork run.duckdb copy.duckdb --spec wrong.yaml", 2, "colums"),
    Refusal("fork run.duckdb copy.duckdb --spec nowhere.yaml", 2, "nowhere.yaml"),
    Refusal("fork run.duckdb nowhere/copy.duckdb", 2, "nowhere"),
    Refusal("fork nowhere.duckdb copy.duckdb", 2, "There is no run database"),
    Refusal("migrate nowhere.duckdb", 2, "There is no run database"),
    Refusal("doctor run.duckdb --repair --salvage saved", 2, "two things"),
    Refusal("doctor run.duckdb --salvage taken", 2, "exists already"),
    Refusal("doctor nowhere.duckdb --repair", 2, "There is no run database"),
    # Steering
    Refusal("pause run.duckdb now", 2, "now"),
    Refusal("pause nowhere.duckdb", 2, "There is no run database"),
    Refusal("resume nowhere.duckdb", 2, "There is no run database"),
    Refusal("drain nowhere.duckdb", 2, "There is no run database"),
    Refusal("cancel nowhere.duckdb", 2, "There is no run database"),
    Refusal("limit run.duckdb writer 7", 2, "from 1 to 6"),
    Refusal("limit run.duckdb writer 0", 2, "whole number"),
    Refusal("limit run.duckdb writer many", 2, "whole number"),
    Refusal("limit run.duckdb writr 2", 2, "There is no model 'writr'"),
    Refusal("limit run.duckdb writer 2 3", 2, "Give MODEL N"),
    Refusal("limit writer 2", 2, "Which run database?"),
    Refusal("limit run.duckdb --in-flight 0", 2, "whole number"),
    Refusal("limit run.duckdb --in-flight writer 2", 2, "Give --in-flight N"),
    Refusal("limit nowhere.duckdb writer 2", 2, "nowhere.duckdb"),
    Refusal("drop run.duckdb", 2, "Say which rows"),
    Refusal("drop run.duckdb --rows 5 --where row_id=5 --yes", 2, "Say which rows"),
    Refusal("drop run.duckdb --rows five --yes", 2, "no row number"),
    Refusal("drop run.duckdb --rows 9-5 --yes", 2, "9-5"),
    Refusal("drop run.duckdb --rows 0-100", 2, "--yes"),
    Refusal("drop run.duckdb --where nothing=1 --yes", 2, "nothing"),
    Refusal("drop nowhere.duckdb --rows 5 --yes", 2, "There is no run database"),
    # Files that are there
    Refusal("merge taken.duckdb run.duckdb", 2, "taken.duckdb"),
    Refusal("merge whole.duckdb nowhere.duckdb", 2, "nowhere.duckdb"),
    Refusal("merge whole.duckdb run.duckdb", 2, "run.duckdb"),
    Refusal("export run.duckdb --output taken.csv", 2, "exists already"),
    Refusal("export run.duckdb --output run.duckdb --format csv --force", 2, "the run database itself"),
    Refusal("export run.duckdb --output run.duckdb.wal --format csv --force", 2, "the run database itself"),
    Refusal("export run.duckdb --output run.duckdb.undo --format csv --force", 2, "the run database itself"),
    Refusal("export run.duckdb --output taken --layout directory --force", 2, "no export of Rowmill"),
    Refusal("export run.duckdb --output rows.xyz", 2, "--format"),
    Refusal("export run.duckdb --output nowhere/rows.csv", 2, "nowhere"),
    Refusal("export run.duckdb --output rows.csv --compression snappy", 2, "snappy"),
    Refusal("export run.duckdb --output rows.csv --split train=2", 2, "split"),
    Refusal("export run.duckdb --output rows.csv --processor nothing", 2, "nothing"),
    Refusal("export run.duckdb --output rows.csv --append --layout file", 2, "--append"),
    Refusal("export run.duckdb --output rows --partition-by nothing", 2, "nothing"),
    Refusal("export run.duckdb --output rows --partition-by row_id", 2, "row_id"),
    Refusal("export run.duckdb --private", 2, "--push-to-hub"),
    Refusal("export nowhere.duckdb", 2, "There is no run database"),
    Refusal("report run.duckdb --output taken.csv", 2, "exists already"),
    Refusal("report run.duckdb --output run.duckdb --force", 2, "the run database itself"),
    Refusal("import-config first.yaml --output taken.csv", 2, "exists already"),
    Refusal("init existing", 2, "exists already"),
    Refusal("sql run.duckdb checkpoint", 2, "read"),
]
_NOTHING_TO_DO = [
    Refusal("extend run.duckdb --records 11", 0, "already has 11 records"),
    Refusal("rerun run.duckdb --column draft --yes --where row_id>1000", 0, "nothing to make again"),
    Refusal("retry run.duckdb --dropped --where row_id>1000", 0, "nothing to bring back"),
    Refusal("retry run.duckdb --deferred --where row_id>1000", 0, "nothing to retry"),
    Refusal("drop run.duckdb --rows 1000 --yes", 0, "nothing to drop"),
    Refusal("resume run.duckdb", 0, "nothing to resume"),
    Refusal("drain run.duckdb", 0, "Already stopped"),
    Refusal("cancel run.duckdb", 0, "Already stopped"),
    Refusal("limit run.duckdb writer 6", 0, "is 6 already"),
    Refusal("limit run.duckdb writer spec", 0, "is 6 already"),
    Refusal("migrate run.duckdb", 0, "up to date"),
    Refusal("doctor run.duckdb", 0, "healthy"),
    Refusal("doctor run.duckdb --repair", 0, "nothing to repair"),
    Refusal("extend run.duckdb --records 20 --dry-run", 0, "would go from 11 to 20"),
    Refusal("rerun run.duckdb --column draft --dry-run", 0, "Would be made again"),
    Refusal("retry run.duckdb --dropped --dry-run", 0, "would come back"),
    Refusal("retry run.duckdb --deferred --dry-run", 0, "would be ready at once"),
    Refusal("drop run.duckdb --rows 0-100 --dry-run", 0, "would be dropped"),
    Refusal("migrate run.duckdb --dry-run", 0, "up to date"),
]
_OF_A_DATABASE = [
    "run {}",
    "run first.yaml {}",
    "run changed.yaml {} --accept-changes --yes",
    "run first.yaml {} --resume",
    "run first.yaml {} --purge --yes",
    "extend {} --records 20",
    "rerun {} --column draft --yes",
    "retry {} --dropped",
    "retry {} --deferred",
    "fork {} copy.duckdb",
    "fork {} copy.duckdb --spec changed.yaml",
    "pause {}",
    "resume {}",
    "drain {}",
    "cancel {}",
    "limit {} writer 2",
    "drop {} --rows 0-100 --yes",
    "export {} --output rows.csv",
    "report {} --output rows.html",
    "migrate {}",
    "migrate {} --dry-run",
    "doctor {}",
    "doctor {} --repair",
]
"""What a run database must be for: each command that writes, in words that would make it write."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture(scope="module")
def killed(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Left behind by a process that was killed: finished, dropped, deferred and waiting rows, commits in its log."""
    return killed_run(tmp_path_factory.mktemp("killed"), specs, new_world(specs)).database


@pytest.fixture(scope="module")
def closed(killed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, its log folded into the file."""
    path = copy_of_database(killed, tmp_path_factory.mktemp("closed") / _DATABASE)
    with Connection(path) as connection:
        connection.checkpoint()
    return path


@pytest.fixture
def place(tmp_path: Path, specs: Specs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory: specs, and names that are taken."""
    _write_specs(tmp_path, specs)
    (tmp_path / "taken.csv").write_text("precious\n")
    (tmp_path / "taken.duckdb").write_text("precious\n")
    (tmp_path / "dangling.duckdb").symlink_to("gone.duckdb")
    for directory, name in (("taken", "precious.txt"), ("existing", "spec.yaml")):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / name).write_text("precious\n")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)  # an export has one of its own


def _write_specs(directory: Path, specs: Specs) -> None:
    for name in ("cities.csv", "marking.py", "first.yaml"):
        (directory / name).write_bytes((specs.first.directory / name).read_bytes())
    first = (directory / "first.yaml").read_text()
    longer = first.replace("records: 11", "records: 30")
    changed = ('prompt: "{{ label }}"', 'prompt: "Praise {{ label }}"')
    (directory / "cities-2.csv").write_text((directory / "cities.csv").read_text().replace("Rome", "Roma"))
    written = {
        "changed": first.replace(*changed),
        "changed-and-longer": longer.replace(*changed),
        "reseeded": first.replace("seed: 5", "seed: 6"),
        "other-cities": first.replace("cities.csv", "cities-2.csv"),
        "removed": "\n".join(line for line in first.splitlines() if "name: verdict" not in line),
        "shorter": first.replace("records: 11", "records: 4"),
        "wrong": first.replace("columns:", "colums:"),
    }
    for name, text in written.items():
        assert text != first
        (directory / f"{name}.yaml").write_text(text)


def everything_in(directory: Path) -> dict[str, bytes | str]:
    """What lies in a directory and those in it: names, contents, where links lead. Not what Python compiled of it."""
    return {
        str(path.relative_to(directory)): (
            str(path.readlink()) if path.is_symlink() else "directory" if path.is_dir() else path.read_bytes()
        )
        for path in directory.rglob("*")
        if (path.is_symlink() or path.is_dir() or path.is_file()) and "__pycache__" not in path.parts
    }


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Ask = Callable[[Refusal], None]


@pytest.fixture
def ask(
    place: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ask:
    """Gives a command line, and compares how it ends and what it leaves with what must be.

    On a terminal a run first asks whether the functions of its spec may be started; that is agreed to.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))

    def asked(refusal: Refusal) -> None:
        typed = f"y\n{refusal.typed}" if refusal.line.startswith("run ") and refusal.typed else refusal.typed or ""
        monkeypatch.setattr(sys, "stdin", io.StringIO() if refusal.typed is None else _Terminal(typed))
        before = everything_in(place)
        code = execute(refusal.line.split())
        after = everything_in(place)
        said = "".join(capfd.readouterr())
        assert (code, refusal.words in said) == (refusal.code, True), said
        assert "Traceback" not in said
        assert "Unexpected" not in said
        assert sorted(after) == sorted(before)
        assert [name for name in before if after[name] != before[name]] == []

    return asked


def _name(refusal: Refusal) -> str:
    return str(refusal).replace("run.duckdb", "DB")


@pytest.mark.parametrize("state", ["killed", pytest.param("closed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("refusal", [*_REFUSALS, *_NOTHING_TO_DO], ids=_name)
def test_what_is_refused_or_has_nothing_to_do_changes_no_byte(
    ask: Ask, place: Path, request: pytest.FixtureRequest, state: str, refusal: Refusal
) -> None:
    database = copy_of_database(request.getfixturevalue(state), place / _DATABASE)
    assert log_of(database).exists() == (state == "killed")
    ask(refusal)


def test_a_paused_run_stays_paused_when_going_on_is_refused(ask: Ask, place: Path, killed: Path) -> None:
    copy_of_database(killed, place / _DATABASE)
    assert execute(["pause", _DATABASE]) == 0
    ask(Refusal("run changed.yaml run.duckdb --resume", 5, "column 'draft' changed"))
    ask(Refusal("run shorter.yaml run.duckdb --resume", 2, "not cut"))
    ask(Refusal("pause run.duckdb", 0, "Already paused"))


_KEYLESS = """
name: keyless
records: {}
models:
  - {{alias: writer, provider: openai, model: m, base_url: "http://127.0.0.1:1", api_key: "${{ROWMILL_TEST_NO_KEY}}"}}
columns: [{{name: note, column_type: llm-text, model_alias: writer, prompt: "Say yes."}}]
"""


@pytest.mark.parametrize("options", ["", " --resume"])
def test_a_run_that_lacks_a_key_is_not_extended_and_not_resumed(
    ask: Ask, place: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.delenv("ROWMILL_TEST_NO_KEY", raising=False)
    for records in (4, 9):
        (place / f"{records}.yaml").write_text(_KEYLESS.format(records))
    prepared = prepare(place / "4.yaml")
    store = RunStore.open(place / _DATABASE)
    store.create(prepared.blueprint(), 0.0)
    store.close()
    assert execute(["pause", _DATABASE]) == 0
    for spec in ("4.yaml", "9.yaml"):
        ask(Refusal(f"run {spec} run.duckdb{options}", 2, "ROWMILL_TEST_NO_KEY"))


# Files that are not what they must be --------------------------------------------------------------------------------


def _other_database(path: Path, killed: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table mine as select 42 as answer")


def _newer(path: Path, killed: Path) -> None:
    copy_of_database(killed, path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into state.schema_version values (9999, 'from the future', timestamp '2030-01-01')")


def _older(path: Path, killed: Path) -> None:
    path.write_bytes(gzip.decompress((_HERE.parent / "released" / "schema_1.duckdb.gz").read_bytes()))


def _damaged_log(path: Path, killed: Path) -> None:
    log = log_of(copy_of_database(killed, path))
    content = bytearray(log.read_bytes())
    content[_DAMAGED_HEADER] ^= 0xFF
    log.write_bytes(content)


def _damaged(path: Path, killed: Path) -> None:
    content = copy_of_database(killed, path).read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def _text(path: Path, killed: Path) -> None:
    path.write_text("hello, this is no database\n" * 500)


def _directory(path: Path, killed: Path) -> None:
    path.mkdir()


_WRONG_FILES: list[tuple[Callable[[Path, Path], None], int, tuple[str, ...]]] = [
    (_other_database, 5, ()),
    (_newer, 5, ()),
    (_older, 5, ("migrate", "export", "report")),
    (_damaged_log, 6, ("doctor {} --repair",)),
    (_damaged, 6, ()),
    (_text, 5, ()),
    (_directory, 2, ()),
]
"""How each is made, the exit code of every command, and what commands begin with that are there for such a file."""


@pytest.mark.parametrize(
    ("make", "code", "line"),
    [
        pytest.param(
            make, code, line, id=f"{make.__name__[1:]}-{line}", marks=() if make is _newer else pytest.mark.slow
        )
        for make, code, allowed in _WRONG_FILES
        for line in _OF_A_DATABASE
        if not line.startswith(allowed)
    ],
)
def test_a_file_that_is_not_what_it_must_be_is_left_alone(
    ask: Ask, place: Path, killed: Path, make: Callable[[Path, Path], None], code: int, line: str
) -> None:
    make(place / _DATABASE, killed)
    ask(Refusal(line.format(_DATABASE), code, _DATABASE))


def test_a_migration_that_only_says_what_it_would_do_changes_no_byte(ask: Ask, place: Path, specs: Specs) -> None:
    released_run(1, place, specs)
    ask(Refusal("migrate schema_1.duckdb --dry-run", 0, "would go from schema version 1"))


# Held by another process ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def holder(killed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A run database that another process has open, and the process."""
    path = copy_of_database(killed, tmp_path_factory.mktemp("held") / _DATABASE)
    program = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with Popen([sys.executable, "-c", program, str(path)], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield path, process.pid
        process.kill()


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("line", _OF_A_DATABASE)
def test_a_file_that_another_process_holds_is_left_alone(
    ask: Ask, place: Path, holder: tuple[Path, int], line: str
) -> None:
    path, pid = holder
    before = everything_in(path.parent)
    ask(Refusal(line.format(path), 4, str(pid)))
    assert everything_in(path.parent) == before


def test_every_command_that_writes_is_among_them() -> None:
    only_read = {"validate", "plan", "preview", "status", "show", "diff", "completion", "help", "schema"}
    only_read |= {"check-models", "mcp", "metrics", "ui"}
    assert {refusal.line.split()[0] for refusal in _REFUSALS} == set(COMMANDS) - only_read
