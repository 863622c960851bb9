"""Ray's ``runtime_env``, as a spec may have it: all that Ray knows, except what would put a secret into its logs.

Ray writes a runtime environment in clear text into the logs of every node. So keys are refused here; they travel to
workers in messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, JsonValue

_SECRET_PARTS = {
    *("apikey", "key", "keys", "token", "secret", "secrets", "password", "passwd", "passphrase", "pwd", "pat"),
    *("credential", "credentials", "auth", "dsn"),
}
_SECRET_VALUE = re.compile(
    r"(sk|pk|rk|hf|ghp|gho|ghs|glpat|xox[abp]|gsk|nvapi|pplx)[-_]\w{8}|github_pat_|AKIA[0-9A-Z]{12}|AIza\w{20}"
    r"|ey[JI]\w{10}|-----BEGIN|://[^/\s:@]*:[^/\s@]+@|bearer\s",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"-?\d*\.?\d*|true|false|yes|no|on|off|none|auto", re.IGNORECASE)
_LOCAL_FILES = {"working_dir": "working_dir of the executor", "py_modules": "py_modules of the executor"}


def refused_variables(variables: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables that Ray must not be told, each with the reason, in words for the spec's author."""
    refused = {}
    for name, value in variables.items():
        if not isinstance(value, str):
            refused[name] = f"Environment variable '{name}' must be text: quote it."
        elif "${" in value:
            refused[name] = (
                f"'${{…}}' is not filled in here: Ray would write the value of '{name}' into its logs in clear text. "
                "Keys that models name reach the workers by themselves; put others into the nodes' own environment."
            )
        elif _looks_secret(name, value):
            refused[name] = (
                f"Environment variable '{name}' looks like a secret, and Ray writes runtime_env in clear text into its "
                "logs on every node. Keys that models name reach the workers by themselves; put others into the "
                "environment of the nodes, for example as a secret of the cluster."
            )
    return refused


def _looks_secret(name: str, value: str) -> bool:
    if _SECRET_VALUE.search(value):
        return True
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return not _HARMLESS.fullmatch(value) and not _SECRET_PARTS.isdisjoint(re.split(r"[^a-z]+", words))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _checked(value: Mapping[str, Any]) -> Mapping[str, Any]:
    variables = value.get("env_vars", {})
    if not isinstance(variables, Mapping):
        raise ValueError("env_vars is a mapping of names to texts.")
    for reason in refused_variables(variables).values():
        raise ValueError(reason)
    for text in _texts({field: inner for field, inner in value.items() if field != "env_vars"}):
        if "${" in text or _SECRET_VALUE.search(text):
            raise ValueError(
                f"It holds what looks like a secret ('{text[:4]}…'), and Ray writes runtime_env in clear text into its "
                "logs on every node. Put it into the nodes' own configuration, for example pip's."
            )
    for field, instead in _LOCAL_FILES.items():
        given = value.get(field, ())
        for path in [given] if isinstance(given, str) else given if isinstance(given, (list, tuple)) else ():
            if not isinstance(path, str) or "://" not in path:
                raise ValueError(
                    f"'{field}' of a runtime_env must be an address, such as s3://bucket/code.zip. "
                    f"What lies on this machine is sent by the field {instead}."
                )
    return value


RuntimeEnvironment = Annotated[Mapping[str, JsonValue], AfterValidator(_checked)]
