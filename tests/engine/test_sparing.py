"""A changed spec makes again only what comes out otherwise: cells whose inputs are as before have their value (V8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from virtual_run import EPOCH, Finished, custom, expression, llm, model, prepared

from rowmill.engine.change import accept_change, fork, look_at_change
from rowmill.engine.preparation import Prepared
from rowmill.engine.reopening import extend, rerun, retry_dropped
from rowmill.errors import GeneratorError
from rowmill.store.reading.details import read_details
from rowmill.store.reading.status import KeptCells, read_status
from rowmill.task import FinishedRowGroup

Run = Callable[..., Finished]
Column = dict[str, Any]

ROWS = 12
CHANGED = (3, 7, 10)
"""The rows in which a mended function says something else."""


async def first_mood(row: Mapping[str, Any]) -> str:
    return "sad" if row["number"] in CHANGED else f"mood {row['number'] % 5}"


async def mended_mood(row: Mapping[str, Any]) -> str:
    return f"mood {row['number'] % 5}"


class Picky:
    """A function that refuses some rows, until it is told not to."""

    refused: ClassVar[set[int]] = set()


async def picky(row: Mapping[str, Any]) -> str:
    if row["number"] in Picky.refused:
        raise ValueError("not this one")
    return "fine"


class Moods:
    """What a spec with seed data says of moods: the texts of its expressions."""

    FIRST = "case when number in (3, 7, 10) then 'sad' else 'mood ' || number % 5 end"
    MENDED = "'mood ' || number % 5"
    MERRY = "case when number in (3, 5) then 'merry' else 'mood ' || number % 5 end"


class Stops:
    """A callback that raises at the n-th row group, which ends the run."""

    def __init__(self, row_groups: int) -> None:
        self.left = row_groups

    def __call__(self, _: FinishedRowGroup) -> None:
        self.left -= 1
        if self.left == 0:
            raise GeneratorError("enough", "Enough")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "numbers.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(40)))
    return tmp_path / "run.duckdb"


def spec(database: Path, *columns: Column, **fields: Any) -> Prepared:
    """These columns over seed data with a number in each row."""
    given = {"records": ROWS, "row_group_size": 4, "models": [model(limit=8)], **fields}
    return prepared(*columns, directory=database.parent, seed_dataset={"path": "numbers.csv"}, **given)


def chain(database: Path, mood: str, *more: Column, between: Sequence[Column] = (), **fields: Any) -> Prepared:
    """An expression, then two columns in a row that ask a model."""
    columns = [
        expression("mood", mood, "str"),
        *between,
        llm("a", "Write about {{ mood }}"),
        llm("b", "Shorten {{ a }}"),
        *more,
    ]
    return spec(database, *columns, **fields)


def requests(finished: Finished, since: int = 1) -> dict[str, int]:
    """How many requests each column made after that many invocations."""
    query = (
        "select generator, count(*) from attempt where model is not null and invocation > $since "
        "group by all order by all"
    )
    return dict(finished.sql(query, since=since))


def accepted(run: Run, database: Path, changed: Prepared, *, at: float = 100.0, **options: Any) -> Finished:
    """The run under another spec, to its end, and found sound."""
    accept_change(changed, database, EPOCH + at)
    again = run(changed, database, starts_at_s=at + 100, **options)
    assert again.violations() == []
    return again


def is_decided(finished: Finished) -> bool:
    return finished.sql("select count(*) from state.earlier_row") == [(0,)]


@pytest.mark.slow
def test_v8_a_mended_function_costs_what_comes_out_otherwise(run: Run, database: Path) -> None:
    def moody(function: Callable[..., Any]) -> Prepared:
        return spec(
            database,
            custom("mood", function, ["number"]),
            llm("a", "Write about {{ mood }}"),
            llm("b", "Shorten {{ a }}"),
            records=40,
            row_group_size=10,
        )

    run(moody(first_mood), database).store.close()
    again = accepted(run, database, moody(mended_mood))
    assert requests(again) == {"a": 3, "b": 3}
    assert again.dataset() == run(moody(mended_mood)).dataset()
    assert is_decided(again)


@pytest.mark.slow
def test_v8_a_value_that_comes_out_as_before_in_the_middle_spares_what_follows(run: Run, database: Path) -> None:
    """Another text is written, but its length is the same in all rows but one."""
    numbers = [expression("kind", "if(number % 4 = 0, 'even', 'odd')", "str")]
    other = [expression("kind", "case number when 4 then 'other' else if(number % 4 = 0, 'EVEN', 'ODD') end", "str")]
    rest = [expression("size", "length(kind)"), llm("a", "Write {{ size }} words"), llm("b", "Rate {{ a }} {{ kind }}")]
    run(spec(database, *numbers, *rest), database).store.close()
    changed = spec(database, *other, *rest)
    again = accepted(run, database, changed)
    assert requests(again) == {"a": 1, "b": ROWS}
    assert again.dataset() == run(changed).dataset()


@pytest.mark.slow
def test_a_change_that_comes_out_the_same_everywhere_asks_for_nothing(run: Run, database: Path) -> None:
    run(chain(database, Moods.MENDED), database).store.close()
    changed = chain(database, f"{Moods.MENDED} || ''")
    again = accepted(run, database, changed)
    assert requests(again) == {}
    assert len(again.dataset()) == ROWS
    assert is_decided(again)


@pytest.mark.slow
def test_a_column_that_changed_itself_is_made_again_though_its_inputs_are_as_before(run: Run, database: Path) -> None:
    run(chain(database, Moods.MENDED), database).store.close()
    columns = [expression("mood", f"{Moods.MENDED} || ''", "str"), llm("a", "Sing of {{ mood }}")]
    changed = spec(database, *columns, llm("b", "Shorten {{ a }}"))
    again = accepted(run, database, changed)
    assert requests(again) == {"a": ROWS, "b": ROWS}
    assert again.dataset() == run(changed).dataset()


def test_the_price_of_a_change_says_that_it_is_the_most_where_it_can_be_less(run: Run, database: Path) -> None:
    run(chain(database, Moods.FIRST), database).store.close()
    assert "'a' for 12 rows, 'b' for 12 rows; about 24 requests" in str(
        look_at_change(chain(database, Moods.MENDED), database)
    )
    assert "That is the most" in str(look_at_change(chain(database, Moods.MENDED), database))
    last = spec(
        database, expression("mood", Moods.FIRST, "str"), llm("a", "Write about {{ mood }}"), llm("b", "Cut {{ a }}")
    )
    assert "the most" not in str(look_at_change(last, database))


@pytest.mark.slow
def test_the_status_and_the_events_say_how_many_cells_were_kept(run: Run, database: Path) -> None:
    run(chain(database, Moods.FIRST), database).store.close()
    again = accepted(run, database, chain(database, Moods.MENDED))
    kept = again.sql("select subject, sum(detail::int) from event where kind = 'cells kept' group by all order by all")
    assert kept == [("a", ROWS - 3), ("b", ROWS - 3)]
    status = read_status(again.store.connection)
    details = read_details(again.store.connection, status, EPOCH + 300)
    assert details.kept == (KeptCells("a", ROWS - 3), KeptCells("b", ROWS - 3))
    again.store.close()
    third = accepted(run, database, chain(database, Moods.FIRST), at=1000)
    details = read_details(third.store.connection, read_status(third.store.connection), EPOCH + 2000)
    assert details.kept == (KeptCells("a", ROWS - 3), KeptCells("b", ROWS - 3))


# What is the same, and what only looks like it ---------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "dtype", "makes_again"),
    [
        ("'NaN'::double + number", "'NaN'::double", "float", 0),
        ("0.0::double", "-0.0::double", "float", ROWS),
        ("null::int", "nullif(1, 1)", "int", 0),
        ("[0.0::double]", "[-0.0::double]", "DOUBLE[]", ROWS),
        ("1", "1 + 0 * number", "int", 0),
        ("'1'", "'1 '", "str", ROWS),
    ],
)
def test_inputs_are_compared_to_the_bit(
    run: Run, database: Path, before: str, after: str, dtype: str, makes_again: int
) -> None:
    def said(sql: str) -> Prepared:
        return spec(database, expression("value", sql, dtype), llm("a", "Say {{ value }}{{ number }}"))

    run(said(before), database).store.close()
    changed = said(after)
    again = accepted(run, database, changed)
    assert requests(again).get("a", 0) == makes_again
    assert again.column("a") == run(changed).column("a")


@pytest.mark.slow
def test_an_input_of_another_type_is_another_input(run: Run, database: Path) -> None:
    async def kind(row: Mapping[str, Any]) -> str:
        return type(row["value"]).__name__

    def typed(dtype: str) -> Prepared:
        return spec(database, expression("value", "1", dtype), custom("kind", kind, ["value"]))

    run(typed("int"), database).store.close()
    again = accepted(run, database, typed("str"))
    assert set(again.column("kind")) == {"str"}


@pytest.mark.slow
def test_null_that_was_skipped_is_not_null_that_was_made(run: Run, database: Path) -> None:
    """The first column is skipped, and what needs it with it; then it is null by itself, and what needs it is made."""

    def noted(rule: dict[str, str] | None) -> Prepared:
        async def note(row: Mapping[str, Any]) -> str | None:
            return None if row["number"] % 2 else "note"

        skip = {} if rule is None else {"skip": rule}
        return spec(database, custom("note", note, ["number"], **skip), llm("a", "Say {{ note }}"))

    run(noted({"when": "number % 2 = 1"}), database).store.close()
    changed = noted(None)
    again = accepted(run, database, changed)
    assert requests(again) == {"a": ROWS // 2}
    assert again.dataset() == run(changed).dataset()


@pytest.mark.parametrize("rule", [pytest.param("mood = 'sad'", marks=pytest.mark.slow), "{{ mood == 'sad' }}"])
def test_skipped_cells_are_kept_as_skipped_where_the_rule_sees_what_it_saw(run: Run, database: Path, rule: str) -> None:
    def judged(mood: str) -> Prepared:
        return spec(
            database,
            expression("mood", mood, "str"),
            llm("a", "Write about {{ mood }}", skip={"when": rule, "value": "nothing"}),
            llm("b", "Shorten {{ a }}", propagate_skip=False),
        )

    run(judged(Moods.FIRST), database).store.close()
    changed = judged(Moods.MERRY)
    again = accepted(run, database, changed)
    # Rows 3, 7 and 10 were skipped; 3 and 5 are merry now, 7 and 10 like others.
    assert requests(again) == {"a": 4, "b": 4}
    fresh = run(changed)
    assert again.dataset() == fresh.dataset()
    skipped = "select column_name, skipped from progress order by all"
    assert again.sql(skipped) == fresh.sql(skipped)
    again.store.close()
    back = accepted(run, database, judged(Moods.FIRST), at=1000)
    assert requests(back, since=2) == {"a": 1, "b": 4}
    assert back.sql(skipped) == run(judged(Moods.FIRST)).sql(skipped)


# Changes on changes, and runs that stop ----------------------------------------------------------------


@pytest.mark.slow
def test_a_change_taken_back_before_the_run_went_on_costs_nothing(run: Run, database: Path) -> None:
    first = chain(database, Moods.FIRST)
    finished = run(first, database)
    before = finished.dataset()
    finished.store.close()
    accept_change(chain(database, Moods.MENDED), database, EPOCH + 100)
    again = accepted(run, database, first, at=200)
    assert requests(again) == {}
    assert again.dataset() == before


@pytest.mark.slow
def test_a_second_change_in_the_middle_of_the_first_finds_what_either_left(run: Run, database: Path) -> None:
    """The run stops when half of its rows are made again; of these the newer values count as well."""
    run(chain(database, Moods.FIRST), database).store.close()
    accept_change(chain(database, Moods.MERRY), database, EPOCH + 100)
    one_by_one = {"max_active_row_groups": 1}
    left = run(
        chain(database, Moods.MERRY, run=one_by_one),
        database,
        starts_at_s=200,
        on_row_group_finished=Stops(2),
        expects_error=True,
    )
    assert left.error is not None
    assert requests(left) == {"a": 3, "b": 3}
    assert left.violations() == []
    left.store.close()
    mended = chain(database, Moods.MENDED)
    again = accepted(run, database, mended, at=1000)
    assert again.dataset() == run(mended).dataset()
    # Rows 3 and 5 were merry in between, and 10 is sad until now. Row 7 stopped being sad with the first change.
    assert requests(again, since=2) == {"a": 3, "b": 3}
    assert is_decided(again)


@pytest.mark.slow
def test_a_fork_asks_for_no_more_than_the_change_does(run: Run, database: Path, tmp_path: Path) -> None:
    run(chain(database, Moods.FIRST), database).store.close()
    changed = chain(database, Moods.MENDED)
    target = tmp_path / "other.duckdb"
    fork(changed, database, target, EPOCH + 100)
    other = run(changed, target, starts_at_s=200)
    assert requests(other) == {"a": 3, "b": 3}
    assert other.dataset() == run(changed).dataset()
    other.store.close()
    third = run(chain(database, Moods.FIRST), database, starts_at_s=300)
    assert requests(third) == {}


@pytest.mark.slow
def test_rows_that_come_after_the_change_are_made_as_ever(run: Run, database: Path) -> None:
    run(chain(database, Moods.FIRST), database).store.close()
    accept_change(chain(database, Moods.MENDED), database, EPOCH + 100)
    extend(database, ROWS + 5, None, EPOCH + 150)
    longer = chain(database, Moods.MENDED, records=ROWS + 5)
    again = run(longer, database, starts_at_s=200)
    assert requests(again) == {"a": 3 + 5, "b": 3 + 5}
    assert [row["b"] for row in again.dataset()] == [row["b"] for row in run(longer).dataset()]


@pytest.mark.slow
def test_cells_a_person_wants_made_again_are_made_again(run: Run, database: Path) -> None:
    run(chain(database, Moods.FIRST), database).store.close()
    changed = chain(database, Moods.MENDED)
    accept_change(changed, database, EPOCH + 100)
    rerun(database, "mood", None, EPOCH + 150)  # no row has it
    again = run(changed, database, starts_at_s=200)
    assert requests(again) == {"a": 3, "b": 3}
    again.store.close()
    rerun(database, "a", "number < 4", EPOCH + 300)
    assert requests(run(changed, database, starts_at_s=400), since=2) == {"a": 4, "b": 4}


@pytest.mark.slow
def test_cells_chosen_while_a_change_waits_are_not_spared(run: Run, database: Path) -> None:
    """A column beside the change still has its cells, so that they can be chosen; what needs both is made again."""
    both = llm("both", "Join {{ b }} {{ plain }}")
    first = chain(database, Moods.FIRST, llm("plain", "Write of {{ number }}"), both)
    changed = chain(database, Moods.MENDED, llm("plain", "Write of {{ number }}"), both)
    run(first, database).store.close()
    accept_change(changed, database, EPOCH + 100)
    rerun(database, "plain", "number < 2", EPOCH + 150)
    again = run(changed, database, starts_at_s=200)
    assert requests(again) == {"a": 3, "b": 3, "plain": 2, "both": 3 + 2}
    assert again.dataset() == run(changed).dataset()


@pytest.mark.slow
def test_dropped_rows_that_are_tried_again_are_spared_as_well(run: Run, database: Path) -> None:
    Picky.refused = {1, 3}

    def checked(mood: str) -> Prepared:
        more = [custom("check", picky, ["b", "number"]), llm("c", "Say {{ check }} {{ b }}")]
        return chain(database, mood, *more, run={"max_error_share": 1.0})

    first = run(checked(Moods.FIRST), database)
    assert len(first.dataset()) == ROWS - 2
    first.store.close()
    again = accepted(run, database, checked(Moods.MENDED))
    assert requests(again) == {"a": 2, "b": 2, "c": 2}
    again.store.close()
    Picky.refused = set()
    assert retry_dropped(database, None, EPOCH + 500).rows == 2
    third = run(checked(Moods.MENDED), database, starts_at_s=600)
    # Row 1 has what it had; row 3 says something else. No row that was dropped ever had the last column.
    assert requests(third, since=2) == {"a": 1, "b": 1, "c": 2}
    assert third.dataset() == run(checked(Moods.MENDED)).dataset()
    assert is_decided(third)


@pytest.mark.slow
def test_an_invalid_row_that_is_tried_again_is_made_again(run: Run, database: Path) -> None:
    def checked(mood: str) -> Prepared:
        check = {
            "name": "check",
            "column_type": "validation",
            "target_columns": ["a"],
            "validator_type": "sql",
            "validator_params": {"predicate": "number <> 2"},
            "on_invalid": "drop",
        }
        return chain(database, mood, check)

    run(checked(Moods.FIRST), database).store.close()
    again = accepted(run, database, checked(Moods.MENDED))
    assert again.sql("select row_id, reason from dropped_row") == [(2, "invalid")]
    again.store.close()
    retry_dropped(database, None, EPOCH + 500)
    third = run(checked(Moods.MENDED), database, starts_at_s=600)
    assert requests(third, since=2)["a"] == 1
    assert is_decided(third)


# What is made again all the same ------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_verdict_may_have_made_again_is_made_again(run: Run, database: Path) -> None:
    check = {
        "name": "check",
        "column_type": "validation",
        "target_columns": ["c"],
        "validator_type": "sql",
        "validator_params": {"predicate": "length(c) > 0"},
        "on_invalid": "regenerate",
    }

    def made(mood: str) -> Prepared:
        return chain(
            database, mood, llm("c", "Say {{ b }}"), check, llm("d", "{{ check.is_valid }} {{ c }} {{ mood }}")
        )

    run(made(Moods.FIRST), database).store.close()
    again = accepted(run, database, made(Moods.MENDED))
    assert requests(again) == {"a": 3, "b": 3, "c": ROWS, "d": ROWS}
    assert again.dataset() == run(made(Moods.MENDED)).dataset()


@pytest.mark.slow
def test_rows_that_a_barrier_lets_come_back_are_spared_as_well(run: Run, database: Path) -> None:
    """Rows 3 and 10 were equal to others when they were compared; after the change they are not, and come back."""

    def unique(mood: str) -> Prepared:
        one_of = {"name": "one", "column_type": "deduplicate", "columns": ["mood"]}
        return spec(
            database,
            expression("mood", mood, "str"),
            llm("a", "Write about {{ number }}{{ mood[:0] }}"),
            one_of,
            llm("b", "Shorten {{ a }}", requires=["one"]),
        )

    first = run(unique("if(number in (3, 10), 'mood 1', 'mood ' || number)"), database)
    assert len(first.dataset()) == ROWS - 2
    first.store.close()
    changed = unique("'mood ' || number")
    again = accepted(run, database, changed)
    assert again.dataset() == run(changed).dataset()
    assert requests(again) == {"a": 2, "b": 2}
    assert is_decided(again)


@pytest.mark.slow
def test_cells_beyond_the_64th_generator_are_spared_and_numbers_may_move(run: Run, database: Path) -> None:
    """The columns in front become fewer, so that bits move from one word to another."""

    def many(count: int, mood: str) -> Prepared:
        front = [expression(f"x{place}", f"number + {place}") for place in range(count)]
        return chain(database, mood, between=front)

    run(many(64, Moods.FIRST), database).store.close()
    again = accepted(run, database, many(64, Moods.MENDED))
    assert requests(again) == {"a": 3, "b": 3}
    again.store.close()
    third = accepted(run, database, many(2, Moods.FIRST), at=1000)
    assert requests(third, since=2) == {"a": 3, "b": 3}
    assert third.dataset() == run(many(2, Moods.FIRST)).dataset()
    assert is_decided(third)
