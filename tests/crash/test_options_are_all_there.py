"""Every row of the tables of what users of such tools configure is an option that ``test_kill_options`` kills."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from options import OPTIONS

from rowmill.generators.validators.parameters import CodeParameters
from rowmill.spec.json_schema import spec_schema
from rowmill.spec.loading import load_spec, parse_spec
from rowmill.spec.registry import COLUMN_TYPES, SAMPLERS, SEED_READERS, VALIDATORS
from rowmill.spec.seed import SeedDatasetConfig

ROWS = {
    "column types": (
        "sampler",
        "seed-dataset",
        "llm-text",
        "llm-code",
        "llm-structured",
        "llm-judge",
        "expression",
        "validation",
        "embedding",
        "image",
        "custom",
        "plugin",
        "drop",
        "skip",
        "propagate_skip",
    ),
    "samplers": (
        "category",
        "subcategory",
        "datetime",
        "timedelta",
        "uuid",
        "uniform",
        "gaussian",
        "poisson",
        "binomial",
        "bernoulli",
        "bernoulli_mixture",
        "scipy",
        "person",
        "person_from_faker",
        "conditional_params",
        "convert_to",
        "constraints",
    ),
    "seeds": (
        "local file",
        "Hugging Face path",
        "in-memory DataFrame",
        "directory listing",
        "file contents (encoding)",
        "agent rollout",
        "types",
        "strategy",
        "selection",
        "exhaustion",
        "explode",
        "URL",
        "another run",
    ),
    "validators": ("code", "json schema", "SQL predicate", "local callable", "remote", "on_invalid"),
    "models": (
        "temperature",
        "top_p",
        "max_tokens",
        "embedding",
        "image",
        "provider",
        "max_parallel_requests",
        "timeout",
        "api_key",
        "prices",
        "extra_body",
        "skip_health_check",
        "health check",
        "reuse_answers",
        "response_format",
        "system prompt",
        "multi_modal_context",
        "MCP",
        "with_trace",
        "extract_reasoning_content",
        "Jinja engine",
    ),
}
_CHAT = (
    "prompt",
    "model_alias",
    "system_prompt",
    "multi_modal_context",
    "tool_alias",
    "with_trace",
    "extract_reasoning_content",
    "skip",
)
_CORRECTED = (*_CHAT, "max_conversation_correction_steps", "max_conversation_restarts")
FIELDS = {
    "sampler": ("sampler_type", "params", "conditional_params", "convert_to", "skip"),
    "llm-text": _CHAT,
    "llm-code": (*_CORRECTED, "code_lang"),
    "llm-structured": (*_CORRECTED, "output_format"),
    "llm-judge": (*_CORRECTED, "scores"),
    "expression": ("expr", "sql", "dtype", "skip", "drop", "propagate_skip"),
    "validation": (
        "target_columns",
        "validator_type",
        "validator_params",
        "batch_size",
        "on_invalid",
        "max_regenerations",
        "on_still_invalid",
        "skip",
        "propagate_skip",
    ),
    "embedding": ("target_column", "model_alias", "embedding_function", "dimensions", "max_rows_per_call", "skip"),
    "image": ("prompt", "model_alias", "multi_modal_context", "skip"),
    "custom": (
        "generator_function",
        "required_columns",
        "generator_params",
        "generation_strategy",
        "output_columns",
        "side_effect_columns",
        "model_aliases",
        "dtype",
        "may_drop_rows",
        "ordered",
        "max_rows_per_call",
        "timeout_s",
        "skip",
    ),
}
FIELDS_OF_MODELS = (
    "provider",
    "max_parallel_requests",
    "ramp_up_s",
    "timeout_s",
    "inference_parameters",
    "response_format",
    "image_route",
    "reuse_answers",
    "skip_health_check",
    "api_key",
    "input_usd_per_million_tokens",
    "output_usd_per_million_tokens",
)
INFERENCE = ("temperature", "top_p", "max_tokens", "extra_body", "encoding_format", "dimensions")
FIELDS_OF_SEEDS = (
    "seed_type",
    "path",
    "params",
    "format",
    "file_pattern",
    "recursive",
    "encoding",
    "token",
    "endpoint",
    "storage_options",
    "types",
    "selection",
    "explode",
    "where",
    "columns",
    "sampling_strategy",
)
FIELDS_OF_TOOLS = ("tool_alias", "providers", "allow_tools", "max_tool_call_turns", "timeout_s")
FIELDS_OF_TOOL_PROVIDERS = ("name", "provider_type", "command", "args", "env", "endpoint", "api_key")
_OVER_THE_DATASET = {"deduplicate", "rank", "select"}
"""Killed in ``test_kill_in_barrier``."""


def _rows(table: str) -> set[str]:
    return {name.partition(": ")[0] for name in OPTIONS[table]}


@pytest.mark.parametrize("table", list(ROWS))
def test_every_row_of_a_table_is_killed_and_nothing_else(table: str) -> None:
    assert _rows(table) == set(ROWS[table])


def test_every_column_type_and_sampler_there_is_is_killed() -> None:
    assert COLUMN_TYPES.built_in.keys() - _OVER_THE_DATASET <= _rows("column types")
    assert SAMPLERS.built_in.keys() <= _rows("samplers")


def test_every_seed_type_format_and_validator_there_is_is_killed() -> None:
    seeds = [option.spec["seed_dataset"] for option in OPTIONS["seeds"].values() if "seed_dataset" in option.spec]
    configs = [SeedDatasetConfig.model_validate(seed) for seed in seeds]
    assert {config.seed_type for config in configs} == SEED_READERS.built_in.keys()
    rollouts = {config.format for config in configs if config.seed_type == "agent_rollout"}
    assert rollouts == {"atif", "claude_code", "codex", "hermes_agent", "pi_coding_agent"}
    made = [option.made for option in OPTIONS["validators"].values()]
    assert {column["validator_type"] for column in made} == VALIDATORS.built_in.keys()
    languages = {column["validator_params"].get("code_lang") for column in made}
    assert set(get_args(CodeParameters.model_fields["code_lang"].annotation)) <= languages


def _columns(**with_fields: str) -> Iterator[Mapping[str, Any]]:
    """The columns of all options that have these values."""
    for table in OPTIONS.values():
        for option in table.values():
            for column in (option.made, *option.columns, *option.after):
                if with_fields.items() <= column.items():
                    yield column


def _specs(field: str) -> Iterator[Any]:
    for table in OPTIONS.values():
        for option in table.values():
            yield from option.spec.get(field, ())


@pytest.mark.parametrize("sampler_type", list(SAMPLERS.built_in))
def test_every_parameter_of_a_sampler_is_killed(sampler_type: str) -> None:
    parameters = SAMPLERS.find(sampler_type)
    assert parameters is not None
    given: dict[str, set[str]] = {}
    for column in _columns(column_type="sampler", sampler_type=sampler_type):
        for name, value in column["params"].items():
            given.setdefault(name, set()).add(str(value))
    assert set(given) == set(parameters.model_fields)
    units = parameters.model_fields.get("unit")
    assert units is None or given["unit"] == set(get_args(units.annotation))


@pytest.mark.parametrize("kind", list(FIELDS))
def test_every_field_of_a_column_type_is_killed(kind: str) -> None:
    assert {field for column in _columns(column_type=kind) for field in column} >= set(FIELDS[kind])


@pytest.mark.parametrize("kind", list(VALIDATORS.built_in))
def test_every_parameter_of_a_validator_is_killed(kind: str) -> None:
    columns = _columns(column_type="validation", validator_type=kind)
    given = {field for column in columns for field in column["validator_params"]}
    parameters = VALIDATORS.find(kind)
    assert parameters is not None
    assert given == set(parameters.model_fields)


def test_every_field_of_a_model_a_seed_a_tool_and_a_constraint_is_killed() -> None:
    models = [option.model for table in OPTIONS.values() for option in table.values()]
    assert {field for model in models for field in model} >= set(FIELDS_OF_MODELS)
    assert {field for model in models for field in model.get("inference_parameters", ())} >= set(INFERENCE)
    seeds = [option.spec.get("seed_dataset", {}) for table in OPTIONS.values() for option in table.values()]
    assert {field for seed in seeds for field in seed} >= set(FIELDS_OF_SEEDS)
    assert {field for tool in _specs("tool_configs") for field in tool} >= set(FIELDS_OF_TOOLS)
    assert {field for one in _specs("mcp_providers") for field in one} >= set(FIELDS_OF_TOOL_PROVIDERS)
    assert {one["operator"] for one in _specs("constraints")} == {"lt", "le", "gt", "ge"}


@pytest.mark.parametrize("table", list(ROWS))
def test_every_option_is_written_as_yaml_and_read_back(table: str, tmp_path: Path) -> None:
    for option in OPTIONS[table].values():
        if option.made.get("column_type") == "slug" or option.setup:  # plug-ins are not installed here
            continue
        option.write(
            tmp_path,
            "http://127.0.0.1:1/v1",
            {"$HUB": "http://h", "$JUDGE": "http://j", "$TOOLS": "http://t", "$SSE_TOOLS": "http://s"},
        )
        spec = load_spec(tmp_path / "spec.json").spec
        assert parse_spec(spec.to_yaml()).to_json() == spec.to_json()


@pytest.mark.parametrize("table", list(ROWS))
def test_the_json_schema_takes_every_option(table: str, tmp_path: Path) -> None:
    schema = jsonschema.Draft7Validator(spec_schema())
    for name, option in OPTIONS[table].items():
        if option.made.get("column_type") == "slug" or option.setup:  # plug-ins are not installed here
            continue
        option.write(
            tmp_path,
            "http://127.0.0.1:1/v1",
            {"$HUB": "http://h", "$JUDGE": "http://j", "$TOOLS": "http://t", "$SSE_TOOLS": "http://s"},
        )
        data = json.loads((tmp_path / "spec.json").read_text())
        assert [error.message for error in schema.iter_errors(data)] == [], name
