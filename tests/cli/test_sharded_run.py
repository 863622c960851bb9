"""The scripts of the help page make, shard by shard and through kills, what one run makes (P7, P8)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import CommandLine
from help_page import PAGES, block_with

from rowmill import RunDatabase

SPEC = """
name: penguins
records: 60
row_group_size: 5
seed: 5
models:
  - alias: writer
    provider: simulated
    model: quick
    simulation: {latency_ms: 15, transient: 0.02, rejected: 0.04}
seed_dataset: {path: seed.csv, sampling_strategy: shuffle}
columns:
  - {name: size, column_type: sampler, sampler_type: gaussian, params: {mean: 5, stddev: 1}}
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "{{ animal }} {{ size }}"}
  - {name: loud, column_type: custom, generator_function: "functions:loud"}
  - {name: picture, column_type: image, model_alias: writer, prompt: "Draw {{ animal }}"}
run: {backoff_base_s: 0.01, max_error_share: 1.0}
"""
TOLD = (
    "select * exclude (picture) from dataset order by row_id",
    "select row_id, picture from dataset order by row_id",
    "select row_id, reason, column_name from dropped_row order by 1",
    "select row_group, row_count, rows_finished, rows_dropped from row_group order by 1",
)


@pytest.fixture
def directory(rowmill: CommandLine) -> Path:
    place = rowmill.directory
    (place / "spec.yaml").write_text(SPEC)
    (place / "seed.csv").write_text("animal\n" + "".join(f"animal {number}\n" for number in range(17)))
    (place / "functions.py").write_text(
        "import rowmill\n\n\n@rowmill.generator(required_columns=['note'])\n"
        "def loud(row):\n    return row['note'].upper()\n"
    )
    command = place / "bin" / "rowmill"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rowmill "$@"\n')
    command.chmod(0o755)
    return place


def start(directory: Path, script: str, **environment: str) -> subprocess.Popen[bytes]:
    path = f"{directory / 'bin'}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-c", script],
        cwd=directory,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def told(path: Path) -> list[list[dict[str, Any]]]:
    with RunDatabase.open(path) as database:
        assert database.sql("from invariant_violation").num_rows == 0
        return [database.sql(query).to_pylist() for query in TOLD]


@pytest.mark.slow
def test_p8_the_scripts_of_the_page_make_what_one_run_makes_through_a_kill(
    rowmill: CommandLine, directory: Path
) -> None:
    slurm = block_with(PAGES["scaling"], "bash", "#SBATCH")
    job = yaml.safe_load(block_with(PAGES["scaling"], "yaml", "completionMode"))["spec"]
    (kubernetes,) = job["template"]["spec"]["containers"][0]["args"]
    killed = start(directory, slurm, SLURM_ARRAY_TASK_ID="1")
    pictures = _files(directory, "shard-1") / "picture"
    deadline = time.monotonic() + 30
    while len(list(pictures.glob("*.png"))) < 3 and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    was_killed = killed.poll() is None
    killed.kill()
    killed.communicate()
    assert was_killed, "the shard was complete before it could be killed"
    refused = rowmill("merge", "early.duckdb", "shard-1.duckdb")
    assert refused.returncode == 2
    assert "shard-1.duckdb has done" in refused.stderr
    for number in (1, 2):
        _end(start(directory, slurm, SLURM_ARRAY_TASK_ID=str(number)), {0, 3})
    for index in (2, 3):
        _end(start(directory, kubernetes, JOB_COMPLETION_INDEX=str(index)), {0})
    shards = [f"shard-{number}.duckdb" for number in range(1, job["completions"] + 1)]
    counted = rowmill.output_of("status", *shards, "--format", "json")
    assert '"records": 60' in counted
    assert '"state": "finished"' in counted
    assert rowmill("merge", "merged.duckdb", *shards).returncode == 0
    whole = rowmill("run", "spec.yaml", "whole.duckdb")
    assert rowmill("run", "merged.duckdb").returncode == whole.returncode
    assert told(directory / "merged.duckdb") == told(directory / "whole.duckdb")
    of_merged, of_whole = (_pictures(directory / f"{name}.duckdb") for name in ("merged", "whole"))
    assert of_merged == of_whole
    assert len(of_merged) > 50
    assert "orphan" not in rowmill.output_of("doctor", "merged.duckdb").lower()


def _pictures(path: Path) -> dict[str, bytes]:
    """Those of the rows of the dataset. A dropped row's is there if it was made before another column failed."""
    with RunDatabase.open(path) as database:
        names = [row["picture"] for row in database.sql("select picture from dataset").to_pylist()]
    return {name: (path.with_name(f"{path.name}.files") / name).read_bytes() for name in names}


def _files(directory: Path, name: str) -> Path:
    return directory / f"{name}.duckdb.files"


def _end(process: subprocess.Popen[bytes], codes: set[int]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode in codes, errors.decode()


def test_a_living_shard_is_not_merged_and_named(rowmill: CommandLine, directory: Path) -> None:
    (directory / "slow.yaml").write_text(SPEC.replace("latency_ms: 15", "latency_ms: 60000"))
    running = rowmill.start("run", "-v", "slow.yaml", "--shard", "1/2")
    shard = directory / "penguins-1-of-2.duckdb"
    deadline = time.monotonic() + 30
    while "Working on" not in (running.stderr.readline() if running.stderr else ""):
        assert time.monotonic() < deadline
        assert running.poll() is None
    refused = rowmill("merge", "whole.duckdb", shard.name, "--allow-holes")
    assert refused.returncode == 4
    assert shard.name in refused.stderr
    assert str(running.pid) in refused.stderr
    listed = rowmill("status", shard.name, "nowhere.duckdb")
    assert listed.returncode == 2
    assert "running" in listed.stdout
    assert "nowhere.duckdb is not counted" in listed.stderr
    assert not (directory / "whole.duckdb").exists()
