"""One value of every type the engine has, and what it is in every place values go to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from rowmill.value.interval import Interval

_UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
_SAME = object()


@dataclass(frozen=True)
class Entry:
    """``sql`` makes the value; ``dtype`` is the type a spec's column can have, None if it can have none like it."""

    name: str
    sql: str
    dtype: str | None
    python: Any
    """What functions and templates get."""
    prompt: str
    json: str
    csv: str
    arrow: Any
    """What everybody's Arrow has, as ``to_pylist`` shows it."""
    parquet: Any = _SAME

    @property
    def in_parquet(self) -> Any:
        """What is in a parquet file."""
        return self.arrow if self.parquet is _SAME else self.parquet


def _number(name: str, sql: str, dtype: str | None, value: Any, arrow: Any = None, text: str | None = None) -> Entry:
    shown = str(value) if text is None else text
    return Entry(name, sql, dtype, value, shown, shown, shown, value if arrow is None else arrow)


def _text(name: str, sql: str, dtype: str | None, value: Any, text: str, arrow: Any) -> Entry:
    """What is the same text in a prompt, in JSON and in CSV."""
    return Entry(name, sql, dtype, value, text, f'"{text}"', text, arrow)


_WIDE = 10**38 - 1
_WALL = datetime(2024, 1, 2, 3, 4, 5, 120_000)

