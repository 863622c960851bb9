"""A column type of somebody else's that looks at all rows: a barrier like the built-in ones (R6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from virtual_run import prepared, run, sampler

from rowmill.errors import BarrierFailed
from rowmill.generators.protocol import Call, DatasetGenerator, DatasetRows, Runtime
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import LOCAL, Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.registry import register_column_type

_power_fails = False


@register_column_type
class ShareColumn(ColumnConfig):
    """A row's share of the sum over all rows; rows below ``least`` are not worth it."""

    column_type: Literal["test_share"] = "test_share"
    of: str
    least: float = 0.0

    def declare(self, context: DeclareContext) -> Declaration:
        place = f"columns.{context.index}"
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=(Reference(self.of, f"{place}.of"),),
            outputs=(Output(self.name, "DOUBLE"),),
            strategy=Strategy.DATASET,
            reason="looks at all rows",
            resource=LOCAL,
            may_drop_rows=True,
            fingerprint={"of": self.of, "least": self.least},
        )

    def bind(self, runtime: Runtime) -> DatasetGenerator:
        return _Share(self)


class _Share(DatasetGenerator):
    def __init__(self, column: ShareColumn) -> None:
        self._column = column

    async def generate_dataset(self, rows: DatasetRows, call: Call) -> pa.Table:
        if _power_fails:
            raise OSError("the power failed")
        table = rows.table()
        values = table[self._column.of].to_pylist()
        shares = [
            (row_id, value / sum(values)) for row_id, value in zip(table["row_id"].to_pylist(), values, strict=True)
        ]
        kept = [(row_id, share) for row_id, share in shares if share >= self._column.least]
        return pa.table({"row_id": [row_id for row_id, _ in kept], self._column.name: [share for _, share in kept]})


def _spec(records: int) -> Any:
    return prepared(
        sampler("amount", values=[1, 2, 3, 50]),
        {"name": "share", "column_type": "test_share", "of": "amount", "least": 0.05},
        {"name": "percent", "column_type": "expression", "sql": "round(100 * share)", "dtype": "float"},
        records=records,
        row_group_size=3,
    )


def test_it_runs_once_over_all_rows_and_again_over_those_of_an_extension(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    for records in (8, 14):
        done = run(_spec(records), path)
        rows = done.sql("select row_id, amount, share, percent from dataset")
        assert done.violations() == []
        dropped = done.sql("select column_name, reason from dropped_row")
        assert len(rows) + len(dropped) == records
        assert set(dropped) <= {("share", "filtered")}
        assert rows
        assert all(percent == round(100 * share) for _, _, share, percent in rows)
        done.store.close()


@pytest.mark.slow
def test_what_it_raises_stops_the_run_and_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.duckdb"
    with monkeypatch.context() as failing:
        failing.setattr(f"{__name__}._power_fails", True)
        stopped = run(_spec(8), path, expects_error=True)
    assert isinstance(stopped.error, BarrierFailed)
    assert "the power failed" in str(stopped.error)
    assert stopped.sql("select count(*) from dropped_row") == [(0,)]
    stopped.store.close()
    done = run(_spec(8), path)
    at_once = run(_spec(8))
    assert done.dataset() == at_once.dataset()
    assert done.dataset()
    done.store.close()
    at_once.store.close()
