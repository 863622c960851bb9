"""Rows judged by an HTTP endpoint: ``{"data": [row, …]}`` is posted, ``{"data": [verdict, …]}`` comes back.

A request that fails in a way worth another try is an error of the whole call and becomes the deferral of its rows: a
failed batch is never taken for a verdict. One that is refused (4xx) is made again for each row alone, so that one bad
row costs no other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from datetime import time as day_time
from typing import Any

from rowmill.errors import GeneratorError, ProviderError, Rejected, RunStopping
from rowmill.generators.protocol import Call
from rowmill.generators.validators.verdict import ForeignVerdicts, Validator, Verdict
from rowmill.providers.http_endpoint import HttpEndpoint
from rowmill.task import Request, Row


class RemoteValidator(Validator):
    """Asks an endpoint. Every request is journaled as an attempt."""

    def __init__(self, url: str, timeout_s: float, connections: int, output_schema: Mapping[str, Any] | None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        # The endpoint takes slashes off the end of its base, and puts the path of a request there.
        self._path = "/" if url.partition("?")[0].endswith("/") else ""
        self._endpoint = HttpEndpoint(url, "validator", None, connections, authorize=lambda _: {})
        self._verdicts = ForeignVerdicts(f"Validator {self._endpoint.name}", output_schema)

    async def judge(self, rows: Sequence[Row], call: Call) -> Sequence[Verdict | Exception]:
        """See :class:`Validator`. Raises provider errors for what is worth another try."""
        try:
            return await self._ask(rows, call)
        except RunStopping:
            raise
        except (Rejected, GeneratorError):
            if len(rows) == 1:
                raise
        judged: list[Verdict | Exception] = []
        for position, row in enumerate(rows):
            try:
                judged += await self._ask([row], call.for_row(position))
            except (Rejected, GeneratorError) as error:
                if isinstance(error, RunStopping):
                    raise
                judged.append(error)
        return judged

    async def _ask(self, rows: Sequence[Row], call: Call) -> list[Verdict]:
        document = {"data": [{name: _plain(value) for name, value in row.items()} for row in rows]}
        started_at, began = time.time(), time.monotonic()
        failure: BaseException | None = None
        try:
            output = await self._endpoint.post(self._path, document, self._timeout_s, self._read)
            return self._verdicts.verdicts(output, len(rows))
        except (ProviderError, GeneratorError) as error:
            failure = error
            raise
        finally:
            kind = getattr(failure, "error_type", type(failure).__name__) if failure is not None else None
            took_ms = (time.monotonic() - began) * 1000
            message = str(failure) if failure is not None else None
            call.requests.append(Request(self._endpoint.name, started_at, took_ms, 0, 0, None, kind, message))

    def _read(self, payload: bytes, endpoint: str, model: str) -> list[Any]:
        try:
            answer = json.loads(payload)
        except ValueError:
            answer = None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise Rejected(f'{endpoint} did not answer with {{"data": [verdict, …]}}', "MalformedVerdict")
        return data

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._endpoint.aclose()


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO 8601, what else JSON lacks as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, (date, datetime, day_time)) else str(value)
