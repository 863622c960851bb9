"""A push to the hub that is killed with -9 and done again: every row is there once, and nothing half done is seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import CommandLine
from hub_double import STEPS, TOKEN, Hold, Hub, hub

import rowmill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COLUMNS = [{"name": "twice", "column_type": "expression", "sql": "2 * number", "dtype": "int"}]


@pytest.fixture
def server() -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    with hub() as running:
        yield running


@pytest.fixture
def command(tmp_path: Path) -> Iterator[CommandLine]:
    environment = {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    line = CommandLine(tmp_path, environment=environment)
    yield line
    line.close()


def grow(directory: Path, records: int) -> None:
    seed = pa.table({"number": list(range(100))})
    spec = {"name": "things", "records": records, "columns": COLUMNS, "seed_dataset": {"seed_type": "df"}}
    assert rowmill.run(spec, directory / "things.duckdb", seed=seed).exit_code == 0


def rows_on(server: Hub) -> list[int]:
    files = server.repositories.get("me/things", {})
    data = [files[name] for name in sorted(files) if name.startswith("data/")]
    return sorted(row for content in data for row in pq.read_table(pa.BufferReader(content))["row_id"].to_pylist())


@pytest.mark.parametrize(
    ("step", "does_it"), [*((step, False) for step in STEPS), ("uploading", True), ("committing", True)]
)
def test_a_killed_push_is_done_again_with_every_row_once(
    step: str, does_it: bool, server: Hub, command: CommandLine
) -> None:
    push = ("export", "--push-to-hub", "me/things", "--hub-endpoint", server.url, "--output", "hub", "--append")
    grow(command.directory, 20)
    if step != "creating":
        command.output_of(*push)
        grow(command.directory, 35)
    before = rows_on(server)
    hold = server.hold = Hold(step, does_it)
    process = command.start(*push)
    assert hold.reached.wait(60)
    process.kill()
    command.end_of(process)
    hold.released.set()
    wanted = list(range(20 if step == "creating" else 35))
    assert rows_on(server) == (wanted if (step, does_it) == ("committing", True) else before)
    command.output_of(*push)
    assert rows_on(server) == wanted
    assert f"{len(wanted)} rows" in server.repositories["me/things"]["README.md"].decode()
    assert not [name for name in os.listdir(command.directory) if name.endswith(".part")]
