"""The key ring of an invocation: its environment, and the tokens that commands print, each shared by all that need it.

A command runs when its token is first needed, and again before the token ends or when an endpoint refuses it (401).
However many requests wait for it, it runs once. No shell reads it; what it prints is in no message.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from rowmill.errors import RunStopping, Unavailable
from rowmill.secret import hidden, keep_secret

_log = logging.getLogger("rowmill.requests")

PATIENCE_S: Final = 30.0
"""A command that takes longer is ended."""
_MARGIN_S: Final = 60.0
"""A token is renewed so long before it ends, or after nine tenths of its time where that is sooner."""
_PAUSE_S: Final = 10.0
"""Between two tries to renew a token that still holds."""
_MOST_BYTES: Final = 64 * 1024
_LONGEST_REASON: Final = 200
_TOKEN_FIELDS = ("token", "access_token", "accessToken", "id_token", "key")
_MOMENT_FIELDS = ("expires_at", "expires_on", "expiresOn", "expirationTimestamp", "expiration", "Expiration", "exp")
_ERROR_TYPE = "KeyCommand"


@dataclass(frozen=True, slots=True)
class Token:
    """What a command printed. ``number`` counts its runs; times are in seconds since the epoch, None if unknown."""

    text: str
    number: int
    ends_at: float | None = None
    renew_at: float | None = None


class CommandKey:
    """The token of one command. Needs asyncio."""

    def __init__(
        self,
        command: tuple[str, ...],
        environ: Mapping[str, str],
        directory: Path | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._command = command
        self._environ = dict(environ)
        self._directory = directory
        self._wall_clock = wall_clock
        self._lock = anyio.Lock()
        self._token: Token | None = None
        self._runs = 0

    async def token(self) -> Token:
        """The token as it is now; runs the command if there is none yet, or it is about to end.

        Raises :class:`RunStopping` when the command fails and there never was a token, :class:`Unavailable` when one
        that was there cannot be renewed.
        """
        token = self._token
        if token is not None and not self._is_due(token):
            return token
        async with self._lock:
            token = self._token
            if token is None or self._is_due(token):
                token = await self._renew(token, holds=token is not None and not _has_ended(token, self._wall_clock()))
            return token

    async def after(self, refused: Token) -> Token:
        """A token newer than one that an endpoint refused. Raises the same errors."""
        async with self._lock:
            token = self._token
            if token is None or token.number <= refused.number:
                token = await self._renew(token, holds=False)
            return token

    def _is_due(self, token: Token) -> bool:
        return token.renew_at is not None and self._wall_clock() >= token.renew_at

    async def _renew(self, old: Token | None, *, holds: bool) -> Token:
        try:
            output = await self._printed()
            text, ends_at = read_token(output, self._wall_clock())
        except _CommandFailed as failure:
            message = f"The api_key_command {self._command[0]!r} {failure}"
            if old is None:
                raise RunStopping(f"{message}. Run it by hand to see what it wants", _ERROR_TYPE) from None
            if not holds:
                raise Unavailable(message, _ERROR_TYPE, is_certain=True) from None
            _log.warning("%s; its last token is used until it ends.", message)
            self._token = Token(old.text, old.number, old.ends_at, self._wall_clock() + _PAUSE_S)
            return self._token
        now = self._wall_clock()
        self._runs += 1
        renew_at = None if ends_at is None else ends_at - min(_MARGIN_S, max(ends_at - now, 0.0) / 10)
        if renew_at is not None and renew_at <= now:
            _log.warning("The api_key_command %r printed a token that has ended already.", self._command[0])
            renew_at = now + _PAUSE_S
        self._token = Token(text, self._runs, ends_at, renew_at)
        return self._token

    async def _printed(self) -> bytes:
        """What the command prints. Raises :class:`_CommandFailed` in words that go on after the command's name."""
        try:
            process = await anyio.open_process(
                list(self._command),
                stdin=DEVNULL,
                cwd=self._directory,
                env=self._environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise _CommandFailed(f"cannot be started: {getattr(error, 'strerror', None) or error}") from None
        output, complaint = bytearray(), bytearray()
        try:
            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as group:
                    group.start_soon(_collect, process.stdout, output)
                    group.start_soon(_collect, process.stderr, complaint)
                code = await process.wait()
        except TimeoutError:
            raise _CommandFailed(f"was ended: it took longer than {PATIENCE_S:g} s") from None
        finally:
            await _end(process)
        if code != 0:
            _keep_what_may_be_secret(output)
            raise _CommandFailed(f"ended with {code}{_last_line(complaint)}")
        if not output.strip():
            raise _CommandFailed(f"printed nothing{_last_line(complaint)}")
        if len(output) > _MOST_BYTES:
            raise _CommandFailed(f"printed more than {_MOST_BYTES} bytes; a token is expected")
        return bytes(output)


class KeyRing(Mapping[str, str]):
    """The environment, and the tokens of commands. ``directory`` is where the spec's relative paths start."""

    def __init__(self, environ: Mapping[str, str], directory: Path | None = None) -> None:
        self._environ = environ
        self.directory = directory
        self._of_commands: dict[tuple[str, ...], CommandKey] = {}

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> KeyRing:
        """The ring itself, or one that holds an environment alone."""
        return environ if isinstance(environ, KeyRing) else cls(environ)

    def key_of(self, command: tuple[str, ...]) -> CommandKey:
        """The token of a command: one for all models that name the same."""
        return self._of_commands.setdefault(command, CommandKey(command, self._environ, self.directory))

    def __getitem__(self, name: str) -> str:
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


class _CommandFailed(Exception):
    """A command that printed no token; the message goes on after its name."""


def read_token(output: bytes, now: float) -> tuple[str, float | None]:
    """The token a command printed, and when it ends, in seconds since the epoch; None if nothing says so.

    A command prints the token alone, or JSON: a text, or an object that holds it and says when it ends, as those of
    cloud providers do. A token that is a JWT says by itself when it ends.
    """
    try:
        text = output.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise _CommandFailed("printed bytes that are no text") from None
    ends_at = None
    if text.startswith(("{", '"')):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise _CommandFailed("printed JSON that cannot be read") from None
        text, ends_at = _of_document(document, now)
    if not text or not (text.isascii() and text.isprintable()) or " " in text:
        raise _CommandFailed("printed something that is no token: one word in one line is expected")
    keep_secret(text)
    return text, ends_at if ends_at is not None else _end_of_jwt(text)


def _of_document(document: Any, now: float) -> tuple[str, float | None]:
    if isinstance(document, str):
        return document.strip(), None
    parts = [document, document.get("status"), document.get("credential")]
    fields = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
    text = next((fields[name] for name in _TOKEN_FIELDS if isinstance(fields.get(name), str)), "")
    if not text:
        raise _CommandFailed(f"printed JSON without a token: one of {', '.join(_TOKEN_FIELDS)} is expected")
    lasts_s = _number(fields.get("expires_in"))
    if lasts_s is not None:
        return text.strip(), now + lasts_s
    moments = (_moment(fields.get(name)) for name in _MOMENT_FIELDS)
    return text.strip(), next((moment for moment in moments if moment is not None), None)


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number < 1e12 else None


def _moment(value: Any) -> float | None:
    """Seconds since the epoch of a number of seconds, or of an ISO date with a time zone."""
    number = _number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def _end_of_jwt(text: str) -> float | None:
    parts = text.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return _number(claims.get("exp")) if isinstance(claims, dict) else None


def _has_ended(token: Token, now: float) -> bool:
    return token.ends_at is not None and now >= token.ends_at


def _keep_what_may_be_secret(output: bytes | bytearray) -> None:
    for word in output[:_MOST_BYTES].decode("utf-8", "replace").split():
        keep_secret(word)


def _last_line(complaint: bytes | bytearray) -> str:
    lines = hidden(complaint[-_MOST_BYTES:].decode("utf-8", "replace")).strip().splitlines()
    shown = "".join(character for character in lines[-1] if character.isprintable()).strip() if lines else ""
    return f": {shown[:_LONGEST_REASON]}" if shown else ""


async def _collect(stream: ByteReceiveStream | None, into: bytearray) -> None:
    if stream is None:
        return
    async for chunk in stream:
        if len(into) <= _MOST_BYTES:
            into += chunk


async def _end(process: Process) -> None:
    """Ends the command, and what it started, if it still runs."""
    with suppress(ProcessLookupError, PermissionError):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    with anyio.CancelScope(shield=True):
        await process.aclose()
