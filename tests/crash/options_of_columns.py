"""Column types, samplers and validators as options: the rows of three tables."""

from __future__ import annotations

from typing import Any

from option import ROW_GROUP_SIZE, SCHEMA, Option, chat, drawn, expression, sampler, text

_SCORES = [
    {"name": "help", "description": "Does it help?", "options": {1: "no", 2: "a little", 3: "yes"}},
    {"name": "tone", "description": "How it sounds", "options": {"kind": "friendly", "cold": "distant"}},
]
_PYDANTIC = """
from pydantic import BaseModel
class Part(BaseModel):
    count: int
class Made(BaseModel):
    name: str
    parts: list[Part]
spec["columns"][2]["output_format"] = Made
"""


def _custom_forms() -> dict[str, Option]:
    """Every form of a custom function: what it takes, sync or async, a row or a row group a call."""
    forms = {}
    for arguments in ("row", "row, params", "row, params, models"):
        for is_async in (False, True):
            for strategy in ("cell", "batch"):
                name = f"custom: {'async ' if is_async else ''}fn({arguments}), {strategy}"
                forms[name] = _custom(arguments, is_async, strategy)
    return forms


def _custom(arguments: str, is_async: bool, strategy: str) -> Option:
    asks, takes_params = "models" in arguments, "params" in arguments
    factor = 'params["factor"]' if takes_params else "2"
    answer = f"{'await ' if is_async else ''}models['model'].chat('Of ' + one)"
    text = f"({answer}).text" if asks else "one"
    lines = [f"{'async ' if is_async else ''}def make({arguments}) -> str:"]
    if strategy == "cell":
        lines += ["    one = row['id']", f"    return {text} * {factor}"]
    else:
        lines += [
            "    values = []",
            "    for one in row['id'].to_pylist():",
            f"        values.append({text} * {factor})",
            "    return {'row_index': row['row_index'], 'made': values}",
        ]
    made = {
        "column_type": "custom",
        "generator_function": "making:make",
        "required_columns": ["id"],
        "generation_strategy": strategy,
        **({"generator_params": {"factor": 2}} if takes_params else {}),
        **({"model_aliases": ["model"]} if asks else {}),
    }
    requests = 0 if not asks else 1 if strategy == "cell" else ROW_GROUP_SIZE
    return Option(made, files={"making.py": "\n".join(lines) + "\n"}, requests=requests)


_TWO_COLUMNS = """
import rowmill

@rowmill.generator(required_columns=["id"], side_effect_columns={"length": "int"})
def make(row) -> str:
    return {"made": row["id"].upper(), "length": len(row["id"]), "other": 1.5}
"""

_TELLING = {
    "system_prompt": "As {{ id }}",
    "with_trace": True,
    "extract_reasoning_content": True,
    "multi_modal_context": [{"modality": "image", "column_name": "shown"}],
    "tool_alias": "shop",
    "max_conversation_correction_steps": 1,
    "max_conversation_restarts": 1,
}
_SHOWN = expression("shown", sql="'http://127.0.0.1/' || id || '.png'")
_SHOP = {
    "mcp_providers": [{"name": "shop", "endpoint": "$TOOLS"}],
    "tool_configs": [{"tool_alias": "shop", "providers": ["shop"], "allow_tools": ["price"]}],
}


def _told(column_type: str, /, **fields: Any) -> Option:
    """A chat with everything that all chats can be told: a tool is called, two conversations of two tries each."""
    return Option(chat(column_type, **_TELLING, **fields), [_SHOWN], spec=_SHOP, requests=6)


_KEEPING = """
def make(rows, state) -> str:
    count = state or 0
    values = []
    for one in rows["id"].to_pylist():
        count += 1
        values.append({"made": f"{count} {one}", "length": len(one), "half": len(one) / 2})
    kept = [n for n, value in enumerate(values) if value["made"][-1] < "e"]
    result = {name: [values[n][name] for n in kept] for name in ("made", "length", "half")}
    return {"row_index": [rows["row_index"][n].as_py() for n in kept], **result}, count
"""
_MAKING = "def make(row):\n    return [row['id'], 'and', str(row['number'])]\n"
_SKIPPED = {"skip": {"when": "number < 3"}}


