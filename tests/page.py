"""The page of a run as a test asks for it: over real HTTP, with the headers of a browser or of somebody else."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from run_state import RunState
from virtual_run import expression, llm, model, prepared, sampler

from rowmill.ui.server import PageServer

_PATIENCE_S = 40.0
HOSTILE = {
    "script": "<script>document.title = 'run'</script>",
    "image": "<img src=x onerror=document.title='run'>",
    "address": "javascript:document.title='run'",
    "turned": "\u202eevil\u202c",
    "long": "a<b>" * 260_000,
    "quotes": "\"' onmouseover=alert(1) x='",
    "template": "{{ 7 * 7 }}",
    "nul": "before\0after",
}
"""Values that a page must show as the texts they are."""


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The content as a reader sees its texts: without HTML's escapes."""
        return unescape(self.html)

    @property
    def html(self) -> str:
        """The content as it was sent."""
        return self.content.decode()


@dataclass
class Page:
    """An open page server and whoever asks it."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the page."""
        return self.url.rpartition("/")[0].rpartition("/")[0]

    @property
    def token(self) -> str:
        """What the address holds."""
        return self.url.split("/")[3]

    def get(self, path: str = "", **query: object) -> Answer:
        """Asks for a path behind the token."""
        return self.ask("GET", f"/{self.token}/{path}" + (f"?{urlencode(query, doseq=True)}" if query else ""))

    def post(self, path: str, **form: object) -> Answer:
        """Posts a form as the page does."""
        headers = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded", **self.headers}
        return self.ask("POST", f"/{self.token}/{path}", urlencode(form), headers)

    def ask(self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """Asks for any path of the server."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_PATIENCE_S)
        try:
            connection.request(method, path, body or None, dict(self.headers if headers is None else headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


@contextmanager
def page_of(database: Path, *, can_steer: bool = False, beside: Path | None = None) -> Iterator[Page]:
    """The page of a run database, gone after the block."""
    server = PageServer(database, can_steer=can_steer, beside=beside)
    try:
        yield Page(server.url)
    finally:
        server.close()


def hostile_run(path: Path) -> None:
    """Finished rows whose values are those of HOSTILE, one each."""
    spec = prepared(
        sampler("kind"),
        expression("twice", "kind * 2"),
        llm("note", "Say {{ kind }}.", with_trace=True),
        models=[model()],
        records=20,
        row_group_size=10,
    )
    with RunState(spec, path) as state:
        for place, value in enumerate(HOSTILE.values()):
            trace = json.dumps([{"role": value[:20], "content": value[:2000]}])
            state.sql(
                "insert into state.dataset_row by name select 0 as row_group, $row as row_index, $row as row_id,"
                " 255 as done_0, 0 as skipped_0, 1 as kind, 2 as twice, $note as note, $trace as note__trace",
                row=place,
                note=value,
                trace=trace,
            )
        state.sql(
            "insert into state.dropped_row select 11, 1, 1, $number, 'rejected', $kind, $message, 1, now()::timestamp,"
            " null",
            number=state.number("note"),
            kind="<b>HTTP</b>",
            message=HOSTILE["script"] + "\u202e",
        )
        state.sql(
            "insert into state.dropped_row_value by name select 1 as row_group, 1 as row_index, 11 as row_id,"
            " 3 as done_0, 0 as skipped_0, 1 as kind, 2 as twice"
        )
