"""The named SQL statements of ``sql/``, loaded once.

A statement starts with ``-- name: …``, then a sentence on its purpose and its cost. Slots in braces
(``{columns}``) are filled by :meth:`Statement.fill` with text that :mod:`rowmill.store.layout.layout` made;
values always travel as named parameters (``$now``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_SLOT = re.compile(r"\{([a-z_]+)\}")
_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|^\s*--[^\n]*$", re.DOTALL | re.MULTILINE)


def sql_directory() -> Path:
    """Where the SQL files are: inside the installed package, or beside ``src`` in a checkout."""
    installed = _PACKAGE / "_sql"
    return installed if installed.is_dir() else _PACKAGE.parent.parent / "sql"


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement. ``text`` has no comments and no closing semicolon."""

    name: str
    purpose: str
    text: str
    file: str

    @property
    def slots(self) -> frozenset[str]:
        """The names of the slots that :meth:`fill` must be given."""
        return frozenset(_SLOT.findall(self.text))

    def fill(self, **slots: str) -> str:
        """The statement with its slots filled. Raises KeyError for a slot that is missing or unknown."""
        if unknown := slots.keys() - self.slots:
            raise KeyError(f"statement {self.name} has no slot {', '.join(sorted(unknown))}")
        return _SLOT.sub(lambda match: slots[match[1]], self.text)


def without_comments(sql: str) -> str:
    """The SQL without block comments and comment lines: what the engine has to parse on each call."""
    return re.sub(r"\n\s*\n+", "\n", _COMMENT.sub("", sql)).strip()


def _parse(file: Path) -> list[Statement]:
    pieces = _NAME.split(file.read_text(encoding="utf-8"))[1:]
    found = []
    for name, body in zip(pieces[::2], pieces[1::2], strict=True):
        lines = body.strip().splitlines()
        purpose = " ".join(line[2:].strip() for line in lines if line.startswith("--"))
        found.append(Statement(name, purpose, without_comments(body).rstrip(";"), file.name))
    return found


@cache
def _statements_by_file() -> dict[str, list[Statement]]:
    queries = sql_directory() / "queries"
    return {
        file.relative_to(queries).with_suffix("").as_posix(): _parse(file) for file in sorted(queries.rglob("*.sql"))
    }


@cache
def all_statements() -> dict[str, Statement]:
    """Every named statement by name. Raises ValueError if two share a name."""
    statements: dict[str, Statement] = {}
    for found in _statements_by_file().values():
        for statement in found:
            if statement.name in statements:
                raise ValueError(f"statement {statement.name} is defined twice ({statement.file})")
            statements[statement.name] = statement
    return statements


def statement(name: str) -> Statement:
    """The statement of that name. Raises LookupError for an unknown one."""
    try:
        return all_statements()[name]
    except KeyError:
        raise LookupError(f"no SQL statement is named {name!r} in {sql_directory() / 'queries'}") from None


class Statements:
    """The statements of some files, each an attribute: ``sql.read_pause``."""

    def __init__(self, files: tuple[str, ...], statements: Mapping[str, Statement]) -> None:
        self._files = files
        self.__dict__.update(statements)

    def __getattr__(self, name: str) -> Statement:
        # Called for what is not there.
        raise AttributeError(f"no SQL statement is named {name!r} in {', '.join(self._files)}")


@cache
def statements_of(*files: str) -> Statements:
    """The statements of those files of ``sql/queries``, named without ``.sql``: ``statements_of("turn/control")``.

    Call it once in a module, as ``sql``; a test looks whether every attribute a module asks for is there. Raises
    LookupError for a file that does not exist, at import.
    """
    by_file = _statements_by_file()
    if unknown := [file for file in files if file not in by_file]:
        raise LookupError(f"there is no SQL file {unknown[0]}.sql in {sql_directory() / 'queries'}")
    return Statements(files, {one.name: one for file in files for one in by_file[file]})


def script(*parts: str) -> str:
    """The text of a whole SQL file, for example ``script("schema", "0001_initial.sql")``, without comments."""
    return without_comments(sql_directory().joinpath(*parts).read_text(encoding="utf-8"))


def named_script(*parts: str) -> dict[str, str]:
    """The statements of such a file by name, in its order, without comments and closing semicolons."""
    return {found.name: found.text for found in _parse(sql_directory().joinpath(*parts))}


def fill_script(text: str, **slots: str) -> str:
    """A script with its slots filled; slots the script does not use are left out."""
    return _SLOT.sub(lambda match: slots[match[1]], text)
