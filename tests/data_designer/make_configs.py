"""Makes what the tests of the importer read, in an environment with the real package (data-designer 0.9.6).

    python tests/data_designer/make_configs.py

Writes ``every_sampler.json`` and ``every_column.yaml`` beside this file, as ``DataDesignerConfigBuilder.write_config``
does, and ``every_sampler_results.json``: what DataDesigner makes of the first, as counts, means and deviations.
"""

from __future__ import annotations

import json
import math
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

ROWS = 5000
HERE = Path(__file__).parent
dd: Any = import_module("data_designer.config") if __name__ == "__main__" else None


def results(made: Any) -> dict[str, Any]:
    """Per column of DataDesigner's dataset: the kind of its values, and how they are distributed."""
    interface: Any = import_module("data_designer.interface.data_designer")
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9/v1", provider_type="openai", api_key="no")
    with tempfile.TemporaryDirectory() as directory:
        designer = interface.DataDesigner(artifact_path=directory, model_providers=[provider])
        designer.set_run_config(dd.RunConfig(buffer_size=ROWS, otel_metrics_port=None))
        rows = designer.create(made, num_records=ROWS, dataset_name="peer").load_dataset().to_dict(orient="records")
    return {name: distribution([row[name] for row in rows]) for name in rows[0]}


def distribution(values: list[Any]) -> dict[str, Any]:
    """Counts of texts that repeat, the length of others, mean and deviation of numbers, fields of people."""
    first = values[0]
    if isinstance(first, dict):
        return {"kind": "person", "fields": sorted(first)}
    if isinstance(first, str):
        counts = {value: values.count(value) for value in sorted(set(values))}
        if len(counts) > 20:
            return {"kind": "text", "length": sorted({len(value) for value in values})}
        return {"kind": "choice", "counts": counts}
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    whole = all(float(value).is_integer() for value in values)
    return {"kind": "whole" if whole else "number", "mean": mean, "deviation": deviation}


def builder(models: list[Any]) -> Any:
    return dd.DataDesignerConfigBuilder(model_configs=models)


def sampler(name: str, kind: str, **options: Any) -> Any:
    params = options.pop("params")
    return dd.SamplerColumnConfig(name=name, sampler_type=kind, params=params, **options)


def every_sampler() -> Any:
    made = builder([])
    for column in (
        sampler("kind", "category", params=dd.CategorySamplerParams(values=["a", "b", "c"], weights=[1, 2, 1])),
        sampler("mixed", "category", params=dd.CategorySamplerParams(values=["one", 2, 3.5])),
        sampler(
            "part",
            "subcategory",
            params=dd.SubcategorySamplerParams(category="kind", values={"a": ["a1", "a2"], "b": ["b1"], "c": ["c1"]}),
        ),
        sampler("ordered", "datetime", params=dd.DatetimeSamplerParams(start="2024-01-01", end="2024-07-01", unit="h")),
        sampler(
            "day",
            "datetime",
            params=dd.DatetimeSamplerParams(start="2024-01-01", end="2024-07-01"),
            convert_to="%d.%m.%Y",
        ),
        sampler(
            "delivered",
            "timedelta",
            params=dd.TimeDeltaSamplerParams(dt_min=1, dt_max=10, reference_column_name="ordered"),
        ),
        sampler("id", "uuid", params=dd.UUIDSamplerParams(prefix="O-", short_form=True, uppercase=True)),
        sampler("key", "uuid", params=dd.UUIDSamplerParams()),
        sampler("age", "uniform", params=dd.UniformSamplerParams(low=0, high=90), convert_to="int"),
        sampler("height", "gaussian", params=dd.GaussianSamplerParams(mean=170, stddev=10, decimal_places=1)),
        sampler(
            "visits",
            "poisson",
            params=dd.PoissonSamplerParams(mean=4),
            conditional_params={
                "age < 30 and kind in ['a', \"b\"]": dd.PoissonSamplerParams(mean=9),
                "not (age <= 60) or kind == 'x'": dd.PoissonSamplerParams(mean=200),
            },
        ),
        sampler("sold", "binomial", params=dd.BinomialSamplerParams(n=30, p=0.2)),
        sampler("won", "bernoulli", params=dd.BernoulliSamplerParams(p=0.3), convert_to="str"),
        sampler(
            "claim",
            "bernoulli_mixture",
            params=dd.BernoulliMixtureSamplerParams(p=0.4, dist_name="gamma", dist_params={"a": 2, "scale": 5}),
        ),
        sampler(
            "shape",
            "scipy",
            params=dd.ScipySamplerParams(dist_name="beta", dist_params={"a": 2, "b": 5}, decimal_places=3),
        ),
        sampler("customer", "person_from_faker", params=dd.PersonFromFakerSamplerParams(age_range=[20, 60])),
    ):
        made.add_column(column)
    made.add_column(dd.ExpressionColumnConfig(name="hello", expr="{{ customer.first_name }} is {{ customer.age }}"))
    made.add_constraint(constraint_type="scalar_inequality", target_column="age", operator="ge", rhs=18)
    made.add_constraint(constraint_type="column_inequality", target_column="sold", operator="le", rhs="visits")
    return made


