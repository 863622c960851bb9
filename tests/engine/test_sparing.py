"""A changed spec makes again only what comes out otherwise: cells whose inputs are as before have their earlier value (V8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from virtual_run import EPOCH, Finished, custom, expression, llm, model, prepared, sampler

from rowmill.engine.change import accept_change
from rowmill.engine.preparation import Prepared

Run = Callable[..., Finished]

ROWS = 40


async def first_mood(row: Mapping[str, Any]) -> str:
    """Before it is mended: three rows differ from what it says afterwards."""
    return "sad" if row["number"] in {3, 17, 31} else f"mood {row['number'] % 7}"


async def mended_mood(row: Mapping[str, Any]) -> str:
    return f"mood {row['number'] % 7}"


def chain(directory: Path, mood: Callable[..., Any], *more: dict[str, Any], **fields: Any) -> Prepared:
    """A function between seed data and two columns that ask a model."""
    (directory / "numbers.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(ROWS)))
    columns = [
        custom("mood", mood, ["number"]),
        llm("a", "Write about {{ mood }}"),
        llm("b", "Shorten {{ a }}"),
        *more,
    ]
    fields = {"records": ROWS, "row_group_size": 10, "models": [model(limit=8)], **fields}
    return prepared(*columns, directory=directory, seed_dataset={"path": "numbers.csv"}, **fields)


def requests(finished: Finished, since: int = 0) -> dict[str, int]:
    query = "select generator, count(*) from attempt where model is not null and invocation > $since group by all order by all"
    return dict(finished.sql(query, since=since))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "run.duckdb"


def test_v8_only_cells_whose_inputs_changed_are_asked_for_again(run: Run, database: Path) -> None:
    run(chain(database.parent, first_mood), database).store.close()
    mended = chain(database.parent, mended_mood)
    accept_change(mended, database, EPOCH + 100)
    again = run(mended, database, starts_at_s=200)
    assert requests(again, since=1) == {"a": 3, "b": 3}
    assert again.violations() == []
    assert again.dataset() == run(mended).dataset()
