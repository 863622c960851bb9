"""The wheel and the tools: what a user installs works, from another directory and without this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from command_line import CommandLine

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _run(*command: str | Path, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=kept, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command ``rowmill`` of a fresh environment that holds the wheel and, from here, what it depends on."""
    directory = tmp_path_factory.mktemp("installed")
    copy = directory / "source"
    shutil.copytree(
        REPOSITORY, copy, ignore=shutil.ignore_patterns(".venv", ".git", "quickstart*", "*.duckdb*", ".*_cache", "dist")
    )
    _run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory / "dist", copy, cwd=directory
    )
    shutil.rmtree(copy)
    (wheel,) = (directory / "dist").glob("rowmill-*.whl")
    environment = directory / "environment"
    venv.create(environment)
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    _run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=directory)
    # The dependencies come from here: a path in a .pth file lends packages, but not their own .pth files, so
    # that this checkout's editable installation stays out of it.
    site = _run(
        environment / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=directory
    )
    (Path(site.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "rowmill"


def test_the_wheel_holds_the_sql_and_runs_a_job_from_another_directory(installed: Path, tmp_path: Path) -> None:
    python = installed.with_name("python")
    found = _run(
        python, "-c", "import rowmill.store.database.statements as s; print(s.sql_directory())", cwd=tmp_path
    ).strip()
    assert Path(found).is_relative_to(installed.parents[1])
    assert (Path(found) / "schema").is_dir()
    rowmill = CommandLine(tmp_path, command=(str(installed),))
    rowmill.output_of("init")
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec.read_text().replace("records: 2000", "records: 40"))
    done = rowmill("run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    assert len(rowmill.output_of("export", "--format", "jsonl", "--output", "-").splitlines()) == 40


def test_the_wheel_holds_the_help_and_the_schema(installed: Path, tmp_path: Path) -> None:
    rowmill = CommandLine(tmp_path, command=(str(installed),))
    assert rowmill.output_of("help", "rules", "D1").startswith("### D1\n")
    # Descriptions are read from the source, which the wheel holds.
    assert '"description": "What to judge by: one or more scores."' in rowmill.output_of("schema")


def test_the_wheel_holds_nothing_but_the_package(installed: Path) -> None:
    site = next((installed.parents[1] / "lib").glob("python*/site-packages"))
    assert {path.name.partition("-")[0] for path in site.glob("rowmill*")} == {"rowmill"}
    assert (site / "rowmill" / "py.typed").is_file()
    assert {path.name for path in (site / "rowmill" / "example").iterdir() if path.name != "__pycache__"} == {
        "__init__.py",
        "penguin_functions.py",
        "palmer_penguins.csv",
        "spec.yaml",
    }


@pytest.mark.parametrize("tool", ["quickstart", "test"])
def test_a_tool_says_what_is_missing_when_there_is_no_fit_python(tool: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "tools", copy / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pyproject.toml").touch()
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "dirname", "env", "cksum", "cat"):
        (commands / name).symlink_to(shutil.which(name) or name)
    old = commands / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        [commands / "bash", copy / "tools" / tool],
        cwd=tmp_path,
        env={"PATH": str(commands)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert not (copy / ".venv").exists()
