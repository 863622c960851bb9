"""All SQL is in sql/, each statement fits a fresh schema, each public view is explained (style 6 and 8)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from every import every
from run_state import RunState
from virtual_run import custom, expression, prepared, sampler

from rowmill.graph.graph import GeneratorNode
from rowmill.store.database import staging
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import Statement, all_statements, sql_directory, statements_of
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape import rebuild, regeneration, reopening
from rowmill.store.reshape.barrier import Barriers
from rowmill.store.turn import admission, commit_lag, control, journal, recording

SOURCE = Path(__file__).parents[2] / "src" / "rowmill"

CONTRACT = {
    "plan": "segment first_row_group row_groups row_group_size first_row rows",
    "run_status": "name state records rows_finished rows_dropped row_groups row_groups_active"
    " row_groups_finished invocations"
    " requests input_tokens output_tokens cost_usd started_at updated_at",
    "progress": "column_name generator strategy cells done skipped dropped deferred waiting",
    "row_group": "row_group state first_row row_count rows_finished rows_dropped admitted_at finished_at",
    "ready_task": "generator strategy resource row_group row_index row_id",
    "cell": "row_id row_group row_index column_name state",
    "dropped_row": "row_id row_group row_index column_name reason error_type message attempts dropped_at",
    "deferred_task": "generator row_group row_index row_id attempts error_type message not_before resource",
    "attempt": "invocation generator row_id attempt outcome error_type message model started_at duration_ms"
    " input_tokens"
    " output_tokens cost_usd",
    "barrier": "column_name state completed_at rows_in rows_out",
    "task_trace": "invocation generator row_group row_index row_id handed_out_at started_at ended_at outcome worker"
    " waiting_ms working_ms",
    "worker": "name worker_group kind state invocation pid host node joined_at heard_at ended_at in_flight done"
    " calls_lost reason",
    "task_time": "generator tasks waiting_s working_s longest_s",
    "usage": "model invocation hour requests succeeded failed input_tokens output_tokens cost_usd",
    "resource": "resource configured_limit learned_limit in_flight cooling_until reason",
    "admission": "admit reason next_row_group",
    "spec_version": "version accepted_at is_current spec",
    "column_statistics": "column_name sql_type rows nulls distinct_values minimum maximum mean stddev median min_length"
    " mean_length max_length",
    "column_value": "column_name value rows",
    "column_histogram": "column_name measure bin lower upper rows",
    "judge_score": "column_name score_name score rows",
    "graph": "generator column_type strategy resource needs columns state cells done skipped dropped deferred waiting"
    " ready_tasks",
    "event": "at kind subject detail",
    "invocation": "invocation pid host version started_at ended_at end_reason",
    "invariant_violation": "rule subject detail",
    "live_row": "row_id row_group row_index",
    "dropped_row_value": "row_id",
    "dataset": "row_id",
}
"""The public views and their columns: design, section 9. More columns may be added; these stay."""


async def made(row: object) -> str:
    return "made"


@pytest.fixture(scope="module")
def state() -> Iterator[RunState]:
    """A fresh schema with a seed table and all names that statements expect to be staged."""
    spec = prepared(
        sampler("rating"),
        expression("twice", "rating * 2"),
        custom("text", made, ["rating"], skip={"when": "rating = 1"}),
        custom("whole", made, ["text"], generation_strategy="batch"),
        {"name": "unique", "column_type": "deduplicate", "columns": ["text"]},
        {
            "name": "check",
            "column_type": "validation",
            "target_columns": ["text"],
            "validator_type": "sql",
            "validator_params": {"predicate": "text <> ''"},
        },
    )
    with RunState(spec) as found:
        found.sql("create table state.seed_row (row_index bigint, product varchar)")
        key = [("generator", pa.int32()), ("row_group", pa.int64()), ("row_index", pa.int64())]
        staged = {
            "outcome_2": [*key[1:], ("value_0", pa.string())],
            "outcome_together": [*key[1:], ("text", pa.string()), ("done_0", pa.uint64())],
            "undeferred_task": staging.TASK_KEY,
            "skipped_task": staging.TASK_KEY,
            "new_deferral": staging.NEW_DEFERRAL,
            "new_worker": staging.NEW_WORKER,
            "new_worker_group": staging.NEW_WORKER_GROUP,
            "new_drop": staging.NEW_DROP,
            "new_cooling": staging.NEW_COOLING,
            "new_attempt": staging.NEW_ATTEMPT,
            "new_task_trace": staging.NEW_TASK_TRACE,
            "new_commit_lag": commit_lag.NEW_COMMIT_LAG,
            "new_answer": staging.NEW_ANSWER,
            "pulled_task": staging.TASK_KEY,
            "invalid_row": regeneration.INVALID_ROW,
            "regenerated_row": staging.TASK_KEY,
            "new_state": staging.NEW_STATE,
            "new_limit": recording._NEW_LIMIT,
            "new_revival": reopening.ROW_KEY,
            "remade_row": reopening.ROW_KEY,
            "generator_map": rebuild._GENERATOR_MAP,
            "new_retired": rebuild._NEW_RETIRED,
            "new_parking": admission._NEW_PARKING,
            "new_event": journal._NEW_EVENT,
            "hand_drop": control._HAND_DROP,
            "hand_retry": control._HAND_RETRY,
            "hand_revival": reopening.ROW_KEY,
            "new_resource": [("resource", pa.string()), ("configured_limit", pa.int32())],
            "new_seed": [("row_id", pa.int64()), ("product", pa.string())],
            "new_seed_file": [("path", pa.string()), ("mark", pa.string())],
            "seed_file": [("product", pa.string())],
            "seed_column": [("position", pa.int64()), ("value", pa.string())],
            "failing_row": [("rating", pa.int64())],
            "barrier_result": [("row_id", pa.int64()), ("value_0", pa.bool_())],
            "barrier_change": [("row_id", pa.int64())],
        }
        found.sql("attach ':memory:' as source")
        found.sql("create schema source.state")
        found.sql("create schema source.retained")
        for (table,) in found.sql("select table_name from duckdb_tables() where database_name <> 'source'"):
            found.sql(f'create table source.state."{table}" as from state."{table}" limit 0')
        found.sql("create table source.retained.kept (row_id bigint)")
        found.sql("create table retained.kept (row_id bigint)")
        for name, schema in staged.items():
            found.store.connection.stage(name, pa.schema(schema).empty_table())
        for name, table in (
            ("new_generator", "generator"),
            ("new_column", "column_def"),
            ("new_dependency", "dependency"),
        ):
            found.store.connection.stage(name, found.store.connection.arrow(f"from state.{table} limit 0"))
        for name in ("decide_duplicates", "take_result"):
            statement = all_statements()[name]
            found.sql(statement.fill(**slots_of(found, statement)))
        found.store.connection.stage("barrier_decision", found.store.connection.arrow("from barrier_decided"))
        yield found


def slots_of(state: RunState, statement: Statement) -> dict[str, str]:
    """Texts as the store makes them, for every slot a statement may have."""
    layout = Layout(state.prepared.graph, 11)
    sql_node = state.prepared.graph.generator_of_name("twice")
    node = sql_node if statement.name == "settle_expression" else state.prepared.graph.generator_of_name("text")
    prefix = "" if statement.file == "settle.sql" and statement.name != "settle_seed_column" else "a."
    source = state.turn._admission._source(layout)
    known = {
        **layout.view_slots,
        "all_done": layout.all_done,
        "answer_keys": "1, 2",
        "assignments": layout.assign_together([node])
        if statement.name == "write_values_together"
        else layout.assign_values(node)
        if statement.name == "write_values"
        else layout.assign_skip(node),
        "casts": "cast(rating as json) as rating",
        "query": "select 1 as rating",
        "back": "value",
        "column": '"product"' if statement.file == "seed.sql" else '"twice"',
        "converted": "try_cast(value as bigint)",
        "columns": {"status.sql": "row_id", "report.sql": "row_id", "show.sql": "*", "seed.sql": '"product"'}.get(
            statement.file, layout.all_columns
        ),
        "expression": {
            "evaluate_for_row": "rating",
            "value_and_type_for_row": "rating",
            "bind_expression": "rating",
            "evaluate_constant": "1 + 1",
        }.get(statement.name, layout.expression(sql_node)),
        "target": "dataset_row",
        "table": {
            "rebuild.sql": "kept" if "retained" in statement.name else "dataset_row",
            "earlier.sql": "dataset_row",
        }.get(statement.file, "state.run"),
        "path": "':memory:'",
        "clear": f"done_0 = {'a' if statement.file == 'regeneration.sql' else 'p'}.done_0 & 0::ubigint",
        "cleared": "d.done_0 & 0::ubigint as done_0",
        "measures": "state.measure_median('rating', \"rating\")",
        "merged": layout.merge_together([node]),
        "is_made": "true",
        "judged": "try(cast(rating as varchar))",
        "is_skipped_of_a": layout.view_slots["is_skipped_of_a"],
        "inputs": layout.inputs([node], node.inputs) if statement.name == "pulled_cells" else 'a."rating"',
        "not_done": layout.lacks(f"{prefix}done", node.number),
        "outcome": "outcome_2",
        "predicate": "true" if statement.file in ("show.sql", "reopen.sql", "control.sql") else "rating = 1",
        "reader": "(select 1 as product)",
        "rows_of": "parked_row",
        "set_done": layout.add("done", node.number, prefix or None),
        "set_skipped": layout.add("skipped", node.number, prefix or None),
        "seed_column": '"product"',
        "source": source,
        "typed_nulls": "cast(null as bigint) as rating",
        "upstream_done": layout.contains("done", node.upstream),
        "upstream_skipped": layout.intersects("skipped", node.upstream),
        "values": layout.all_columns if statement.name == "rebuild_rows" else "1 as one",
        "view": "main.progress",
        "forgotten": layout.forgotten([node.number]),
    }
    if statement.name == "describe_seed_types":
        known["columns"] = "cast(null as bigint) as rating"
    if statement.name == "file_names_in_table":
        known["table"] = "state.dataset_row"
    if statement.file == "regeneration.sql":
        known |= {"pairs": "(5, 2)", "is_done": "true", "is_skipped": "false"}
    if statement.name == "settle_verdict":
        known |= {"column": '"check"', "expression": layout.expression(state.prepared.graph.generator_of_name("check"))}
    if statement.name == "keep_earlier_rows":
        known |= {"version": "1", "values": layout.all_columns, "has_any": "a.done_0 <> 0"}
    if statement.file == "spare.sql":
        known |= slots_of_sparing(layout, node)
    if statement.file == "barrier.sql":
        known |= slots_of_barrier(state, layout, statement)
    if statement.file == "merge.sql":
        known |= slots_of_merge(state, layout, statement)
    if statement.name == "attach_source":
        known["name"] = "elsewhere"
    if statement.name in ("revive_rows", "revive_parked_rows"):
        known["values"] = "dropped_row_again"
    if statement.file == "page.sql":
        known |= {"view": "main.dataset", "columns": "rating", "names": "rating", "column": '"rating"'}
        known["predicate"] = "true"
        known["table"] = "state.dataset_row"
        if statement.name == "previous_value":
            known |= {"table": "kept", "column": "row_id"}
    unknown = statement.slots - known.keys()
    assert not unknown, f"say in this test how slot {unknown} of {statement.name} is filled"
    return {name: known[name] for name in statement.slots}


def slots_of_sparing(layout: Layout, node: GeneratorNode) -> dict[str, str]:
    return {
        "assignments": "text = e.text",
        "has_value": layout.contains("e.done", [node.number]),
        "is_decided": "done_0 = 0",
        "not_done": layout.lacks("n.done", node.number),
        "same_inputs": layout.same_inputs(node, "e", "n"),
        "same_skips": layout.same_skips(node, "e", "n"),
        "upstream_done": layout.contains("n.done", node.upstream),
    }


def slots_of_merge(state: RunState, layout: Layout, statement: Statement) -> dict[str, str]:
    table = {"merge_table": "event", "merge_invocations": "invocation", "merge_calls": "attempt"}
    empty_sets = layout.per_word("0::ubigint as done_#, 0::ubigint as skipped_#", ", ")
    return {"source": "source", "table": table.get(statement.name, "kept"), "empty_sets": empty_sets}


def slots_of_barrier(state: RunState, layout: Layout, statement: Statement) -> dict[str, str]:
    """The same for the statements of barriers."""
    node = state.prepared.graph.generator_of_name("unique")
    own = [node.number]
    reads_rows = statement.name == "barrier_rows"
    return {
        "assignments": layout.assign_skip(node),
        "decided": layout.decided(node),
        "generator_rows": Barriers(state.store.connection, layout, announces=False).generator_rows(node),
        "inputs": 'a."text"' if reads_rows else 'r."text"',
        "is_done": layout.contains("done", own),
        "is_later": layout.one_of("d.generator", own),
        "is_new": layout.is_new(node),
        "is_skipped": layout.intersects("a.skipped", own),
        "keys": 'r."text"',
        "order_by": "",
        "predicate": "true",
        "upstream_done": layout.contains("a.done" if reads_rows else "done", node.upstream),
        "not_done": layout.lacks("done", node.number),
        "set_done": layout.add("done", node.number),
        "set_skipped": layout.add("skipped", node.number),
        "upstream_skipped": layout.intersects("skipped", node.upstream),
        "values": "b.value_0" if statement.name == "decide_by_result" else "true as value_0",
    }


def test_every_statement_fits_a_fresh_schema(state: RunState) -> None:
    def check(name: str) -> None:
        try:
            check_that_it_fits(state, name)
        except BaseException:
            with suppress(duckdb.TransactionException):  # the next one starts from the same state
                state.sql("rollback")
            raise

    every(sorted(all_statements()), check)


def check_that_it_fits(state: RunState, name: str) -> None:
    statement = all_statements()[name]
    text = statement.fill(**slots_of(state, statement))
    kind = duckdb.extract_statements(text)[0].type.name
    if name == "attach_source":
        with pytest.raises(duckdb.PermissionException, match="disabled by configuration"):
            state.sql(text.replace(":memory:", "run.duckdb"))
    elif name in (
        "forbid_external_access",
        "allow_settings",
        "lock_configuration",
        "keep_log_when_closed",
        "use_utc",
        "use_gregorian_calendar",
    ):
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            state.sql(text)
    elif name == "use_one_thread":
        state.sql(text)
    elif kind == "CREATE" and statement.file in {"rebuild.sql", "merge.sql"}:  # cannot be prepared, but taken back
        state.sql("begin")
        state.sql(text.replace("create table retained.kept", "create table retained.other"))
        state.sql("rollback")
    elif kind == "CREATE" and "or replace" in text:  # temporary tables that are made anew
        state.sql(text, **dict.fromkeys(re.findall(r"\$([a-z_]+)", text), "text"))
    elif kind == "MERGE_INTO":  # cannot be prepared, but explained
        state.sql(f"explain {text}", **dict.fromkeys(re.findall(r"\$([a-z_]+)", text)))
    elif kind == "DROP":  # cannot be prepared, but taken back
        state.sql("begin")
        state.sql(text)
        state.sql("rollback")
    elif name in {"checkpoint", "say_alive"}:
        state.sql(text)
    elif kind in {"SET", "TRANSACTION"}:  # cannot be prepared, and change the connection they run on
        with state.store.connection.beside() as beside:
            if name == "end_snapshot":
                beside.execute(all_statements()["begin_snapshot"].text)
            beside.execute(text, {"resources": ["local"], "calls": [1]} if "$" in text else None)
    else:
        state.sql(f"prepare {name} as {text}")


_WRITES_OUTSIDE_STATE = re.compile(r"\b(?:into|delete from|update) (?:barrier_\w+|retained\.|main\.)")


def test_the_connection_knows_what_every_statement_writes_to(state: RunState) -> None:
    """What it remembers of small reads depends on it."""
    kinds = {
        duckdb.StatementType.INSERT,
        duckdb.StatementType.UPDATE,
        duckdb.StatementType.DELETE,
        duckdb.StatementType.MERGE_INTO,
    }

    def check(name: str) -> None:
        text = all_statements()[name].fill(**slots_of(state, all_statements()[name]))
        writes = any(found.type in kinds for found in duckdb.extract_statements(text))
        if writes and not _WRITES_OUTSIDE_STATE.search(text):
            written = state.store.connection._parse(text).written
            assert written is not None
            assert written.startswith("state.")

    every(sorted(all_statements()), check)


def test_every_statement_says_what_it_is_for_and_what_it_costs() -> None:
    def check(name: str) -> None:
        purpose = all_statements()[name].purpose
        assert re.fullmatch(r"[A-Z'].* O\(.+\)\.", purpose), purpose

    every(sorted(all_statements()), check)


def test_every_sql_file_opens_with_what_it_holds() -> None:
    files = sorted(sql_directory().rglob("*.sql"))
    assert [file.name for file in files if not file.read_text().lstrip().startswith("/*")] == []


def test_what_a_module_asks_its_statements_for_is_there_and_every_statement_is_asked_for() -> None:
    used = {name for name in all_statements() if name.startswith("show_")}
    problems = []
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        used |= set(re.findall(r"\bstatement\(\s*[\"']([a-z_]+)[\"']", file.read_text()))
        for variable, files in statements_in(tree):
            asked = {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
            }
            there = {name: statement.file for name, statement in vars(statements_of(*files)).items() if name[0] != "_"}
            problems += [f"{file}: there is no statement {name}" for name in sorted(asked - there.keys())]
            needless = {f"{name.rpartition('/')[2]}.sql" for name in files} - {
                there[name] for name in asked & there.keys()
            }
            problems += [f"{file}: asks {name} for nothing" for name in sorted(needless)]
            used |= asked
    assert problems == []
    assert sorted(all_statements().keys() - used) == []


def statements_in(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The variables that hold statements of files, and the names of these files."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and "statements_of(" in ast.unparse(node.value):
            assert isinstance(node.value, ast.Call)
            assert isinstance(node.targets[0], ast.Name)
            yield node.targets[0].id, tuple(ast.literal_eval(argument) for argument in node.value.args)


def test_a_statement_or_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match=r"there is no SQL file turn/nothing\.sql"):
        statements_of("turn/nothing")
    with pytest.raises(AttributeError, match="no SQL statement is named 'nothing' in turn/trace"):
        statements_of("turn/trace").nothing  # noqa: B018


# Public views -------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", CONTRACT)
def test_a_public_view_keeps_the_columns_of_the_contract(state: RunState, view: str) -> None:
    found = state.sql(
        "select column_name from duckdb_columns() where schema_name = 'main' and table_name = $view order by"
        " column_index",
        view=view,
    )
    wanted = CONTRACT[view].split()
    assert [name for (name,) in found][: len(wanted)] == wanted


def test_there_are_no_public_views_beside_those_of_the_contract(state: RunState) -> None:
    views = {
        name
        for (name,) in state.sql(
            "select view_name from duckdb_views() where schema_name = 'main' and not internal and not temporary"
        )
    }
    assert views == CONTRACT.keys()


def test_nothing_but_views_is_public(state: RunState) -> None:
    assert state.sql("select table_name from duckdb_tables() where schema_name = 'main' and not temporary") == []


def test_the_dataset_has_the_columns_of_the_spec_in_declaration_order(state: RunState) -> None:
    columns = state.sql(
        "select column_name, data_type from duckdb_columns() where table_name = 'dataset' order by column_index"
    )
    assert columns == [
        ("row_id", "BIGINT"),
        ("rating", "BIGINT"),
        ("twice", "BIGINT"),
        ("text", "VARCHAR"),
        ("whole", "VARCHAR"),
        ("unique", "BOOLEAN"),
        ("check", "STRUCT(is_valid BOOLEAN, error_messages VARCHAR)"),
    ]


def test_every_public_view_has_a_comment(state: RunState) -> None:
    bare = state.sql(
        "select view_name from duckdb_views() where schema_name = 'main' and not internal and not temporary"
        " and coalesce(comment, '') = ''"
    )
    assert bare == []


def test_every_column_of_a_public_view_has_a_comment_except_those_of_the_spec(state: RunState) -> None:
    of_the_spec = ("dataset", "live_row", "dropped_row_value")
    own = {(view, output.name) for output in state.prepared.graph.outputs for view in of_the_spec}
    bare = state.sql(
        "select c.table_name, c.column_name from duckdb_columns() as c inner join duckdb_views() as v"
        " on c.table_name = v.view_name and c.schema_name = v.schema_name and c.database_name = v.database_name"
        " where c.schema_name = 'main' and not v.internal and not v.temporary and coalesce(c.comment, '') ="
        " '' order by all"
    )
    assert set(bare) - own == set()


def test_every_public_view_can_be_read_on_a_run_that_has_not_begun(state: RunState) -> None:
    for view in CONTRACT:
        state.sql(f"from {view}")


# SQL stays out of Python --------------------------------------------------------------------------

SQL = re.compile(
    r"""\s*(
        select\s | from\s+\w+(\.\w+)?\s*$ | insert\s+into\s | update\s+[\w."]+\s+(as\s+\w+\s+)?set\s
        | delete\s+from\s | merge\s+into\s
        | create\s+(or\s+replace\s+)?(temp(orary)?\s+)?(table|view|macro|schema|index|sequence|type)\s
        | drop\s+(table|view|macro|schema|index)\s | alter\s+table\s | truncate\s | with\s+\w+\s+as\s*\(
        | (explain|describe|summarize)\s+(analyze\s+)?(select|from|insert|update|delete|with|main\.|state\.)
        | copy\s+.*\b(to|from)\b | attach\s | detach\s | pragma\s | vacuum\s | begin\s+transaction | set\s+\w+\s*=
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def texts_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """String literals with their line, f-strings by their first part, docstrings left out."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            skipped |= {id(part.value) for part in node.body if isinstance(part, ast.Expr)}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values[1:]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def sql_in(source: str) -> list[tuple[int, str]]:
    return [(line, text) for line, text in texts_of(ast.parse(source)) if SQL.match(text)]


def test_there_is_no_sql_in_python_strings() -> None:
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        found += [f"{file.relative_to(SOURCE)}:{line}: {text[:60]!r}" for line, text in sql_in(file.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "  SELECT\n*",
        "insert into x values (1)",
        "update state.run set a = 1",
        "delete from t",
        "create temp table x(a int)",
        "with a as (select 1) from a",
        "set threads = 1",
        "begin transaction",
        "from dataset",
    ],
)
def test_the_search_for_sql_finds_sql(text: str) -> None:
    assert sql_in(f"x = {text!r}\ny = f{text + ' {x}'!r}")


@pytest.mark.parametrize(
    "text", ["from the spec", "update the limits", "selected", "with a model", "drop", "created", "set"]
)
def test_the_search_for_sql_leaves_prose_alone(text: str) -> None:
    assert sql_in(f"x = {text!r}") == []


def test_only_the_store_imports_the_engine() -> None:
    importers = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "duckdb" for name in names):
                importers.add(file.relative_to(SOURCE).parts[0])
    assert importers == {"store"}


def test_an_unknown_slot_of_a_statement_is_an_error() -> None:
    with pytest.raises(KeyError, match="no slot"):
        all_statements()["checkpoint"].fill(unknown="x")


def test_the_connection_reads_no_file_and_keeps_it_so() -> None:
    with Connection(None) as connection:
        with pytest.raises(duckdb.PermissionException):
            connection.execute("from read_text('/etc/hostname')")
        with pytest.raises(duckdb.InvalidInputException):
            connection.execute("set enable_external_access = true")
