"""Extras: what works without any of them, and what is told where one is needed. They are really absent here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = {
    name: requirements
    for name, requirements in PROJECT["optional-dependencies"].items()
    if name not in {"test", "check"}
}
PROGRAM = """
import sys
sys.path += {paths}
from rowmill.cli.main import execute
sys.exit(execute(sys.argv[1:]))
"""
PROGRAM_FOR_MANY = """
import os
import sys
sys.path += {paths}
from rowmill.cli.main import execute
for directory in sys.argv[1:]:
    os.chdir(directory)
    os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
    code = execute(["run", "spec.yaml"])
    sys.stderr.flush()
    print(code, flush=True)
"""
CORE_RUN = """
import sys
import rowmill

report = rowmill.run("spec.yaml", "core.duckdb")
assert report.exit_code == 0, report
with rowmill.RunDatabase.open("core.duckdb") as database:
    for name in ("core.parquet", "core.jsonl", "core.csv", "core.arrow"):
        database.export(name)
    database.report("core.html")
print(*sorted(name.partition(".")[0] for name in sys.modules))
"""
MODEL = {"alias": "m", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}
CHAT = {"model_alias": "m", "prompt": "{{ id }}"}
ID = {"name": "id", "column_type": "sampler", "sampler_type": "uuid"}


def spec(column: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    columns = [ID, *([{"name": "made", **column}] if column else [])]
    return {"name": "core", "records": 20, "models": [MODEL], "columns": columns, **fields}


def sampled(sampler_type: str, **params: Any) -> dict[str, Any]:
    return spec({"column_type": "sampler", "sampler_type": sampler_type, "params": params})


def judged(validator_type: str, **params: Any) -> dict[str, Any]:
    column = {"column_type": "validation", "target_columns": ["id"], "validator_type": validator_type}
    return spec({**column, "validator_params": params})


TOOLS = {
    "mcp_providers": [{"name": "shop", "command": "true"}],
    "tool_configs": [{"tool_alias": "shop", "providers": ["shop"]}],
}
NEEDS: list[tuple[str, dict[str, Any]]] = [
    ("structured", spec({"column_type": "llm-structured", **CHAT, "output_format": {"type": "object"}})),
    ("structured", judged("json_schema", json_schema={"type": "string"})),
    ("mcp", spec({"column_type": "llm-text", **CHAT, "tool_alias": "shop"}, **TOOLS)),
    ("hf", spec(seed_dataset={"seed_type": "hf", "path": "datasets/someone/birds/*.csv"})),
    ("hf", spec(seed_dataset={"path": "hf://datasets/someone/birds/a.csv"})),
    ("remote", spec(seed_dataset={"path": "s3://bucket/birds.csv"})),
    ("validators", judged("code", code_lang="python")),
    ("validators", judged("code", code_lang="sql:postgres")),
    ("scipy", sampled("scipy", dist_name="norm")),
    ("scipy", sampled("bernoulli_mixture", p=0.5, dist_name="norm")),
    ("faker", sampled("person_from_faker")),
    ("otel", spec(run={"otel": {"share": 0.5}})),
    ("ray", spec({"column_type": "llm-text", **CHAT}, run={"executor": "ray"})),
]
CORE = spec(
    seed_dataset={"path": "seed.csv"},
    columns=[
        ID,
        {"name": "many", "column_type": "sampler", "sampler_type": "poisson", "params": {"mean": 40}},
        {"name": "told", "column_type": "llm-text", **CHAT},
        {"name": "code", "column_type": "llm-code", "code_lang": "python", **CHAT},
        {
            "name": "judge",
            "column_type": "llm-judge",
            "scores": [{"name": "tone", "description": "How it sounds", "options": {1: "cold", 2: "warm"}}],
            **CHAT,
        },
        {"name": "vector", "column_type": "embedding", "target_column": "told", "model_alias": "m"},
        {"name": "picture", "column_type": "image", **CHAT},
        {"name": "shout", "column_type": "expression", "expr": "{{ told | upper }}"},
        {"name": "sum", "column_type": "expression", "sql": "many + number", "dtype": "int"},
        {"name": "unique", "column_type": "deduplicate", "columns": ["id"]},
        {
            "name": "check",
            "column_type": "validation",
            "target_columns": ["many"],
            "validator_type": "sql",
            "validator_params": {"predicate": "many >= 0"},
        },
    ],
)


def distributions(requirements: Sequence[str]) -> set[str]:
    """The names of the distributions that these requirements need, without extras."""
    found: set[str] = set()
    waiting = [re.split(r"[^\w.-]", one)[0] for one in requirements]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for requirement in distribution(name).requires or ():
            marker = requirement.partition(";")[2]
            if not marker:
                waiting.append(re.split(r"[^\w.-]", requirement)[0])
    return found


def modules(name: str) -> set[str]:
    """The first part of every path a distribution has installed, but programs."""
    files = distribution(name).files or ()
    return {file.parts[0] for file in files} - {"..", "__pycache__"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the packages Rowmill itself requires, and nothing else."""
    directory = tmp_path_factory.mktemp("bare")
    for name in distributions(PROJECT["dependencies"]):
        installed = distribution(name)
        for module in modules(name):
            (directory / module).symlink_to(Path(str(installed.locate_file(module))))
    return directory


