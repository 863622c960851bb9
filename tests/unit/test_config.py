"""Specs built in Python: typed objects with the fields of the spec, and the YAML they are."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

import rowmill
from rowmill import config
from rowmill.errors import UsageError
from rowmill.spec.loading import parse_spec
from rowmill.spec.registry import COLUMN_TYPES, PROCESSORS, SAMPLERS, VALIDATORS, Registry

if TYPE_CHECKING:
    # What a type checker must find: mypy is strict about these comments, an error that is not there is one.
    config.Spec()  # type: ignore[call-arg]
    config.Spec(records="many")  # type: ignore[arg-type]
    config.Spec(records=1, columns=[config.ModelConfig(alias="a", model="m")])  # type: ignore[list-item]
    config.SamplerColumn(name="a", sampler_type="categroy")  # type: ignore[arg-type]
    config.SamplerColumn(name="a", sampler_type="uuid", prams=config.UuidParameters())  # type: ignore[call-arg]
    config.SamplerColumn(name="a", sampler_type="uuid", params=config.IndexRange(start=0, end=1))  # type: ignore[arg-type]
    config.CategoryParameters(values=[1], wieghts=[1])  # type: ignore[call-arg]
    config.LlmTextColumn(name="a", model_alias="m")  # type: ignore[call-arg]
    config.InferenceParameters(temperature="hot")  # type: ignore[arg-type]
    config.SkipConfig(when="true", on_error="explode")  # type: ignore[arg-type]


@pytest.mark.parametrize("registry", [COLUMN_TYPES, SAMPLERS, VALIDATORS, PROCESSORS], ids=lambda each: each.noun)
def test_everything_that_is_built_in_can_be_imported(registry: Registry[Any]) -> None:
    classes = {getattr(config, name) for name in config.__all__}
    assert {registry.find(name) for name in registry.built_in} <= classes


def test_everything_in_it_says_what_it_is() -> None:
    for name in config.__all__:
        assert inspect.getdoc(getattr(config, name)), name


def length(row: dict[str, str]) -> int:
    return len(row["note"])


def spec() -> config.Spec:
    return config.Spec(
        name="built",
        records=6,
        seed=3,
        models=[
            config.ModelConfig(
                alias="writer",
                provider="simulated",
                model="small",
                inference_parameters=config.InferenceParameters(
                    temperature=config.UniformDistribution(
                        params=config.UniformDistributionParameters(low=0.2, high=0.9)
                    ),
                    max_tokens=20,
                ),
                simulation=config.SimulationConfig(latency_ms=0.0),
            )
        ],
        columns=[
            config.SamplerColumn(
                name="kind", sampler_type="category", params=config.CategoryParameters(values=["yes", "1.5", "a: b"])
            ),
            config.SamplerColumn(
                name="size",
                sampler_type="gaussian",
                params=config.GaussianParameters(mean=5, stddev=1),
                conditional_params={"kind = 'yes'": config.GaussianParameters(mean=50, stddev=1)},
                convert_to="int",
            ),
            config.LlmTextColumn(name="note", model_alias="writer", prompt="Of {{ kind }}\n  and {{ size }}"),
            config.CustomColumn(name="length", generator_function=length, required_columns=["note"]),
            config.ValidationColumn(
                name="check",
                target_columns=["note"],
                validator_type="sql",
                validator_params=config.SqlParameters(predicate="length > 3"),
                skip=config.SkipConfig(when="kind = '1.5'"),
            ),
        ],
        constraints=[config.ScalarInequality(target_column="size", operator="ge", rhs=1)],
        processors=[config.DropColumnsProcessor(name="tidy", column_names=["check*"])],
        run=config.RunSettings(max_attempts=2),
    )


@pytest.mark.slow
def test_a_spec_of_objects_runs_like_the_yaml_it_is_written_as(tmp_path: Path) -> None:
    rowmill.run(spec(), tmp_path / "objects.duckdb")
    (tmp_path / "built.yaml").write_text(spec().to_yaml())
    loaded = rowmill.load_spec(tmp_path / "built.yaml")
    assert loaded.spec.to_json() == spec().to_json()
    rowmill.run(loaded, tmp_path / "yaml.duckdb")
    tables = []
    for name in ("objects", "yaml"):
        with rowmill.RunDatabase.open(tmp_path / f"{name}.duckdb") as database:
            tables.append(database.to_arrow())
    assert tables[0].equals(tables[1])
    assert tables[0].schema.names == ["row_id", "kind", "size", "note", "length"]
    assert tables[0].num_rows == 6


def test_yaml_holds_what_differs_from_the_defaults_and_the_kinds() -> None:
    made = config.Spec(records=2, columns=[config.ExpressionColumn(name="one", expr="{{ 1 }}")])
    assert (
        made.to_yaml()
        == "name: dataset\nrecords: 2\ncolumns:\n- name: one\n  column_type: expression\n  expr: '{{ 1 }}'\n"
    )
    assert parse_spec(made.to_yaml()) == made


@pytest.mark.parametrize("home", ["__main__", "program:outer.<locals>"])
def test_a_function_that_no_other_program_could_import_is_not_written_into_a_file(home: str) -> None:
    def shout(row: dict[str, str]) -> str:
        return row["kind"].upper()

    shout.__module__, _, around = home.partition(":")
    shout.__qualname__ = f"{around}.shout" if around else "shout"
    made = config.Spec(records=2, columns=[config.CustomColumn(name="loud", generator_function=shout)])
    with pytest.raises(UsageError, match=r"shout'.*functions\.py beside the spec file"):
        made.to_yaml()


def test_a_wrong_value_is_an_error_where_it_is_made() -> None:
    with pytest.raises(ValidationError, match="greater than high"):
        config.UniformParameters(low=2, high=1)
    with pytest.raises(ValidationError, match="params"):
        config.SamplerColumn(name="a", sampler_type="uuid", params=config.UniformParameters(low=1, high=2))


def test_a_preview_of_a_spec_in_python_is_its_first_rows_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = rowmill.preview(spec(), 3)
    assert made.rows["row_id"].to_pylist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


async def _in_a_loop() -> None:
    with pytest.raises(UsageError, match=r"await rowmill\.preview_async"):
        rowmill.preview(spec())
    assert (await rowmill.preview_async(spec(), 2)).rows.num_rows == 2


def test_inside_an_event_loop_a_preview_is_awaited() -> None:
    import anyio

    anyio.run(_in_a_loop)
