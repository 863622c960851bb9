"""What can be asked of the page, and the answers: HTML, events, files, and the two steps of a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from rowmill.errors import RowmillError, UsageError
from rowmill.export.format import ExportFormat
from rowmill.generators.file_directory import FileDirectory, files_of
from rowmill.inspect.opening import open_reader
from rowmill.metrics.collector import MetricsFormat, exposition
from rowmill.providers.image_format import image_format_of
from rowmill.report.page import charts_over_time, style
from rowmill.ui import comparison, query
from rowmill.ui.acting import Steering
from rowmill.ui.door import Door
from rowmill.ui.now import now_facts
from rowmill.ui.pulse import Look, Pulse
from rowmill.ui.rendering import event_of, rendered, static_file
from rowmill.ui.row import read_row, read_value
from rowmill.ui.rows import KINDS, Wish, read_page
from rowmill.ui.threads import in_thread
from rowmill.value.json_value import json_text
from rowmill.value.shown import shown

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LettingGo = Callable[[], AbstractContextManager[object]]

_SILENCE_S = 15.0
"""After so long without news an open page is sent a sign of life, which also finds out who has gone."""
_IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_STATIC: dict[str, tuple[str, Callable[[], bytes]]] = {
    "page.css": ("text/css", lambda: static_file("page.css")),
    "chart.css": ("text/css", lambda: style().encode()),
    "page.js": ("text/javascript", lambda: static_file("page.js")),
}
_LARGEST_NUMBER = 2**62


class Pages:
    """The pages of one run database."""

    def __init__(
        self, database: Path, *, can_steer: bool, beside: Path | None, letting_go: LettingGo = nullcontext
    ) -> None:
        self._database = database
        self._door = Door(database)
        self.pulse = Pulse(self._door)
        self._beside = beside
        self._steering = Steering(database, letting_go=letting_go) if can_steer else None
        self._listeners: set[asyncio.Task[Any]] = set()

    def routes(self, start: str) -> list[web.RouteDef]:
        """Every route, its path behind ``start``."""
        reading = {
            "/": self.now,
            "/news": self.news,
            "/over-time": self.over_time,
            "/rows": self.rows,
            "/row/{row_id}": self.row,
            "/value/{row_id}/{column}": self.value,
            "/picture/{row_id}/{column}": self.picture,
            "/sql": self.sql,
            "/sql/names": self.names,
            "/sql/result.csv": self.csv,
            "/sql/result.parquet": self.parquet,
            "/compare": self.compare,
            "/metrics": self.metrics,
            "/static/{name}": self.static,
        }
        changing = {"/act/count": self.count, "/act/do": self.act}
        return [
            *(web.get(start + path, _answering(handler)) for path, handler in reading.items()),
            *(web.post(start + path, _answering(handler)) for path, handler in changing.items()),
        ]

    async def close(self) -> None:
        """Ends what pages still wait for."""
        for listener in self._listeners:
            listener.cancel()
        await self.pulse.close()

    # Now -----------------------------------------------------------------------------------------

    async def now(self, request: web.Request) -> web.StreamResponse:
        """Where the run stands."""
        look = await self.pulse.latest()
        return self._page(request, "now.html", "now", look=look, **now_facts(look))

    async def news(self, request: web.Request) -> web.StreamResponse:
        """The same as it changes, as server-sent events."""
        seen = _number(request, "seen") or 0
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        task = asyncio.current_task()
        if task is not None:
            self._listeners.add(task)
            task.add_done_callback(self._listeners.discard)
        looks = self.pulse.looks_from(seen)
        coming: asyncio.Future[Look] | None = None
        try:
            await response.write(b": open\n\n")
            while True:
                coming = coming or asyncio.ensure_future(anext(looks))
                done, _ = await asyncio.wait({coming}, timeout=_SILENCE_S)
                if not done:
                    await response.write(b": still here\n\n")
                    continue
                look = coming.result()
                coming = None
                await response.write(self._event(look))
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await looks.aclose()
        return response

    def _event(self, look: Look) -> bytes:
        """The event of a look, made once for all pages."""
        number, event = self._last_event
        if number != look.number:
            html = rendered("_now.html", look=look, can_steer=self._steering is not None, **now_facts(look))
            state = look.status.state if look.status is not None else "unknown"
            name = look.status.name if look.status is not None else self._database.name
            event = event_of(html, number=look.number, state=state, name=name)
            self._last_event = look.number, event
        return event

    _last_event: tuple[int, bytes] = (-1, b"")

    async def over_time(self, request: web.Request) -> web.StreamResponse:
        """The charts of the report: all of the run, bucket by bucket."""
        charts = await self._door.ask(charts_over_time)
        return _html(rendered("_over_time.html", charts=charts))

    # Rows ----------------------------------------------------------------------------------------

    async def rows(self, request: web.Request) -> web.StreamResponse:
        """A page of rows."""
        asked = request.query
        kind = asked.get("kind", "finished")
        if kind not in KINDS:
            raise UsageError(f"There are no {kind} rows: {', '.join(KINDS)}.")
        wish = Wish(
            kind=kind,
            where=asked.get("where", "").strip(),
            columns=tuple(asked.getall("column", [])),
            below=_number(request, "below"),
            above=_number(request, "above"),
        )
        problem, page, status = None, None, 200
        try:
            page = await self._door.ask(lambda reader: read_page(reader, wish))
        except RowmillError as error:
            problem, status = str(error), 400
        kept = urlencode([("kind", kind), ("where", wish.where), *(("column", name) for name in wish.columns)])
        return self._page(
            request, "rows.html", "rows", status=status, wish=wish, kinds=KINDS, found=page, problem=problem, kept=kept
        )

    async def row(self, request: web.Request) -> web.StreamResponse:
        """One row."""
        row_id = _whole(request.match_info["row_id"], "row number")
        row = await self._door.ask(lambda reader: read_row(reader, row_id))
        return self._page(request, "row.html", "rows", row=row)

    async def value(self, request: web.Request) -> web.StreamResponse:
        """A value in full, as plain text whatever it is."""
        value = await self._value(request)
        if isinstance(value, (bytes, bytearray)):
            text = bytes(value).hex(" ", 2)
        elif isinstance(value, (dict, list, tuple)):
            text = json_text(value, indent=2)
        else:
            text = "null" if value is None else str(shown(value))
        return web.Response(body=text.encode("utf-8", "replace"), content_type="text/plain", charset="utf-8")

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """A picture that a value is, or names. Only what a browser draws and never runs: no SVG."""
        value = await self._value(request)
        if isinstance(value, str):
            value = await FileDirectory(files_of(self._database)).read(value)
        kind = image_format_of(bytes(value)) if isinstance(value, (bytes, bytearray)) else None
        if kind is None:
            raise web.HTTPNotFound(text="This value is no picture that can be shown.")
        return web.Response(
            body=bytes(value),
            content_type=_IMAGE_TYPES[kind],
            headers={"Content-Security-Policy": "default-src 'none'; sandbox"},
        )

    async def _value(self, request: web.Request) -> Any:
        row_id = _whole(request.match_info["row_id"], "row number")
        column = request.match_info["column"]
        return await self._door.ask(lambda reader: read_value(reader, row_id, column))

    # SQL -----------------------------------------------------------------------------------------

    async def sql(self, request: web.Request) -> web.StreamResponse:
        """The box, and the result of the query in it."""
        text = request.query.get("q", "").strip()
        problem, result, status = None, None, 200
        if text:
            try:
                result = await self._door.ask(lambda reader: query.ask(reader, text))
            except RowmillError as error:
                problem, status = str(error), 400
        download = urlencode({"q": text})
        return self._page(
            request,
            "sql.html",
            "sql",
            status=status,
            query=text,
            result=result,
            problem=problem,
            download=download,
            most_rows=query.MOST_ROWS,
        )

    async def names(self, _request: web.Request) -> web.StreamResponse:
        """Views and columns, for completion."""
        return web.json_response(await self._door.ask(query.names))

    async def csv(self, request: web.Request) -> web.StreamResponse:
        """The whole result as CSV."""
        return await self._download(request, ExportFormat.CSV, "text/csv")

    async def parquet(self, request: web.Request) -> web.StreamResponse:
        """The whole result as parquet."""
        return await self._download(request, ExportFormat.PARQUET, "application/vnd.apache.parquet")

    async def _download(self, request: web.Request, format: ExportFormat, content_type: str) -> web.StreamResponse:
        text = request.query.get("q", "").strip()
        if not text:
            raise UsageError("There is no query.")
        file = await self._door.ask(lambda reader: query.download(reader, text, format), query.DOWNLOAD_S)
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": content_type,
                    "Content-Disposition": f'attachment; filename="result.{format}"',
                }
            )
            await response.prepare(request)
            while part := await in_thread(lambda: file.read(262_144)):
                await response.write(part)
            await response.write_eof()
            return response
        finally:
            file.close()

    # Compare -------------------------------------------------------------------------------------

    async def compare(self, request: web.Request) -> web.StreamResponse:
        """This dataset beside another one."""
        known = comparison.neighbours(self._database, self._beside)
        parent = await self._door.ask(comparison.parent_of)
        chosen = request.query.get("with") or (str(self._beside) if self._beside is not None else parent) or ""
        after = _number(request, "after")
        only_changed = request.query.get("all") is None
        found, problem, status = None, None, 200
        if chosen and (request.query.get("with") or chosen in known):
            try:
                if chosen not in known:
                    raise UsageError(f"There is no run database '{chosen}' beside this one.")
                other = known[chosen]

                def both(reader: Any) -> comparison.Comparison:
                    with open_reader(other, 20.0) as there:
                        return comparison.compare(
                            reader, there, -1 if after is None else after, only_changed=only_changed
                        )

                found = await self._door.ask(both, 40.0)
            except RowmillError as error:
                problem, status = str(error), 400
        return self._page(
            request,
            "compare.html",
            "compare",
            status=status,
            known=known,
            chosen=chosen,
            parent=parent,
            found=found,
            problem=problem,
            only_changed=only_changed,
        )

    # Act -----------------------------------------------------------------------------------------

    async def count(self, request: web.Request) -> web.StreamResponse:
        """How much a change would be."""
        steering = self._allowed()
        form = {name: str(value) for name, value in (await request.post()).items()}
        async with self._door.alone():
            found = await in_thread(lambda: steering.count(form.get("verb", ""), form))
        return web.json_response({"words": found.words, "key": found.key})

    async def act(self, request: web.Request) -> web.StreamResponse:
        """Does what was counted."""
        steering = self._allowed()
        key = str((await request.post()).get("key", ""))
        async with self._door.alone():
            said = await in_thread(lambda: steering.do(key))
        self.pulse.forget()
        return web.json_response({"said": said})

    def _allowed(self) -> Steering:
        if self._steering is None:
            raise web.HTTPForbidden(text="This page only looks. 'rowmill ui --steer' also acts.")
        return self._steering

    # ---------------------------------------------------------------------------------------------

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """The figures of ``rowmill metrics``, for a monitoring system that is given the address."""
        figures = await self._door.ask(lambda reader: reader.figures(time.time()))
        text = await in_thread(lambda: exposition(lambda: figures, MetricsFormat.PROMETHEUS))
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def static(self, request: web.Request) -> web.StreamResponse:
        """The style sheets and the script."""
        found = _STATIC.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(text="There is no such file.")
        content_type, content = found
        return web.Response(body=content(), content_type=content_type, charset="utf-8")

    def _page(
        self, request: web.Request, template: str, tab: str, *, status: int = 200, **values: Any
    ) -> web.StreamResponse:
        latest = self.pulse.known
        facts = {
            "base": f"/{request.match_info['token']}",
            "tab": tab,
            "database": str(self._database),
            "name": latest.status.name if latest is not None and latest.status is not None else self._database.name,
            "state": latest.status.state if latest is not None and latest.status is not None else "",
            "can_steer": self._steering is not None,
            "quoted": lambda text: quote(str(text), safe=""),
        }
        return _html(rendered(template, **facts, **values), _status(request, status))


def _answering(handler: Handler) -> Handler:
    """An error of ours is a page or a line that says it; no traceback goes anywhere."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RowmillError as error:
            if "text/html" in request.headers.get("Accept", ""):
                base = f"/{request.match_info['token']}"
                return _html(rendered("problem.html", problem=str(error), base=base), _status(request, 400))
            return web.Response(status=400, text=str(error))

    return answer


def _status(request: web.Request, status: int) -> int:
    """A page that says what was wrong is an answer to a browser, which would complain of it on its console."""
    return 200 if "text/html" in request.headers.get("Accept", "") else status


def _html(content: bytes, status: int = 200) -> web.Response:
    return web.Response(body=content, status=status, content_type="text/html", charset="utf-8")


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    return None if not text else _whole(text, name)


def _whole(text: str, what: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if not 0 <= number <= _LARGEST_NUMBER:
        raise UsageError(f"'{text[:40]}' is no {what}.")
    return number
