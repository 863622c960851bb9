"""Samplers and SQL expressions: no task, no Python per row.

Baseline of the same run: the same values by one plain ``INSERT … SELECT`` into a bare DuckDB file, with the same
macros and the same expressions; the engine adds row groups, checks that an expression may fail for a row, and moves
the rows into the dataset.

Measured on 2026-11-20, 2 shared cores, 24 GiB, Python 3.11.7, DuckDB 2.0.0, commit 71d7682, under a load of 4.5::

         rows                                    cells/s  of baseline     s  CPU µs/cell  peak MiB  file MiB  turns
    1,000,000  Rowmill                         2,390,811       49.3 %  2.09        0.408       206      32.3      3
    1,000,000  one INSERT … SELECT (baseline)  4,850,062               1.03        0.200       222      20.8

Of the turns' time, 60 % is the INSERT that computes the values, 23 % moves the rows into the dataset, 4 % commits.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rowmill.spec.declaration import Strategy
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout
from rowmill.store.layout.macros import create_sampler_macros

from .engine_run import prepared_spec, run_engine
from .gauge import Gauge, in_own_process
from .report import Figure, Report, Table
from .script import bench_script

sql = statements_of("turn/admission")
_FIGURES = (
    Figure("rows", "rows"),
    Figure("what", "what"),
    Figure("cells_per_s", "cells/s"),
    Figure("share_of_baseline", "of baseline", percent=True),
    Figure("seconds", "s", 2),
    Figure("cpu_us_per_cell", "CPU µs/cell", 3),
    Figure("peak_mib", "peak MiB"),
    Figure("file_mib", "file MiB", 1),
    Figure("turns", "turns"),
    Figure("median_turn_ms", "median turn ms", 1),
    Figure("longest_turn_ms", "longest ms", 1),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rows", type=int, action="append", help="may be repeated (default: 1000000)")
    parser.add_argument("--row-group-size", type=int, default=1000, help="(default: 1000)")


def measure(options: argparse.Namespace) -> Report:
    """Runs both in processes of their own."""
    report = Report("sql")
    for name, (title, columns) in SPECS.items():
        found = []
        for rows in options.rows or [1_000_000]:
            engine = in_own_process(_engine, name, rows, options.row_group_size)
            baseline = in_own_process(_baseline, name, rows, options.row_group_size)
            for figures in (engine, baseline):
                figures["share_of_baseline"] = figures["cells_per_s"] / baseline["cells_per_s"]
            found += [engine, baseline]
        report.tables.append(Table(name, f"{len(columns)} columns of {title}", _FIGURES, found))
    report.notes.append("Time is from creating the file to closing it, which folds the log into the file.")
    return report


_EXPRESSIONS: tuple[dict[str, Any], ...] = (
    {
        "name": "share",
        "column_type": "sampler",
        "sampler_type": "uniform",
        "params": {"low": 0, "high": 100},
    },
    {
        "name": "height",
        "column_type": "sampler",
        "sampler_type": "gaussian",
        "params": {"mean": 170, "stddev": 10},
    },
    {
        "name": "colour",
        "column_type": "sampler",
        "sampler_type": "category",
        "params": {"values": ["red", "green", "blue"], "weights": [1, 2, 3]},
    },
    {
        "name": "product",
        "column_type": "expression",
        "sql": "share * height",
        "dtype": "float",
    },
    {
        "name": "label",
        "column_type": "expression",
        "sql": "upper(colour) || ' ' || cast(round(height) as integer)",
        "dtype": "str",
    },
)


def _sampler(name: str, sampler_type: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "column_type": "sampler", "sampler_type": sampler_type, "params": params}


_COLOURS = ("red", "green", "blue")
_SAMPLERS = (
    _sampler("colour", "category", values=_COLOURS, weights=[1, 2, 3]),
    _sampler("shade", "subcategory", category="colour", values={c: [f"{c} {n}" for n in range(4)] for c in _COLOURS}),
    _sampler("share", "uniform", low=0, high=100),
    _sampler("height", "gaussian", mean=170, stddev=10, decimal_places=1),
    _sampler("visits", "poisson", mean=4.5),
    _sampler("sold", "binomial", n=30, p=0.2),
    _sampler("ordered", "datetime", start="2024-01-01", end="2025-01-01", unit="m"),
    _sampler("delivered", "timedelta", dt_min=1, dt_max=10, reference_column_name="ordered"),
)
SPECS: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "sql": ("samplers and SQL expressions", _EXPRESSIONS),
    "samplers": ("samplers of eight kinds", _SAMPLERS),
}


def _spec(name: str, rows: int, row_group_size: int) -> dict[str, Any]:
    columns = list(SPECS[name][1])
    return {"name": name, "records": rows, "row_group_size": min(rows, row_group_size), "columns": columns}


def _engine(name: str, rows: int, row_group_size: int) -> dict[str, Any]:
    prepared = prepared_spec(_spec(name, rows, row_group_size))
    with tempfile.TemporaryDirectory() as directory:
        run = run_engine(prepared, Path(directory) / "sql.duckdb")
    return {
        "rows": rows,
        "what": "Rowmill",
        **_rates(name, rows, run.seconds, run.cpu_s),
        "peak_mib": run.peak_mib,
        "file_mib": run.file_mib,
        "turns": run.turns,
        "median_turn_ms": run.median_turn_ms,
        "longest_turn_ms": run.longest_turn_ms,
    }


def _baseline(name: str, rows: int, row_group_size: int) -> dict[str, Any]:
    prepared = prepared_spec(_spec(name, rows, row_group_size))
    layout = Layout(prepared.graph, prepared.spec.seed)
    source = bench_script("baseline_rows")
    for nodes in layout.admission_levels:
        values = [
            f"{layout.expression(node)} as {quote(node.columns[0].name)}"
            for node in nodes
            if node.declaration.strategy is Strategy.SQL
        ]
        if values:
            source = sql.admitted_level.fill(values=", ".join(values), source=source)
    columns = ", ".join(f"{quote(name)} {sql_type}" for name, sql_type in layout.value_columns)
    names = ", ".join(["row_id", *(quote(name) for name, _ in layout.value_columns)])
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "baseline.duckdb"
        with Gauge() as gauge, Connection(file) as connection:
            create_sampler_macros(connection, [source])
            connection.script(bench_script("create_baseline", columns=columns))
            connection.execute(bench_script("insert_baseline", columns=names, source=source), {"rows": rows})
        file_mib = file.stat().st_size / 2**20
    return {
        "rows": rows,
        "what": "one INSERT … SELECT (baseline)",
        **_rates(name, rows, gauge.seconds, gauge.cpu_s),
        "peak_mib": gauge.peak_mib,
        "file_mib": file_mib,
    }


def _rates(name: str, rows: int, seconds: float, cpu_s: float) -> dict[str, float]:
    cells = rows * len(SPECS[name][1])
    return {"cells_per_s": cells / seconds, "seconds": seconds, "cpu_us_per_cell": cpu_s / cells * 1e6}
