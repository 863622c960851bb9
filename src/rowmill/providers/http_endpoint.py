"""One address of a model endpoint, over aiohttp: a JSON document in, a JSON document or a typed error out.

The only importer of aiohttp. One call of :meth:`HttpEndpoint.post` is one HTTP request: aiohttp repeats
idempotent requests on a stale connection by itself, but never a POST, and redirects are not followed.
Only a token of a command that is refused (401) is renewed, and the request made once more with the new one.
Nothing is read from the process environment; the proxy, if any, is a parameter.

Which error type a failure becomes, beyond those the reader of an answer raises:

==============================================  ==================================================
failure                                         error
==============================================  ==================================================
no complete answer within the time-out          ``Transient("Timeout")``
nobody listens, name unknown                    ``Unavailable`` with ``ConnectionRefused``,
                                                ``HostUnreachable``, ``NameResolution``
connection lost before or in the headers        ``Unavailable`` with ``ConnectionReset``,
                                                ``ConnectionClosed``
TLS fails                                       ``Transient`` with ``Certificate``, ``Tls``
connection lost in the body                     ``Transient("TruncatedAnswer")``
bytes that are not HTTP                         ``Transient("NotHttp")``
more than :data:`LARGEST_ANSWER_BYTES`          ``Rejected("AnswerTooLarge")``
a request that JSON cannot express              ``Rejected("InvalidRequest")``
a streaming request                             ``RunStopping("InvalidRequest")``
==============================================  ==================================================
"""

from __future__ import annotations

import errno
import io
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from anyio import Semaphore
from multidict import CIMultiDict
from yarl import URL

from rowmill.errors import (
    InternalError,
    ProviderError,
    Rejected,
    RunStopping,
    Transient,
    Unavailable,
    UsageError,
)
from rowmill.providers.access import DIRECT, Access
from rowmill.providers.key_ring import Token
from rowmill.providers.refused import error_of_status, shortened
from rowmill.secret import spellings

T = TypeVar("T")