COLUMN_TYPES: dict[str, Option] = {
    "sampler": sampler("uuid", prefix="s-"),
    "seed-dataset": Option(
        expression(sql="a * 2", dtype="int"),
        [{"name": "a", "column_type": "seed-dataset"}],
        spec={"seed_dataset": {"path": "seed.csv"}},
        files={"seed.csv": "a\n1\n2\n3\n"},
    ),
    "llm-text": text(system_prompt="As {{ id }}"),
    "llm-code": Option(chat("llm-code", code_lang="sql:postgres"), requests=3),
    "llm-code: as all chats": _told("llm-code", code_lang="python"),
    "llm-structured: as all chats": _told("llm-structured", output_format=SCHEMA),
    "llm-judge: as all chats": _told("llm-judge", scores=_SCORES),
    "llm-structured: JSON Schema": Option(
        chat("llm-structured", output_format=SCHEMA),
        after=[expression("total", sql="list_sum(made.counts)", dtype="int")],
        requests=3,
    ),
    "llm-structured: pydantic class": Option(
        chat("llm-structured"),
        after=[expression("parts", expr="{{ made.parts | length }}")],
        setup=_PYDANTIC,
        requests=3,
    ),
    "llm-judge": Option(
        chat("llm-judge", scores=_SCORES),
        after=[expression("half", sql="made.help.score / 2", dtype="float")],
        requests=3,
    ),
    "expression: expr": Option(expression(expr="{{ id | upper }} and {{ number + 1 }}")),
    "expression: expr, dtype": Option(
        expression(expr="{{ number * 2 }}", dtype="int"),
        after=[
            expression("half", expr="{{ made / 4 }}", dtype="float"),
            expression("even", expr="{{ number % 2 == 0 }}", dtype="bool"),
        ],
    ),
    "expression: sql": Option(expression(sql="number * length(id)", dtype="int")),
    "validation": Option(
        {
            "column_type": "validation",
            "target_columns": ["id"],
            "validator_type": "sql",
            "validator_params": {"predicate": "id < '8'"},
        }
    ),
    "embedding": Option(
        {"column_type": "embedding", "target_column": "id", "model_alias": "model", "max_rows_per_call": 1},
        requests=1,
    ),
    "embedding: a local function": Option(
        {
            "column_type": "embedding",
            "target_column": "id",
            "embedding_function": "making:vectors",
            "dimensions": 2,
            "max_rows_per_call": 2,
        },
        files={"making.py": "def vectors(texts):\n    return [[len(text), ord(text[0])] for text in texts]\n"},
    ),
    "image": Option(
        {"column_type": "image", "model_alias": "model", "prompt": "Draw {{ id }}"},
        after=[
            {
                "name": "seen",
                **chat(prompt="What is this, of {{ id }}?"),
                "multi_modal_context": [{"modality": "image", "column_name": "made"}],
            }
        ],
        requests=2,
    ),
    **_custom_forms(),
    "custom: side_effect_columns": Option(
        {
            "column_type": "custom",
            "generator_function": "making:make",
            "output_columns": {"other": "float"},
        },
        files={"making.py": _TWO_COLUMNS},
    ),
    "custom: ordered, may_drop_rows": Option(
        {
            "column_type": "custom",
            "generator_function": "making:make",
            "required_columns": ["id"],
            "generation_strategy": "batch",
            "ordered": True,
            "may_drop_rows": True,
            "side_effect_columns": {"length": "int"},
            "output_columns": {"half": "float"},
        },
        files={"making.py": _KEEPING},
    ),
    "custom: dtype, max_rows_per_call, timeout_s": Option(
        {
            "column_type": "custom",
            "generator_function": "making:make",
            "required_columns": ["id", "number"],
            "dtype": "VARCHAR[]",
            "max_rows_per_call": 2,
            "timeout_s": 20.0,
        },
        files={"making.py": _MAKING},
    ),
    "plugin": Option(
        {"column_type": "slug", "target_column": "answer", "separator": "_"},
        [drawn("thrown", "dice", sides=20), {"name": "answer", **chat(prompt="Of {{ line }} {{ thrown }} {{ id }}")}],
        after=[
            {
                "name": "check",
                "column_type": "validation",
                "target_columns": ["made", "line"],
                "validator_type": "shortness",
                "validator_params": {"most": 60},
            }
        ],
        spec={
            "seed_dataset": {
                "seed_type": "text_lines",
                "params": {"file": "lines.txt"},
                "sampling_strategy": "shuffle",
            },
            "processors": [{"name": "loud", "processor_type": "upper_names", "prefix": "X_"}],
        },
        model={"provider": "polite"},
        files={"lines.txt": "one\ntwo\nthree\n"},
        requests=1,
    ),
    "drop": Option(expression(sql="id || '!'", drop=True), after=[expression("kept", expr="{{ made }}")]),
    "skip": Option(
        chat(skip={"when": "number < 3", "value": "none"}),
        after=[expression("shown", expr="{{ made }}", skip={"when": "{{ number > 7 }}"})],
        requests=1,
    ),
    "skip: of every type": Option(
        {
            "column_type": "embedding",
            "target_column": "id",
            "model_alias": "model",
            "max_rows_per_call": 1,
            **_SKIPPED,
        },
        [
            {**drawn("size", "uniform", low=0, high=1), **_SKIPPED},
            {**drawn("form", "scipy", dist_name="norm"), "skip": {"when": "size > 0.5", "value": 0}},
            {"name": "drawing", "column_type": "image", "model_alias": "model", "prompt": "Draw {{ id }}", **_SKIPPED},
            {"name": "code", **chat("llm-code", code_lang="python", **_SKIPPED)},
            {"name": "facts", **chat("llm-structured", output_format=SCHEMA, **_SKIPPED)},
            {"name": "scored", **chat("llm-judge", scores=_SCORES, **_SKIPPED)},
        ],
        [
            {
                "name": "check",
                "column_type": "validation",
                "target_columns": ["code"],
                "validator_type": "code",
                "validator_params": {"code_lang": "python"},
                "propagate_skip": False,
                "skip": {"when": "number = 4"},
            },
            {
                "name": "own",
                "column_type": "custom",
                "generator_function": "making:make",
                "required_columns": ["id", "number"],
                "dtype": "json",
                **_SKIPPED,
            },
        ],
        files={"making.py": _MAKING},
        requests=11,
    ),
    "propagate_skip": Option(
        chat(skip={"when": "{{ number < 3 }}"}),
        after=[expression("not_made", expr="{{ made }}"), expression("so", expr="{{ made }}", propagate_skip=False)],
        requests=1,
    ),
}

