"""What is sent to workers elsewhere, and what stays."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rowmill.errors import UsageError
from rowmill.remote.code_archive import packed


def _sent(
    directory: Path, working_dir: str = ".", modules: tuple[str, ...] = (), excludes: tuple[str, ...] = ()
) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(packed(directory, working_dir, modules, excludes).content)) as archive:
        return set(archive.namelist())


def _fill(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)


def test_functions_and_what_they_read_are_sent(tmp_path: Path) -> None:
    _fill(tmp_path, "functions.py", "words/list.csv", "spec.yaml")
    assert _sent(tmp_path) == {"work/functions.py", "work/words/list.csv", "work/spec.yaml"}


@pytest.mark.parametrize(
    "name",
    [
        *("reviews.duckdb", "reviews.duckdb.wal", "reviews.duckdb.files/picture/7.png", ".reviews.duckdb.12.new"),
        *("reviews.parquet", "reviews.jsonl", "reviews-train.csv", "out/rowmill-export.json", "out/part-0.parquet"),
        *(".env", ".env.local", "deep/.env", ".git/config", "key.pem", ".venv/lib/x.py", "a/__pycache__/x.pyc"),
    ],
)
def test_run_databases_exports_and_keys_stay(tmp_path: Path, name: str) -> None:
    _fill(tmp_path, "functions.py", "reviews.duckdb", "out/rowmill-export.json", name)
    assert _sent(tmp_path) == {"work/functions.py"}


def test_a_file_that_only_begins_like_a_run_is_sent(tmp_path: Path) -> None:
    _fill(tmp_path, "reviews.duckdb", "reviewsofold.csv", "reviews_functions.py")
    assert _sent(tmp_path) == {"work/reviewsofold.csv", "work/reviews_functions.py"}


@pytest.mark.parametrize("pattern", ["raw", "raw/", "./raw", "raw/*", "*.bin"])
def test_what_is_excluded_stays(tmp_path: Path, pattern: str) -> None:
    _fill(tmp_path, "functions.py", "raw/large.bin")
    assert _sent(tmp_path, excludes=(pattern,)) == {"work/functions.py"}


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    _fill(tmp_path, "b.py", "a.py")
    first = packed(tmp_path, ".", (), ())
    os.utime(tmp_path / "a.py", (10**9, 10**9))
    assert packed(tmp_path, ".", (), ()) == first


def test_the_specs_directory_keeps_its_place_in_a_larger_working_directory(tmp_path: Path) -> None:
    _fill(tmp_path, "specs/daily/functions.py", "shared.py")
    assert packed(tmp_path / "specs/daily", "../..", (), ()).start == "specs/daily"


def test_modules_from_elsewhere_are_sent_beside_the_working_directory(tmp_path: Path) -> None:
    _fill(tmp_path, "here/functions.py", "there/package/__init__.py", "there/single.py")
    sent = _sent(tmp_path / "here", modules=("../there/package", "../there/single.py"))
    assert sent == {"work/functions.py", "modules/package/__init__.py", "modules/single.py"}


@pytest.mark.parametrize(
    ("working_dir", "modules", "said"),
    [("missing", (), "is no directory"), (".", ("missing.py",), "there is no"), (".", ("notes.txt",), "neither")],
)
def test_what_is_missing_is_named(tmp_path: Path, working_dir: str, modules: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        packed(tmp_path, working_dir, modules, ())


def test_data_is_not_taken_for_code(tmp_path: Path) -> None:
    with (tmp_path / "corpus.bin").open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(UsageError, match=r"256 MiB.*corpus\.bin \(300 MiB\).*excludes"):
        packed(tmp_path, ".", (), ())


_WORKER = """
import os, pathlib, sys
from rowmill.remote.code_archive import unpacked
start = unpacked(sys.stdin.buffer.read(), "daily")
import single
print(start, os.getcwd(), (start / "functions.py").read_text(), oct(start.parents[1].stat().st_mode & 0o777))
"""


def _unpack(archive: bytes, temporary: Path) -> tuple[Path, list[str]]:
    environ = {**os.environ, "TMPDIR": str(temporary)}
    ran = subprocess.run([sys.executable, "-c", _WORKER], input=archive, capture_output=True, env=environ, check=True)
    start, *rest = ran.stdout.decode().split()
    return Path(start), rest


def test_a_worker_finds_the_code_in_a_directory_of_its_own_and_a_later_one_removes_it(tmp_path: Path) -> None:
    _fill(tmp_path, "here/daily/functions.py", "single.py")
    (tmp_path / "single.py").write_text("")
    (tmp_path / "here/daily/functions.py").write_text("sent")
    archive = packed(tmp_path / "here/daily", "..", ("../../single.py",), ()).content
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    first, told = _unpack(archive, temporary)
    assert told == [str(first.parent), "sent", "0o700"]
    second, _ = _unpack(archive, temporary)
    assert not first.exists()
    assert [home.name for home in temporary.iterdir()] == [second.parents[1].name]
