"""An option of a spec as a small run of its own, which ``test_kill_options`` kills with -9.

An :class:`Option` is a column ``made`` and what of a spec belongs to it. The run has 30 rows in groups of 5, with a
text ``id`` (random, its own in each row) and a ``number`` (0 to 9) to make it from; behind ``made`` stands a gate that
lets 13 rows pass and keeps all others until a file is there, so that a run can be killed at a known moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

RECORDS = 30
ROW_GROUP_SIZE = 5
PASSES_THE_GATE = 13
IN_FLIGHT = 4
_MAKING = "making.py"

RUN = {"max_active_row_groups": 2, "max_in_flight": 64, "backoff_base_s": 0.05}

_GATE = f"""
from pathlib import Path

import anyio

HERE = Path(__file__).parent
calls = 0

async def gate(row) -> int:
    global calls
    calls += 1
    if calls > {PASSES_THE_GATE} and not (HERE / "open").exists():
        (HERE / "reached").touch()
        await anyio.sleep_forever()
    return 1
"""
_SCRIPT = """
import json, sys
from pathlib import Path
import rowmill

spec, seed = json.loads(Path("spec.json").read_text()), None
{setup}
sys.exit(rowmill.run(spec, sys.argv[1], seed=seed).exit_code)
"""


@dataclass(frozen=True)
class Option:
    """What makes the column ``made``, and what that needs."""

    made: Mapping[str, Any]
    columns: Sequence[Mapping[str, Any]] = ()
    """Columns before ``made``."""
    after: Sequence[Mapping[str, Any]] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the spec. ``$HUB``, ``$JUDGE``, ``$TOOLS``, ``$SSE_TOOLS``, ``$DIRECTORY`` … are replaced."""
    model: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    setup: str = ""
    """Python statements: the run is started from Python, with the ``spec`` and ``seed`` they leave."""
    requests: int = 0
    """Requests a row may need of a model or a judge; 0: it asks none."""
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: Sequence[Option] = ()
    """Plain options in the same run, as ``made_2``, ``made_3`` …, each with a model of its own."""

    @property
    def is_plain(self) -> bool:
        """It is a few columns, a model and its functions, and nothing of the spec or the process is for it alone."""
        of_its_own = (self.after, self.spec, self.setup, self.environment, self.files.keys() - {_MAKING})
        text = json.dumps([self.made, *self.columns])
        return (
            not any(of_its_own)
            and self.made.keys().isdisjoint({"side_effect_columns", "output_columns"})
            and "$" not in text  # no server that counts is its own
            and all(text.count(name) == text.count(f'"{name}"') for name in self._before)
        )

    @property
    def _before(self) -> list[str]:
        return [column["name"] for column in self.columns]

    def write(self, directory: Path, model_url: str, urls: Mapping[str, str]) -> None:
        """Writes the spec and everything beside it."""
        written = json.dumps(self._spec(model_url), indent=1)
        for name, url in {**urls, "$DIRECTORY": str(directory)}.items():
            written = written.replace(name, url)
        (directory / "spec.json").write_text(written)
        (directory / "gate.py").write_text(_GATE)
        if self.setup:
            (directory / "script.py").write_text(_SCRIPT.format(setup=self.setup))
        beside = {f"making_{n}.py": _renamed(one.files[_MAKING], n, ()) for n, one in self._numbered() if one.files}
        for name, content in {**self.files, **beside}.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def _numbered(self) -> list[tuple[int, Option]]:
        return list(enumerate(self.beside, start=2))

    def _spec(self, model_url: str) -> dict[str, Any]:
        model = {"base_url": model_url, "max_parallel_requests": IN_FLIGHT}
        models = [
            {"alias": "model", "model": "small", **model, **self.model},
            *({"alias": f"model_{n}", "model": f"small_{n}", **model, **one.model} for n, one in self._numbered()),
        ]
        beside = []
        for n, one in self._numbered():
            columns = json.dumps([*one.columns, {"name": "made", **one.made}])
            beside += json.loads(_renamed(columns, n, one._before))
        return {
            "name": "killed",
            "records": RECORDS,
            "row_group_size": ROW_GROUP_SIZE,
            "seed": 5,
            **({"models": models} if self.requests else {}),
            "columns": [
                {"name": "id", "column_type": "sampler", "sampler_type": "uuid"},
                {
                    "name": "number",
                    "column_type": "sampler",
                    "sampler_type": "category",
                    "params": {"values": list(range(10))},
                },
                *self.columns,
                {"name": "made", **self.made},
                *beside,
                *self.after,
                {
                    "name": "gate",
                    "column_type": "custom",
                    "generator_function": "gate:gate",
                    "required_columns": ["made", *(f"made_{n}" for n, _ in self._numbered())],
                    "propagate_skip": False,
                    "drop": True,
                },
            ],
            "run": RUN,
            **self.spec,
        }


def _renamed(text: str | bytes, number: int, columns: Sequence[str]) -> str:
    """The module, the model and the columns of an option, where it stands beside others."""
    assert isinstance(text, str)
    text = text.replace("making:", f"making_{number}:")
    for quote in "'\"":
        for name in ("made", "model", *columns):
            text = text.replace(f"{quote}{name}{quote}", f"{quote}{name}_{number}{quote}")
    return text


def together(options: Sequence[Option]) -> Option:
    """Plain options in one run."""
    first, *others = options
    assert all(option.is_plain for option in options)
    return replace(first, beside=others, requests=sum(option.requests for option in options))


def sampler(sampler_type: str, columns: Sequence[Mapping[str, Any]] = (), /, **params: Any) -> Option:
    """A column of that type with these parameters."""
    return Option({"column_type": "sampler", "sampler_type": sampler_type, "params": params}, columns)


def drawn(name: str, sampler_type: str, **params: Any) -> dict[str, Any]:
    """A sampler column before the one the option is about."""
    return {"name": name, "column_type": "sampler", "sampler_type": sampler_type, "params": params}


def chat(column_type: str = "llm-text", /, **fields: Any) -> dict[str, Any]:
    """A column that asks the model about the row's ``id``."""
    return {"column_type": column_type, "model_alias": "model", "prompt": "Of {{ id }}", **fields}


def text(model: Mapping[str, Any] | None = None, /, requests: int = 1, **fields: Any) -> Option:
    """An llm-text column with these fields, of a model with those."""
    return Option(chat(**fields), model=model or {}, requests=requests)


def expression(name: str = "", /, **fields: Any) -> dict[str, Any]:
    """An expression column; without a name, the one the option is about."""
    return {**({"name": name} if name else {}), "column_type": "expression", **fields}


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "counts": {"type": "array", "items": {"type": "integer"}}},
    "required": ["name", "counts"],
}
