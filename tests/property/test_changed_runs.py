"""Any change of a spec, at any moment, any number of times: the run ends as a fresh one and asks for little (V8)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from budget import Budget
from virtual_run import EPOCH, Finished, custom, expression, llm, model, prepared, run

from rowmill.engine.change import accept_change, fork
from rowmill.engine.preparation import Prepared
from rowmill.errors import GeneratorError
from rowmill.task import FinishedRowGroup

Column = dict[str, Any]
Rows = list[dict[str, Any]]

_ROWS = 10
_SKIPS = (None, None, "length({0}) % 3 = 0", "{{{{ ({0} | string | length) % 4 == 1 }}}}", "{0} is null")


async def plain(row: Mapping[str, Any]) -> str:
    """Knows little of its input, so that it often comes out the same."""
    return f"size {len(str(row)) % 4}"


async def other(row: Mapping[str, Any]) -> str | None:
    size = len(str(row)) % 4
    return f"size {size}" if size else "none"


_FUNCTIONS = (plain, other)


class _Chain:
    """Columns over seed data: each a kind, the columns it needs, and a variant that an edit draws anew."""

    def __init__(self, choose: random.Random) -> None:
        self._choose = choose
        self.columns: list[list[Any]] = []
        for place in range(choose.randint(3, 7)):
            kind = choose.choice(["sql", "sql", "function", "model", "model", "verdict"])
            before = ["number", *(f"c{earlier}" for earlier in range(place))]
            needs = sorted({before[-1], choose.choice(before)})
            self.columns.append([kind, needs, 0, choose.choice(_SKIPS), choose.random() < 0.7])
            self.edit(place)
        self.unique = choose.randrange(len(self.columns)) if choose.random() < 0.4 else None
        """The column by which rows that are equal are dropped, before any column after it is made."""

    def edit(self, place: int | None = None) -> None:
        column = self.columns[place if place is not None else self._choose.randrange(len(self.columns))]
        column[2] = self._choose.randrange(4)
        if self._choose.random() < 0.2:
            column[3] = self._choose.choice(_SKIPS)

    def prepared(self, directory: Path) -> Prepared:
        made = [self._column(f"c{place}", *column) for place, column in enumerate(self.columns)]
        if self.unique is not None:
            for column in made[self.unique + 1 :]:
                column["requires"] = ["one"]
            made.append({"name": "one", "column_type": "deduplicate", "columns": [f"c{self.unique}"]})
        return prepared(
            *made,
            directory=directory,
            records=_ROWS,
            row_group_size=4,
            models=[model(limit=4)],
            seed_dataset={"path": "numbers.csv"},
            run={"max_error_share": 1.0},
        )

    @staticmethod
    def _column(name: str, kind: str, needs: list[str], variant: int, skip: str | None, spreads: bool) -> Column:
        fields: Column = {"propagate_skip": spreads}
        said = " ".join(f"{{{{ {need} }}}}" for need in needs)
        if kind == "sql" and skip is not None and "{{" in skip:
            skip = None  # what is evaluated in the database has no such rule
        if skip is not None and kind != "verdict":
            fields["skip"] = {"when": skip.format(needs[-1] if "{{" in skip else f"{needs[-1]}::varchar")}
        if kind == "sql":
            texts = [f"coalesce({need}::varchar, '')" for need in needs]
            wholes = (" || ".join(texts), f"length({texts[0]})::varchar", f"left({texts[-1]}, 3)")
            return expression(name, (*wholes, f"left({texts[-1]}, 2 + 1)")[variant], "str", **fields)
        if kind == "function":
            return custom(name, _FUNCTIONS[variant % 2], needs, **fields)
        if kind == "verdict":
            return {
                "name": name,
                "column_type": "validation",
                "target_columns": [needs[-1]],
                "validator_type": "json_schema",
                "validator_params": {"json_schema": {"type": ["string", "integer"][variant // 2]}},
                **fields,
            }
        return llm(name, f"{'Say' if variant < 3 else 'Sing'} {said}", **fields)

    def most_requests(self, place: int, before: Rows, after: Rows) -> int:
        """Cells a column may be asked for if it did not change itself: those whose inputs did. Of null it is not seen
        whether it was skipped."""
        needs = self.columns[place][1]
        earlier = {row["row_id"]: row for row in before}
        return sum(
            row["row_id"] not in earlier
            or any(earlier[row["row_id"]][need] != row[need] or row[need] is None for need in needs)
            for row in after
        )


class _Stops:
    """A callback that raises at the n-th row group, which ends the run."""

    def __init__(self, row_groups: int) -> None:
        self.left = row_groups

    def __call__(self, _: FinishedRowGroup) -> None:
        self.left -= 1
        if self.left == 0:
            raise GeneratorError("enough", "Enough")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_changed_at_random_ends_as_a_fresh_run_and_asks_for_what_came_out_otherwise(
    tmp_path: Path, budget: Budget
) -> None:
    for number in budget.rounds(6.0, least=2):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "numbers.csv").write_text("number\n" + "".join(f"{value * 37 % 101}\n" for value in range(_ROWS)))
        _change_a_run(directory, random.Random(f"{budget.seed}:{number}"))


def _change_a_run(directory: Path, choose: random.Random) -> None:
    database = directory / "run.duckdb"
    chain = _Chain(choose)
    finished = run(chain.prepared(directory), database)
    before: Rows | None = finished.dataset()
    finished.store.close()
    at = 1000.0
    for step in range(4):
        columns = [list(column) for column in chain.columns]
        for _ in range(choose.choice([1, 1, 2])):
            chain.edit()
        spec = chain.prepared(directory)
        if choose.random() < 0.2:
            target = directory / f"fork_{step}.duckdb"
            fork(spec, database, target, EPOCH + at)
            database = target
        else:
            accept_change(spec, database, EPOCH + at)
        at += 1000
        told = f"{columns} became {chain.columns}"
        if choose.random() < 0.3:
            before = None
            continue
        stops = _Stops(choose.choice([1, 2])) if choose.random() < 0.4 else None
        again = run(spec, database, starts_at_s=at, on_row_group_finished=stops, expects_error=stops is not None)
        at += 1000
        assert again.violations() == [], told
        if stops is not None:
            before = None
            again.store.close()
            continue
        after = again.dataset()
        assert after == _fresh(spec), told
        assert again.sql("select count(*) from state.earlier_row") == [(0,)], told
        if before is not None:
            _check_requests(again, chain, columns, before, after, told)
        again.store.close()
        before = after
    last = run(chain.prepared(directory), database, starts_at_s=at)
    assert last.violations() == []
    assert last.dataset() == _fresh(chain.prepared(directory))
    last.store.close()


def _check_requests(again: Finished, chain: _Chain, columns: list[Any], before: Rows, after: Rows, told: str) -> None:
    asked = dict(
        again.sql(
            "select generator, count(*) from attempt where model is not null "
            "and invocation = (select max(invocation) from invocation) group by all"
        )
    )
    for place, column in enumerate(chain.columns):
        if column == columns[place] and chain.unique is None:
            most = chain.most_requests(place, before, after)
            assert asked.get(f"c{place}", 0) <= most, f"c{place}: {told}"


def _fresh(spec: Prepared) -> Rows:
    finished = run(spec)
    rows = finished.dataset()
    finished.store.close()
    return rows
