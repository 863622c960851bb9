"""Every row of the tables of what users of such tools configure is an option that ``test_kill_options`` kills."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from options import OPTIONS

from rowmill.generators.sampler import PARAMETERS
from rowmill.generators.validators.parameters import CodeParameters, ValidatorType
from rowmill.spec.loading import load_spec, parse_spec
from rowmill.spec.registry import BUILT_IN
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
        "strategy",
        "selection",
        "exhaustion",
        "explode",
        "URL",
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
_OVER_THE_DATASET = {"deduplicate", "rank", "select"}
"""Killed in ``test_kill_in_barrier``."""


def _rows(table: str) -> set[str]:
    return {name.partition(": ")[0] for name in OPTIONS[table]}


@pytest.mark.parametrize("table", list(ROWS))
def test_every_row_of_a_table_is_killed_and_nothing_else(table: str) -> None:
    assert _rows(table) == set(ROWS[table])


def test_every_column_type_and_sampler_there_is_is_killed() -> None:
    assert set(BUILT_IN) - _OVER_THE_DATASET <= _rows("column types")
    assert set(PARAMETERS) <= _rows("samplers")


def test_every_seed_type_format_and_validator_there_is_is_killed() -> None:
    seeds = [option.spec["seed_dataset"] for option in OPTIONS["seeds"].values() if "seed_dataset" in option.spec]
    configs = [SeedDatasetConfig.model_validate(seed) for seed in seeds]
    fields = SeedDatasetConfig.model_fields
    assert {config.seed_type for config in configs} == set(get_args(fields["seed_type"].annotation))
    rollouts = {config.format for config in configs if config.seed_type == "agent_rollout"}
    assert rollouts == {"atif", "claude_code", "codex", "hermes_agent", "pi_coding_agent"}
    made = [option.made for option in OPTIONS["validators"].values()]
    assert {column["validator_type"] for column in made} == set(get_args(ValidatorType))
    languages = {column["validator_params"].get("code_lang") for column in made}
    assert set(get_args(CodeParameters.model_fields["code_lang"].annotation)) <= languages


@pytest.mark.parametrize("table", list(ROWS))
def test_every_option_is_written_as_yaml_and_read_back(table: str, tmp_path: Path) -> None:
    for option in OPTIONS[table].values():
        if option.made.get("column_type") == "slug" or option.setup:
            continue
        option.write(
            tmp_path, "http://127.0.0.1:1/v1", {"$HUB": "http://h", "$JUDGE": "http://j", "$TOOLS": "http://t"}
        )
        spec = load_spec(tmp_path / "spec.json").spec
        assert parse_spec(spec.to_yaml()).to_json() == spec.to_json()