ENTRIES = [
    _number("tinyint", "(-128)::tinyint", "TINYINT", -128),
    _number("ubigint", "18446744073709551615::ubigint", "UBIGINT", 2**64 - 1),
    _number("bigint", "9007199254740993::bigint", "BIGINT", 2**53 + 1),
    _number("hugeint", f"{_WIDE}::hugeint", "HUGEINT", _WIDE, Decimal(_WIDE)),
    _number("negative hugeint", "(-5)::hugeint", "HUGEINT", -5, Decimal(-5)),
    _number("uhugeint", f"{_WIDE}::uhugeint", None, _WIDE, Decimal(_WIDE)),
    _number("bignum", "'-1234567890123456789012345678901234567890123'::bignum", None,
            -1234567890123456789012345678901234567890123, "-1234567890123456789012345678901234567890123"),
    _number("float", "0.1::float", "FLOAT", 0.1, 0.10000000149011612),
    _number("double", "0.1::double", "DOUBLE", 0.1),
    Entry("negative zero", "'-0.0'::double", "DOUBLE", -0.0, "-0.0", "-0.0", "-0", -0.0),
    Entry("nan", "'nan'::double", "DOUBLE", float("nan"), "nan", '"NaN"', "nan", float("nan")),
    Entry("infinity", "'inf'::double", "DOUBLE", float("inf"), "inf", '"Infinity"', "inf", float("inf")),
    Entry("float infinity", "'-inf'::float", "FLOAT", float("-inf"), "-inf", '"-Infinity"', "-inf", float("-inf")),
    _number("decimal", "1.50::decimal(10, 2)", "DECIMAL(10, 2)", Decimal("1.50")),
    _number("decimal of 38 digits", "12345678901234567890123456789012345.678::decimal(38, 3)", "DECIMAL(38, 3)",
            Decimal("12345678901234567890123456789012345.678")),
    _number("small decimal", "0::decimal(38, 10)", "DECIMAL(38, 10)", Decimal("0E-10"), text="0.0000000000"),
    Entry("bool", "true", "BOOLEAN", True, "True", "true", "true", True),
    _text("text", "'a b'", "VARCHAR", "a b", "a b", "a b"),
    Entry("text with NUL", "'a' || chr(0) || 'b'", "VARCHAR", "a\0b", "a\0b", '"a\\u0000b"', "a\0b", "a\0b"),
    _text("enum", "'x'::enum ('x', 'y')", None, "x", "x", "x"),
    _text("bit", "'0101'::bit", None, "0101", "0101", "0101"),
    _text("blob", "'\\x00\\xff'::blob", "BLOB", b"\0\xff", "AP8=", b"\0\xff"),
    _text("uuid", f"'{_UUID}'::uuid", "UUID", uuid.UUID(_UUID), _UUID, _UUID),
    _text("date", "'2024-02-29'::date", "DATE", date(2024, 2, 29), "2024-02-29", date(2024, 2, 29)),
    _text("infinite date", "'infinity'::date", "DATE", "infinity", "infinity", 2**31 - 1),
    _text("date before Christ", "'0044-03-15 (BC)'::date", "DATE", "0044-03-15 (BC)", "0044-03-15 (BC)", -735_160),
    _text("date after Python", "'20000-01-01'::date", "DATE", "20000-01-01", "20000-01-01", 6_585_322),
    Entry("timestamp", f"'{_WALL}'::timestamp", "TIMESTAMP", _WALL, "2024-01-02 03:04:05.120000",
          '"2024-01-02T03:04:05.120000"', "2024-01-02T03:04:05.120000", _WALL),
    _text("infinite timestamp", "'-infinity'::timestamp", "TIMESTAMP", "-infinity", "-infinity", -(2**63) + 1),
    Entry("timestamp after Python", "'20000-01-01'::timestamp", "TIMESTAMP", "20000-01-01 00:00:00",
          "20000-01-01 00:00:00", '"20000-01-01T00:00:00"', "20000-01-01T00:00:00", 568_971_820_800_000_000),
    Entry("timestamp of seconds", "'2024-01-02 03:04:05'::timestamp_s", None, datetime(2024, 1, 2, 3, 4, 5),
          "2024-01-02 03:04:05", '"2024-01-02T03:04:05"', "2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5)),
    Entry("timestamp of milliseconds", "'2024-01-02 03:04:05.12'::timestamp_ms", None, _WALL,
          "2024-01-02 03:04:05.120000", '"2024-01-02T03:04:05.120"', "2024-01-02T03:04:05.120", _WALL),
    Entry("timestamp of nanoseconds", "'2024-01-02 03:04:05.123456789'::timestamp_ns", None,
          "2024-01-02 03:04:05.123456789", "2024-01-02 03:04:05.123456789", '"2024-01-02T03:04:05.123456789"',
          "2024-01-02T03:04:05.123456789", 1_704_164_645_123_456_789),
    Entry("zoned timestamp", "'2024-01-02 05:04:05.12+02'::timestamptz", "TIMESTAMPTZ", _WALL.replace(tzinfo=UTC),
          "2024-01-02 03:04:05.120000+00:00", '"2024-01-02T03:04:05.120000+00:00"', "2024-01-02T03:04:05.120000+00:00",
          _WALL.replace(tzinfo=UTC)),
    Entry("infinite zoned timestamp", "'infinity'::timestamptz", "TIMESTAMPTZ", "infinity", "infinity", '"infinity"',
          "infinity", 2**63 - 1),
    _text("time", "'03:04:05'::time", "TIME", time(3, 4, 5), "03:04:05", time(3, 4, 5)),
    _text("end of the day", "'24:00:00'::time", "TIME", "24:00:00", "24:00:00", 86_400_000_000),
    _text("time of nanoseconds", "'03:04:05.123456789'::time_ns", None, "03:04:05.123456789", "03:04:05.123456789",
          11_045_123_456_789),
    _text("zoned time", "'03:04:05+02:30'::timetz", "TIME WITH TIME ZONE",
          time(3, 4, 5, tzinfo=timezone(timedelta(hours=2, minutes=30))), "03:04:05+02:30", "03:04:05+02:30"),
    Entry("interval", "interval '14 months 3 days 4 hours 0.5 seconds'", "INTERVAL",
          Interval(14, 3, 14_400_500_000_000), "1 year 2 months 3 days 04:00:00.5",
          '"1 year 2 months 3 days 04:00:00.5"', "1 year 2 months 3 days 04:00:00.5", (14, 3, 14_400_500_000_000),
          "1 year 2 months 3 days 04:00:00.5"),
    Entry("negative interval", "interval '-14 months -1 day -4 hours'", "INTERVAL",
          Interval(-14, -1, -14_400_000_000_000), "-1 year -2 months -1 day -04:00:00",
          '"-1 year -2 months -1 day -04:00:00"', "-1 year -2 months -1 day -04:00:00", (-14, -1, -14_400_000_000_000),
          "-1 year -2 months -1 day -04:00:00"),
    Entry("list", "[1, null]::bigint[]", "BIGINT[]", [1, None], "[1, None]", "[1, null]", "[1, null]", [1, None]),
    Entry("array", "[1.5, 2]::double[2]", "DOUBLE[2]", [1.5, 2.0], "[1.5, 2.0]", "[1.5, 2.0]", "[1.5, 2.0]",
          [1.5, 2.0]),
    Entry("list of dates", "['2024-02-29', 'infinity']::date[]", "DATE[]", [date(2024, 2, 29), "infinity"],
          "['2024-02-29', 'infinity']", '["2024-02-29", "infinity"]', '["2024-02-29", "infinity"]', None),
    Entry("list of floats", "['0.1', 'nan']::float[]", "FLOAT[]", [0.1, float("nan")], "[0.1, nan]", '[0.1, "NaN"]',
          '[0.1, "NaN"]', [0.10000000149011612, float("nan")]),
    Entry("struct", "{'a': 1, 'b': {'c': 1.50, 'u': '" + _UUID + "'::uuid}}",
          "STRUCT(a BIGINT, b STRUCT(c DECIMAL(4, 2), u UUID))",
          {"a": 1, "b": {"c": Decimal("1.50"), "u": uuid.UUID(_UUID)}},
          f"{{'a': 1, 'b': {{'c': 1.50, 'u': '{_UUID}'}}}}",
          f'{{"a": 1, "b": {{"c": 1.50, "u": "{_UUID}"}}}}', f'{{"a": 1, "b": {{"c": 1.50, "u": "{_UUID}"}}}}',
          {"a": 1, "b": {"c": Decimal("1.50"), "u": _UUID}}),
    Entry("map", "map {'a': 1, 'b': null}", "MAP(VARCHAR, BIGINT)", {"a": 1, "b": None}, "{'a': 1, 'b': None}",
          '{"a": 1, "b": null}', '{"a": 1, "b": null}', [("a", 1), ("b", None)]),
    Entry("map by number", "map {7: 'x'}", "MAP(BIGINT, VARCHAR)", {7: "x"}, "{7: 'x'}",
          '[{"key": 7, "value": "x"}]', '[{"key": 7, "value": "x"}]', [(7, "x")]),
    Entry("map by date", "map {'2024-02-29'::date: 1}", "MAP(DATE, BIGINT)", {date(2024, 2, 29): 1},
          "{'2024-02-29': 1}", '[{"key": "2024-02-29", "value": 1}]', '[{"key": "2024-02-29", "value": 1}]',
          [(date(2024, 2, 29), 1)]),
    Entry("map by list", "map {[1, 2]: 'x'}", "MAP(BIGINT[], VARCHAR)", [{"key": [1, 2], "value": "x"}],
          "[{'key': [1, 2], 'value': 'x'}]", '[{"key": [1, 2], "value": "x"}]', '[{"key": [1, 2], "value": "x"}]',
          [([1, 2], "x")]),
    Entry("union", "'x'::union(number int, word varchar)", None, "x", "x", '"x"', "x", "x", None),
    Entry("JSON object", "'{\"a\":  1.10, \"b\": true}'::json", "JSON", {"a": 1.1, "b": True},
          '{"a":  1.10, "b": true}', '{"a":  1.10, "b": true}', '{"a":  1.10, "b": true}', '{"a":  1.10, "b": true}'),
    Entry("JSON list", "'[1, \"x\", null]'::json", "JSON", [1, "x", None], '[1, "x", null]', '[1, "x", null]',
          '[1, "x", null]', '[1, "x", null]'),
    Entry("JSON text", "'\"a b\"'::json", "JSON", "a b", "a b", '"a b"', '"a b"', '"a b"'),
    Entry("JSON number", "'12345678901234567890'::json", "JSON", 12345678901234567890, "12345678901234567890",
          "12345678901234567890", "12345678901234567890", "12345678901234567890"),
    Entry("JSON null", "'null'::json", "JSON", None, "None", "null", "null", "null"),
    Entry("JSON over lines", "('[1,' || chr(10) || '2]')::json", "JSON", [1, 2], "[1,\n2]", "[1, 2]", "[1,\n2]",
          "[1,\n2]"),
    Entry("list of JSON", "['{\"a\":1}'::json, '\"x\"'::json]", "JSON[]", [{"a": 1}, "x"], """[{"a":1}, 'x']""",
          '[{"a":1}, "x"]', '[{"a":1}, "x"]', ['{"a":1}', '"x"']),
    Entry("variant", "{'a': [1, 'x'::variant]}::variant", None, {"a": [1, "x"]}, '{"a":[1,"x"]}', '{"a":[1,"x"]}',
          '{"a":[1,"x"]}', '{"a":[1,"x"]}'),
]  # fmt: skip
"""Columns of NULLs are tried beside these: they are None everywhere, ``null`` in JSON and an empty field in CSV."""
