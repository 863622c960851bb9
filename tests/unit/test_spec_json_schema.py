"""The JSON Schema of the spec: it takes what ``rowmill validate`` takes, knows every field, and reports wrong ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from help_page import PAGES, README, blocks

from rowmill.errors import SpecError
from rowmill.spec.json_schema import DRAFT, schema_text, spec_models, spec_schema
from rowmill.spec.registry import COLUMN_TYPES, PROCESSORS, SAMPLERS, VALIDATORS
from rowmill.spec.spec import Spec
from rowmill.spec.yaml_loader import load_yaml

SCHEMA = spec_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
EXAMPLE, _ = load_yaml((files("rowmill.example") / "spec.yaml").read_text(encoding="utf-8"))
SAMPLER = {"name": "x", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}
CUSTOM = {"name": "x", "column_type": "custom", "generator_function": "functions:make"}
CHECK = {"name": "x", "column_type": "validation", "target_columns": ["y"], "validator_type": "sql"}
PROMPT = {"name": "x", "column_type": "llm-text", "model_alias": "m", "prompt": "p"}
JUDGE = {**PROMPT, "column_type": "llm-judge", "scores": [{"name": "s", "description": "d", "options": {"1": "bad"}}]}
MODEL = {"alias": "m", "base_url": "http://127.0.0.1:8000/v1", "model": "m"}


def spec(*columns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"records": 1, "columns": list(columns), **fields}


def problems(data: Any) -> list[str]:
    """What the schema says is wrong, the innermost reasons."""
    return [found.message for error in VALIDATOR.iter_errors(data) for found in [error, *(error.context or ())]]


def is_valid(data: dict[str, Any]) -> bool:
    try:
        Spec.from_data(data)
    except SpecError:
        return False
    return True


def test_it_is_a_schema_in_both_drafts_that_editors_read() -> None:
    assert SCHEMA["$schema"] == DRAFT
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(EXAMPLE)


def test_it_takes_the_example() -> None:
    assert problems(EXAMPLE) == []


def _is_of_a_spec(data: Any) -> bool:
    if isinstance(data, list):
        return any("column_type" in each for each in data)
    return bool(data.keys() & Spec.model_fields.keys())


def told_specs() -> Iterator[Any]:
    """Every YAML block of README and help pages as a spec: a list is of columns, a mapping has fields of a spec.

    What has none is a file of another program.
    """
    for topic, page in {"README": README.read_text(encoding="utf-8"), **PAGES}.items():
        for number, block in enumerate(blocks(page, "yaml")):
            data, wrong = load_yaml(block)
            assert wrong == []
            if data is not None and _is_of_a_spec(data):
                fields = {"columns": data} if isinstance(data, list) else data
                yield pytest.param({"records": 1, **fields}, id=f"{topic}-{number}")


@pytest.mark.parametrize("data", list(told_specs()))
def test_validate_and_schema_take_every_example_of_readme_and_help(data: dict[str, Any]) -> None:
    Spec.from_data(data)
    assert problems(data) == []


def test_it_takes_what_a_spec_file_leaves_to_other_places() -> None:
    given = {
        "x-anchors": [1],
        "parameters": {"language": {"type": "str", "default": "en", "choices": ["en"]}},
        "include": ["models.yaml"],
        "records": 1,
        "columns": [{**{name: PROMPT[name] for name in PROMPT if name != "prompt"}, "prompt_file": "a.md", "x-n": 1}],
    }
    assert problems(given) == []
    assert problems({**given, "y-anchors": 1}) != []


TAKEN = {
    "accepted records": spec(records={"accepted": 5}),
    "a secret": spec(models=[{**MODEL, "api_key": "${MY_KEY}"}]),
    "secrets of storage": spec(
        seed_dataset={"path": "s3://b/*.csv", "storage_options": {"key": "${KEY}", "secret": "${SECRET}"}}
    ),
    "no seed type with a hub path": spec(seed_dataset={"path": "hf://datasets/a/b/*.parquet"}),
    "paths as a list": spec(seed_dataset={"path": ["a.csv", "b.csv"]}),
    "a range of seed rows": spec(seed_dataset={"path": "a.csv", "selection": {"start": 0, "end": 3}}),
    "a part of seed rows": spec(seed_dataset={"path": "a.csv", "selection": {"index": 0, "num_partitions": 3}}),
    "an agent without a path": spec(seed_dataset={"seed_type": "agent_rollout", "format": "codex"}),
    "drawn temperature": spec(
        models=[{**MODEL, "inference_parameters": {"temperature": {"params": {"low": 0, "high": 1}}}}]
    ),
    "drawn top_p": spec(models=[{**MODEL, "inference_parameters": {"top_p": {"params": {"values": [0.5]}}}}]),
    "trace words": spec(*[{**PROMPT, "name": f"c{n}", "with_trace": t} for n, t in enumerate(
        ["none", "all_messages", "last_message", True, False]
    )]),
    "columns of a function as a list": spec({**CUSTOM, "output_columns": ["a", "b"]}),
    "columns of a function with types": spec({**CUSTOM, "side_effect_columns": {"a": "int", "b": "VARCHAR[]"}}),
    "words of others for strategies": spec({**CUSTOM, "generation_strategy": "cell_by_cell"}),
    "a constraint without its type": spec(SAMPLER, constraints=[{"target_column": "x", "operator": "lt", "rhs": 3}]),
    "a constraint with a column": spec(SAMPLER, constraints=[{"target_column": "x", "operator": "lt", "rhs": "y"}]),
    "a number as text": spec(SAMPLER, constraints=[{"target_column": "x", "operator": "lt", "rhs": "3.5"}]),
    "a server to start": spec(mcp_providers=[{"name": "s", "command": "c", "env": {"KEY": "${KEY}"}}]),
    "a server to reach": spec(mcp_providers=[{"name": "s", "endpoint": "http://h/mcp", "api_key": "${KEY}"}]),
    "an older server": spec(mcp_providers=[{"name": "s", "endpoint": "http://h/sse", "provider_type": "sse"}]),
    "a date alone": spec(
        {**SAMPLER, "sampler_type": "datetime", "params": {"start": "2026-01-01", "end": "2026-02-01T10:00:00Z"}}
    ),
    "conditional parameters": spec({**SAMPLER, "conditional_params": {"y > 1": {"low": 5, "high": 6}}}),
    "one city": spec({**SAMPLER, "sampler_type": "person_from_faker", "params": {"city": "Oslo"}}),
    "cities and ages": spec(
        {**SAMPLER, "sampler_type": "person_from_faker", "params": {"city": ["Oslo"], "age_range": [20, 30]}}
    ),
    "scores": spec(JUDGE, models=[MODEL]),
    "media": spec({**PROMPT, "multi_modal_context": [{"modality": "image", "column_name": "p"}]}),
    "a deadline": spec(run={"deadline": "2026-11-22T08:00:00Z"}),
    "nothing where nothing may be": spec(seed_dataset=None, run={"max_tokens": None}),
    "an own template": spec(
        processors=[{"name": "p", "processor_type": "schema_transform", "template": {"a": ["{{ x }}", 1, None]}}]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_it_takes_every_short_form_that_validate_takes(name: str) -> None:
    Spec.from_data(TAKEN[name])
    assert problems(TAKEN[name]) == []


VALUES = [
    True, False, None, 0, 1, 2, -1, 0.5, 1.0, "", "yes", "No", "ON", "t", "maybe", "5", " 5 ", "5.0", "0.5", "1e-1",
    "1_0", "x", [], ["a"], {}, {"a": 1},
]  # fmt: skip
"""What a field may be given."""
FIELDS = {
    "columns.drop": lambda value: spec({**SAMPLER, "drop": value}),
    "columns.weight": lambda value: spec({**SAMPLER, "weight": value}),
    "columns.requires": lambda value: spec({**SAMPLER, "requires": value}),
    "columns.skip": lambda value: spec({**SAMPLER, "skip": value}),
    "columns.params": lambda value: spec({**SAMPLER, "params": value}),
    "columns.low": lambda value: spec({**SAMPLER, "params": {"low": value, "high": 9}}),
    "columns.decimal_places": lambda value: spec({**SAMPLER, "params": {"low": 0, "high": 1, "decimal_places": value}}),
    "columns.may_drop_rows": lambda value: spec({**CUSTOM, "may_drop_rows": value}),
    "columns.ordered": lambda value: spec({**CUSTOM, "ordered": value}),
    "columns.max_rows_per_call": lambda value: spec({**CUSTOM, "max_rows_per_call": value}),
    "columns.generation_strategy": lambda value: spec({**CUSTOM, "generation_strategy": value}),
    "columns.output_columns": lambda value: spec({**CUSTOM, "output_columns": value}),
    "columns.with_trace": lambda value: spec({**PROMPT, "with_trace": value}),
    "columns.timeout_s": lambda value: spec({**CUSTOM, "timeout_s": value}),
    "models.timeout_s": lambda value: spec(models=[{**MODEL, "timeout_s": value}]),
    "models.reuse_answers": lambda value: spec(models=[{**MODEL, "reuse_answers": value}]),
    "models.temperature": lambda value: spec(models=[{**MODEL, "inference_parameters": {"temperature": value}}]),
    "records": lambda value: spec(records=value),
    "seed": lambda value: spec(seed=value),
    "row_group_size": lambda value: spec(row_group_size=value),
    "run.max_tokens": lambda value: spec(run={"max_tokens": value}),
    "run.deadline": lambda value: spec(run={"deadline": value}),
    "seed_dataset.recursive": lambda value: spec(
        seed_dataset={"seed_type": "directory", "path": "d", "recursive": value}
    ),
    "seed_dataset": lambda value: spec(seed_dataset=value),
    "processors": lambda value: spec(processors=value),
}


@pytest.mark.parametrize("field", FIELDS)
def test_it_refuses_no_value_that_validate_takes(field: str) -> None:
    taken = [value for value in VALUES if is_valid(FIELDS[field](value))]
    refused = [value for value in taken if problems(FIELDS[field](value))]
    assert refused == []
    # And it is no schema that takes everything.
    assert any(problems(FIELDS[field](value)) for value in VALUES)


MISSPELT = {
    "records": ({**spec(), "recrods": 1}, "recrods"),
    "model": (spec(models=[{**MODEL, "modle": "x"}]), "modle"),
    "inference parameters": (spec(models=[{**MODEL, "inference_parameters": {"temprature": 1}}]), "temprature"),
    "prompt": (spec({**PROMPT, "promt": "x"}), "promt"),
    "parameters": (spec({**SAMPLER, "params": {"low": 0, "hihg": 1}}), "hihg"),
    "conditional parameters": (spec({**SAMPLER, "conditional_params": {"y": {"lo": 0, "high": 1}}}), "lo"),
    "validator parameters": (spec({**CHECK, "validator_params": {"predicat": "y > 1"}}), "predicat"),
    "skip": (spec({**SAMPLER, "skip": {"wenn": "y"}}), "wenn"),
    "score": (spec({**JUDGE, "scores": [{"name": "s", "descripton": "d", "options": {"1": "x"}}]}), "descripton"),
    "run": (spec(run={"max_inflight": 3}), "max_inflight"),
    "processor": (spec(processors=[{"name": "p", "processor_type": "split", "share": {"a": 1}}]), "share"),
    "seed data": (spec(seed_dataset={"pth": "a.csv"}), "pth"),
    "constraint": (spec(constraints=[{"target_column": "x", "operator": "lt", "rsh": 3}]), "rsh"),
    "column type": (spec({**SAMPLER, "column_type": "samplr"}), "samplr"),
    "sampler type": (spec({**SAMPLER, "sampler_type": "unifrom"}), "unifrom"),
    "provider": (spec(models=[{**MODEL, "provider": "opnai"}]), "opnai"),
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_name_is_reported(name: str) -> None:
    data, wrong = MISSPELT[name]
    assert not is_valid(data)
    assert any(f"'{wrong}'" in problem for problem in problems(data))


def test_a_misspelt_field_of_any_column_type_is_reported() -> None:
    for column in EXAMPLE["columns"]:
        data = copy.deepcopy(EXAMPLE)
        data["columns"] = [{**column, "drpo": True}]
        assert any("'drpo'" in problem for problem in problems(data)), column


@pytest.mark.parametrize("registry", [COLUMN_TYPES, SAMPLERS, VALIDATORS, PROCESSORS], ids=lambda each: each.noun)
def test_everything_that_can_be_chosen_is_in_it(registry: Any) -> None:
    text = json.dumps(SCHEMA)
    for name in registry.built_in:
        assert json.dumps(name) in text
        assert registry.find(name).__name__ in SCHEMA["$defs"]


def test_every_field_of_every_part_has_a_description() -> None:
    of_tests = {cls.__name__ for cls in spec_models() if not cls.__module__.startswith("rowmill.")}
    for name, part in {"Spec": SCHEMA, **SCHEMA["$defs"]}.items():
        for field, shape in part.get("properties", {}).items() if name not in of_tests else ():
            if field not in {"column_type", "processor_type"} or "const" not in shape:
                assert shape.get("description"), f"{name}.{field}: write a docstring beneath the field"


def test_descriptions_name_no_files_of_the_help() -> None:
    assert ".md)" not in schema_text()
    assert ".md#" not in schema_text()