def run_bare(bare: Path, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a Python that finds its own library, Rowmill, and that directory."""
    program = PROGRAM.format(paths=[str(REPOSITORY / "src"), str(bare)])
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def written(directory: Path, content: dict[str, Any]) -> Path:
    (directory / "seed.csv").write_text("number\n1\n2\n")
    (directory / "spec.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return directory / "spec.yaml"


@pytest.fixture(scope="module")
def refusals(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """How a run of each spec of NEEDS ended, and what was said. One process is asked for all of them."""
    directories = [tmp_path_factory.mktemp("needs") for _ in NEEDS]
    for directory, (_, content) in zip(directories, NEEDS, strict=True):
        written(directory, content)
    program = PROGRAM_FOR_MANY.format(paths=[str(REPOSITORY / "src"), str(bare)])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *map(str, directories)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = [int(line) for line in done.stdout.splitlines()]
    return [(code, (directory / "stderr").read_text()) for code, directory in zip(codes, directories, strict=True)]


@pytest.mark.parametrize("number", range(len(NEEDS)), ids=[extra for extra, _ in NEEDS])
def test_the_command_that_installs_a_missing_extra_is_named(number: int, refusals: list[tuple[int, str]]) -> None:
    extra, _ = NEEDS[number]
    code, said = refusals[number]
    assert code in {1, 2}, said
    assert f"pip install 'rowmill[{extra}]'" in said
    assert "Traceback" not in said


def test_a_push_without_its_extra_names_the_command_too(bare: Path, tmp_path: Path) -> None:
    written(tmp_path, spec())
    assert run_bare(bare, tmp_path, "run", "spec.yaml").returncode == 0
    done = run_bare(bare, tmp_path, "export", "core.duckdb", "--push-to-hub", "me/core")
    assert done.returncode == 2
    assert "pip install 'rowmill[hf]'" in done.stderr


def test_every_extra_is_missed_by_something() -> None:
    # Figures are asked for by commands, not by a spec: see the next test.
    assert {extra for extra, _ in NEEDS} | {"metrics"} == set(EXTRAS)


def test_figures_without_their_extra_name_the_command_too(bare: Path, tmp_path: Path) -> None:
    written(tmp_path, spec())
    assert run_bare(bare, tmp_path, "run", "spec.yaml").returncode == 0
    for arguments in (["metrics", "core.duckdb"], ["run", "spec.yaml", "--metrics", "127.0.0.1:0"]):
        done = run_bare(bare, tmp_path, *arguments)
        assert done.returncode == 2
        assert "pip install 'rowmill[metrics]'" in done.stderr


def test_what_needs_no_extra_runs_without_any(bare: Path, tmp_path: Path) -> None:
    written(tmp_path, CORE)
    done = run_bare(bare, tmp_path, "run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    for arguments in (["export", "core.duckdb", "--layout", "huggingface", "--output", "out"], ["report"], ["status"]):
        done = run_bare(bare, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr


def test_nothing_of_an_extra_is_imported_where_none_is_needed(tmp_path: Path) -> None:
    written(tmp_path, CORE)
    done = subprocess.run(
        [sys.executable, "-c", CORE_RUN], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    of_extras = {
        module
        for requirements in EXTRAS.values()
        for requirement in requirements
        for module in modules(re.split(r"[^\w.-]", requirement)[0])
    }
    assert {"scipy", "faker", "sqlfluff", "fsspec", "mcp", "jsonschema", "huggingface_hub", "ruff"} <= of_extras
    assert set(done.stdout.split()) & of_extras == set()
