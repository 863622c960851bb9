"""Which SQL functions an expression may call: all but those whose value does not follow from their arguments (V1, V5).

What the engine says of its functions changes from version to version (whether ``month()`` is stable, for one), so it is
not asked. This list is ours: clocks, chance, and the state of a session or of the engine are refused by name. All else
is allowed, and evaluated in UTC.
"""

from __future__ import annotations

_CLOCKS = frozenset(
    {
        "ago",
        "current_date",
        "current_localtime",
        "current_localtimestamp",
        "current_time",
        "current_timestamp",
        "get_current_time",
        "get_current_timestamp",
        "localtime",
        "localtimestamp",
        "now",
        "today",
        "transaction_timestamp",
    }
)
_CHANCE = frozenset(
    {
        "gen_random_uuid",
        "random",
        "reservoir_quantile",
        "setseed",
        "uuid",
        "uuidv4",
        "uuidv7",
    }
)
_STATE = frozenset(
    {
        "col_description",
        "currval",
        "format_pg_type",
        "get_block_size",
        "getenv",
        "getvariable",
        "in_search_path",
        "json_serialize_plan",
        "nextval",
        "obj_description",
        "session_user",
        "set_config",
        "setval",
        "shobj_description",
        "sleep_ms",
        "stats",
        "txid_current",
        "user",
        "vector_type",
        "version",
        "write_log",
    }
)
_STATE_PREFIXES = ("__internal_", "current_", "duckdb_", "has_", "inet_client_", "inet_server_", "pg_")
"""Families of functions that tell of the session, the catalog or the engine, future members included."""
_HARMLESS = frozenset(
    {
        "pg_size_pretty",
        "pg_typeof",
    }
)
_NEEDS_TWO_ARGUMENTS = frozenset(
    {
        "age",
    }
)
"""With one argument they count from today."""


def is_repeatable(name: str, arguments: int) -> bool:
    """Does a function give the same value whenever, wherever and by whomever it is called with the same arguments?"""
    name = name.lower()
    if name in _HARMLESS:
        return True
    if name in _NEEDS_TWO_ARGUMENTS and arguments < 2:
        return False
    return not (name in _CLOCKS or name in _CHANCE or name in _STATE or name.startswith(_STATE_PREFIXES))
