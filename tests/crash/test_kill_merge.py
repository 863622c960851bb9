"""A merge that is killed with -9 at any time leaves no whole, or all of it; and can be done again (P8)."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import shared_server

import rowmill
from rowmill import RunDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KILLS = 15
MOST_TRIES = 80
SPEC = {
    "name": "parts",
    "records": 60,
    "row_group_size": 10,
    "seed": 4,
    "models": [{"alias": "writer", "provider": "simulated", "model": "small", "simulation": {"latency_ms": 1}}],
    "columns": [
        {"name": "id", "column_type": "sampler", "sampler_type": "uuid"},
        {"name": "note", "column_type": "llm-text", "model_alias": "writer", "prompt": "Of {{ id }}"},
        {"name": "picture", "column_type": "image", "model_alias": "writer", "prompt": "Draw {{ id }}"},
    ],
}


def _whole(path: Path) -> list[dict[str, Any]]:
    with RunDatabase.open(path) as database:
        assert database.sql("from invariant_violation").num_rows == 0
        assert database.status().state == "finished"
        rows: list[dict[str, Any]] = database.sql("from dataset order by row_id").to_pylist()
    files = path.with_name(f"{path.name}.files")
    return [{**row, "picture": (files / row["picture"]).read_bytes()} for row in rows]


def _content(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_p8_a_merge_that_is_killed_at_any_time_leaves_nothing_half_made_and_can_be_done_again(tmp_path: Path) -> None:
    shards = [tmp_path / f"shard-{number}.duckdb" for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        rowmill.run(SPEC, shard, shard=(number, 2), directory=tmp_path)
    rowmill.run(SPEC, tmp_path / "one.duckdb", directory=tmp_path)
    expected, before = _whole(tmp_path / "one.duckdb"), _content(shards)
    whole = tmp_path / "whole.duckdb"
    command = ["merge", whole.name, *(shard.name for shard in shards)]
    moments = random.Random(8)
    killed = 0
    server = shared_server()
    took_s = 10.0
    for _ in range(MOST_TRIES):
        whole.unlink(missing_ok=True)
        began = time.monotonic()
        merging = server.start(command, tmp_path, tmp_path / "errors.txt")
        if server.wait(merging, moments.uniform(0, took_s)) is not None:
            took_s = min(took_s, time.monotonic() - began)
        killed += server.kill(merging) == -9
        if whole.exists():
            assert _whole(whole) == expected
        if killed == KILLS:
            break
    whole.unlink(missing_ok=True)
    assert server.wait(server.start(command, tmp_path, tmp_path / "errors.txt"), 60) == 0
    assert killed == KILLS
    assert (_whole(whole), _content(shards)) == (expected, before)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
