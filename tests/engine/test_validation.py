"""Validation columns: a verdict for each row and target, attached to its row, never made up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_run import Ran, assert_helps, run_spec
from loopback_server import LoopbackHandler, LoopbackServer, serving

import rowmill
from rowmill.errors import RowmillError, SpecError

VALUES = ["good", "bad", "good", None, "bad", "good"]


def validated(directory: Path, kind: str, params: dict[str, Any], values: Sequence[Any] = VALUES, **fields: Any) -> Ran:
    """A finished run in which the seed column ``value`` is judged."""
    pq.write_table(pa.table({"value": values}), directory / "seed.parquet")
    run_settings = fields.pop("run", {})
    column = {
        "name": "check",
        "column_type": "validation",
        "target_columns": ["value"],
        "validator_type": kind,
        "validator_params": params,
        "batch_size": 4,
        **fields,
    }
    return run_spec(
        directory,
        [column],
        seed_dataset={"path": "seed.parquet"},
        records=len(values),
        row_group_size=3,
        run=run_settings,
    )


def valid(ran: Ran) -> list[tuple[Any, bool]]:
    """What was judged, and how."""
    return [(row["value"], row["check"]["is_valid"]) for row in ran.rows]


# SQL predicates -----------------------------------------------------------------------------------


def test_a_predicate_is_a_verdict_and_null_is_not_valid(tmp_path: Path) -> None:
    ran = validated(tmp_path, "sql", {"predicate": "value = 'good'", "message": "it's bad"})
    assert valid(ran) == [(value, value == "good") for value in VALUES]
    assert [row["check"]["error_messages"] for row in ran.rows][:2] == [None, "it's bad"]


def test_invalid_rows_of_a_predicate_are_dropped_with_the_reason(tmp_path: Path) -> None:
    ran = validated(tmp_path, "sql", {"predicate": "value = 'good'"}, on_invalid="drop")
    assert [row["row_id"] for row in ran.rows] == [0, 2, 5]
    assert [(row["row_id"], row["reason"], row["message"]) for row in ran.dropped] == [
        (row, "invalid", f"not true: value = 'good' (value is {value})")
        for row, value in ((1, "bad"), (3, "null"), (4, "bad"))
    ]
    assert {row["column_name"] for row in ran.dropped} == {"check"}


def test_a_predicate_may_speak_of_other_columns_and_fails_for_its_row_alone(tmp_path: Path) -> None:
    ran = validated(tmp_path, "sql", {"predicate": "value::int > 1"}, values=["1", "2", "x"])
    assert valid(ran) == [("1", False), ("2", True)]
    assert [(row["row_id"], row["reason"]) for row in ran.dropped] == [(2, "rejected")]


def test_invalid_rows_are_no_failures_that_stop_a_run(tmp_path: Path) -> None:
    for number, kind in enumerate(("sql", "json_schema")):
        directory = tmp_path / str(number)
        directory.mkdir()
        params: dict[str, Any] = {"predicate": "false"} if kind == "sql" else {"json_schema": {"const": "other"}}
        ran = validated(directory, kind, params, values=["x"] * 120, on_invalid="drop", run={"error_window": 10})
        assert len(ran.dropped) == 120
        assert {row["reason"] for row in ran.dropped} == {"invalid"}


# Code ---------------------------------------------------------------------------------------------

CLEAN = "def double(number):\n    return 2 * number\n"
UNDEFINED = "print(nothing)\n"
BROKEN = "def broken(:\n"
CLUMSY = "x = 1\nif x == None:\n    print(x)\n"


def test_python_is_judged_by_the_levels_of_its_linter(tmp_path: Path) -> None:
    codes = [CLEAN, UNDEFINED, BROKEN, CLUMSY, None, ""]
    ran = validated(tmp_path, "code", {"code_lang": "python"}, values=codes)
    told = [(row["check"]["is_valid"], row["check"]["python_linter_severity"]) for row in ran.rows]
    assert told == [
        (True, "none"),
        (False, "error"),
        (False, "fatal"),
        (True, "refactor"),
        (False, "fatal"),
        (True, "none"),
    ]
    assert [row["check"]["python_linter_score"] for row in ran.rows][:3] == [10.0, 0.0, 0.0]
    (message,) = ran.rows[1]["check"]["python_linter_messages"]
    assert (message["symbol"], message["type"], message["line"]) == ("F821", "error", 1)


def test_every_target_of_every_row_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    codes = [CLEAN, UNDEFINED, CLEAN, UNDEFINED, CLEAN]
    pq.write_table(pa.table({"one": codes, "two": codes[::-1]}), tmp_path / "seed.parquet")
    column = {
        "name": "check",
        "column_type": "validation",
        "target_columns": ["one", "two"],
        "validator_type": "code",
        "validator_params": {"code_lang": "python"},
        "batch_size": 3,
    }
    rows = run_spec(tmp_path, [column], seed_dataset={"path": "seed.parquet"}, records=5).rows
    for row in rows:
        assert row["check"]["one"]["is_valid"] is (row["one"] == CLEAN)
        assert row["check"]["two"]["is_valid"] is (row["two"] == CLEAN)


def test_the_linter_looks_at_no_configuration_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ruff.toml").write_text('[lint]\nignore = ["F821"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert valid(validated(tmp_path, "code", {"code_lang": "python"}, values=[UNDEFINED])) == [(UNDEFINED, False)]
    assert not list(tmp_path.glob("rowmill-code-*"))


@pytest.mark.parametrize(
    ("dialect", "good", "bad"),
    [
        ("sql:postgres", "select a::int from b", "select from where"),
        ("sql:mysql", "select `a` from `b` limit 1", "selec 1"),
        ("sql:ansi", "create table a (b decimal(3, 1))", "create table a (b decimal(3))"),
    ],
)
def test_sql_is_judged_in_its_dialect(tmp_path: Path, dialect: str, good: str, bad: str) -> None:
    ran = validated(tmp_path, "code", {"code_lang": dialect}, values=[good, bad, None])
    assert valid(ran) == [(good, True), (bad, False), (None, False)]
    assert ran.rows[1]["check"]["error_messages"]


def test_sql_that_would_take_the_parser_minutes_is_not_valid(tmp_path: Path) -> None:
    ran = validated(tmp_path, "code", {"code_lang": "sql:ansi"}, values=["select " + "(" * 100_000, "select 1"])
    assert [row["check"]["is_valid"] for row in ran.rows] == [False, True]
    assert "too long to be judged" in ran.rows[0]["check"]["error_messages"]


_AT_ONCE = """
import sys, threading
from rowmill.generators.validators.sql_code import SqlCodeValidator

