"""A run cut into shards makes what the whole run makes, and merging them makes one run database (P7, P8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from virtual_run import EPOCH, Finished, custom, expression, llm, model, prepared, sampler

from rowmill.config import generator
from rowmill.engine import merging
from rowmill.engine.change import fork
from rowmill.engine.merging import merge
from rowmill.engine.preparation import Prepared
from rowmill.engine.reopening import extend, prepare_inside, rerun, retry_dropped
from rowmill.errors import Incompatible, Locked, UsageError
from rowmill.graph.plan import Plan
from rowmill.graph.shard import ShardOrder
from rowmill.store.database.connection import Connection
from rowmill.store.reshape.merge import JOINED_TABLES, MERGED_TABLES, SHARED_TABLES
from rowmill.store.run_store import RunStore

Run = Callable[..., Finished]
ROWS, SIZE = 23, 4


async def shout(row: dict[str, Any]) -> dict[str, Any]:
    if row["row_place"] % 7 == 3:
        raise ValueError("a row that cannot be made")
    return {"shouted": row["said"].upper()}


@generator(strategy="batch", required_columns=["said", "shouted"])
async def longest(rows: pa.Table) -> pa.Table:
    """What a batch sees is its row group: its values tell where the borders were."""
    said = rows.column("said").to_pylist()
    return rows.append_column("longest_of_group", pa.array([f"{max(said, key=len)} of {len(said)}"] * len(said)))


@pytest.fixture
def spec_of(tmp_path: Path) -> Callable[..., Prepared]:
    (tmp_path / "seed.jsonl").write_text("".join(json.dumps({"word": f"word {n}"}) + "\n" for n in range(7)))

    def make(*more: dict[str, Any], **fields: Any) -> Prepared:
        columns = [
            sampler(),
            sampler("place", list(range(100))),
            expression("row_place", "place"),
            llm("said", "Say {{ word }} {{ rating }} times", skip={"when": "{{ rating == 5 }}", "value": "nothing"}),
            custom("shouted", shout, ["said", "row_place"]),
            {"name": "longest_of_group", "column_type": "custom", "generator_function": longest},
            *more,
        ]
        seed = {"path": str(tmp_path / "seed.jsonl"), "sampling_strategy": "shuffle"}
        settings: dict[str, Any] = {
            "records": ROWS,
            "row_group_size": SIZE,
            "models": [model(input_usd_per_million_tokens=9.0)],
        }
        settings |= {"seed_dataset": seed, "run": {"max_error_share": 1.0}}
        return prepared(*columns, **(settings | fields))

    return make


@pytest.fixture
def sharded(run: Run, tmp_path: Path) -> Callable[..., list[Path]]:
    """Runs all shards of a spec, each as a database of its own, and closes them."""

    def make(spec: Prepared, count: int = 3, only: Sequence[int] = ()) -> list[Path]:
        paths = []
        for number in only or range(1, count + 1):
            path = tmp_path / f"shard-{number}.duckdb"
            finished = run(spec, path, shard=ShardOrder(number, count))
            assert finished.violations() == []
            finished.store.close()
            paths.append(path)
        return paths

    return make


def digests(paths: Sequence[Path]) -> list[str]:
    return [sha256(path.read_bytes()).hexdigest() for path in paths]


_WHAT_COUNTS = (
    "from dataset order by row_id",
    "select * exclude (dropped_at) from dropped_row order by row_id",
    "select generator, row_id, attempt, outcome, input_tokens, output_tokens, cost_usd from attempt order by all",
    "select model, sum(requests), sum(input_tokens), sum(output_tokens), round(sum(cost_usd), 9) from usage group by 1",
    "select * exclude (admitted_at, finished_at) from row_group order by 1",
    "select * exclude (started_at, updated_at, invocations, cost_usd) from run_status",
    "from progress",
    "from plan",
)


def told(finished: Finished) -> list[list[tuple[Any, ...]]]:
    return [finished.sql(query) for query in _WHAT_COUNTS]


# Cutting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_p7_numbered_shards_hold_every_row_group_once(count: int) -> None:
    plan = Plan.fresh(ROWS, SIZE)
    shards = [ShardOrder(number, count).of(plan) for number in range(1, count + 1)]
    groups = [
        segment.first_row_group + place
        for shard in shards
        for segment in shard.cut(plan)
        for place in range(segment.row_groups)
    ]
    assert groups == list(range(plan.row_groups))
    assert [shards[0].first_row, *(shard.end_row for shard in shards)][-1] == ROWS
    assert sum(shard.rows for shard in shards) == ROWS


def test_p7_a_border_inside_a_row_group_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UsageError, match=r"Row 6 lies inside row group 1.*here at 4 or 8"):
        ShardOrder(rows=(0, 6)).of(Plan.fresh(ROWS, SIZE))


@pytest.mark.parametrize(
    ("shard", "rows"), [((0, 3), None), ((4, 3), None), (None, range(5, 2)), (None, range(0, 8, 2))]
)
def test_p7_a_shard_that_is_none_is_refused(shard: tuple[int, int] | None, rows: range | None) -> None:
    with pytest.raises(UsageError):
        ShardOrder.asked(shard, rows)


def test_p7_rows_the_run_does_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match="has 23 rows"):
        ShardOrder(rows=(20, 24)).of(Plan.fresh(ROWS, SIZE))


def test_p7_the_shards_of_a_run_together_make_its_dataset_row_for_row(
    run: Run, spec_of: Callable[..., Prepared], tmp_path: Path
) -> None:
    whole = run(spec_of()).dataset()
    assert 10 < len(whole) < ROWS
    found: list[dict[str, Any]] = []
    for first, end in ((0, 8), (8, 12), (12, ROWS)):
        shard = run(spec_of(), tmp_path / f"{first}.duckdb", shard=ShardOrder(rows=(first, end)))
        assert shard.report is not None
        assert shard.report.records == end - first
        found += shard.dataset()
    assert found == whole


def test_p7_a_shard_goes_on_without_being_told_again_and_refuses_to_be_another(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]]
) -> None:
    (path,) = sharded(spec_of(), only=[2])
    assert run(spec_of(), path).report is not None
    for order in (ShardOrder(1, 3), ShardOrder(2, 4), ShardOrder(rows=(0, 8))):
        with pytest.raises(Incompatible, match=r"is shard 2/3, rows 8\.\.16 of 23, not"):
            run(spec_of(), path, shard=order)
    with pytest.raises(Incompatible, match="A shard is not extended"):
        run(spec_of(records=ROWS + 1), path)
    with pytest.raises(UsageError, match="its rows are fixed"):
        extend(path, ROWS + 1, None, EPOCH)


def test_p7_a_whole_run_is_no_shard(run: Run, spec_of: Callable[..., Prepared], tmp_path: Path) -> None:
    run(spec_of(), tmp_path / "whole.duckdb").store.close()
    with pytest.raises(Incompatible, match="holds the whole run, not shard 1/2"):
        run(spec_of(), tmp_path / "whole.duckdb", shard=ShardOrder(1, 2))


def test_p7_what_needs_all_rows_in_order_is_not_cut(run: Run) -> None:
    @generator(strategy="batch", required_columns=["rating"], ordered=True)
    async def chapter(rows: pa.Table, state: Any) -> tuple[pa.Table, Any]:
        return rows, state

    ordered = prepared(sampler(), {"name": "chapter", "column_type": "custom", "generator_function": chapter})
    with pytest.raises(UsageError, match=r"Column 'chapter' is made in order"):
        run(ordered, shard=ShardOrder(1, 2))
    fields: dict[str, Any] = {"records": {"accepted": 4, "at_most": 8}}
    until_accepted = prepared(sampler(), **fields)
    with pytest.raises(UsageError, match="until so many rows are accepted cannot be cut"):
        run(until_accepted, shard=ShardOrder(1, 2))


def test_p7_a_shard_has_its_part_of_the_budget(run: Run, tmp_path: Path) -> None:
    spec = prepared(
        sampler(), llm("said", "{{ rating }}"), records=40, row_group_size=2, models=[model(limit=1)],
        run={"max_requests": 20, "max_active_row_groups": 1},
    )  # fmt: skip
    finished = run(spec, tmp_path / "shard.duckdb", shard=ShardOrder(1, 4))
    assert finished.report is not None
    assert finished.report.exit_code == 75
    assert "5 of 5 requests are made (this shard has 25 % of the run's)" in finished.report.message
    assert finished.sql("select count(*) from attempt")[0][0] in (5, 6)


def test_p7_a_shard_rests_before_the_first_barrier_and_says_so(
    run: Run, spec_of: Callable[..., Prepared], tmp_path: Path
) -> None:
    unique = {"name": "unique_said", "column_type": "deduplicate", "columns": ["said"]}
    spec = spec_of(unique, expression("length", "length(said)"))
    finished = run(spec, tmp_path / "shard.duckdb", shard=ShardOrder(1, 3))
    report = finished.report
    assert report is not None
    assert report.exit_code in (0, 3)
    assert report.rows_finished == 0
    assert "wait: shard 1/3, rows 0..8 of 23 is done up to column" in report.message
    assert finished.sql("select reason from run_status")[0][0].endswith("merge it with the other shards")
    again = run(spec, tmp_path / "shard.duckdb")
    assert again.report is not None
    assert again.report.message == report.message
    assert again.violations() == []


# Merging ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_p8_merged_shards_are_what_one_run_leaves(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    whole = run(spec_of(), tmp_path / "whole.duckdb")
    shards = sharded(spec_of(), 4)
    before = digests(shards)
    merged = merge(tmp_path / "merged.duckdb", shards[::-1], EPOCH + 100)
    assert digests(shards) == before
    assert (merged.status.state, merged.missing, merged.unfinished) == ("finished", (), ())
    again = run(spec_of(), tmp_path / "merged.duckdb")
    assert told(again) == told(whole)
    assert again.violations() == []
    assert again.sql("select count(*), count(distinct invocation) from invocation") == [(5, 5)]
    assert again.sql("select count(*) from event where kind = 'merged'") == [(1,)]
    assert again.sql("select count(*) from attempt where invocation not in (select invocation from invocation)") == [
        (0,)
    ]


@pytest.mark.slow
def test_p8_the_whole_goes_on_as_any_run_does(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    path = tmp_path / "merged.duckdb"
    merge(path, sharded(spec_of()), EPOCH + 100)
    dropped = run(spec_of(), path).report
    assert dropped is not None
    assert dropped.rows_dropped
    run(spec_of(), path).store.close()
    assert retry_dropped(path, None, EPOCH + 200).rows == dropped.rows_dropped
    assert rerun(path, "longest_of_group", None, EPOCH + 200).rows
    assert extend(path, ROWS + 9, None, EPOCH + 200) == (ROWS, ROWS + 9)
    grown = run(spec_of(records=ROWS + 9), path, starts_at_s=300)
    assert grown.report is not None
    assert grown.report.state == "finished"
    assert grown.violations() == []
    fork(prepare_inside_of(path, run), path, tmp_path / "fork.duckdb", EPOCH + 400)
    forked = run(None, tmp_path / "fork.duckdb", starts_at_s=500)
    assert forked.dataset() == grown_dataset(path)
    assert forked.violations() == []


def prepare_inside_of(path: Path, run: Run) -> Prepared:
    run(None, path, starts_at_s=350).store.close()
    return prepare_inside(path)


def grown_dataset(path: Path) -> list[dict[str, Any]]:
    with Connection(path, read_only=True) as connection:
        names, rows = connection.columns("from dataset")
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.slow
def test_p8_a_barrier_runs_over_the_merged_rows_as_over_those_of_one_run(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    unique = {"name": "unique_said", "column_type": "deduplicate", "columns": ["said"]}
    spec = spec_of(unique, expression("length", "length(said)"))
    whole = run(spec, tmp_path / "whole.duckdb")
    merged = merge(tmp_path / "merged.duckdb", sharded(spec), EPOCH + 100)
    assert merged.status.state == "stopped"
    assert not merged.unfinished
    went_on = run(spec, tmp_path / "merged.duckdb", starts_at_s=200)
    assert went_on.report is not None
    assert went_on.report.state == "finished"
    assert told(went_on)[:5] == told(whole)[:5]
    assert went_on.violations() == []


@pytest.mark.slow
def test_p8_rows_that_are_missing_by_consent_are_made_by_a_run_of_the_whole(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    every = sharded(spec_of())
    whole = told(run(spec_of()))
    for missing, hole in zip(every, ((0, 8), (8, 16), (16, ROWS)), strict=True):
        shards = [shard for shard in every if shard != missing]
        merged_in = tmp_path / f"all but {missing.name}"
        with pytest.raises(UsageError, match=r"no shard holds rows \d+\.\.\d+"):
            merge(merged_in, shards, EPOCH + 100)
        assert not merged_in.exists()
        merged = merge(merged_in, shards, EPOCH + 100, allow_holes=True)
        assert merged.missing == (hole,)
        went_on = run(spec_of(), merged_in, starts_at_s=200)
        assert told(went_on) == whole
        assert went_on.violations() == []


@pytest.mark.slow
def test_p8_an_unfinished_shard_keeps_what_it_has_made_and_deferred(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    first, second, third = sharded(spec_of())
    second.unlink()
    spec = spec_of()
    store = RunStore.open(second)
    store.create(_blueprint(spec, ShardOrder(2, 3)), EPOCH)
    store.begin(spec.limits, EPOCH)
    turn = store.turn(spec.spec, spec.graph)
    tasks = turn.take([], dict.fromkeys(spec.limits, 3), EPOCH).tasks
    assert tasks
    connection = store.connection
    connection.execute(
        "insert into state.deferred_task values ($g, $r, $i, 2, 'Timeout', 'slow', $at, $at, $at, 2)",
        {"g": tasks[0].generator, "r": tasks[0].row_group, "i": tasks[0].row_index, "at": _moment(50)},
    )
    store.close()
    with pytest.raises(UsageError, match=r"shard-2.duckdb has done 0 of 2 row groups"):
        merge(tmp_path / "merged.duckdb", [first, second, third], EPOCH + 100)
    merged = merge(tmp_path / "merged.duckdb", [first, second, third], EPOCH + 100, allow_holes=True)
    assert merged.unfinished == (second,)
    with Connection(tmp_path / "merged.duckdb", read_only=True) as whole:
        assert whole.execute("select attempts, error_type from deferred_task") == [(2, "Timeout")]
        assert whole.execute("from invariant_violation") == []
    went_on = run(spec, tmp_path / "merged.duckdb", starts_at_s=200)
    assert told(went_on)[0] == told(run(spec_of()))[0]
    assert went_on.violations() == []


def _blueprint(spec: Prepared, order: ShardOrder) -> Any:
    from dataclasses import replace

    shard = order.of(Plan.fresh(spec.spec.planned_records, spec.spec.row_group_size))
    return replace(spec.blueprint(), shard=shard)


def _moment(seconds: float) -> Any:
    from rowmill.store.database.staging import from_epoch

    return from_epoch(EPOCH + seconds)


@pytest.mark.slow
def test_p8_shards_that_do_not_fit_are_refused_by_name(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    first, second, third = sharded(spec_of())
    target = tmp_path / "merged.duckdb"

    def other(spec: Prepared, order: ShardOrder) -> Path:
        path = tmp_path / "other.duckdb"
        path.unlink(missing_ok=True)
        run(spec, path, shard=order).store.close()
        return path

    refusals: list[tuple[type[Exception], str, list[Path]]] = [
        (UsageError, "is named twice", [first, second, third, first]),
        (UsageError, r"shard-2.duckdb .* and .*other.duckdb .* overlap: rows 12 to 15", [
            first, second, other(spec_of(), ShardOrder(rows=(12, ROWS)))]),
    ]  # fmt: skip
    for kind, message, shards in refusals:
        with pytest.raises(kind, match=message):
            merge(target, shards, EPOCH)
    last = ShardOrder(3, 3)
    for spec, message in (
        (spec_of(seed=99), "its seed is 99"),
        (spec_of(expression("more", "1")), "its column 'more' is new"),
        (spec_of(records=ROWS + 1), "runs of different size"),
        (
            spec_of(models=[model(inference_parameters={"temperature": 0.1})]),
            "its column 'said' is made in another way",
        ),
    ):
        with pytest.raises(Incompatible, match=message):
            merge(target, [first, second, other(spec, last)], EPOCH)
    with pytest.raises(Incompatible, match="into row groups of"):
        merge(target, [first, second, other(spec_of(row_group_size=8), ShardOrder(rows=(16, ROWS)))], EPOCH)
    run(spec_of(), tmp_path / "whole.duckdb").store.close()
    with pytest.raises(UsageError, match="holds a whole run, not a shard"):
        merge(target, [tmp_path / "whole.duckdb"], EPOCH)
    with pytest.raises(UsageError, match="There is no run database"):
        merge(target, [tmp_path / "nowhere.duckdb"], EPOCH)
    with pytest.raises(UsageError, match=r"whole.duckdb exists already. The first name is that of the whole"):
        merge(tmp_path / "whole.duckdb", [first, second, third], EPOCH)
    assert not target.exists()
    assert list(tmp_path.glob(".*")) == []


def test_p8_changed_seed_rows_are_another_run(
    spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    first = sharded(spec_of(), 2, only=[1])
    (tmp_path / "seed.jsonl").write_text("".join(json.dumps({"word": f"other {n}"}) + "\n" for n in range(7)))
    with pytest.raises(Incompatible, match="its seed data has other rows"):
        merge(tmp_path / "merged.duckdb", first + sharded(spec_of(), 2, only=[2]), EPOCH)


@pytest.mark.slow
def test_p8_a_failure_in_the_middle_leaves_nothing(
    spec_of: Callable[..., Prepared],
    sharded: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards = sharded(spec_of())
    there = sorted(tmp_path.iterdir())

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(merging, "sync_file", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        merge(tmp_path / "merged.duckdb", shards, EPOCH)
    assert sorted(tmp_path.iterdir()) == there


def test_p8_a_shard_that_changes_meanwhile_is_noticed(
    spec_of: Callable[..., Prepared],
    sharded: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards = sharded(spec_of())
    prepare = merging._prepared

    def work_on_it(first: Any) -> Prepared:
        with Connection(shards[1]) as connection:
            connection.execute("update state.run set updated_at = updated_at + interval 1 second")
        return prepare(first)

    monkeypatch.setattr(merging, "_prepared", work_on_it)
    with pytest.raises(Locked, match="changed by another process"):
        merge(tmp_path / "merged.duckdb", shards, EPOCH)


def test_p8_every_table_has_its_way_into_the_whole(spec_of: Callable[..., Prepared]) -> None:
    with Connection(None) as connection:
        store = RunStore(connection, is_new=True)
        store.create(spec_of().blueprint(), EPOCH)
        tables = {
            name for (name,) in connection.execute("select table_name from duckdb_tables() where schema_name = 'state'")
        }
    named = [*MERGED_TABLES, *SHARED_TABLES, *JOINED_TABLES]
    assert len(named) == len(set(named))
    assert tables - set(named) == {"barrier", "generator_state", "shard", "worker", "worker_group"}


@pytest.mark.slow
def test_p8_more_shards_than_row_groups_leave_some_empty(
    run: Run, spec_of: Callable[..., Prepared], sharded: Callable[..., list[Path]], tmp_path: Path
) -> None:
    merge(tmp_path / "merged.duckdb", sharded(spec_of(), 9), EPOCH)
    assert run(spec_of(), tmp_path / "merged.duckdb").dataset() == run(spec_of()).dataset()
