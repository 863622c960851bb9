"""Configurations made by the real DataDesigner: it runs them, Rowmill imports and runs them, and both give the same.

The package is installed from PyPI into an environment of its own, which borrows from this one what fits. Where PyPI
cannot be reached, this is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import yaml
from command_line import CommandLine
from package_registry import install, skip_without
from provider_simulator import provider_simulator

from rowmill.run_database import RunDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

PACKAGE = "data-designer==0.9.6"
PROGRAM = Path(__file__).parents[1] / "data_designer" / "make_configs.py"
ANSWERS = {
    "coding": "```python\ntotal = 1\n```",
    "facts": '{"name": "Oslo", "inhabitants": 700000}',
    "judging": '{"tone": {"reasoning": "It is friendly.", "score": 2}}',
}
DERIVED = {"birth_date", "phone_number", "email_address", "national_id"}
"""Fields of managed people that DataDesigner makes up; the file has none of them. The import says so."""
DIFFERENT = {
    "picture": ("list<text>", "text"),
    "sketch": ("list<text>", "text"),
    "vector": ("{dimension: int, embeddings: list<list<float>>, num_embeddings: int}", "list<float>"),
    "review__trace": ("list<{content: list<{text: text, type: text}>, role: text}>", "text"),
    "short": ("{is_valid: bool}", "{details: text, is_valid: bool}"),
    "checked": (
        "{is_valid: bool, python_linter_messages: list<nothing>, python_linter_score: float, "
        "python_linter_severity: text}",
        None,
    ),
}
"""Columns whose types differ on purpose, in DataDesigner and in Rowmill (None: messages have a type there)."""
OTHER_VALUES = {
    "customer.country": "here that of the locale, there any",
    "parsed.error_messages": "here null where nothing is wrong, there an empty text",
}
UNLIKELY = 1e-6
"""Samples that differ more than one distribution's do once in so many times. DataDesigner's are others each time."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with DataDesigner."""
    directory = tmp_path_factory.mktemp("peer")
    skip_without(PACKAGE, directory / "found")
    venv.create(directory / "environment")
    (packages,) = (directory / "environment" / "lib").glob("python*/site-packages")
    # What is there need not be installed again; what does not fit is installed before it.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    made = directory / "environment" / "bin" / "python"
    install(PACKAGE, python=made)
    return made


@pytest.fixture
def endpoints() -> Iterator[dict[str, str]]:
    """The base URL of each provider; what three of them answer is always the same."""
    with ExitStack() as stack:
        simulator = stack.enter_context(provider_simulator())
        fixed = {name: stack.enter_context(provider_simulator(answer=answer)).url for name, answer in ANSWERS.items()}
        yield {"local": simulator.url, "openai": simulator.url, **fixed}


def kind(data_type: pa.DataType) -> str:
    """What a type can hold, whatever its width."""
    if pa.types.is_struct(data_type):
        fields = sorted(f"{field.name}: {kind(field.type)}" for field in data_type)
        return f"{{{', '.join(fields)}}}"
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type) or pa.types.is_fixed_size_list(data_type):
        return f"list<{kind(data_type.value_type)}>"
    for name, holds in (
        ("text", (pa.types.is_string, pa.types.is_large_string)),
        ("int", (pa.types.is_integer,)),
        ("float", (pa.types.is_floating,)),
        ("bool", (pa.types.is_boolean,)),
        ("nothing", (pa.types.is_null,)),
    ):
        if any(one(data_type) for one in holds):
            return name
    return str(data_type)


