"""Values as SQL text: the only values of a spec that are written into statements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from rowmill.spec.declaration import ColumnValue
from rowmill.store.database.connection import quote


def literal(value: object) -> str:
    """``value`` as an SQL literal. Raises TypeError for what no spec can hold."""
    if isinstance(value, ColumnValue):
        return quote(value.name)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) + "::double" if math.isfinite(value) else f"'{value}'::double"
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return f"'{value.isoformat(sep=' ')}'::timestamp"
    if isinstance(value, date):
        return f"'{value.isoformat()}'::date"
    if isinstance(value, Mapping):
        return f"map([{', '.join(map(literal, value))}], [{', '.join(map(literal, value.values()))}])"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    raise TypeError(f"a {type(value).__name__} cannot be written as SQL")


def _text(value: str) -> str:
    parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"
