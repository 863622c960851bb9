"""A changed spec makes again what it changes and nothing else (V2); what was paid for is never lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from virtual_run import EPOCH, Finished, custom, expression, llm, model, prepared, sampler

from rowmill.engine.change import accept_change, fork, look_at_change
from rowmill.engine.preparation import Prepared
from rowmill.errors import Incompatible, UsageError
from rowmill.run_database import RunDatabase
from rowmill.store.run_store import RunStore

Run = Callable[..., Finished]

ROWS = 40


def chain(second: str = "Shorten {{ review }}", *more: dict[str, Any], **fields: Any) -> Prepared:
    """Three columns in a chain that ask a model, over a sampler and before an expression."""
    columns = [
        sampler(),
        llm("review", "Rate {{ rating }}"),
        llm("short", second),
        llm("title", "Name {{ short }}"),
        expression("length", "length(title)"),
        *more,
    ]
    models = [model(limit=8, input_usd_per_million_tokens=1000.0, output_usd_per_million_tokens=2000.0)]
    return prepared(*columns, **{"records": ROWS, "row_group_size": 10, "models": models, **fields})


def digest(path: Path) -> dict[str, str]:
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in path.parent.glob(f"{path.name}*")}


def requests(finished: Finished, since: int = 0) -> dict[str, int]:
    return dict(
        finished.sql(
            "select generator, count(*) from attempt where invocation > $since group by all order by all", since=since
        )
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "run.duckdb"


def test_one_changed_prompt_makes_its_column_and_its_downstream_again_and_nothing_else(
    run: Run, database: Path
) -> None:
    first = run(chain(), database)
    before = {row["row_id"]: row for row in first.dataset()}
    first.store.close()
    changed = chain("Say it in one word: {{ review }}")
    change = accept_change(changed, database, EPOCH + 100)
    assert (change.changed, change.downstream, change.added) == (("short",), ("title", "length"), ())
    second = run(changed, database, starts_at_s=200)
    assert requests(second, since=1) == {"short": ROWS, "title": ROWS}
    after = {row["row_id"]: row for row in second.dataset()}
    assert len(after) == ROWS
    assert all(after[row]["review"] == before[row]["review"] for row in after)
    assert all(after[row]["rating"] == before[row]["rating"] for row in after)
    assert second.violations() == []


@pytest.mark.slow
def test_the_changed_dataset_is_the_one_a_new_run_of_the_new_spec_makes(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    changed = chain("Say it in one word: {{ review }}")
    accept_change(changed, database, EPOCH + 100)
    again = run(changed, database, starts_at_s=200)
    assert again.dataset() == run(changed).dataset()


def test_a_changed_spec_is_refused_with_its_price_and_every_byte_stays(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    before = digest(database)
    changed = chain("Say it in one word: {{ review }}")
    store = RunStore.open(database)
    with pytest.raises(Incompatible, match=r"'short' changed.*about 80 requests and \$.*--accept-changes"):
        store.check_fits(changed.spec, changed.graph)
    store.close()
    assert digest(database) == before


@pytest.mark.slow
def test_the_price_of_a_change_does_not_grow_with_the_changes_before_it(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    (first,) = [column for column in look_at_change(chain("{{ review }} 0"), database).remade if column.name == "short"]
    for number in range(2):
        changed = chain(f"{{{{ review }}}} {number}")
        accept_change(changed, database, EPOCH + 100 + number)
        run(changed, database, starts_at_s=200 + 100 * number).store.close()
    (third,) = [column for column in look_at_change(chain("{{ review }} 2"), database).remade if column.name == "short"]
    assert (first.requests, third.requests) == (ROWS, ROWS)
    assert third.cost_usd == pytest.approx(first.cost_usd, rel=0.5)


def test_many_rows_a_call_cost_a_request_together_in_the_price_of_a_change(run: Run, database: Path) -> None:
    def vectors(prompt: str) -> Prepared:
        return prepared(
            sampler(),
            llm("review", prompt),
            {"name": "vector", "column_type": "embedding", "target_column": "review", "model_alias": "writer"},
            models=[model(limit=8)],
            records=ROWS,
            row_group_size=20,
        )

    first = run(vectors("Rate {{ rating }}"), database)
    asked = requests(first)["vector"]
    first.store.close()
    assert asked < ROWS / 2
    remade = {column.name: column.requests for column in look_at_change(vectors("Say {{ rating }}"), database).remade}
    assert remade == {"review": ROWS, "vector": asked}


@pytest.mark.slow
def test_a_refusal_leaves_also_the_log_of_a_crashed_process_as_it_was(run: Run, database: Path, tmp_path: Path) -> None:
    living = run(chain(), database)
    living.store.connection.execute("update state.run set updated_at = updated_at")
    crashed = tmp_path / "crashed.duckdb"
    crashed.write_bytes(database.read_bytes())
    log = database.with_name(database.name + ".wal")
    assert log.stat().st_size > 0
    crashed.with_name(crashed.name + ".wal").write_bytes(log.read_bytes())
    before = digest(crashed)
    changed = chain("Say it in one word: {{ review }}")
    store = RunStore.open(crashed)
    with pytest.raises(Incompatible):
        store.check_fits(changed.spec, changed.graph)
    store.close()
    assert digest(crashed) == before
    assert len(before) == 2
    accept_change(changed, crashed, EPOCH + 100)
    assert run(changed, crashed, starts_at_s=200).report is not None


@pytest.mark.slow
def test_a_new_column_of_a_finished_dataset_is_all_that_is_generated(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    more = chain("Shorten {{ review }}", llm("mood", "Mood of {{ review }}"))
    change = accept_change(more, database, EPOCH + 100)
    assert (change.added, change.changed, change.downstream) == (("mood",), (), ())
    second = run(more, database, starts_at_s=200)
    assert requests(second, since=1) == {"mood": ROWS}
    assert len([mood for mood in second.column("mood") if mood]) == ROWS
    assert second.dataset() == run(more).dataset()


@pytest.mark.slow
def test_a_removed_column_leaves_the_dataset_and_its_values_are_kept_until_purged(run: Run, database: Path) -> None:
    first = run(chain(), database)
    titles = {row["row_id"]: row["title"] for row in first.dataset()}
    first.store.close()
    models = [model(limit=8)]
    less = prepared(
        sampler(),
        llm("review", "Rate {{ rating }}"),
        llm("short", "Shorten {{ review }}"),
        records=ROWS,
        row_group_size=10,
        models=models,
    )
    change = accept_change(less, database, EPOCH + 100)
    assert change.removed == ("title", "length")
    assert change.is_free
    second = run(less, database, starts_at_s=200)
    assert requests(second, since=1) == {}
    assert set(second.dataset()[0]) == {"row_id", "rating", "review", "short"}
    assert len(second.dataset()) == ROWS
    assert dict(second.sql('from retained."title@1"')) == titles
    assert dict(second.sql("select generator, count(*) from attempt group by all"))["title"] == ROWS
    second.store.close()
    accept_change(less, database, EPOCH + 300, purge=True)
    third = run(less, database, starts_at_s=400)
    assert third.sql("select count(*) from duckdb_tables() where schema_name = 'retained'") == [(0,)]
    assert third.violations() == []


@pytest.mark.slow
def test_paid_values_of_a_changed_column_are_kept_beside_the_new_ones(run: Run, database: Path) -> None:
    first = run(chain(), database)
    shorts = {row["row_id"]: row["short"] for row in first.dataset()}
    first.store.close()
    changed = chain("Say it in one word: {{ review }}")
    accept_change(changed, database, EPOCH + 100)
    second = run(changed, database, starts_at_s=200)
    assert dict(second.sql('from retained."short@1"')) == shorts
    second.store.close()
    again = chain("Say it in two words: {{ review }}")
    accept_change(again, database, EPOCH + 300)
    third = run(again, database, starts_at_s=400)
    kept = [name for (name,) in third.sql("select table_name from duckdb_tables() where schema_name = 'retained'")]
    assert sorted(kept) == ["short@1", "short@2", "title@1", "title@2"]


@pytest.mark.slow
def test_usage_adds_up_over_changes(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    changed = chain("Say it in one word: {{ review }}")
    accept_change(changed, database, EPOCH + 100)
    second = run(changed, database, starts_at_s=200)
    ((asked, cost),) = second.sql("select requests, cost_usd from run_status")
    assert asked == 5 * ROWS
    assert cost == pytest.approx(second.sql("select sum(cost_usd) from attempt")[0][0])
    assert second.sql("select count(*) from state.spec_version") == [(2,)]


@pytest.mark.slow
def test_a_change_half_way_keeps_what_was_done_so_far(run: Run, database: Path) -> None:
    calls: list[int] = []

    async def fails_late(row: dict[str, Any]) -> str:
        calls.append(row["rating"])
        if len(calls) > 25:
            raise ValueError("no more")
        return "fine"

    async def succeeds(row: dict[str, Any]) -> str:
        calls.append(row["rating"])
        return "fine"

    columns = [sampler(), llm("review", "Rate {{ rating }}")]
    models = [model(limit=8)]
    settings = {"error_window": 5, "max_error_share": 0.5}
    failing = prepared(
        *columns, custom("check", fails_late, ["review", "rating"]), records=10 * ROWS, models=models, run=settings
    )
    stopped = run(failing, database, expects_error=True)
    assert stopped.error is not None
    reviewed = requests(stopped)["review"]
    stopped.store.close()
    mended = prepared(
        *columns, custom("check", succeeds, ["review", "rating"]), records=10 * ROWS, models=models, run=settings
    )
    change = accept_change(mended, database, EPOCH + 100)
    assert change.changed == ("check",)
    second = run(mended, database, starts_at_s=200)
    assert len(second.dataset()) + second.sql("select count(*) from dropped_row")[0][0] == 10 * ROWS
    assert 0 < reviewed < 10 * ROWS
    assert requests(second, since=1)["review"] == 10 * ROWS - reviewed


def test_only_marking_a_column_drop_generates_nothing(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    hidden = prepared(
        sampler(),
        llm("review", "Rate {{ rating }}", drop=True),
        llm("short", "Shorten {{ review }}"),
        llm("title", "Name {{ short }}"),
        expression("length", "length(title)"),
        records=ROWS,
        row_group_size=10,
        models=[model(limit=8)],
    )
    change = accept_change(hidden, database, EPOCH + 100)
    assert change.hidden == ("review",)
    second = run(hidden, database, starts_at_s=200)
    assert requests(second, since=1) == {}
    assert "review" not in second.dataset()[0]
    assert len(second.dataset()) == ROWS


@pytest.mark.slow
def test_another_seed_makes_everything_again(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    other = chain(seed=12)
    change = accept_change(other, database, EPOCH + 100)
    assert change.seeds is not None
    assert change.seeds[1] == 12
    second = run(other, database, starts_at_s=200)
    assert second.dataset() == run(other).dataset()


@pytest.mark.slow
def test_columns_in_another_order_keep_every_value(run: Run, database: Path) -> None:
    first = run(chain("Shorten {{ review }}", llm("mood", "Mood of {{ review }}")), database)
    before = first.dataset()
    first.store.close()
    reordered = prepared(
        llm("mood", "Mood of {{ review }}"),
        expression("length", "length(title)"),
        llm("title", "Name {{ short }}"),
        llm("short", "Shorten {{ review }}"),
        llm("review", "Rate {{ rating }}"),
        sampler(),
        records=ROWS,
        row_group_size=10,
        models=[model(limit=8)],
    )
    change = accept_change(reordered, database, EPOCH + 100)
    assert change.renumbered
    assert change.is_free
    second = run(reordered, database, starts_at_s=200)
    assert requests(second, since=1) == {}
    assert [dict(sorted(row.items())) for row in second.dataset()] == [dict(sorted(row.items())) for row in before]
    assert list(second.dataset()[0])[1] == "mood"


@pytest.mark.slow
def test_more_than_64_columns_are_renumbered_across_words(run: Run, database: Path) -> None:
    many = [expression(f"c{number}", f"rating + {number}") for number in range(70)]
    first = run(prepared(sampler(), *many, llm("review", "Rate {{ c69 }}"), models=[model()]), database)
    before = first.dataset()
    first.store.close()
    fewer = prepared(sampler(), *many[5:], llm("review", "Rate {{ c69 }}"), models=[model()])
    change = accept_change(fewer, database, EPOCH + 100)
    assert change.is_free
    second = run(fewer, database, starts_at_s=200)
    assert requests(second, since=1) == {}
    gone = {f"c{number}" for number in range(5)}
    assert second.dataset() == [{name: v for name, v in row.items() if name not in gone} for row in before]
    second.store.close()
    more = prepared(sampler(), *many, llm("review", "Rate {{ c69 }}"), models=[model()])
    accept_change(more, database, EPOCH + 300)
    third = run(more, database, starts_at_s=400)
    assert third.dataset() == before
    assert third.violations() == []


@pytest.mark.slow
def test_a_fork_shares_upstream_values_and_leaves_the_source_alone(run: Run, database: Path, tmp_path: Path) -> None:
    first = run(chain(), database)
    before = {row["row_id"]: row for row in first.dataset()}
    first.store.close()
    bytes_before = digest(database)
    changed = chain("Say it in one word: {{ review }}")
    target = tmp_path / "fork" / "other.duckdb"
    target.parent.mkdir()
    fork(changed, database, target, EPOCH + 100)
    assert digest(database) == bytes_before
    other = run(changed, target, starts_at_s=200)
    assert requests(other, since=1) == {"short": ROWS, "title": ROWS}
    assert all(row["review"] == before[row["row_id"]]["review"] for row in other.dataset())
    with pytest.raises(UsageError, match="exists already"):
        fork(changed, database, target, EPOCH + 100)


def test_dropped_rows_keep_their_reason_and_values_over_a_change(run: Run, database: Path) -> None:
    async def picky(row: dict[str, Any]) -> str:
        if row["rating"] == 3:
            raise ValueError("not three")
        return "fine"

    columns = [sampler(), custom("check", picky, ["rating"])]
    settings = {"max_error_share": 1.0}
    first = run(prepared(*columns, records=ROWS, run=settings), database)
    dropped = first.sql("select row_id, reason, column_name from dropped_row order by row_id")
    assert dropped
    first.store.close()
    more = prepared(*columns, expression("double", "rating * 2"), records=ROWS, run=settings)
    accept_change(more, database, EPOCH + 100)
    second = run(more, database, starts_at_s=200)
    assert second.sql("select row_id, reason, column_name from dropped_row order by row_id") == dropped
    assert len(second.dataset()) == ROWS - len(dropped)
    assert second.violations() == []


def test_looking_at_the_same_spec_finds_nothing(run: Run, database: Path) -> None:
    run(chain(), database).store.close()
    assert not look_at_change(chain(), database)


@pytest.mark.parametrize(
    ("file", "spec_name", "name"),
    [
        ("short.duckdb", None, "short"),
        ("short.duckdb", "of-its-own", "of-its-own"),
        ("not a name!.duckdb", None, "parent-fork"),
        ("parent.duckdb", None, "parent-fork"),
    ],
)
def test_a_fork_is_not_called_like_its_parent(
    file: str, spec_name: str | None, name: str, run: Run, database: Path, tmp_path: Path
) -> None:
    first = prepared(sampler(), records=1, name="parent")
    run(first, database).store.close()
    target = tmp_path / "forks" / file
    target.parent.mkdir(parents=True)
    named = first if spec_name is None else replace(first, spec=first.spec.model_copy(update={"name": spec_name}))
    fork(named, database, target, EPOCH + 100)
    with RunDatabase.open(target) as forked:
        assert forked.status().name == name
        (version,) = forked.sql("select spec from spec_version order by version desc limit 1").to_pylist()
    assert json.loads(version["spec"])["name"] == name


def test_a_fork_has_the_pictures_of_its_source(run: Run, database: Path, tmp_path: Path) -> None:
    photo = {"name": "photo", "column_type": "image", "model_alias": "writer", "prompt": "Draw {{ rating }}"}
    models = [model()]
    photo["model_alias"] = models[0]["alias"]
    first = prepared(sampler(), photo, records=4, models=models)
    run(first, database).store.close()
    other = tmp_path / "other.duckdb"
    fork(first, database, other, EPOCH + 100)
    names = {str(path.relative_to(tmp_path / "other.duckdb.files")) for path in tmp_path.glob("other.duckdb.files/*/*")}
    assert names == {f"photo/{row}.png" for row in range(4)}