def flat(table: pa.Table) -> pa.Table:
    """Structs as columns of their own, those that hold nothing left out."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table.select([field.name for field in table.schema if not pa.types.is_null(field.type)])


def assert_same_schema(theirs: pa.Table, ours: pa.Table) -> None:
    assert {*ours.column_names} - {"row_id"} == {*theirs.column_names}
    for name in theirs.column_names:
        their_kind, our_kind = (kind(table.schema.field(name).type) for table in (theirs, ours))
        if name in DIFFERENT:
            expected, other = DIFFERENT[name]
            assert (their_kind, our_kind) == (expected, other or our_kind), name
        elif pa.types.is_struct(theirs.schema.field(name).type):
            their_fields = {
                one for one in flat(theirs.select([name])).column_names if one.split(".")[-1] not in DERIVED
            }
            our_fields = set(flat(ours.select([name])).column_names)
            assert their_fields == our_fields - {f"{name}.{field}" for field in ("middle_name", *DERIVED)}, name
        else:
            assert their_kind == our_kind, name


def assert_same_distribution(name: str, theirs: list[Any], ours: list[Any]) -> None:
    """Nulls and choices by their counts (chi-square), the rest by Kolmogorov and Smirnov: numbers, moments, lengths."""
    nulls = [[values.count(None), len(values) - values.count(None)] for values in (theirs, ours)]
    assert_same_law(name, counts=nulls if all(map(sum, zip(*nulls, strict=True))) else None)
    theirs, ours = ([value for value in values if value is not None] for values in (theirs, ours))
    choices = sorted({*theirs, *ours}, key=str)
    if len(choices) <= 20:
        counts = [[values.count(choice) for choice in choices] for values in (theirs, ours)]
        assert_same_law(name, counts=counts if len(choices) > 1 else None)
    elif not isinstance(theirs[0], str):
        assert_same_law(name, values=(theirs, ours))
    elif form := moment_format(theirs):
        moments = [[datetime.strptime(value, form).timestamp() for value in values] for values in (theirs, ours)]
        assert_same_law(name, values=(moments[0], moments[1]))
    elif name.startswith("customer."):  # words of another version of Faker
        means = [sum(map(len, values)) / len(values) for values in (theirs, ours)]
        assert means[0] == pytest.approx(means[1], rel=0.15), name
    elif name != "key":  # a UUID, which DataDesigner writes without hyphens
        assert_same_law(name, values=([*map(len, theirs)], [*map(len, ours)]))


def assert_same_law(
    name: str, *, counts: list[list[int]] | None = None, values: tuple[list[Any], list[Any]] | None = None
) -> None:
    """Two samples may well be of one distribution."""
    if counts is not None:
        assert scipy.stats.chi2_contingency(counts).pvalue > UNLIKELY, name
    if values is not None:
        assert scipy.stats.ks_2samp(*values).pvalue > UNLIKELY, name


def moment_format(values: list[str]) -> str | None:
    """The format of moments written as text; None if they are other texts."""
    for form in ("%Y-%m-%dT%H:%M:%S", "%d.%m.%Y", "%Y-%m-%d"):
        try:
            for value in values:
                datetime.strptime(value, form)
        except ValueError:
            continue
        return form
    return None


def test_what_datadesigner_is_configured_to_make_is_what_is_made_here(
    python: Path, endpoints: dict[str, str], rowmill: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = rowmill.directory
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    settings = {
        "DATA_DESIGNER_HOME": str(directory / "home"),
        "DATA_DESIGNER_DISABLE_VERSION_CHECK": "1",
        "NEMO_TELEMETRY_ENABLED": "false",
    }
    done = subprocess.run(
        [python, PROGRAM, directory, json.dumps(endpoints)],
        cwd=directory,
        env={**kept, **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (directory / "functions.py").write_bytes(PROGRAM.with_name("functions.py").read_bytes())
    providers = [{"name": name, "endpoint": url, "api_key": "TEST_KEY"} for name, url in endpoints.items()]
    (directory / "providers.yaml").write_text(yaml.safe_dump({"providers": providers}))
    monkeypatch.setenv("TEST_KEY", "none")
    for config in ("every_sampler.json", "every_column.yaml"):
        name = config.partition(".")[0]
        theirs = pq.read_table(directory / f"{name}.parquet")
        options = ["--providers", "providers.yaml", "--records", str(theirs.num_rows), "--output", f"{name}_spec.yaml"]
        rowmill.output_of("import-config", config, *options)
        ran = rowmill("run", f"{name}_spec.yaml", f"{name}.duckdb")
        # Nearly nothing sold is less than no visit: DataDesigner draws on, here the row is dropped.
        assert ran.returncode in ({0, 3} if name == "every_sampler" else {0}), ran.stderr
        with RunDatabase.open(directory / f"{name}.duckdb") as database:
            ours = database.to_arrow()
        assert ours.num_rows >= 0.99 * theirs.num_rows
        assert_same_schema(theirs, ours)
        found = flat(ours)
        for column in (expected := flat(theirs)).column_names:
            if column in OTHER_VALUES:
                continue
            if column in found.column_names and not pa.types.is_list(expected.schema.field(column).type):
                assert_same_distribution(column, expected.column(column).to_pylist(), found.column(column).to_pylist())
    assert_the_same_rows_are_skipped(theirs, ours)


def assert_the_same_rows_are_skipped(theirs: pa.Table, ours: pa.Table) -> None:
    for table in (theirs, ours):
        rows = table.to_pylist()
        assert {row["stars"] == 3 for row in rows} == {True, False}
        for row in rows:
            is_skipped = row["stars"] == 3
            assert (row["review"] == "none") == is_skipped
            assert (row["verdict"] is None) == is_skipped
            assert (row["vector"] is None) == is_skipped
            assert row["loud"] == "!" * row["stars"]
            assert row["double"] == "!!" * row["stars"]
