"""A store whose tables were copied holds what one holds that made them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from copied_tables import new_store
from virtual_run import EPOCH, custom, expression, llm, model, prepared, sampler

from rowmill.engine.preparation import Prepared, prepare
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore

OBJECTS = ("duckdb_tables()", "duckdb_columns()", "duckdb_constraints()", "duckdb_views()", "duckdb_indexes()")
PASSING = {"oid", "database_name", "database_oid", "estimated_size", "index_count"}
"""What differs from file to file: numbers and names, and guesses; what an index is, duckdb_indexes() says."""


async def made(row: object) -> str:
    raise AssertionError("nothing is called")


SPECS = {
    "of every kind": prepared(
        sampler("rating"),
        expression("more", "rating + 1"),
        custom("a", made, ["rating"], generation_strategy="batch"),
        llm("b", "{{ rating }}"),
        models=[model()],
    ),
    "of samplers": prepared(sampler("rating", values=["x", "y"]), records=0),
    "of many columns": prepared(*(sampler(f"c{number}") for number in range(70))),
    "over rows": prepare(
        Spec.from_data(
            {
                "name": "over-rows",
                "records": 2,
                "seed_dataset": {"seed_type": "df", "df": pa.table({"fact": ["a", "b"]})},
                "columns": [expression("more", "len(fact)")],
            }
        )
    ),
}


def content_of(store: RunStore) -> Mapping[str, list[Any]]:
    """Everything its file holds: what is defined in it, with comments, and all rows."""
    connection = store.connection
    found: dict[str, list[Any]] = {}
    for source in OBJECTS:
        names, rows = connection.columns(f"from {source}")
        kept = [place for place, name in enumerate(names) if not name.endswith("_oid") and name not in PASSING]
        found[source] = sorted(repr([row[place] for place in kept]) for row in rows)
    macros = "select schema_name, function_name, parameters, macro_definition, comment"
    found["macros"] = sorted(
        map(repr, connection.execute(f"{macros} from duckdb_functions() where not internal and macro_definition <> ''"))
    )
    for schema, table in connection.execute("select schema_name, table_name from duckdb_tables()"):
        found[f"{schema}.{table}"] = connection.execute(f'from "{schema}"."{table}"')
    return found


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_copied_tables_are_those_that_a_store_makes(tmp_path: Path, spec: Prepared) -> None:
    found: list[Mapping[str, list[Any]]] = []
    for store in (RunStore.open(tmp_path / "made.duckdb"), new_store(spec, tmp_path / "copied.duckdb")):
        with closing(store):
            assert store.is_new
            store.create(spec.blueprint(), EPOCH)
            assert not store.is_new
            found.append(content_of(store))
    made_here, copied = found
    assert len(made_here) > 30
    assert copied == made_here


def test_a_file_nobody_named_is_gone_when_it_is_closed() -> None:
    store = new_store(SPECS["of samplers"], None)
    file = store.connection.path
    assert file is not None
    assert file.exists()
    store.close()
    assert not file.exists()
