"""A key is used and never seen again: not in the database, a log, a report, an export or an answer of a living run.

Endpoints answer with every kind of error and send back what they were sent, the key included; functions raise with it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest
from command_line import CommandLine
from loopback_server import ONE_ANSWER, LoopbackHandler, LoopbackServer, serving

from rowmill.inspect.opening import open_reader
from rowmill.store.reading.listing import VIEWS, Selection, listing

pytestmark = pytest.mark.usefixtures("sockets")

KEY = 'sk-"never"/seen+again=4711'
SPELLINGS = {KEY, json.dumps(KEY)[1:-1], quote(KEY, safe="")}
SPEC = """
name: guarded
records: {records}
row_group_size: 4
models:
  - {{alias: writer, provider: openai, base_url: "{url}", api_key: "${{GUARDED_KEY}}", model: small, timeout_s: 1,
      max_parallel_requests: 2}}
columns:
  - {{name: n, column_type: sampler, sampler_type: uuid}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "About {{{{ n }}}}."}}
{more}
run: {{max_attempts: 2, backoff_base_s: 0.01, backoff_max_s: 0.02, error_window: 10000, unavailable_after_s: 1}}
"""
HOSTILE = """
import os, rowmill

@rowmill.generator(required_columns=["n"])
def tells(row):
    raise ValueError(f"cannot log in with {os.environ['GUARDED_KEY']}")
