"""Parameters, included files and models of one's own: what a spec leaves to others, and what it is when it is read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

import rowmill
from rowmill.errors import SpecError, UsageError
from rowmill.run_database import RunDatabase
from rowmill.spec.column import ColumnConfig
from rowmill.spec.loading import load_spec, spec_of_data
from rowmill.spec.parameter import Filling
from rowmill.spec.spec import Spec
from rowmill.spec.template import Template

WRITER = "- {alias: writer, provider: simulated, model: small}\n"


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def files(directory: Path, **contents: str) -> Path:
    """Files by name (``_`` stands for the point), the spec among them."""
    for name, content in contents.items():
        path = directory / name.replace("__", "/").replace("_yaml", ".yaml").replace("_md", ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory / "spec.yaml"


def column(spec: Spec, name: str) -> Any:
    found = spec.column_of(name)
    assert isinstance(found, ColumnConfig)
    return found


def spec_with(parameters: str, columns: str = "", more: str = "records: 1") -> str:
    head = f"parameters: {{{parameters}}}\n{more}\nmodels:\n{WRITER}"
    return f"{head}columns:\n  - {{name: n, column_type: sampler, sampler_type: uuid}}\n{columns}"


def refusal(text: str, directory: Path, **given: object) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(files(directory, spec_yaml=text), given)
    return str(caught.value)


PROMPT = '  - {name: t, column_type: llm-text, model_alias: writer, prompt: "In {{ language | upper }} of {{ n }}"}\n'


@pytest.mark.parametrize("value", ["de", "a \"b\" 'c'", "%} }} {# {{ n }}", "zwei\nZeilen \\n", "😀 ü", ""])
def test_a_template_renders_the_value_of_a_parameter_whatever_it_holds(value: str, tmp_path: Path) -> None:
    loaded = load_spec(files(tmp_path, spec_yaml=spec_with("language: {default: en}", PROMPT)), {"language": value})
    prompt = Template(column(loaded.spec, "t").prompt)
    assert prompt.references == ("n",)
    assert prompt.render({"n": 1}) == f"In {value.upper()} of 1"


@pytest.mark.parametrize(
    ("sql", "made"),
    [
        ("language || n", "'it''s' || n"),
        ('LANGUAGE || "language"', "'it''s' || 'it''s'"),
        ("'language' || n -- language\n", "'language' || n -- language\n"),
        ("upper(language)", "upper('it''s')"),
        ("language(n)", "language(n)"),
        ("s.language || s['language']", "s.language || s['language']"),
        ("{language: language}.language", "{language: 'it''s'}.language"),
        ("f(language := language)", "f(language := 'it''s')"),
        ("language::varchar", "'it''s'::varchar"),
        ("list_transform(l, language -> language || n)", "list_transform(l, language -> 'it''s' || n)"),
        ("$$language$$ || language", "$$language$$ || 'it''s'"),
        ("languages", "languages"),
        ("level + least + is_on", "(-3) + cast(0.5 as double) + true"),
    ],
)
def test_in_sql_the_literal_stands_where_the_name_is_a_value(sql: str, made: str) -> None:
    filling = Filling({"language": "it's", "level": -3, "least": 0.5, "is_on": True})
    assert filling.filled({"columns": [{"sql": sql}]}) == {"columns": [{"sql": made}]}


def test_conditions_are_sql_too() -> None:
    filling = Filling({"limit_": 5})
    given = {"columns": [{"conditional_params": {"a < limit_": {"p": 1}}, "skip": {"when": "a > limit_"}}]}
    expected = {"columns": [{"conditional_params": {"a < (5)": {"p": 1}}, "skip": {"when": "a > (5)"}}]}
    assert filling.filled(given) == expected


def test_a_text_of_parameters_alone_is_rendered_and_a_lone_one_keeps_its_type(tmp_path: Path) -> None:
    text = spec_with(
        "language: {default: en}, size: {type: int, default: 7}", more='name: "p-{{ language }}"\nrecords: "{{ size }}"'
    )
    loaded = load_spec(files(tmp_path, spec_yaml=text), {"size": "9"})
    assert (loaded.spec.name, loaded.spec.records) == ("p-en", 9)


def test_what_is_given_wins_over_the_environment_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files(tmp_path, spec_yaml=spec_with("language: {default: en}", PROMPT))
    assert load_spec(path).parameters == {"language": "en"}
    monkeypatch.setenv("ROWMILL_SET_LANGUAGE", "fr")
    assert load_spec(path).parameters == {"language": "fr"}
    assert load_spec(path, {"language": "de"}).parameters == {"language": "de"}


@pytest.mark.parametrize(
    ("parameters", "given", "message"),
    [
        ("language: {type: str}", {}, "has no value: say --set language=VALUE, set ROWMILL_SET_LANGUAGE"),
        ("language: {default: en}", {"lang": "de"}, "no parameter 'lang'. Did you mean 'language'?"),
        ("size: {type: int}", {"size": "many"}, "Expected a whole number, not 'many'. (parameters.size)"),
        ("size: {type: int}", {"size": True}, "Expected a whole number"),
        ("size: {type: int}", {"size": "1e3"}, "Expected a whole number"),
        ("size: {type: float}", {"size": "nan"}, "Expected a number"),
        ("on_: {type: bool}", {"on_": "yes"}, "Expected true or false"),
        ("size: {type: int, default: a}", {}, "Expected a whole number, not 'a'"),
        ("size: {type: number}", {}, "(parameters.size.type)"),
        ("language: en", {}, "(parameters.language)"),
        ("language: {choices: [en, de], default: fr}", {}, "'fr' is none of en, de"),
        ("language: {choices: [en, de]}", {"language": "ed"}, "'ed' is none of en, de"),
        ("n: {default: a}", {}, "'n' is a column, too"),
        ("N: {default: a}", {}, "'N' is a column, too"),
        ("row_id: {default: a}", {}, "one of Rowmill's own columns"),
        ("select: {default: a}", {}, "is a word of SQL"),
        ("loop: {default: a}", {}, "is a word of Jinja"),
        ("my-name: {default: a}", {}, "cannot be the name of a parameter"),
        ("lang: {default: a}, LANG: {default: a}", {}, "differ only in case"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said_with_its_place(
    parameters: str, given: dict[str, object], message: str, tmp_path: Path
) -> None:
    assert message in refusal(spec_with(parameters), tmp_path, **given)


def test_a_seed_column_of_the_name_of_a_parameter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("Language\nen\n")
    more = "records: 1\nseed_dataset: {path: seed.csv}"
    files(tmp_path, spec_yaml=spec_with("language: {default: en}", PROMPT, more))
    with pytest.raises(SpecError, match="seed data has a column 'Language', too"):
        rowmill.preview("spec.yaml", 1)


def test_an_unused_parameter_is_warned_of(tmp_path: Path) -> None:
    loaded = load_spec(files(tmp_path, spec_yaml=spec_with("language: {default: en}")))
    assert [warning.message for warning in loaded.warnings] == ["Parameter 'language' is used nowhere."]


def test_the_run_database_needs_no_file_parameter_or_alias_again(tmp_path: Path) -> None:
    columns = (
        "  - {name: t, column_type: llm-text, model_alias: writer, prompt_file: prompts/t.md}\n"
        "  - {name: u, column_type: llm-text, model_alias: mine, prompt: hello}\n"
    )
    text = spec_with("language: {default: en}", columns, "records: 2\ninclude: models.yaml").replace(
        f"models:\n{WRITER}", ""
    )
    path = files(
        tmp_path,
        spec_yaml=text,
        models_yaml=WRITER,
        prompts__t_md="In {{ language }} of {{ n }}",
        config__rowmill__models_yaml="[{alias: mine, provider: simulated, model: own}, {alias: x, api_key: '${Z}'}]",
    )
    assert rowmill.run(path, "a.duckdb", parameters={"language": "de"}).exit_code == 0
    for name in ("spec.yaml", "models.yaml", "prompts/t.md", "config/rowmill/models.yaml"):
        (tmp_path / name).unlink()
    assert rowmill.run(None, "a.duckdb").exit_code == 0
    with RunDatabase.open("a.duckdb") as database:
        assert database.to_arrow().num_rows == 2
    with pytest.raises(UsageError, match="has its values"):
        rowmill.run(None, "a.duckdb", parameters={"language": "de"})


def test_another_value_is_a_changed_spec_like_any_other(tmp_path: Path) -> None:
    path = files(tmp_path, spec_yaml=spec_with("language: {default: en}, low: {default: a}", PROMPT))
    rowmill.run(path, "a.duckdb")
    with pytest.raises(rowmill.RowmillError, match="column 't' changed"):
        rowmill.run(path, "a.duckdb", parameters={"language": "de"})
    assert rowmill.run(path, "a.duckdb", parameters={"low": "b"}).exit_code == 0
    assert rowmill.run(path, "a.duckdb", parameters={"language": "de"}, accept_changes=True).exit_code == 0


def test_plain_data_of_a_program_takes_parameters_and_files(tmp_path: Path) -> None:
    (tmp_path / "t.md").write_text("In {{ language }}")
    data = {
        "records": 1,
        "parameters": {"language": {"default": "en"}},
        "models": [{"alias": "writer", "provider": "simulated", "model": "small"}],
        "columns": [{"name": "t", "column_type": "llm-text", "model_alias": "writer", "prompt_file": "t.md"}],
    }
    made, _ = spec_of_data(data, tmp_path, {"language": "de"})
    assert Template(column(made, "t").prompt).render({}) == "In de"
    assert "parameters" in data


def test_a_loaded_spec_takes_no_parameters(tmp_path: Path) -> None:
    loaded = load_spec(files(tmp_path, spec_yaml=spec_with("language: {default: en}", PROMPT)))
    with pytest.raises(UsageError, match="has its values"):
        rowmill.run(loaded, "a.duckdb", parameters={"language": "de"})


def test_a_spec_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Input:
        buffer = io.BytesIO(b"records: 4\n")

    monkeypatch.setattr("sys.stdin", Input())
    loaded = load_spec("-")
    assert (loaded.spec.name, loaded.spec.records, loaded.directory) == ("dataset", 4, Path.cwd())


def test_notes_beside_fixed_fields_are_ignored_and_free_mappings_keep_theirs(tmp_path: Path) -> None:
    text = """