verdicts = []
def judge(dialect):
    verdicts.extend(SqlCodeValidator(["code"], dialect)._judge([{"code": "select 1 from t"}]))

sys.setswitchinterval(1e-5)
for dialect in ("tsql", "postgres", "bigquery"):
    threads = [threading.Thread(target=judge, args=(dialect,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(sum(verdict["is_valid"] for verdict in verdicts))
"""


def test_the_first_batches_of_a_dialect_may_be_judged_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.split() == ["12"], done.stderr


def test_a_template_in_sql_is_never_rendered(tmp_path: Path) -> None:
    hostile = "select {{ ''.__class__.__mro__ }} from a"
    ran = validated(tmp_path, "code", {"code_lang": "sql:postgres"}, values=[hostile])
    assert valid(ran) == [(hostile, False)]


# JSON Schema --------------------------------------------------------------------------------------


def test_texts_are_read_as_json_and_judged_by_the_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}}
    values = ['{"age": 3}', '{"age": -1}', "{}", "no json", None]
    ran = validated(tmp_path, "json_schema", {"json_schema": schema}, values=values)
    assert [is_valid for _, is_valid in valid(ran)] == [True, False, False, False, False]
    assert "$.age" in ran.rows[1]["check"]["error_messages"]
    assert "It is no JSON" in ran.rows[3]["check"]["error_messages"]


def test_invalid_rows_are_dropped_with_what_is_wrong_with_them(tmp_path: Path) -> None:
    ran = validated(tmp_path, "json_schema", {"json_schema": {"type": "integer"}}, ["1", "x"], on_invalid="drop")
    assert [row["value"] for row in ran.rows] == ["1"]
    (dropped,) = ran.dropped
    assert (dropped["reason"], dropped["attempts"]) == ("invalid", 0)
    assert "It is no JSON" in dropped["message"]


# Functions ----------------------------------------------------------------------------------------

CHECKS = """
import pyarrow as pa

def by_index(rows):
    found = [{"row_index": row["row_index"], "is_valid": row["value"] == "good", "length": len(row["value"] or "")}
             for row in rows.to_pylist()]
    return found[::-1]

def by_order(rows):
    return {"is_valid": [value == "good" for value in rows["value"].to_pylist()]}

async def as_table(rows):
    return pa.table({"is_valid": [value == "good" for value in rows["value"].to_pylist()]})

def too_few(rows):
    return [{"is_valid": True}] * (len(rows) - 1)

def twice(rows):
    return [{"row_index": 0, "is_valid": True}] * len(rows)

def no_verdict(rows):
    return [{"is_valid": None}] * len(rows)

def raises(rows):
    raise ValueError("no idea")

def nothing(rows):
    return None

def two(rows, params):
    return rows
"""


@pytest.mark.parametrize("name", ["by_index", "by_order", "as_table"])
def test_a_function_judges_tables_of_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / "checks.py").write_text(CHECKS)
    ran = validated(tmp_path, "local_callable", {"validation_function": f"checks:{name}"})
    assert valid(ran) == [(value, value == "good") for value in VALUES]


@pytest.mark.slow
def test_what_a_function_tells_beside_comes_along_typed_if_it_has_a_schema(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(CHECKS)
    params: dict[str, Any] = {"validation_function": "checks:by_index"}
    ran = validated(tmp_path, "local_callable", params)
    assert json.loads(ran.rows[0]["check"]["details"]) == {"length": 4}
    one = {"type": "object", "properties": {"is_valid": {"type": "boolean"}, "length": {"type": "integer"}}}
    whole = {"type": "object", "properties": {"data": {"type": "array", "items": one}}}
    for number, schema in enumerate((one, whole)):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "checks.py").write_text(CHECKS)
        ran = validated(directory, "local_callable", {**params, "output_schema": schema})
        assert ran.rows[0]["check"] == {"is_valid": True, "length": 4}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("too_few", "verdicts for"),
        ("twice", "every row_index it was given"),
        ("no_verdict", "no is_valid of true or false"),
        ("raises", "no idea"),
        ("nothing", "returned NoneType"),
    ],
)
def test_a_failing_function_is_never_taken_for_a_verdict(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "checks.py").write_text(CHECKS)
    ran = validated(tmp_path, "local_callable", {"validation_function": f"checks:{name}"})
    assert ran.rows == []
    assert {row["reason"] for row in ran.dropped} == {"rejected"}
    assert words in ran.dropped[0]["message"]


# Remote -------------------------------------------------------------------------------------------


class Judge(LoopbackServer):
    """Judges rows over HTTP; ``answers`` come first: a status, or a body to send with 200."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.answers: list[int | bytes] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.poison: str | None = None
        self.paths: set[str] = set()

    @property
    def url(self) -> str:
        return f"{super().url}/judge/"


class _Handler(LoopbackHandler):
    server: Judge

    def respond(self, body: bytes) -> None:
        rows = json.loads(body)["data"]
        self.server.paths.add(self.path)
        self.server.batches.append(rows)
        status, body = 200, json.dumps({"data": [{"is_valid": row["value"] == "good"} for row in rows]}).encode()
        if self.server.answers:
            answer = self.server.answers.pop(0)
            status, body = (answer, b"{}") if isinstance(answer, int) else (200, answer)
        elif self.server.poison is not None and any(row["value"] == self.server.poison for row in rows):
            status, body = 422, b'{"error": "cannot judge that"}'
        self.answer(status, body)


@pytest.fixture
def judge() -> Iterator[Judge]:
    with serving(Judge()) as server:
        yield server


@pytest.fixture
def remote(tmp_path: Path, judge: Judge) -> Callable[..., Ran]:
    def run(**params: Any) -> Ran:
        given = {"endpoint_url": judge.url, "retry_backoff": 0.01, **params}
        return validated(tmp_path, "remote", given, run={"rate_limit_cooldown_s": 0.01})

    return run


def attempts(directory: Path) -> list[tuple[str, str | None]]:
    with rowmill.RunDatabase.open(directory / "run.duckdb") as database:
        found = database.sql("select outcome, error_type from attempt order by all").to_pylist()
    return [(row["outcome"], row["error_type"]) for row in found]


def test_an_endpoint_judges_batches_of_rows(judge: Judge, remote: Callable[..., Ran], tmp_path: Path) -> None:
    ran = remote()
    assert valid(ran) == [(value, value == "good") for value in VALUES]
    assert max(map(len, judge.batches)) <= 4
    assert len(judge.batches) < len(VALUES)
    assert judge.paths == {"/judge/"}
    assert set(attempts(tmp_path)) == {("succeeded", None)}


@pytest.mark.slow
def test_a_batch_that_fails_is_tried_again_and_never_an_empty_verdict(
    judge: Judge, remote: Callable[..., Ran], tmp_path: Path
) -> None:
    judge.answers = [503, 429, 500]
    assert valid(remote()) == [(value, value == "good") for value in VALUES]
    assert {outcome for outcome, _ in attempts(tmp_path)} == {"succeeded", "transient", "rate_limited"}


def test_rows_of_an_endpoint_that_keeps_failing_are_dropped_with_its_error(
    judge: Judge, remote: Callable[..., Ran]
) -> None:
    judge.answers = [500] * 100
    ran = remote(max_retries=1)
    assert ran.rows == []
    assert {(row["reason"], row["error_type"], row["attempts"]) for row in ran.dropped} == {
        ("retries_exhausted", "HTTP 500", 2)
    }


@pytest.mark.slow
def test_f2a_an_endpoint_of_verdicts_that_is_away_costs_no_row(judge: Judge, remote: Callable[..., Ran]) -> None:
    judge.answers = [503] * 5
    ran = remote(max_retries=1)
    assert ran.dropped == []
    assert ran.rows != []


def test_one_row_that_is_refused_costs_no_other_row(judge: Judge, remote: Callable[..., Ran]) -> None:
    judge.poison = "bad"
    ran = remote()
    assert [row["value"] for row in ran.rows] == ["good", "good", None, "good"]
    assert [(row["row_id"], row["reason"]) for row in ran.dropped] == [(1, "rejected"), (4, "rejected")]


@pytest.mark.parametrize(
    "answer",
    [b"no json", b"[]", b'{"data": 3}', b'{"data": []}', b'{"data": [{}, {}, {}]}', b'{"data": [{"is_valid": null}]}'],
)
def test_an_answer_that_is_no_verdict_is_never_taken_for_one(
    judge: Judge, remote: Callable[..., Ran], answer: bytes
) -> None:
    judge.answers = [answer] * 100
    ran = remote()
    assert ran.rows == []
    assert {row["error_type"] for row in ran.dropped} == {"MalformedVerdict"}


def test_an_endpoint_that_refuses_everybody_stops_the_run(judge: Judge, remote: Callable[..., Ran]) -> None:
    judge.answers = [401] * 100
    with pytest.raises(RowmillError, match="401"):
        remote()


# The spec -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "params", "fields", "words"),
    [
        ("code", {"code_lang": "pyton"}, {}, "Did you mean 'python'?"),
        ("code", {}, {}, "validator_params.code_lang"),
        ("remote", {"endpoint_url": "localhost:3"}, {}, "is no URL"),
        ("remote", {"endpoint_url": "http://me:secret@x/"}, {}, "user name or password"),
        ("json_schema", {"json_schema": {"type": "objekt"}}, {}, "not a valid JSON Schema"),
        ("sql", {"predicate": "valu = 1"}, {}, "Did you mean 'value'?"),
        ("sql", {"predicate": "count(*) > 1"}, {}, "aggregate"),
        ("local_callable", {"validation_function": "checks:by_ordr"}, {}, "Did you mean 'by_order'?"),
        ("local_callable", {"validation_function": "checks:two"}, {}, "fn(rows)"),
        ("local_callabel", {}, {}, "Did you mean 'local_callable'?"),
        ("sql", {"predicate": "true"}, {"target_columns": []}, "Must not be empty"),
        ("sql", {"predicate": "true"}, {"target_columns": ["value", "VALUE"]}, "named twice"),
        ("sql", {"predicate": "true"}, {"on_invalid": "regenerate"}, "would answer differently"),
        ("sql", {"predicate": "true"}, {"on_invalid": "dorp"}, "Did you mean 'drop'?"),
    ],
)
def test_a_wrong_validation_column_is_told_what_is_wrong(
    tmp_path: Path, kind: str, params: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    (tmp_path / "checks.py").write_text(CHECKS)
    with pytest.raises(SpecError) as caught:
        validated(tmp_path, kind, params, **fields)
    assert_helps(caught.value, words, "columns.0")
