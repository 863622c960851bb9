"""``import-config``: configurations made by the real DataDesigner become specs that run and give the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import CommandLine
from provider_simulator import provider_simulator

from rowmill.data_designer.importing import Imported, imported
from rowmill.engine.preparation import prepare
from rowmill.errors import UsageError
from rowmill.run_database import RunDatabase, run
from rowmill.spec import registry
from rowmill.spec.loading import load_spec

PEER = Path(__file__).parents[1] / "data_designer"
SAMPLERS = PEER / "every_sampler.json"
COLUMNS = PEER / "every_column.yaml"

PROVIDERS = ("local", "openai", "coding", "facts", "judging")


def imported_from(directory: Path, config: dict[str, Any], **options: Any) -> Imported:
    """What becomes of a configuration given as plain data."""
    path = directory / "config.json"
    path.write_text(json.dumps(config))
    return imported(path, 100, **options)


def one_sampler(**fields: Any) -> dict[str, Any]:
    column = {"name": "value", "column_type": "sampler", "conditional_params": {}, "convert_to": None, **fields}
    return {"data_designer": {"columns": [column]}}


@pytest.mark.slow
def test_every_column_runs_against_an_endpoint(rowmill: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = rowmill.directory
    for name in ("functions.py", "cities.csv"):
        (directory / name).write_bytes((PEER / name).read_bytes())
    with provider_simulator() as simulator:
        providers = [{"name": name, "endpoint": simulator.url, "api_key": "TEST_KEY"} for name in PROVIDERS]
        (directory / "providers.yaml").write_text(yaml.safe_dump({"providers": providers, "default": "local"}))
        options = ["--records", "12", "--providers", "providers.yaml", "--output", "spec.yaml"]
        rowmill.output_of("import-config", str(COLUMNS), *options)
        monkeypatch.setenv("TEST_KEY", "none")
        report = run(directory / "spec.yaml", directory / "run.duckdb")
    assert report.rows_finished == 12
    with RunDatabase.open(directory / "run.duckdb") as database:
        (row, *_) = [row for row in database.to_arrow().to_pylist() if row["stars"] != 3]
    assert {"city", "stars", "review", "code", "facts", "verdict", "vector", "picture", "loud"} <= {*row}
    assert not {"hidden", "twice"} & {*row}
    assert row["loud"] == "!" * row["stars"]
    assert len(row["vector"]) == 8


def test_the_configurations_have_every_type_there_is() -> None:
    samplers = json.loads(SAMPLERS.read_text())["data_designer"]["columns"]
    assert {column.get("sampler_type") for column in samplers} - {None} == set(registry.SAMPLERS.built_in)
    columns = yaml.safe_load(COLUMNS.read_text())["data_designer"]["columns"]
    own = {"deduplicate", "rank", "select", "seed-dataset"}  # the last comes with the seed data
    assert {column["column_type"] for column in columns} == set(registry.COLUMN_TYPES.built_in) - own


def test_the_spec_of_every_sampler_is_valid_as_it_is(tmp_path: Path) -> None:
    made = imported(SAMPLERS, 100)
    (tmp_path / "spec.yaml").write_text(made.text())
    person = {"sex": "Female", "age": 30, "city": "Oslo", "occupation": "baker"}
    pq.write_table(pa.Table.from_pylist([person]), tmp_path / "people_en_US.parquet")
    assert prepare(tmp_path / "spec.yaml").spec == load_spec(tmp_path / "spec.yaml").spec
    assert [note.place for note in made.notes] == ["columns.7", "columns.16.params.file"]


def test_the_spec_goes_to_stdout_and_what_differs_to_stderr(rowmill: CommandLine) -> None:
    done = rowmill("import-config", str(COLUMNS))
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout)["columns"][2]["skip"] == {"value": "none", "when": "{{ stars == 3 }}"}
    assert "model_configs.0.provider: Provider 'local' is not known" in done.stderr
    assert "columns.14.generator_function: Column 'loud'" in done.stderr
    assert "columns.15.generation_strategy: 'double' gets a pyarrow.Table" in done.stderr
    assert "columns.2.with_trace: 'review__trace' is JSON text" in done.stderr
    assert "columns.6: Column 'vector': its value is the vector itself" in done.stderr
    assert "columns.7: Column 'picture': its value is the path of one file" in done.stderr
    assert "profilers: There is no equivalent" in done.stderr


def test_an_existing_file_is_not_overwritten(rowmill: CommandLine) -> None:
    (rowmill.directory / "spec.yaml").write_text("mine")
    done = rowmill("import-config", str(SAMPLERS), "-o", "spec.yaml")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (rowmill.directory / "spec.yaml").read_text() == "mine"


def test_processors_that_drop_columns_mark_them(tmp_path: Path) -> None:
    config = one_sampler(sampler_type="bernoulli", params={"p": 0.5})
    config["data_designer"]["processors"] = [{"name": "x", "processor_type": "drop_columns", "column_names": ["val*"]}]
    assert imported_from(tmp_path, config).spec["columns"][0]["drop"] is True


def test_tools_come_along_and_their_providers_are_asked_for(tmp_path: Path) -> None:
    tools = {"tool_alias": "web", "providers": ["search"], "allow_tools": None, "timeout_sec": 5}
    made = imported_from(tmp_path, {"columns": [], "tool_configs": [tools]})
    assert made.spec["tool_configs"] == [{"tool_alias": "web", "providers": ["search"], "timeout_s": 5.0}]
    notes = {note.place: note.message for note in made.notes}
    assert "mcp_providers" in notes["tool_configs"]


def test_a_configuration_without_its_wrapping_is_taken_too(tmp_path: Path) -> None:
    config = one_sampler(sampler_type="bernoulli", params={"p": 0.5})["data_designer"]
    assert imported_from(tmp_path, config).spec["columns"] == [
        {"name": "value", "column_type": "sampler", "sampler_type": "bernoulli", "params": {"p": 0.5}}
    ]


def test_pictures_are_asked_for_where_datadesigner_does() -> None:
    models = {model["alias"]: model.get("image_route") for model in imported(COLUMNS, 1).spec["models"]}
    assert models["painter"] is None  # its model is named like one that draws outside of chats
    assert models["sketcher"] == "chat"
    assert models["writer"] is None


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        (
            {"sampler_type": "datetime", "params": {"start": "March 1, 2024", "end": "2025", "unit": "m"}},
            {
                "params": {"start": "2024-03-01 00:00:00", "end": "2025-01-01 00:00:00", "unit": "m"},
                "convert_to": "%Y-%m-%dT%H:%M:%S",
            },
        ),
        (
            {"sampler_type": "category", "params": {"values": [1, 2.5], "sampler_type": "category"}},
            {"params": {"values": [1, 2.5]}},
        ),
        (
            {"sampler_type": "subcategory", "params": {"category": "c", "values": {"a": [1], "b": ["x"]}}},
            {"params": {"category": "c", "values": {"a": ["1"], "b": ["x"]}}},
        ),
        (
            {
                "sampler_type": "bernoulli",
                "params": {"p": 0.5},
                "conditional_params": {'kind == "a"': {"p": 1, "sampler_type": "bernoulli"}},
            },
            {"params": {"p": 0.5}, "conditional_params": {"kind = 'a'": {"p": 1}}},
        ),
    ],
)
def test_samplers_are_said_in_rowmills_words(tmp_path: Path, fields: dict[str, Any], column: dict[str, Any]) -> None:
    (made,) = imported_from(tmp_path, one_sampler(**fields)).spec["columns"]
    assert made == {"name": "value", "column_type": "sampler", "sampler_type": fields["sampler_type"], **column}


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        (
            one_sampler(sampler_type="bernoulli", params={"p": 0}, conditional_params={"f(x)": {"p": 1}}),
            "columns.0.conditional_params.f(x)",
            "Write this condition as SQL: it uses call.",
        ),
        (
            one_sampler(sampler_type="person", params={"locale": "ja_JP", "age_range": [18, 30]}),
            "columns.0.params.file",
            "'people_ja_JP.parquet' is to be a parquet or csv file",
        ),
        (
            one_sampler(sampler_type="datetime", params={"start": "yesterday", "end": "2025-01-01"}),
            "columns.0.params.start",
            "Write 'yesterday' as a date",
        ),
        (
            one_sampler(sampler_type="uniform", params={"low": 2, "high": 1}),
            "",
            "To be mended in the spec: low (2) is greater than high (1). (columns.0.params)",
        ),
        (
            {"columns": [{"name": "x", "column_type": "my-plugin"}]},
            "columns.0",
            "there is no column type 'my-plugin'; it is left out.",
        ),
        (
            {"columns": [], "seed_config": {"source": {"seed_type": "df"}}},
            "seed_config.source",
            "name a file",
        ),
        (
            {
                "columns": [],
                "seed_config": {"source": {"seed_type": "hf", "path": "datasets/a/b.csv", "token": "s3cr"}},
            },
            "seed_config.source.token",
            "${HF_TOKEN}",
        ),
        (
            {"columns": [], "seed_config": {"source": {"seed_type": "agent_rollout", "format": "codex"}}},
            "seed_config.source",
            "is text, where DataDesigner has a list of blocks",
        ),
        ({"columns": [], "novelty": 1}, "novelty", "not known"),
    ],
)
def test_what_has_no_equivalent_is_listed_with_its_place(
    tmp_path: Path, config: dict[str, Any], place: str, message: str
) -> None:
    notes = {note.place: note.message for note in imported_from(tmp_path, config).notes}
    assert message in notes[place]


@pytest.mark.parametrize(("said", "is_noted"), [({}, True), ({"dtype": "int"}, False)])
def test_what_a_function_returns_is_asked_for(tmp_path: Path, said: dict[str, str], is_noted: bool) -> None:
    column = {"name": "n", "column_type": "custom", "generator_function": "counted", **said}
    notes = {note.place: note.message for note in imported_from(tmp_path, {"columns": [column]}).notes}
    assert ("columns.0.dtype" in notes) is is_noted
    assert not is_noted or "add their dtype: int, float" in notes["columns.0.dtype"]


def test_keys_are_taken_by_name_and_never_copied(tmp_path: Path) -> None:
    providers = [
        {"name": "mine", "endpoint": "http://127.0.0.1:1/v1", "api_key": "sk-s3cr3t"},
        {"name": "theirs", "endpoint": "http://127.0.0.1:2/v1", "provider_type": "anthropic", "api_key": "THEIR_KEY"},
    ]
    (tmp_path / "providers.yaml").write_text(yaml.safe_dump({"providers": providers}))
    models = [{"alias": name, "model": "m", "provider": name} for name in ("mine", "theirs")]
    config = {"columns": [], "model_configs": models}
    made = imported_from(tmp_path, config, providers=tmp_path / "providers.yaml")
    assert "s3cr3t" not in made.text() + "".join(map(str, made.notes))
    assert made.spec["models"] == [
        {"alias": "mine", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key": "${MINE_API_KEY}"},
        {
            "alias": "theirs",
            "model": "m",
            "base_url": "http://127.0.0.1:2/v1",
            "provider": "anthropic",
            "api_key": "${THEIR_KEY}",
        },
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.yaml", "- 1", "not a mapping"),
        ("a.yaml", "records: 5", "no list 'columns'"),
        ("a.yaml", "data_designer: 5", "no list 'columns'"),
        ("a.yaml", "columns: [a, b]", "columns.0 is no mapping with a 'name' and a 'column_type'"),
        ("a.yaml", "columns: [{name: a, type: int}]", "columns.0 is no mapping"),
        ("a.yaml", "{name: a, records: 5, columns: []}", "has 'name', 'records', as a spec of Rowmill"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        imported(tmp_path / name, 1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read '.*none\.json'"):
        imported(tmp_path / "none.json", 1)


def test_values_that_may_be_meant_as_texts_are_listed_and_texts_stay_texts(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "columns:\n"
        "  - {name: a, column_type: sampler, sampler_type: category, params: {values: [01234]}}\n"
        "  - {name: b, column_type: sampler, sampler_type: category, params: {values: ['1e3', '08540', '1_0']}}\n"
    )
    made = imported(tmp_path / "config.yaml", 10)
    assert [str(note) for note in made.notes] == [
        "columns.0.params.values.0: The unquoted 01234 in line 2 is read as the number 1234. "
        "For the text write '01234', otherwise 1234."
    ]
    (tmp_path / "spec.yaml").write_text(made.text())
    column: Any = load_spec(tmp_path / "spec.yaml").spec.columns[1]
    assert column.params.values == ("1e3", "08540", "1_0")
