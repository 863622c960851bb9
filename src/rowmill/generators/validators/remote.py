"""Rows judged by an HTTP endpoint: ``{"data": [row, …]}`` is posted, ``{"data": [verdict, …]}`` comes back.

The values of a row are JSON as in an export.

A request that fails in a way worth another try is an error of the whole call and becomes the deferral of its rows: a
failed batch is never taken for a verdict. One that is refused (4xx) is made again for each row alone, so that one bad
row costs no other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rowmill.errors import GeneratorError, ProviderError, Rejected, RunStopping
from rowmill.generators.protocol import Call
from rowmill.generators.rendering import unhurried
from rowmill.generators.validators.verdict import ForeignVerdicts, Validator, Verdict
from rowmill.providers.http_endpoint import HttpEndpoint
from rowmill.task import Request, Row
from rowmill.value.json_value import json_text


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
        try:
            document = json_text({"data": [dict(row) for row in rows]}, ensure_ascii=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise GeneratorError(f"The values cannot be sent as JSON: {error}", "NotJson") from error
        started_at, began = time.time(), time.monotonic()
        failure: BaseException | None = None
        try:
            output = await self._endpoint.post(self._path, document, self._timeout_s, self._read)
            return await unhurried(self._verdicts.verdicts, output, len(rows))
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