def shouting() -> Any:
    def shout(row: dict[str, Any]) -> dict[str, Any]:
        return row

    return dd.custom_column_generator(required_columns=["stars"])(shout)


def every_column() -> Any:
    made = builder(
        [
            dd.ModelConfig(
                alias="writer",
                model="small",
                provider="local",
                inference_parameters=dd.ChatCompletionInferenceParams(
                    temperature=dd.UniformDistribution(params=dd.UniformDistributionParams(low=0.2, high=0.8)),
                    top_p=0.9,
                    max_tokens=200,
                    max_parallel_requests=8,
                    timeout=30,
                    extra_body={"seed": 1},
                ),
                skip_health_check=True,
            ),
            dd.ModelConfig(
                alias="vectors",
                model="embedder",
                provider="local",
                inference_parameters=dd.EmbeddingInferenceParams(dimensions=8),
                skip_health_check=True,
            ),
            dd.ModelConfig(
                alias="painter",
                model="painter",
                provider="openai",
                inference_parameters=dd.ImageInferenceParams(),
            ),
        ]
    )
    made.with_seed_dataset(
        dd.LocalFileSeedSource(path="cities.csv"),
        sampling_strategy="shuffle",
        selection_strategy=dd.IndexRange(start=0, end=2),
    )
    made.add_column(sampler("stars", "category", params=dd.CategorySamplerParams(values=[1, 2, 3, 4, 5])))
    made.add_column(sampler("hidden", "uniform", params=dd.UniformSamplerParams(low=0, high=1), drop=True))
    made.add_column(
        dd.LLMTextColumnConfig(
            name="review",
            model_alias="writer",
            prompt="Review a hotel in {{ city }}: {{ stars }} stars.",
            system_prompt="You are a traveller.",
            with_trace="last_message",
            skip=dd.SkipConfig(when="{{ stars == 3 }}", value="none"),
        )
    )
    made.add_column(
        dd.LLMCodeColumnConfig(name="code", model_alias="writer", prompt="Count {{ stars }}", code_lang="python")
    )
    made.add_column(
        dd.LLMStructuredColumnConfig(
            name="facts",
            model_alias="writer",
            prompt="Facts of {{ city }}",
            output_format={
                "type": "object",
                "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer"}},
                "required": ["name", "inhabitants"],
            },
        )
    )
    made.add_column(
        dd.LLMJudgeColumnConfig(
            name="verdict",
            model_alias="writer",
            prompt="Judge {{ review }}",
            scores=[dd.Score(name="tone", description="How it sounds", options={1: "cold", 2: "warm"})],
        )
    )
    made.add_column(dd.EmbeddingColumnConfig(name="vector", target_column="review", model_alias="vectors"))
    made.add_column(dd.ImageColumnConfig(name="picture", prompt="{{ city }} at night", model_alias="painter"))
    made.add_column(dd.ExpressionColumnConfig(name="twice", expr="{{ stars * 2 }}", dtype="int"))
    made.add_column(
        dd.ValidationColumnConfig(
            name="checked",
            target_columns=["code"],
            validator_type="code",
            validator_params=dd.CodeValidatorParams(code_lang="python"),
        )
    )

    made.add_column(dd.CustomColumnConfig(name="loud", generator_function=shouting()))
    made.add_processor(dd.DropColumnsProcessorConfig(name="tidy", column_names=["tw*"]))
    made.add_processor(
        dd.SchemaTransformProcessorConfig(name="chat", template={"text": "{{ review }}", "stars": "{{ stars }}"})
    )
    made.add_profiler(dd.JudgeScoreProfilerConfig(model_alias="writer"))
    return made


if __name__ == "__main__":
    (HERE / "cities.csv").write_text("city\nOslo\nRome\nLima\n")
    made = every_sampler()
    made.write_config(HERE / "every_sampler.json")
    (HERE / "every_sampler_results.json").write_text(json.dumps(results(made), indent=1) + "\n")
    every_column().write_config(HERE / "every_column.yaml")
