"""Data types of columns: the short names of a spec, and DuckDB's own type texts, as DuckDB types."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from rowmill.spec.nearest import did_you_mean

SHORT_NAMES = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "str": "VARCHAR",
    "bool": "BOOLEAN",
    "date": "DATE",
    "time": "TIME",
    "datetime": "TIMESTAMP",
    "timestamp": "TIMESTAMP",
    "json": "JSON",
    "uuid": "UUID",
}
"""What a spec calls its types. In lower case these win over DuckDB's types of the same name."""

_SIMPLE = frozenset(
    [
        "BIGINT",
        "INTEGER",
        "SMALLINT",
        "TINYINT",
        "HUGEINT",
        "UBIGINT",
        "UINTEGER",
        "USMALLINT",
        "UTINYINT",
        "DOUBLE",
        "FLOAT",
        "VARCHAR",
        "BOOLEAN",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "INTERVAL",
        "UUID",
        "BLOB",
        "JSON",
    ]
)
_SYNONYMS = {
    "INT": "INTEGER",
    "STRING": "VARCHAR",
    "TEXT": "VARCHAR",
    "BOOL": "BOOLEAN",
    "REAL": "FLOAT",
    "DATETIME": "TIMESTAMP",
    "NUMERIC": "DECIMAL",
}
_NESTING = 16
_TOKEN = re.compile(r'\s*(?:([A-Za-z_][A-Za-z0-9_]*)|([0-9]{1,9})|("(?:[^"]|"")+")|([()\[\],]))')


def sql_type(dtype: str) -> str:
    """The DuckDB type of a spec's ``dtype``: ``int`` → ``BIGINT``, ``struct(a int)`` → ``STRUCT("a" BIGINT)``.

    Accepts the short names, DuckDB's scalar types in any case, ``DECIMAL(p, s)``, ``STRUCT(…)``,
    ``MAP(…, …)``, lists ``T[]`` and arrays ``T[n]``. The result is rebuilt from what was understood, so it
    is safe in a statement. Raises ValueError with the nearest name for anything else.
    """
    reader = _Reader(dtype)
    found = reader.type(0)
    reader.end()
    return found


def _checked(value: str) -> str:
    sql_type(value)
    return value


Dtype = Annotated[str, AfterValidator(_checked)]
"""A field of a column type that holds a ``dtype``; turn it into a DuckDB type with :func:`sql_type`."""


class _Reader:
    """Reads a type text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None or len(self.tokens) > 4096:
                raise self.error("is not a type")
            self.tokens.append(match[0].strip())
            position = match.end()
        self.position = 0

    def error(self, what: str) -> ValueError:
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "…"
        known = ", ".join(SHORT_NAMES)
        return ValueError(
            f"'{shown}' {what}. Use one of {known}, or a DuckDB type such as DECIMAL(10, 2) or VARCHAR[]."
        )

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def accept(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.position += 1
        return True

    def expect(self, token: str) -> None:
        if not self.accept(token):
            is_cut_off = token == ")" and not self.peek()
            advice = " (in YAML, a type with a comma stands in quotes)" if is_cut_off else ""
            raise self.error(f"is not a type: '{token}' is missing{advice}")

    def end(self) -> None:
        if self.peek():
            raise self.error(f"is not a type: '{self.peek()}' is too much")

    def number(self, low: int, high: int) -> int:
        token = self.take()
        if not token.isdecimal() or not low <= int(token) <= high:
            raise self.error(f"is not a type: a number from {low} to {high} belongs in the place of '{token}'")
        return int(token)

    def type(self, depth: int) -> str:
        if depth > _NESTING:
            raise self.error("is nested too deeply")
        found = self.base(depth)
        dimensions = 0
        while self.accept("["):
            dimensions += 1
            if dimensions > _NESTING:
                raise self.error("is nested too deeply")
            if self.accept("]"):
                found += "[]"
            else:
                found += f"[{self.number(1, 100_000)}]"
                self.expect("]")
        return found

    def base(self, depth: int) -> str:
        name = self.take()
        if name in SHORT_NAMES:
            if name in {"time", "timestamp"} and self.peek().lower() in {"with", "without"}:
                return self.zone(name.upper())
            return SHORT_NAMES[name]
        upper = _SYNONYMS.get(name.upper(), name.upper())
        if upper in {"TIME", "TIMESTAMP"}:
            return self.zone(upper)
        if upper == "DECIMAL":
            return self.decimal()
        if upper == "STRUCT":
            return self.struct(depth)
        if upper == "MAP":
            self.expect("(")
            key = self.type(depth + 1)
            self.expect(",")
            value = self.type(depth + 1)
            self.expect(")")
            return f"MAP({key}, {value})"
        if upper in _SIMPLE:
            return upper
        names = [*SHORT_NAMES, *sorted(_SIMPLE), "DECIMAL", "STRUCT", "MAP"]
        hint = did_you_mean(name, names) if name else ""
        raise ValueError(f"Unknown type '{name[:60]}'.{hint}") if hint else self.error("is not a type")

    def zone(self, name: str) -> str:
        if self.peek().lower() not in {"with", "without"}:
            return name
        zoned = self.take().lower() == "with"
        if (self.take().lower(), self.take().lower()) != ("time", "zone"):
            raise self.error("is not a type: it ends in WITH TIME ZONE or WITHOUT TIME ZONE")
        return f"{name} WITH TIME ZONE" if zoned else name

    def decimal(self) -> str:
        if not self.accept("("):
            return "DECIMAL(18, 3)"
        precision = self.number(1, 38)
        scale = self.number(0, precision) if self.accept(",") else 0
        self.expect(")")
        return f"DECIMAL({precision}, {scale})"

    def struct(self, depth: int) -> str:
        self.expect("(")
        fields: dict[str, str] = {}
        while True:
            token = self.take()
            name = token[1:-1].replace('""', '"') if token.startswith('"') else token
            if not name or name in "()[],":
                raise self.error("is not a type: a field of the STRUCT has no name")
            if name.lower() in {known.lower() for known in fields}:
                raise self.error(f"is not a type: the field '{name}' appears twice")
            fields[name] = self.type(depth + 1)
            if not self.accept(","):
                break
        self.expect(")")
        inner = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {found}' for name, found in fields.items())
        return f"STRUCT({inner})"