"""


@dataclass
class Parrot:
    """An endpoint that answers with these statuses in turn, each time with the headers it was sent; then it waits."""

    statuses: Sequence[int | str]
    url: str = ""
    asked: int = 0
    is_through: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def parrot(*statuses: int | str, waits: bool = False) -> Iterator[Parrot]:
    endpoint = Parrot(statuses)
    lock = threading.Lock()

    class Handler(LoopbackHandler):
        def respond(self, body: bytes) -> None:
            with lock:
                status = endpoint.statuses[endpoint.asked % len(endpoint.statuses)]
                endpoint.asked += 1
                is_over = endpoint.asked > 2 * len(endpoint.statuses)
            if waits and is_over:
                endpoint.is_through.set()
                endpoint.released.wait(30)
                status = 200
            sent = self.headers["Authorization"]
            echo = f"what is this? {sent} {json.dumps(sent)} {quote(sent)}"
            self.echo(status, echo, sent)

        def echo(self, status: int | str, echo: str, sent: str) -> None:
            body = json.dumps({"error": {"message": echo, "type": sent, "code": sent}})
            if status == 200:
                body = json.dumps(ONE_ANSWER)
            elif status in {"html", "malformed"}:
                body = f"<html>{echo}</html>" if status == "html" else '{"choices": "' + json.dumps(sent)[1:-1]
            elif status == "silent":
                endpoint.released.wait(3)
            elif status == "cut":
                self.close_connection = True
            data = body.encode()
            self.send_response(status if isinstance(status, int) else 200, sent)
            self.send_header("Content-Type", "text/html" if status == "html" else "application/json")
            self.send_header("X-Echo", sent)
            self.send_header("Content-Length", str(len(data) + (50 if status == "cut" else 0)))
            self.end_headers()
            self.wfile.write(data)

    with serving(LoopbackServer(Handler)) as server:
        endpoint.url = f"{server.url}/v1"
        try:
            yield endpoint
        finally:
            endpoint.released.set()


@pytest.fixture
def keyed(rowmill: CommandLine) -> CommandLine:
    """The command line with the key in its environment, and with health checks."""
    rowmill.environment = {"GUARDED_KEY": KEY, "ROWMILL_SKIP_HEALTH_CHECKS": "0"}
    return rowmill


def write_spec(rowmill: CommandLine, url: str, records: int = 12, more: str = "") -> str:
    (rowmill.directory / "guarded.yaml").write_text(SPEC.format(url=url, records=records, more=more))
    return "guarded.yaml"


def assert_unseen(where: str, text: str | bytes) -> None:
    """None of the spellings is in it."""
    found = text if isinstance(text, str) else text.decode("utf-8", "replace")
    for spelling in SPELLINGS:
        assert spelling not in found, where


def assert_nowhere(directory: Path) -> None:
    """The key is in no file, and in no row of any table, which the file may hold compressed."""
    for file in directory.rglob("*"):
        if file.is_file():
            assert_unseen(str(file), file.read_bytes())
    with duckdb.connect(str(directory / "guarded.duckdb"), read_only=True) as database:
        tables = database.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        assert len(tables) > 20
        for schema, table in tables:
            rows = database.execute(f'select t::varchar from "{schema}"."{table}" as t').fetchall()
            assert_unseen(table, "\n".join(text for (text,) in rows))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_error_of_an_endpoint_that_sends_back_its_key(keyed: CommandLine, log_format: str) -> None:
    statuses = (400, 429, 500, 503, "html", "malformed", "cut", 422, 200, "silent", 413)
    keyed.environment = {**keyed.environment, "ROWMILL_SKIP_HEALTH_CHECKS": "1"}
    with parrot(*statuses, waits=True) as endpoint:
        spec = write_spec(keyed, endpoint.url, records=60)
        working = keyed.start("run", spec, "-vv", "--log-format", log_format)
        assert endpoint.is_through.wait(40)
        with open_reader(keyed.directory / "guarded.duckdb") as reader:
            for what in VIEWS:
                assert_unseen(what, str(listing(reader, what, Selection()).read_all().to_pylist()))
            assert_unseen("status", repr(reader.detailed_status(0.0)))
            messages = reader.table("select message from attempt where message is not null").to_pylist()
        assert any("***" in row["message"] for row in messages), "the endpoint did send the key back"
        working.kill()  # what is left is a file and its log
        said = keyed.end_of(working)
        assert_unseen("the logs", said.stdout + said.stderr)
        assert "***" in said.stderr
    log = keyed.directory / "guarded.duckdb.wal"
    assert_unseen("the write-ahead log", log.read_bytes())
    for arguments in (
        ("report", "--output", "report.html"),
        ("export", "--layout", "huggingface", "--output", "card"),
        ("doctor",),
        ("show", "spec"),
        ("status",),
        ("plan", spec),
    ):
        done = keyed(*arguments, "-v")
        assert done.returncode == 0, done.stderr
        assert_unseen(arguments[0], done.stdout + done.stderr)
    assert_nowhere(keyed.directory)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("status", [302, 401, 403, 404, "refused", "tls", "hostile function"])
def test_what_stops_a_run_does_not_tell_the_key(keyed: CommandLine, status: int | str) -> None:
    more = ""
    if status == "hostile function":
        (keyed.directory / "hostile.py").write_text(HOSTILE)
        more = "  - {name: told, column_type: custom, generator_function: 'hostile:tells'}"
    with parrot(status if isinstance(status, int) else 200) as endpoint:
        url = {"refused": "http://127.0.0.1:9/v1", "tls": endpoint.url.replace("http:", "https:")}.get(
            str(status), endpoint.url
        )
        spec = write_spec(keyed, url, more=more)
        for skips in ("0", "1"):
            keyed.environment = {**keyed.environment, "ROWMILL_SKIP_HEALTH_CHECKS": skips}
            done = keyed("run", spec, "-vv")
            assert done.returncode in ({75} if status == "refused" else {1, 3}), done.stderr
            assert_unseen("the logs", done.stdout + done.stderr)
        preview = keyed("preview", spec, "-vv")
        assert_unseen("the preview", preview.stdout + preview.stderr)
    assert_nowhere(keyed.directory)


@pytest.mark.parametrize(
    "wrong",
    [
        f'api_key: "{quote(KEY)}"',
        'api_key: "${NOT_SET}"',
        f'base_url: "http://me:{quote(KEY, safe="")}@127.0.0.1:9/v1"',
        f'api_kye: "{quote(KEY)}"',
    ],
)
def test_a_key_that_is_written_into_a_spec_is_refused_and_not_repeated(keyed: CommandLine, wrong: str) -> None:
    field_name = wrong.partition(":")[0].replace("kye", "key")
    text = SPEC.format(url="http://127.0.0.1:9/v1", records=2, more="")
    kept = {"api_key": 'api_key: "${GUARDED_KEY}"', "base_url": 'base_url: "http://127.0.0.1:9/v1"'}[field_name]
    (keyed.directory / "guarded.yaml").write_text(text.replace(kept, wrong))
    for command in ("validate", "plan", "run"):
        done = keyed(command, "guarded.yaml", "-v")
        if command == "run" or "NOT_SET" not in wrong:
            assert done.returncode == 2, done.stderr
        assert_unseen(command, done.stdout + done.stderr)
    assert not (keyed.directory / "guarded.duckdb").exists()