LARGEST_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longer answers are not read to the end."""

_LARGE_ANSWER_BYTES: Final = 256 * 1024
MOST_LARGE_ANSWERS: Final = 8
"""So many answers beyond :data:`_LARGE_ANSWER_BYTES` an endpoint may send at once; the others wait half-read."""

_LARGEST_ERROR_BYTES: Final = 64 * 1024
_LARGEST_PLAIN_BODY_BYTES: Final = 1024 * 1024
_KEEP_ALIVE_S: Final = 4.0
"""Shorter than the 5 s after which uvicorn (vLLM and most Python servers) hangs up on an idle
connection, so that a request seldom meets a connection which is just being closed."""

_HAS_VERSION = re.compile(r"/v\d|openai|deployments")
_BEHIND_THE_BASE = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses|messages|models|images/generations)$"
)
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode

ErrorOfStatus = Callable[[int, Mapping[str, str], bytes, str, str, float], ProviderError]
"""Makes the error of a response that is not 2xx: status, headers, body, endpoint, model, now."""


class HttpEndpoint:
    """One model at one base URL. Needs asyncio; opens connections on first use.

    ``base_url`` ends before the path of a request; a query string is kept. At most ``max_connections``
    connections are open and kept alive. ``proxy`` is the URL of an HTTP proxy, None to go direct.
    ``authorize`` makes the headers that carry the key. ``access`` says the rest of the way; its command's token is
    used in the place of ``api_key``. ``watch`` gets the headers of every answer.

    Raises :class:`UsageError` for a URL or key that cannot work. No message ever contains the key.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        max_connections: int,
        *,
        authorize: Callable[[str], Mapping[str, str]],
        headers: Mapping[str, str] | None = None,
        error_of_status: ErrorOfStatus = error_of_status,
        proxy: str | None = None,
        access: Access = DIRECT,
        watch: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        self._base = _base_url(base_url).update_query(access.query)
        self.model = model
        self.name = str(self._base.with_query(None)).rstrip("/")
        """What messages call the endpoint: its base URL."""
        self._urls: dict[str, URL] = {}
        self._max_connections = max_connections
        self._error_of_status = error_of_status
        self._proxy = proxy
        key = _header_value(api_key)
        self._authorize = authorize
        self._access = access
        self._watch = watch
        self._headers = CIMultiDict(headers or {})
        self._headers.update(access.headers)
        self._headers.update(authorize(key) if key is not None else {})
        self._secrets = spellings(key) if key is not None else ()
        self._session: aiohttp.ClientSession | None = None
        self._large = Semaphore(MOST_LARGE_ANSWERS)
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._closed = False

    async def post(
        self, path: str, document: Mapping[str, Any] | str, timeout_s: float, read: Callable[[bytes, str, str], T]
    ) -> T:
        """Makes exactly one request, within ``timeout_s`` seconds. ``document`` may be JSON text.

        ``read`` makes the answer of the body of a 2xx response, the endpoint and the model.

        Raises :class:`RateLimited`, :class:`Transient`, :class:`Rejected` or :class:`RunStopping` as the
        table of this module says, or as ``read`` and ``error_of_status`` do.
        """
        body = _body(document)
        failure: ProviderError
        try:
            status, headers, payload = await self._exchange(
                "POST", self._urls.get(path) or self._url(path), body, timeout_s
            )
            if 200 <= status < 300:
                return read(payload, self.name, self.model)
            failure = self._error_of_status(status, headers, payload, self.name, self.model, time.time())
            if isinstance(failure, RunStopping) and failure.error_type == "NotFound":
                failure = RunStopping(f"{str(failure).rstrip('.')}. {self._advice_on_url(path)}", "NotFound")
        except ProviderError as error:
            failure = error
        except (aiohttp.ClientError, OSError) as error:
            failure = _connection_failure(error, self.name, timeout_s)
        # Raised out here without a cause: aiohttp's exceptions hold the request headers, and so the
        # key, and those of json hold the whole answer.
        failure.args = (self._presentable(str(failure)),)
        failure.__context__ = None
        raise failure

    async def get(self, path: str, timeout_s: float) -> bytes | None:
        """What is at an address beside those of requests, in whatever form; None unless it answers 200."""
        try:
            status, _, payload = await self._exchange("GET", self._url(path), None, timeout_s)
        except (ProviderError, aiohttp.ClientError, OSError):
            return None  # asked out of curiosity: what is wrong with the endpoint, its requests say
        return payload if status == 200 else None

    async def _exchange(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer; asks again once if the token of a command is refused."""
        key = self._access.command_key
        token = None if key is None else await key.token()
        answered = await self._answer(method, url, body, timeout_s, token)
        if key is not None and token is not None and answered[0] == 401:
            return await self._answer(method, url, body, timeout_s, await key.after(token))
        return answered

    async def _answer(
        self, method: str, url: URL, body: bytes | None, timeout_s: float, token: Token | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        session = self._session or self._open()
        response = await session.request(
            method,
            url,
            data=body if body is None or len(body) <= _LARGEST_PLAIN_BODY_BYTES else io.BytesIO(body),
            timeout=self._timeout(timeout_s),
            allow_redirects=False,
            proxy=self._proxy,
            headers=None if token is None else self._authorize(token.text),
        )
        try:
            status = response.status
            if 200 <= status < 300:
                async with _Reading(response, self._large) as reading:
                    payload = await reading.all()
            else:
                payload = await _start_of(response)
        finally:
            # Gives the connection back after a whole body, closes it after anything else.
            response.close()
        if self._watch is not None:
            self._watch(response.headers)
        return status, response.headers, payload

    def _advice_on_url(self, path: str) -> str:
        """What is probably wrong with an address nothing is served at."""
        if not path.strip("/"):
            return f"Requests go to {self.name}: check that address"
        advice = f"Requests go to {self.name}{path}: base_url is what stands before {path}"
        meant = _BEHIND_THE_BASE.sub("", self.name.rstrip("/"))
        if meant != self.name.rstrip("/"):
            return f"{advice}. Did you mean '{meant}'?"
        if "v1" in self._base.path.split("/") or _HAS_VERSION.search(self._base.path):
            return advice
        return f"{advice}, and ends in /v1 with most servers. Did you mean '{self.name}/v1'?"

    async def fetch(self, url: str, timeout_s: float) -> bytes:
        """What is at a URL the endpoint named, asked for without the key. Raises :class:`Transient`, or
        :class:`Rejected` if it is too large."""
        failure: ProviderError
        try:
            async with (
                aiohttp.ClientSession(
                    connector=self._connector(), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
                ) as session,
                session.get(
                    url,
                    timeout=self._timeout(timeout_s),
                    proxy=self._proxy if self._access.proxy_of is None else self._access.proxy_of(url),
                ) as response,
            ):
                if response.status == 200:
                    async with _Reading(response, self._large) as reading:
                        return await reading.all()
                failure = Transient(f"The file {self.name} named answers {response.status}", f"HTTP {response.status}")
        except ProviderError as error:
            failure = error
        except (aiohttp.ClientError, OSError) as error:
            lost = _connection_failure(error, f"The file {self.name} named", timeout_s)
            failure = Transient(str(lost), lost.error_type)  # where files are kept is not where the model is
        failure.args = (self._presentable(str(failure)),)
        failure.__context__ = None
        raise failure

    async def aclose(self) -> None:
        """Closes all connections; requests under way end as ``Transient``. Safe to call twice."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise InternalError(f"the provider of model {self.model!r} was asked after it was closed")
        headers = CIMultiDict(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "rowmill",
            }
        )
        headers.update(self._headers)
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=True if self._access.ca_file is None else _trusting(self._access.ca_file),
        )

    def _url(self, path: str) -> URL:
        base = self._base
        self._urls[path] = base.with_path(base.raw_path.rstrip("/") + path, encoded=True, keep_query=True)
        return self._urls[path]

    def _timeout(self, timeout_s: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(timeout_s)
        if timeout is None:
            if len(self._timeouts) >= 64:
                self._timeouts.clear()
            timeout = aiohttp.ClientTimeout(total=max(timeout_s, 0.001))
            self._timeouts[timeout_s] = timeout
        return timeout

    def _presentable(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return shortened(message)


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunStopping(f"The ca_file {str(ca_file)!r} cannot be used: {reason}", "CaFile") from None


def _body(document: Mapping[str, Any] | str) -> bytes:
    if isinstance(document, Mapping) and document.get("stream"):
        raise RunStopping("Rowmill reads whole answers: remove 'stream' from the parameters", "InvalidRequest")
    try:
        return (document if isinstance(document, str) else _encode(document)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        message = shortened(f"The request cannot be written as JSON: {error}")
        raise Rejected(message, "InvalidRequest") from error


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """As much of the body of an error as came, within its bound: the status already says what happened."""
    chunks: list[bytes] = []
    size = 0
    try:
        while size <= _LARGEST_ERROR_BYTES and (chunk := await response.content.readany()):
            chunks.append(chunk)
            size += len(chunk)
    except (aiohttp.ClientError, OSError):
        pass
    return b"".join(chunks)


class _Reading:
    """The body of an answer, as long as somebody reads it: a large one takes one of the endpoint's few places."""

    def __init__(self, response: aiohttp.ClientResponse, large: Semaphore) -> None:
        self._content = response.content
        self._large = large
        self._has_place = False

    async def all(self) -> bytes:
        """The body. Raises :class:`Rejected` for one that is too large."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST_ANSWER_BYTES:
                raise Rejected(f"The answer is longer than {LARGEST_ANSWER_BYTES} bytes", "AnswerTooLarge")
            if size > _LARGE_ANSWER_BYTES and not self._has_place:
                # What the endpoint goes on to send stays in the socket meanwhile.
                await self._large.acquire()
                self._has_place = True
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def __aenter__(self) -> _Reading:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._has_place:
            self._large.release()


def _connection_failure(error: aiohttp.ClientError | OSError, endpoint: str, timeout_s: float) -> Transient:
    if isinstance(error, TimeoutError):
        return Transient(f"{endpoint} gave no answer within {timeout_s:g} s", "Timeout")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Transient(f"{endpoint} broke off its answer: {_reason(error)}", "TruncatedAnswer")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Transient(f"The proxy answered {error.status} for {endpoint}: {error.message}", "Proxy")
    if isinstance(error, aiohttp.ClientResponseError):
        return Transient(f"{endpoint} did not answer in HTTP: {error.message}", "NotHttp")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Unavailable(f"{endpoint} closed the connection without an answer", "ConnectionClosed")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = _reason(error)
        return Unavailable(f"The name in {endpoint} cannot be resolved: {reason}", "NameResolution", is_certain=True)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Transient(f"The certificate of {endpoint} is not valid: {_reason(error)}", "Certificate")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        reason = _reason(error)
        advice = ". Nothing speaks TLS there: is it http:// instead of https://?" if "WRONG_VERSION" in reason else ""
        return Transient(f"TLS with {endpoint} failed: {reason}{advice}", "Tls")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Unavailable(f"The proxy for {endpoint} cannot be reached: {_reason(error)}", "Proxy", is_certain=True)
    kind = _kind_of_os_error(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        message = f"{endpoint} cannot be reached: {_reason(error)}"
        return Unavailable(message, kind, is_certain=True) if kind in _AWAY else Transient(message, kind)
    message = f"The connection to {endpoint} was lost: {_reason(error)}"
    return Unavailable(message, kind) if kind == "ConnectionReset" else Transient(message, kind)


_AWAY = frozenset({"ConnectionRefused", "HostUnreachable", "ConnectionReset"})


def _kind_of_os_error(error: BaseException) -> str:
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "ConnectionReset"
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return "ConnectionRefused"
    if number in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return "ConnectionReset"
    if number in (errno.EMFILE, errno.ENFILE):
        return "TooManyOpenFiles"
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "HostUnreachable"
    return "ConnectionFailed"


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _base_url(base_url: str) -> URL:
    try:
        url = URL(base_url)
        # What the resolver does later: UnicodeError, a ValueError, for empty and overlong labels.
        (url.raw_host or "").encode("idna")
    except ValueError as error:
        shown = "base_url" if "@" in base_url else f"base_url {base_url!r}"
        raise UsageError(f"{shown} is not a URL") from error
    if url.user is not None or url.password is not None:
        raise UsageError("base_url must hold no user name or password; use api_key")
    if url.scheme not in ("http", "https") or not url.host or " " in url.host:
        raise UsageError(f"base_url {base_url!r} must start with http:// or https:// and name a host")
    return url


def _header_value(api_key: str | None) -> str | None:
    if api_key is None or not api_key.strip():
        return None
    key = api_key.strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError("api_key holds characters that an HTTP header cannot carry")
    return key