x-model: &model {model_alias: writer, x-note: kept out}
x-anything: [{deep: {er: 1}}, ~]
records: 1
models:
  - {alias: writer, base_url: "http://h/v1", model: a, x-note: 1, extra_headers: {x-org: acme},
     inference_parameters: {extra_body: {x-b: 2}, x-c: 3}}
columns:
  - {name: s, column_type: sampler, sampler_type: category, params: {values: [x-ray], x-note: 1}, x-note: 2}
  - {name: t, column_type: llm-text, prompt: "{{ s }}", <<: *model}
"""
    spec = load_spec(files(tmp_path, spec_yaml=text)).spec
    assert spec.models[0].extra_headers == {"x-org": "acme"}
    assert spec.models[0].inference_parameters.extra_body == {"x-b": 2}
    assert "note" not in spec.to_json()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"include": "missing.yaml"}, "The file 'missing.yaml' is not there"),
        ({"include": "../models.yaml"}, "leaves the directory of the spec"),
        ({"include": "a/../../models.yaml"}, "leaves the directory of the spec"),
        ({"include": "/etc/passwd"}, "is no path below the directory"),
        ({"include": "~/models.yaml"}, "is no path below the directory"),
        ({"include": 3}, "Expected the name of a file"),
        ({"include": "loop.yaml"}, "include each other: loop.yaml → back.yaml → loop.yaml"),
        ({"include": "self.yaml"}, "include each other: self.yaml → self.yaml"),
        ({"include": "columns.yaml"}, "is no list of models"),
        ({"include": "broken.yaml"}, "not valid YAML"),
        ({"include": "folder"}, "is a directory"),
        ({"include": "twice.yaml"}, "alias 'writer' of twice.yaml is declared in spec.yaml already"),
        ({"include": "wrong.yaml"}, "(wrong.yaml: models.0.modle)"),
        ({"prompt_file": "../secret.md"}, "leaves the directory of the spec"),
        ({"prompt_file": "missing.md"}, "The file 'missing.md' is not there"),
        ({"prompt_file": ["t.md"]}, "Expected the name of a text file. (columns.0.prompt_file)"),
        ({"prompt_file": "t.md", "prompt": "x"}, "has a 'prompt' of its own"),
        ({"prompt_file": "bytes.md"}, "not encoded as UTF-8"),
    ],
)
def test_what_is_wrong_with_other_files_is_said(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "folder").mkdir(parents=True)
    (tmp_path / "models.yaml").write_text("[]")
    (tmp_path / "secret.md").write_text("a")
    files(
        inner,
        loop_yaml="include: back.yaml",
        back_yaml="include: [loop.yaml]",
        self_yaml="include: self.yaml",
        columns_yaml="{columns: []}",
        broken_yaml="[a: {",
        twice_yaml=WRITER,
        wrong_yaml="[{alias: w, provider: simulated, model: a, modle: b}]",
        t_md="Hello",
    )
    (inner / "bytes.md").write_bytes(b"\xff\xfe\xfa")
    of_column = {name: value for name, value in more.items() if name != "include"}
    written: dict[str, Any] = {
        "records": 1,
        "models": [{"alias": "writer", "provider": "simulated", "model": "small"}],
        "columns": [{"name": "t", "column_type": "llm-text", "model_alias": "writer", **of_column}],
        **({"include": more["include"]} if "include" in more else {}),
    }
    if not of_column:
        written["columns"][0]["prompt"] = "Hello"
    assert message in refusal(json.dumps(written), inner)


def test_paths_of_included_models_start_where_they_stand(tmp_path: Path) -> None:
    listed = "[{alias: a, base_url: 'http://h/v1', model: m, ca_file: gateway.pem}]"
    path = files(tmp_path, spec_yaml="records: 1\ninclude: lists/models.yaml", lists__models_yaml=listed)
    assert load_spec(path).spec.models[0].ca_file == "lists/gateway.pem"


def test_an_alias_of_the_spec_wins_over_ones_own(tmp_path: Path) -> None:
    own = "[{alias: writer, provider: simulated, model: own}]"
    path = files(
        tmp_path,
        spec_yaml=spec_with("", PROMPT.replace("{{ language | upper }}", "")),
        config__rowmill__models_yaml=own,
    )
    assert [model.model for model in load_spec(path).spec.models] == ["small"]