_PEOPLE = """first_name,sex,age,city,locale,occupation,persona
Ann,Female,30,Rome,it_IT,baker,kind
Bob,Male,40,Rome,it_IT,baker,loud
Cia,Female,50,Oslo,it_IT,smith,wise
Dan,Male,70,Oslo,it_IT,baker,calm
Eve,Female,50,Oslo,en_US,baker,bold
Flo,Female,20,Rome,it_IT,baker,shy
"""
_MONTHS: dict[str, Any] = {"start": "2024-01-01", "end": "2025-01-01"}

SAMPLERS: dict[str, Option] = {
    "category": sampler("category", values=["a", "b", "c"], weights=[1, 2, 3]),
    "subcategory": sampler(
        "subcategory",
        [drawn("kind", "category", values=["a", "b"])],
        category="kind",
        values={"a": ["a1", "a2"], "b": ["b1"]},
    ),
    "datetime": sampler(
        "datetime",
        [
            drawn(f"moment_{n}", "datetime", start="2020-02-29", end="2025-01-01", unit=unit)
            for n, unit in enumerate("YMDms")
        ],
        **_MONTHS,
        unit="h",
    ),
    "timedelta": sampler(
        "timedelta",
        [
            drawn("day", "datetime", **_MONTHS),
            *(
                drawn(f"after_{unit}", "timedelta", reference_column_name="day", dt_min=0, dt_max=50, unit=unit)
                for unit in "Dhs"
            ),
        ],
        reference_column_name="day",
        dt_min=1,
        dt_max=100,
        unit="m",
    ),
    "uuid": sampler("uuid", prefix="id-", short_form=True, uppercase=True),
    "uniform": sampler("uniform", low=1, high=9, decimal_places=2),
    "gaussian": sampler("gaussian", mean=5, stddev=2, decimal_places=3),
    "poisson": sampler("poisson", mean=40),
    "binomial": sampler("binomial", n=600, p=0.4),
    "bernoulli": sampler("bernoulli", p=0.4),
    "bernoulli_mixture": sampler("bernoulli_mixture", p=0.5, dist_name="expon", dist_params={"scale": 9}),
    "scipy": sampler("scipy", dist_name="gamma", dist_params={"a": 2}, decimal_places=3),
    "person": Option(
        sampler("person", file="people.csv", locale="it_IT", sex="Female", age_range=[20, 60]).made,
        files={"people.csv": _PEOPLE},
    ),
    "person: select_field_values": Option(
        sampler(
            "person",
            file="people.csv",
            locale="it_IT",
            city=["Rome", "Lima"],
            select_field_values={"occupation": ["baker"]},
            with_synthetic_personas=True,
        ).made,
        files={"people.csv": _PEOPLE},
    ),
    "person_from_faker": sampler(
        "person_from_faker", locale="de_DE", sex="Male", city=["Rom", "Bonn"], age_range=[20, 40]
    ),
    "conditional_params": Option(
        {
            **sampler("poisson", mean=3).made,
            "conditional_params": {"number < 5": {"mean": 300}, "number = 2": {"mean": 9000}},
        }
    ),
    "conditional_params: drawn in Python": Option(
        {
            **sampler("scipy", dist_name="norm").made,
            "conditional_params": {"number < 5": {"dist_name": "norm", "dist_params": {"loc": 100}}},
        }
    ),
    "convert_to: float": Option({**sampler("category", values=["1.5", "2"]).made, "convert_to": "float"}),
    "convert_to: int": Option({**sampler("gaussian", mean=5, stddev=4).made, "convert_to": "int"}),
    "convert_to: str": Option({**sampler("uniform", low=0, high=1).made, "convert_to": "str"}),
    "convert_to: strftime": Option({**sampler("datetime", **_MONTHS).made, "convert_to": "%d.%m.%Y"}),
    "constraints: scalar_inequality": Option(
        sampler("gaussian", mean=0, stddev=1).made,
        spec={
            "constraints": [
                {"target_column": "made", "operator": "ge", "rhs": -0.5},
                {"target_column": "made", "operator": "le", "rhs": 0.5, "constraint_type": "scalar_inequality"},
            ]
        },
    ),
    "constraints: column_inequality": Option(
        sampler("scipy", dist_name="norm", dist_params={"loc": 5}).made,
        spec={
            "constraints": [
                {"target_column": "made", "operator": "lt", "rhs": "number", "constraint_type": "column_inequality"},
                {"target_column": "number", "operator": "gt", "rhs": 3},
            ]
        },
    ),
}

