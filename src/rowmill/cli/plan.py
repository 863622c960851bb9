"""``rowmill plan``: what a run would do, and why."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.choice import Choice
from rowmill.cli.figures import count, plural
from rowmill.cli.output import OutputFormat, say, stdout_kept_for_data, write_exactly, write_listing, write_source
from rowmill.cli.parameters import set_option
from rowmill.cli.spec_functions import import_option, reading
from rowmill.cli.spec_problems import listed
from rowmill.cli.terminal_text import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rowmill.engine.elsewhere import PlannedGroup
    from rowmill.graph.explanation import Explanation
    from rowmill.store.layout.seed_reader import SeedFile


class PlanFormat(StrEnum):
    """How a plan is written to stdout."""

    TABLE = "table"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "plan_format",
    type=Choice(PlanFormat, case_sensitive=False),
    default=PlanFormat.TABLE.value,
    show_default=True,
    help="table and json explain; mermaid and dot draw the graph.",
)
@set_option
@import_option
def command(spec: Path, plan_format: PlanFormat, parameters: dict[str, str], import_functions: bool) -> None:
    """Explain what a run of a spec would do: order, stages, strategies and why, counts, seed columns, critical path.

    \b
    Example:
      rowmill plan spec.yaml
      rowmill plan spec.yaml --format dot | dot -Tsvg -o graph.svg
    """
    from rowmill.cli.estimated import in_words
    from rowmill.engine.elsewhere import executor_of, planned_groups
    from rowmill.engine.estimate import Estimate, plan_estimate
    from rowmill.engine.preparation import prepare, seed_use
    from rowmill.graph.explanation import dot, explain
    from rowmill.graph.mermaid import mermaid
    from rowmill.graph.plan import Plan
    from rowmill.spec.loading import load_spec

    with reading(import_functions):
        prepared = prepare(load_spec(spec, parameters))
    if plan_format is PlanFormat.MERMAID:
        write_source(mermaid(prepared.graph))
        return
    if plan_format is PlanFormat.DOT:
        write_source(dot(prepared.graph))
        return
    checked = prepared.spec
    explanation = explain(checked, prepared.graph, Plan.fresh(checked.planned_records, checked.row_group_size))
    settings = executor_of(prepared, None)
    groups = [] if settings is None else planned_groups(prepared, settings)
    elsewhere = {name for group in groups for name in group.columns}
    here = [node.name for node in prepared.graph.generators if node.is_task and node.name not in elsewhere]
    seed_columns = _seed_columns(prepared.seed_file)
    with stdout_kept_for_data():
        estimate = plan_estimate(prepared)
    use = seed_use(prepared)
    if plan_format is PlanFormat.JSON:
        import json

        warnings = listed([*prepared.warnings, *([use] if use is not None else [])])
        estimated = {"estimate": estimate.as_json() if isinstance(estimate, Estimate) else None}
        told = {**explanation.as_json(), "executor": _executor(checked.run.executor.kind, groups, here), **estimated}
        told |= {"seed_columns": seed_columns, "warnings": warnings}
        write_exactly(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(explanation)
        _print_executor(checked.run.executor.kind, groups, here)
        if isinstance(estimate, Estimate):
            say(f"\n{in_words(estimate)}")
        elif estimate is not None:
            say("\n" + escaped(f"There is no estimate: {estimate}."))
        _print_seed(prepared.seed_file, seed_columns)
        if use is not None:
            say(escaped(use.message))


def _executor(kind: str, groups: Sequence[PlannedGroup], here: Sequence[str]) -> dict[str, Any]:
    """Where calls are made; the fields are a contract."""
    return {"kind": kind, "groups": [group._asdict() for group in groups], "in_this_process": list(here)}


def _print_executor(kind: str, groups: Sequence[PlannedGroup], here: Sequence[str]) -> None:
    if not groups:
        return
    say(f"\nCalls are made elsewhere (executor: {kind}):")
    for group in groups:
        threads = f"{plural(group.threads, 'thread')} each" if group.workers > 1 else plural(group.threads, "thread")
        columns = escaped(", ".join(group.columns))
        say(f"  {escaped(group.worker_group)}: {plural(group.workers, 'worker')}, {threads}: {columns}")
    if here:
        say(f"  in the process of the run: {escaped(', '.join(here))}")


def _seed_columns(seed_file: SeedFile | None) -> list[dict[str, Any]]:
    """What each column of the seed dataset holds; the fields are a contract."""
    if seed_file is None:
        return []
    nulls = seed_file.null_counts()
    return [
        {
            "name": column.name,
            "type": column.sql_type,
            "type_from": column.origin,
            "nulls": nulls[column.name],
            "remark": column.remark,
        }
        for column in seed_file.facts
    ]


def _print_seed(seed_file: SeedFile | None, seed_columns: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    if seed_file is None:
        return
    say("\nSeed columns, and who says their types (seed_dataset.types, the file, or nobody: guessed):")
    sys.stdout.flush()
    names = {"name": "column", "type": "type", "type_from": "type from", "nulls": "nulls", "remark": "remark"}
    listing = {
        title: pa.array([column[name] for column in seed_columns], pa.int64() if name == "nulls" else pa.string())
        for name, title in names.items()
        if name != "remark" or any(column["remark"] for column in seed_columns)
    }
    write_listing(pa.table(listing), OutputFormat.TABLE)
    for remark in seed_file.remarks:
        say(escaped(remark))


def _print(explanation: Explanation) -> None:
    import pyarrow as pa

    say(
        f"{escaped(explanation.name)}: {plural(explanation.records, 'row')} in"
        f" {plural(explanation.row_groups, 'row group')}, {plural(explanation.tasks, 'task')},"
        f" {plural(explanation.model_requests, 'model request')} (retries come on top, skips save some)"
    )
    if explanation.most_records > explanation.records:
        times = explanation.most_records / explanation.records
        say(
            f"Rows are planned in the place of dropped ones until {count(explanation.records)} are finished, at most"
            f" {count(explanation.most_records)} in all: up to {times:.3g} times these tasks and requests."
        )
    say("\nGenerators, in the order in which a row passes them:")
    sys.stdout.flush()
    generators = explanation.generators
    listing = {
        "generator": pa.array([", ".join(generator.columns) or generator.name for generator in generators]),
        "type": pa.array([generator.column_type for generator in generators]),
        "strategy": pa.array([generator.strategy.value for generator in generators]),
        "tasks": pa.array([generator.tasks for generator in generators], type=pa.int64()),
        "needs": pa.array([", ".join(generator.inputs) for generator in generators]),
        "why": pa.array(
            [generator.reason + ("; may be skipped" if generator.skips else "") for generator in generators]
        ),
    }
    if len(explanation.stages) > 1:
        listing["stage"] = pa.array([generator.stage for generator in generators])
    write_listing(pa.table(listing), OutputFormat.TABLE)
    if len(explanation.stages) > 1:
        say("\nStages, each of which needs every row group of the one before:")
        for number, stage in enumerate(explanation.stages):
            say(f"  {number}  {escaped(', '.join(stage))}")
    if explanation.endpoints:
        say("\nModel endpoints:")
        for endpoint in explanation.endpoints:
            say(
                f"  {escaped(endpoint.resource)}: {plural(endpoint.requests, 'request')}, at most"
                f" {count(endpoint.max_parallel_requests)} at a time (models {escaped(', '.join(endpoint.aliases))})"
            )
    say(f"\nCritical path: {escaped(' → '.join(explanation.critical_path))}")
