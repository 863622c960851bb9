"""Nothing of the machine shapes a value: the same spec gives the same bytes in every time zone and locale (V5)."""

from __future__ import annotations

import hashlib
import json
import locale
import os
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MOMENTS = [datetime(2026, 1, 31, 23, 30), datetime(2026, 7, 1, 4, 5, 6, 789), datetime(1900, 1, 1), None]
DAYS = [date(2026, 1, 31), date(1, 1, 1), date(9999, 12, 31), None]
SPEC = {
    "name": "everywhere",
    "records": 8,
    "row_group_size": 3,
    "seed": 5,
    "columns": [
        {"name": "hour", "column_type": "expression", "sql": "hour(ts)", "dtype": "int"},
        {"name": "as_text", "column_type": "expression",
         "sql": "ts::varchar || ' ' || day::varchar || ' ' || plain::varchar"},
        {"name": "midnight", "column_type": "expression", "sql": "date_trunc('day', ts)", "dtype": "timestamptz"},
        {"name": "its_day", "column_type": "expression", "sql": "ts::date", "dtype": "date"},
        {"name": "zoned", "column_type": "expression", "sql": "plain::timestamptz", "dtype": "timestamptz"},
        {"name": "worded", "column_type": "expression", "sql": "strftime(ts, '%A %d %B %Y %H:%M:%S %p')"},
        {"name": "shown", "column_type": "expression",
         "expr": "{{ ts }} {{ day }} {{ plain }} {{ ts.hour if ts else '' }}"},
        {"name": "upper", "column_type": "expression", "sql": "upper(word) || lower('İI') || (word < 'z')::varchar"},
        {"name": "picked", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["a", "b", "ı"]}},
        {"name": "drawn", "column_type": "sampler", "sampler_type": "gaussian", "params": {"mean": 0, "stddev": 1}},
        {"name": "when", "column_type": "sampler", "sampler_type": "datetime",
         "params": {"start": "2026-01-01", "end": "2027-01-01"}},
        {"name": "skipped", "column_type": "expression", "expr": "{{ hour }}", "skip": {"when": "hour(ts) > 12"}},
    ],
}  # fmt: skip
PROGRAM = """
import json, sys
from pathlib import Path
import polars
import rowmill
for directory in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
    spec = directory / "spec.json"
    if directory.name == "df":
        frame = polars.read_parquet(directory / "seed.parquet")
        rowmill.run(json.loads(spec.read_text()), directory / "run.duckdb", seed=frame)
    else:
        rowmill.run(spec, directory / "run.duckdb")
    with rowmill.RunDatabase.open(directory / "run.duckdb") as database:
        for ending in ENDINGS:
            database.export(directory / f"out.{ending}")
        for query in QUERIES:
            print(directory.name, json.dumps(database.sql(query).to_pylist(), default=str))
"""
ENDINGS = ("csv", "jsonl", "parquet", "arrow")
QUERIES = ("from dataset order by row_id", "from column_statistics", "select digest from state.seed_content")
KINDS = ("arrow", "csv", "df", "parquet")


def seed_table() -> pa.Table:
    return pa.table(
        {
            "ts": pa.array(MOMENTS, pa.timestamp("us", "America/New_York")),
            "day": pa.array(DAYS),
            "plain": pa.array(MOMENTS),
            "word": pa.array(["istanbul", "IĞDIR", "ß", "z"]),
        }
    )


def written_seed(directory: Path, kind: str) -> dict[str, object]:
    path = directory / f"seed.{'parquet' if kind == 'df' else kind}"
    if path.suffix == ".parquet":
        pq.write_table(seed_table(), path)
    elif kind == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, seed_table().schema) as writer:
            writer.write_table(seed_table())
    else:
        rows = [
            f"{'' if moment is None else f'{moment.isoformat()}Z'},{day or ''},{moment or ''},{word}"
            for moment, day, word in zip(MOMENTS, DAYS, ["istanbul", "IĞDIR", "ß", "z"], strict=True)
        ]
        path.write_text("\n".join(["ts,day,plain,word", *rows]) + "\n", encoding="utf-8")
        return {"path": path.name, "types": {"ts": "timestamptz", "plain": "timestamp"}}
    return {"seed_type": "df"} if kind == "df" else {"path": path.name}


def locales() -> list[str]:
    """The locales of this machine that treat letters differently, as far as there are any."""
    found = ["C"]
    for name in ("tr_TR.UTF-8", "de_DE.UTF-8", "C.UTF-8"):
        before = locale.setlocale(locale.LC_ALL)
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        finally:
            locale.setlocale(locale.LC_ALL, before)
        found.append(name)
    return found


def content_of(path: Path) -> bytes:
    """The bytes of a file; of an Arrow file its values, since what stands in it where a value is null says nothing."""
    if path.suffix != ".arrow":
        return path.read_bytes()
    with pa.ipc.open_file(path) as file:
        table = file.read_all()
    return f"{table.schema}{table.to_pylist()}".encode()


@pytest.mark.slow
def test_v5_time_zone_locale_and_hash_seed_change_no_byte(tmp_path: Path) -> None:
    known = locales()
    places = [("UTC", known[0]), ("America/New_York", known[-1]), ("Asia/Kathmandu", known[1 % len(known)])]
    found = []
    for number, (zone, name) in enumerate(places):
        here = tmp_path / str(number)
        for kind in KINDS:
            (here / kind).mkdir(parents=True)
            seed = {"sampling_strategy": "shuffle", **written_seed(here / kind, kind)}
            (here / kind / "spec.json").write_text(json.dumps({**SPEC, "seed_dataset": seed}))
        program = [
            sys.executable,
            "-c",
            PROGRAM.replace("ENDINGS", repr(ENDINGS)).replace("QUERIES", repr(QUERIES)),
            str(here),
        ]
        environment = {**os.environ, "TZ": zone, "LC_ALL": name, "LANG": name, "PYTHONHASHSEED": str(number)}
        done = subprocess.run(program, env=environment, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        digests = {
            f"{kind}.{ending}": hashlib.sha256(content_of(here / kind / f"out.{ending}")).hexdigest()
            for kind in KINDS
            for ending in ENDINGS
        }
        found.append((done.stdout.decode(), digests))
    assert '"hour": 23, "as_text": "2026-01-31 23:30:00+00 2026-01-31 2026-01-31 23:30:00"' in found[0][0]
    for printed, digests in found[1:]:
        assert printed == found[0][0]
        assert digests == found[0][1]