_UNIT = {"low": 0, "high": 1}
_SQL_DIALECTS = ("ansi", "bigquery", "duckdb", "mysql", "postgres", "sqlite", "tsql")
_CODE = {"name": "code", "column_type": "expression"}


def _validated(validator_type: str, code: str, **params: Any) -> Option:
    """A verdict on the SQL expression ``code``."""
    made = {
        "column_type": "validation",
        "target_columns": ["code"],
        "validator_type": validator_type,
        "validator_params": params,
        "batch_size": 2,
    }
    return Option(made, [{**_CODE, "sql": code}])


_CHECKS = """
def check(rows):
    return {"is_valid": [value < "8" for value in rows["code"].to_pylist()], "length": [1] * len(rows)}
"""


def _remote(**params: Any) -> Option:
    return _validated("remote", "id", endpoint_url="$JUDGE", retry_backoff=0.05, **params)


VALIDATORS: dict[str, Option] = {
    "code: python": _validated(
        "code", "if(number < 5, 'x = ' || number, 'print(nothing' || number || ')')", code_lang="python"
    ),
    **{
        f"code: sql:{dialect}": _validated(
            "code", "if(number < 5, 'select ' || number || ' from t', 'select from from')", code_lang=f"sql:{dialect}"
        )
        for dialect in _SQL_DIALECTS
    },
    "json schema": _validated("json_schema", "number::varchar", json_schema={"type": "integer", "minimum": 5}),
    "SQL predicate": _validated("sql", "id", predicate="code < '8'", message="too late"),
    "local callable": Option(
        _validated("local_callable", "id", validation_function="checks:check").made,
        [{**_CODE, "sql": "id"}],
        files={"checks.py": _CHECKS},
    ),
    "local callable: output_schema": Option(
        _validated(
            "local_callable",
            "id",
            validation_function="checks:check",
            output_schema={"type": "object", "properties": {"length": {"type": "integer"}}},
        ).made,
        [{**_CODE, "sql": "id"}],
        files={"checks.py": _CHECKS},
    ),
    "remote": _remote(timeout=5, max_parallel_requests=2),
    "remote: retries": _remote(max_retries=5, output_schema={"type": "object", "properties": {}}),
    "on_invalid: regenerate": Option(
        {
            **_validated("sql", "id", predicate="code < 'It n'").made,
            "on_invalid": "regenerate",
            "max_regenerations": 2,
            "on_still_invalid": "keep",
        },
        [{"name": "code", **chat()}],
        model={"inference_parameters": {"temperature": {"distribution_type": "uniform", "params": _UNIT}}},
        requests=3,
    ),
    "on_invalid: drop": Option(
        {**_validated("sql", "id", predicate="code < 'e'").made, "on_invalid": "drop"}, [{**_CODE, "sql": "id"}]
    ),
}
