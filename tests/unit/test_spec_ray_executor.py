"""The spec's settings for a Ray cluster: what is refused before anything is asked of Ray."""

from __future__ import annotations

from typing import Any

import pytest

from rowmill.errors import SpecError
from rowmill.spec.executor import RayExecutor
from rowmill.spec.spec import Spec

_COLUMNS = [{"name": "a", "column_type": "sampler", "sampler_type": "uuid", "params": {}}]


def _executor(settings: Any) -> RayExecutor:
    executor = Spec.from_data(
        {"name": "x", "records": 1, "columns": _COLUMNS, "run": {"executor": settings}}
    ).run.executor
    assert isinstance(executor, RayExecutor)
    return executor


def _variables(**variables: Any) -> dict[str, Any]:
    return {"kind": "ray", "groups": {"gpu": {"runtime_env": {"env_vars": variables}}}}


def test_the_word_ray_alone_is_the_cluster_this_machine_belongs_to() -> None:
    executor = _executor("ray")
    assert (executor.address, executor.silence_s, executor.working_dir) == ("auto", 6, ".")


def test_the_group_default_is_described_by_the_executor_itself() -> None:
    group = _executor({"kind": "ray", "num_gpus": 0.5, "resources": {"disk": 1}}).group("default")
    assert group is not None
    assert (group.num_cpus, group.num_gpus, group.resources) == (1, 0.5, {"disk": 1})


def test_settings_survive_being_stored_in_a_run_database() -> None:
    settings = {"kind": "ray", "address": "10.0.0.1:6379", "groups": {"gpu": {"workers": 2, "num_gpus": 1}}}
    spec = Spec.from_data({"name": "x", "records": 1, "columns": _COLUMNS, "run": {"executor": settings}})
    assert Spec.from_json(spec.to_json()).run.executor == spec.run.executor


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": "ray://head:10001"}, r"ray job submit.*\(run\.executor\.address\)"),
        ({"address": "http://head:8265"}, "host:port"),
        ({"adress": "auto"}, "Did you mean 'address'"),
        ({"groups": {"gpu": {"num_gpu": 1}}}, r"Did you mean 'num_gpus'.*groups\.gpu"),
        ({"resources": {"GPU": 1}}, "num_gpus"),
        ({"resources": {"disk": 0}}, r"resources\.disk"),
        ({"num_cpus": -1}, "num_cpus"),
        ({"silence_s": 0}, "silence_s"),
        ({"runtime_env": {"working_dir": "."}}, "working_dir of the executor"),
        ({"runtime_env": {"py_modules": ["./mine"]}}, "py_modules of the executor"),
        ({"runtime_env": {"env_vars": ["A=1"]}}, "mapping"),
        ({"runtime_env": {"env_vars": {"OMP_NUM_THREADS": 1}}}, "quote it"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        _executor({"kind": "ray", **settings})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OPENAI_API_KEY", "abcdef"), ("HF_TOKEN", "abcdef"), ("hfToken", "abcdef"), ("DB_PASSWORD", "abcdef")),
        *(("ANYTHING", "sk-abcdefgh123"), ("ANYTHING", "hf_abcdefgh123"), ("URL", "postgres://me:word@host/db")),
        *(("ANYTHING", "${WRITER_KEY}"), ("GOOGLE_APPLICATION_CREDENTIALS", "{json}"), ("HEADER", "Bearer abcdefg")),
    ],
)
def test_w8_an_environment_variable_that_looks_like_a_secret_is_refused_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(SpecError, match="in clear text") as raised:
        _executor(_variables(**{name: value}))
    if "${" not in value:
        assert value not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TOKENIZERS_PARALLELISM", "false"), ("OMP_NUM_THREADS", "4"), ("MAX_TOKENS", "300"), ("USE_AUTH", "true")),
        *(("HF_HOME", "/data/hf"), ("KEYBOARD", "german"), ("BASE_URL", "http://10.0.0.7:8000/v1")),
    ],
)
def test_an_ordinary_environment_variable_is_taken(name: str, value: str) -> None:
    group = _executor(_variables(**{name: value})).group("gpu")
    assert group is not None
    assert group.runtime_env["env_vars"] == {name: value}


def test_w8_a_password_in_an_address_of_packages_is_refused() -> None:
    with pytest.raises(SpecError, match="in clear text"):
        _executor({"kind": "ray", "runtime_env": {"pip": ["--index-url https://me:word@packages.example/simple"]}})
