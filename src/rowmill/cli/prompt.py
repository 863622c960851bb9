"""The prompt of ``rowmill sql`` without a query: statement after statement, with history, on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rowmill.cli.logs import complain, tell
from rowmill.cli.output import OutputFormat, say, write_listing
from rowmill.cli.terminal_text import escaped
from rowmill.errors import RowmillError

_FIRST, _NEXT = "rowmill> ", "    ...> "
_KEPT = 1_000
_HELP = """A statement ends with ; or an empty line. Nothing can be changed this way.
  .views   the views and their columns
  .help    this text
  .quit    leave; so does Ctrl-D. Ctrl-C gives up what was typed, or stops a running query."""
_KEYWORDS = (
    "select", "from", "where", "group by all", "order by", "limit", "count(*)", "join", "using", "distinct",
)  # fmt: skip


def converse(path: Path, time_limit_s: float, output_format: OutputFormat) -> None:
    """Reads statements and shows what they give until the input ends. The database is held only while one runs."""
    keep_history = _set_up_editing(path, time_limit_s)
    tell(f"{path}: SQL, read-only. A statement ends with ; .help explains, .quit leaves.")
    lines: list[str] = []
    try:
        while True:
            try:
                line = input(_NEXT if lines else _FIRST)
            except KeyboardInterrupt:
                tell("")
                lines = []
                continue
            except EOFError:
                tell("")
                return
            is_command = not lines and line.strip().startswith(".")
            is_end = line.rstrip().endswith(";") or (bool(lines) and not line.strip())
            lines += [line] if line.strip() else []
            if not (is_command or (lines and is_end)):
                continue
            typed, lines = "\n".join(lines), []
            try:
                if not is_command:
                    _answer(path, typed.rstrip().removesuffix(";"), time_limit_s, output_format)
                elif not _command(typed.strip().lower(), path, time_limit_s):
                    return
            except KeyboardInterrupt:
                complain("Interrupted.")
    finally:
        keep_history()


def _command(command: str, path: Path, time_limit_s: float) -> bool:
    """Does what a line with a dot asks for; false to leave."""
    if command in {".quit", ".exit", ".q"}:
        return False
    if command == ".views":
        for view, columns in _views(path, time_limit_s).items():
            say(escaped(f"{view}: {', '.join(columns)}"))
    else:
        complain(_HELP if command == ".help" else f"There is no {command}.\n{_HELP}")
    return True


def _answer(path: Path, query: str, time_limit_s: float, output_format: OutputFormat) -> None:
    from rowmill.inspect.opening import open_reader

    try:
        with open_reader(path, time_limit_s) as reader, reader.hints(query), reader.batches(query) as rows:
            write_listing(rows, output_format)
    except RowmillError as error:
        complain(f"Error: {error}")


def _views(path: Path, time_limit_s: float) -> dict[str, list[str]]:
    from rowmill.inspect.opening import open_reader
    from rowmill.store.reading.listing import view_columns

    try:
        with open_reader(path, time_limit_s) as reader:
            return view_columns(reader)
    except RowmillError as error:
        complain(f"Error: {error}")
        return {}


def _set_up_editing(path: Path, time_limit_s: float) -> Callable[[], None]:
    """History and completion where Python has readline; returns what keeps the history."""
    try:
        import readline
    except ImportError:
        return lambda: None
    history = _history_file()
    with suppress(OSError):  # none yet, or none we may read: the prompt works without
        readline.read_history_file(history)
    readline.set_history_length(_KEPT)
    words: list[str] = []

    def complete(text: str, place: int) -> str | None:
        if not words:  # read when first asked for: opening the database takes a moment
            views = _views(path, time_limit_s)
            words.extend(dict.fromkeys([*views, *(name for names in views.values() for name in names), *_KEYWORDS]))
        found = [word for word in words if word.startswith(text)]
        return found[place] if place < len(found) else None

    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")

    def keep() -> None:
        try:
            history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            history.touch(mode=0o600)
            readline.write_history_file(history)
        except OSError as error:
            complain(f"The history could not be kept: {error}")

    return keep


def _history_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "rowmill" / "sql_history"
