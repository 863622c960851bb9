"""Makes what the tests of the importer read, with the real package (data-designer 0.9.6).

    python make_configs.py DIRECTORY [ENDPOINTS]

writes ``every_sampler.json`` and ``every_column.yaml`` into DIRECTORY, as ``DataDesignerConfigBuilder.write_config``
does, and what they read: ``cities.csv`` and ``people_en_US.parquet``. With ENDPOINTS, a JSON object of providers and
their base URLs, DataDesigner also runs them: ``every_sampler.parquet`` and ``every_column.parquet``.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROWS = {"every_sampler": 2000, "every_column": 60}
PROVIDERS = ("local", "openai", "coding", "facts", "judging")
dd: Any = import_module("data_designer.config")


def run(name: str, made: Any, directory: Path, endpoints: dict[str, str]) -> None:
    """Writes what DataDesigner makes of it as one parquet file."""
    interface: Any = import_module("data_designer.interface.data_designer")
    providers = [
        dd.ModelProvider(name=provider, endpoint=endpoints[provider], provider_type="openai", api_key="none")
        for provider in PROVIDERS
    ]
    designer = interface.DataDesigner(
        artifact_path=directory / "artifacts", model_providers=providers, managed_assets_path=directory / "assets"
    )
    designer.set_run_config(dd.RunConfig(buffer_size=ROWS["every_sampler"], otel_metrics_port=None))
    result = designer.create(made, num_records=ROWS[name], dataset_name=name)
    files = sorted(Path(result.artifact_storage.final_dataset_path).glob("*.parquet"))
    parquet: Any = import_module("pyarrow.parquet")
    table = import_module("pyarrow").concat_tables([parquet.read_table(file) for file in files])
    parquet.write_table(table, directory / f"{name}.parquet")


def write_people(directory: Path) -> None:
    """Managed people: a file in the place and with the columns of those that DataDesigner downloads."""
    people = [
        {
            "first_name": f"Name{number}",
            "last_name": "Smith",
            "sex": ("Female", "Male")[number % 2],
            "age": 15 + number % 60,
            "city": ("Lima", "Oslo", "Rome")[number % 3],
            "state": "NY",
            "occupation": ("baker", "smith")[number // 2 % 2],
            "persona": "kind",
        }
        for number in range(30_000)  # DataDesigner takes each of them once at most
    ]
    parquet: Any = import_module("pyarrow.parquet")
    table = import_module("pyarrow").Table.from_pylist(people)
    (directory / "assets" / "datasets").mkdir(parents=True, exist_ok=True)
    for path in (directory / "people_en_US.parquet", directory / "assets" / "datasets" / "en_US.parquet"):
        parquet.write_table(table, path)


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
        sampler(
            "owner",
            "person",
            params=dd.PersonSamplerParams(
                sex="Female",
                city=["Oslo", "Rome"],
                age_range=[20, 60],
                select_field_values={"occupation": ["baker"]},
                with_synthetic_personas=True,
            ),
        ),
    ):
        made.add_column(column)
    made.add_column(dd.ExpressionColumnConfig(name="hello", expr="{{ customer.first_name }} is {{ customer.age }}"))
    made.add_constraint(constraint_type="scalar_inequality", target_column="age", operator="ge", rhs=18)
    made.add_constraint(constraint_type="column_inequality", target_column="sold", operator="le", rhs="visits")
    return made


def shouting() -> Any:
    def shout(row: dict[str, Any]) -> dict[str, Any]:
        row["loud"] = "!" * row["stars"]
        return row

    return dd.custom_column_generator(required_columns=["stars"])(shout)


def doubling() -> Any:
    def double(df: Any) -> Any:
        df["double"] = df["loud"] * 2
        return df

    return dd.custom_column_generator(required_columns=["loud"])(double)


def longest(rows: Any) -> Any:
    """A validator on a function: texts of at most ten characters."""
    rows["is_valid"] = rows["city"].str.len() <= 10
    return rows[["is_valid"]]


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
            *(
                dd.ModelConfig(alias=name, model="small", provider=name, skip_health_check=True)
                for name in ("coding", "facts", "judging")
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
                model="gpt-image-1",
                provider="openai",
                inference_parameters=dd.ImageInferenceParams(),
            ),
            dd.ModelConfig(
                alias="sketcher",
                model="sketcher",
                provider="openai",
                inference_parameters=dd.ImageInferenceParams(extra_body={"modalities": ["image", "text"]}),
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
        dd.LLMCodeColumnConfig(name="code", model_alias="coding", prompt="Count {{ stars }}", code_lang="python")
    )
    made.add_column(
        dd.LLMStructuredColumnConfig(
            name="facts",
            model_alias="facts",
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
            model_alias="judging",
            prompt="Judge {{ review }}",
            scores=[dd.Score(name="tone", description="How it sounds", options={1: "cold", 2: "warm"})],
        )
    )
    made.add_column(dd.EmbeddingColumnConfig(name="vector", target_column="review", model_alias="vectors"))
    made.add_column(dd.ImageColumnConfig(name="picture", prompt="{{ city }} at night", model_alias="painter"))
    made.add_column(dd.ImageColumnConfig(name="sketch", prompt="{{ city }} in the rain", model_alias="sketcher"))
    made.add_column(dd.ExpressionColumnConfig(name="twice", expr="{{ stars * 2 }}", dtype="int"))
    made.add_column(
        dd.ValidationColumnConfig(
            name="checked",
            target_columns=["code"],
            validator_type="code",
            validator_params=dd.CodeValidatorParams(code_lang="python"),
        )
    )
    made.add_column(dd.ExpressionColumnConfig(name="query", expr="select {{ stars }} from hotel"))
    made.add_column(
        dd.ValidationColumnConfig(
            name="parsed",
            target_columns=["query"],
            validator_type="code",
            validator_params=dd.CodeValidatorParams(code_lang="sql:postgres"),
        )
    )
    made.add_column(
        dd.ValidationColumnConfig(
            name="short",
            target_columns=["city"],
            validator_type="local_callable",
            validator_params=dd.LocalCallableValidatorParams(validation_function=longest),
        )
    )
    made.add_column(dd.CustomColumnConfig(name="loud", generator_function=shouting()))
    made.add_column(
        dd.CustomColumnConfig(name="double", generator_function=doubling(), generation_strategy="full_column")
    )
    made.add_processor(dd.DropColumnsProcessorConfig(name="tidy", column_names=["tw*"]))
    made.add_processor(
        dd.SchemaTransformProcessorConfig(name="chat", template={"text": "{{ review }}", "stars": "{{ stars }}"})
    )
    made.add_profiler(dd.JudgeScoreProfilerConfig(model_alias="writer"))
    return made


def main(directory: Path, endpoints: dict[str, str]) -> None:
    (directory / "cities.csv").write_text("city\nOslo\nRome\nLima\n")
    write_people(directory)
    configs = {"every_sampler": every_sampler(), "every_column": every_column()}
    configs["every_sampler"].write_config(directory / "every_sampler.json")
    configs["every_column"].write_config(directory / "every_column.yaml")
    for name, made in configs.items() if endpoints else ():
        run(name, made, directory, endpoints)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
