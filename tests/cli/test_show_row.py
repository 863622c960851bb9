"""``rowmill show row`` and ``rowmill show prompt``: all that is known of one row, and what a model was asked for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from run_state import RunState
from virtual_run import llm, model, prepared, sampler

from rowmill.cli.main import execute

Shown = Callable[..., str]
TRACE = [{"role": "user", "content": "Say 1."}, {"role": "assistant", "content": "one\nline two"}]


@pytest.fixture
def shown(capfdbinary: pytest.CaptureFixture[bytes]) -> Shown:
    """What ``rowmill show ARGUMENT…`` writes to stdout, or to stderr if it is refused."""

    def show(*arguments: object, code: int = 0) -> str:
        assert execute(["show", *map(str, arguments)]) == code
        out, err = capfdbinary.readouterr()
        return (err if code else out).decode()

    return show


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Row 0 is finished, row 10 waits for another attempt of 'note', row 11 was dropped. Nobody changes it."""
    path = tmp_path_factory.mktemp("seen") / "seen.duckdb"
    spec = prepared(
        sampler("kind"),
        llm("note", "Say {{ kind }}.", system_prompt="Be {{ kind }}.", with_trace=True),
        models=[model()],
        records=20,
        row_group_size=10,
    )
    with RunState(spec, path) as state:
        state.sql(
            "insert into state.dataset_row by name select 0 as row_group, 0 as row_index, 0 as row_id, 255 as done_0,"
            " 0 as skipped_0, 1 as kind, $note as note, $trace as note__trace",
            note="one\x1b[31m",
            trace=json.dumps(TRACE),
        )
        state.write_row_group(1)
        state.write_deferral("note", 1, 0, until_s=60)
        state.write_drop("note", 11)
        state.sql(
            "insert into state.dropped_row_value by name select 1 as row_group, 1 as row_index, 11 as row_id,"
            " 1 as done_0, 0 as skipped_0, 7 as kind"
        )
    return path


def test_a_finished_row_is_shown_with_its_values_and_its_conversation(database: Path, shown: Shown) -> None:
    text = shown("row", 0, database)
    assert "Row 0: finished, row group 0" in text
    assert "note (llm-text, VARCHAR)\n  one\\x1b[31m\n" in text
    assert "  user:\n    Say 1.\n  assistant:\n    one\n    line two\n" in text
    assert "\x1b" not in text


def test_a_row_as_json_has_whole_values_states_and_prompts(database: Path, shown: Shown) -> None:
    row = json.loads(shown("row", "--row", 0, database, "--format", "json"))
    assert (row["row_id"], row["state"], row["dropped"]) == (0, "finished", None)
    note = row["columns"]["note"]
    assert (note["value"], note["state"]) == ("one\x1b[31m", "done")
    assert [each["content"] for each in note["messages"]] == ["Be 1.", "Say 1."]
    assert json.loads(row["columns"]["note__trace"]["value"]) == TRACE


def test_a_row_in_work_says_what_it_waits_for(database: Path, shown: Shown) -> None:
    text = shown("row", 10, database)
    assert "Row 10: active" in text
    assert "Deferred: note (Timeout): slow (1 attempt)" in text
    assert "  not made\n" in text
    assert json.loads(shown("row", 10, database, "--format", "json"))["deferred"][0]["error_type"] == "Timeout"


def test_a_dropped_row_says_why_and_what_it_held(database: Path, shown: Shown) -> None:
    text = shown("row", 11, database)
    assert "Dropped at column 'note', rejected (ValueError): no (1 attempt)" in text
    assert "kind (sampler, BIGINT)\n  7\n" in text


def test_some_columns_of_a_row_can_be_chosen(database: Path, shown: Shown) -> None:
    row = json.loads(shown("row", 0, database, "--columns", "kind", "--format", "json"))
    assert list(row["columns"]) == ["kind"]
    assert "Did you mean 'kind'?" in shown("row", 0, database, "--columns", "kin", code=2)


def test_the_prompt_of_a_row_is_rendered_from_its_values(database: Path, shown: Shown) -> None:
    asked = ("prompt", "--row", 0, "--column", "note", database)
    text = shown(*asked)
    assert "  system:\n    Be 1.\n  user:\n    Say 1.\n" in text
    told = json.loads(shown(*asked, "--format", "json"))
    assert told["messages"] == [{"role": "system", "content": "Be 1."}, {"role": "user", "content": "Say 1."}]
    assert told["state"] == "done"


def test_the_prompt_of_a_dropped_row_is_shown_before_anything_is_sent(database: Path, shown: Shown) -> None:
    text = shown("prompt", "--row", 11, "--column", "note", database)
    assert "note of row 11" in text
    assert "not sent yet" in text
    assert "Say 7." in text


def test_the_prompt_of_a_row_is_the_one_that_was_sent(quick_run: Path, shown: Shown) -> None:
    row = json.loads(shown("row", 3, quick_run, "--format", "json"))
    told = json.loads(shown("prompt", "--row", 3, "--column", "note", quick_run, "--format", "json"))
    values = {name: column["value"] for name, column in row["columns"].items()}
    assert told["messages"][-1]["content"] == f"Describe a {values['colour']} thing, size {values['size']}."
    assert "note of row 3" in shown("prompt", "--row", 3, "--column", "note", quick_run)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("row",), "Say which row"),
        (("row", "x"), "'x' is no row_id"),
        (("row", "-1"), "-1"),
        (("row", "20"), "There is no row 20 yet"),
        (("row", "99999999999999999999999"), "no row"),
        (("row", "0", "--where", "true"), "--where is for listings"),
        (("row", "0", "--format", "csv"), "use table or json"),
        (("row", "0", "--column", "note"), "--columns"),
        (("prompt", "--row", "0"), "--column answer"),
        (("prompt", "--column", "note"), "Say which row and which column"),
        (("prompt", "--row", "0", "--column", "nte"), "Did you mean 'note'?"),
        (("prompt", "--row", "0", "--column", "kind"), "Columns that do: note."),
        (("prompt", "--row", "10", "--column", "note"), "not made yet"),
        (("rows", "--row", "0"), "'rowmill show row 17'"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_what_to_do(
    database: Path,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(database.parent)
    assert said in " ".join(shown(*arguments, code=2).split())


def test_a_second_database_is_refused(database: Path, shown: Shown) -> None:
    assert "one argument too many" in shown("rows", database, database, code=2)
