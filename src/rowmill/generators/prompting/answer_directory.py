"""Answers several runs share: a directory with a small file for each, ``<directory>/ab/ab12….json``.

Any number of processes may use it at once, without a lock: a file is written under another name and then renamed, so
it is whole or not there, and of two for the same question either will do. A file carries a digest of its question and
its content; one that is damaged is taken for none, and written anew when the answer was asked for again. Nothing that
goes wrong here stops a run: an answer that cannot be kept or found is paid for again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from rowmill.errors import UsageError

_PARTIAL = ".partial-"
_ABANDONED_S = 3600.0
_DIGEST = 32
_log = logging.getLogger("rowmill.run")


class AnswerDirectory:
    """One such directory, which is made if there is none. Nobody but its owner can read it (0700, files 0600)."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError when there can be no such directory."""
        self._path = path
        self._partial = path / f"{_PARTIAL}{os.getpid()}-{os.urandom(4).hex()}"
        self._can_write = True
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in path.glob(f"{_PARTIAL}*"):  # of processes that were killed
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    left.unlink(missing_ok=True)
        except FileNotFoundError:  # another process swept it first
            pass
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"run.answer_cache cannot be a directory at {path}: {reason}. Name another.") from error

    def find(self, keys: Iterable[int]) -> dict[int, str]:
        """The answers among those with these keys."""
        found = {}
        for key in keys:
            try:
                content = self._file(key).read_bytes()
            except OSError:  # not there, or out of reach
                continue
            digest, answer = content[:_DIGEST], content[_DIGEST:]
            if digest == _digest_of(key, answer):
                found[key] = answer.decode()
        return found

    def keep(self, answers: Mapping[int, str]) -> None:
        """Keeps answers for everybody. The first that cannot be written is warned of, and none is tried after it."""
        if not self._can_write:
            return
        try:
            for key, answer in answers.items():
                self._write(key, answer.encode())
        except OSError as error:
            self._can_write = False
            _log.warning("Answers are no longer kept in %s: %s", self._path, error.strerror or error)

    def _write(self, key: int, answer: bytes) -> None:
        file = self._file(key)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as partial:
            # Not flushed to the disk: what a power failure leaves of it is damaged, and so not used.
            partial.write(_digest_of(key, answer) + answer)
        os.replace(self._partial, file)

    def _file(self, key: int) -> Path:
        name = f"{key:030x}"
        return self._path / name[:2] / f"{name}.json"


def _digest_of(key: int, answer: bytes) -> bytes:
    return blake2b(answer, digest_size=_DIGEST // 2, key=key.to_bytes(15, "big")).hexdigest().encode()
