"""Runs in DataDesigner's own environment: three chained async no-op columns; the last line is JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


async def column_0(row: dict[str, Any]) -> dict[str, Any]:
    """The work of a cell; DataDesigner wants the row back."""
    row["column_0"] = 1
    return row


async def column_1(row: dict[str, Any]) -> dict[str, Any]:
    """The same."""
    row["column_1"] = 1
    return row


async def column_2(row: dict[str, Any]) -> dict[str, Any]:
    """The same."""
    row["column_2"] = 1
    return row


def main(rows: int) -> None:
    """Makes ``rows`` rows and prints what they cost."""
    config: Any = import_module("data_designer.config")
    interface: Any = import_module("data_designer.interface.data_designer")
    builder = config.DataDesignerConfigBuilder(model_configs=[])
    builder.add_column(
        config.SamplerColumnConfig(
            name="start", sampler_type="uniform", params=config.UniformSamplerParams(low=0, high=1)
        )
    )
    needed = "start"
    for function in (column_0, column_1, column_2):
        generator = config.custom_column_generator(required_columns=[needed])(function)
        needed = function.__name__
        builder.add_column(config.CustomColumnConfig(name=needed, generator_function=generator))
    # A provider has to be named; no column asks it anything.
    provider = config.ModelProvider(name="none", endpoint="http://127.0.0.1:9/v1", provider_type="openai", api_key="no")
    with tempfile.TemporaryDirectory() as directory:
        designer = interface.DataDesigner(artifact_path=directory, model_providers=[provider])
        designer.set_run_config(config.RunConfig(buffer_size=1000, otel_metrics_port=None))
        started, cpu = time.perf_counter(), time.process_time()
        result = designer.create(builder, num_records=rows, dataset_name="peer")
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        made = len(result.load_dataset())
    if made != rows:
        raise SystemExit(f"{made} rows instead of {rows}")
    found = {"seconds": seconds, "cpu_s": cpu_s, "peak_mib": _peak_mib(), "version": version("data-designer")}
    print(json.dumps(found))


def _peak_mib() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]))
