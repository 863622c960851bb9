"""``rowmill report``: one file, of a run in any state, every value escaped; and the charts it draws."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from command_line import CommandLine
from run_state import RunState, rejected, request, succeeded
from virtual_run import EPOCH, llm, model, prepared, sampler

from rowmill.errors import UsageError
from rowmill.report.chart import Series, area_chart, histogram, line_chart, stacked_bars
from rowmill.report.drawing import graph_drawing
from rowmill.report.page import write_report
from rowmill.run_database import RunDatabase, run
from rowmill.store.reading.reader import Reader

HOSTILE = '</text><script>alert(1)</script>&"'


def _run(path: Path, records: int = 20) -> None:
    """A run that stopped half-way: rows finished, dropped and under way, hostile texts everywhere."""
    spec = prepared(sampler("kind", [HOSTILE, "plain"]), llm("note", "Write."), models=[model(limit=50)],
                    records=records, row_group_size=5)  # fmt: skip
    with RunState(spec, path) as state:
        tasks = state.of(state.take().tasks, "note")
        outcomes = [
            rejected(task, requests=[request(error=HOSTILE, cost=0.1)])
            if task.row_index == 1
            else succeeded(task, HOSTILE, requests=[request(cost=0.25)])
            for task in tasks[:12]
        ]
        state.take(outcomes, after_s=30)
        state.store.end(f"stopped because of {HOSTILE}", EPOCH + 60)


def _written(path: Path) -> str:
    target = path.with_suffix(".html")
    with Reader.open(path) as reader:
        size = write_report(reader, target)
    assert target.stat().st_size == size
    return target.read_text(encoding="utf-8")


def test_the_report_of_a_stopped_run_has_every_part_and_no_markup_of_its_values(tmp_path: Path) -> None:
    _run(tmp_path / "run.duckdb")
    text = _written(tmp_path / "run.duckdb")
    for heading in ("Over time", "Models", "Dropped rows", "The graph", "Columns", "Sample rows"):
        assert f"<h2>{heading}</h2>" in text
    for title in ("Progress", "Throughput", "Latency", "Tokens", "Cost", "Failures"):
        assert f"<h3>{title}</h3>" in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 3
    assert "Nothing works on this run now" in text


def test_the_report_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    _run(tmp_path / "run.duckdb")
    text = _written(tmp_path / "run.duckdb")
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)
    assert not re.search(r"<(link|img|iframe|object|script)\b(?![^>]*href=\"data:,)", text)
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("records", [0, 20])
def test_a_run_of_which_nothing_is_there_yet_has_a_report(tmp_path: Path, records: int) -> None:
    path = tmp_path / "run.duckdb"
    with RunState(prepared(sampler("kind"), records=records), path):
        pass
    assert "No row is finished." in _written(path)


@pytest.mark.slow
def test_the_command_writes_a_file_and_never_over_another(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("report")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"Wrote quick\.html \([\d.,k]+ bytes\)\.\n", done.stderr)
    assert "<h3>colour</h3>" in (rowmill.directory / "quick.html").read_text(encoding="utf-8")
    again = rowmill("report")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert rowmill("report", "--force").returncode == 0


def test_a_report_never_replaces_the_run_database(rowmill: CommandLine, quick_run: Path) -> None:
    before = quick_run.read_bytes()
    done = rowmill("report", quick_run, "--output", quick_run, "--force")
    assert done.returncode == 2
    assert "is the run database itself" in done.stderr
    assert quick_run.read_bytes() == before


def test_python_draws_the_report_too(quick_run: Path, tmp_path: Path) -> None:
    with RunDatabase.open(quick_run) as database:
        database.report(tmp_path / "drawn.html")
        assert database.status().details is not None
        with pytest.raises(UsageError, match="exists already"):
            database.report(tmp_path / "drawn.html")
    assert "<h3>colour</h3>" in (tmp_path / "drawn.html").read_text(encoding="utf-8")


def test_columns_and_judgements_of_a_run_are_in_its_report_with_their_figures(tmp_path: Path) -> None:
    scores = [
        {"name": "tone", "description": "How it sounds", "options": {"kind": "friendly", "cold": "distant"}},
        {"name": "help", "description": "Does it help?", "options": {1: "no", 2: "a little", 3: "yes"}},
    ]
    columns = [
        {"name": "size", "column_type": "seed-dataset"},
        {"name": "judge", "column_type": "llm-judge", "model_alias": "m", "prompt": "Of {{ size }}", "scores": scores},
    ]
    judging = {"alias": "m", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}
    spec = {"records": 40, "models": [judging], "columns": columns, "seed_dataset": {"seed_type": "df"}}
    run(spec, tmp_path / "judged.duckdb", seed=pa.table({"size": range(40)}))
    with RunDatabase.open(tmp_path / "judged.duckdb") as database:
        given = [
            (score, str(row["judge"][score]["score"]))
            for row in database.to_arrow().to_pylist()
            for score in row["judge"]
        ]
        profile = database.sql("select score_name, score, rows from judge_score").to_pylist()
        (size,) = database.sql("from column_statistics where column_name = 'size'").to_pylist()
        database.report(tmp_path / "judged.html")
    counted = {(row["score_name"], row["score"]): row["rows"] for row in profile}
    assert counted == dict(Counter(given))
    assert (size["minimum"], size["maximum"], size["mean"], size["nulls"]) == ("0", "39", 19.5, 0)
    text = re.sub(r"<[^>]*>|\s", " ", (tmp_path / "judged.html").read_text(encoding="utf-8"))
    judgements = " ".join(text.partition("Judgements")[2].split())
    for (_, score), rows in counted.items():
        assert f"{score} {rows}" in judgements
    assert "from 0 to 39 mean 19.5" in " ".join(text.split())


# Charts --------------------------------------------------------------------------------------------


def _parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{drawing}</div>")


def test_a_line_breaks_where_values_are_missing() -> None:
    values = [1.0, 2.0, math.nan, 3.0, 4.0, math.nan, 5.0]
    drawing = _parsed(line_chart("x", list("abcdefg"), [Series("one", values)], str))
    assert len(drawing.findall(".//polyline")) == 2
    assert len(drawing.findall(".//circle")) == 1


def test_areas_are_stacked_and_the_scale_ends_above_their_sum() -> None:
    drawing = _parsed(area_chart("x", ["a", "b"], [Series("one", [30, 40]), Series("two", [5, 33])], "{:.0f}".format))
    assert len(drawing.findall(".//polygon")) == 2
    ticks = [text.text for text in drawing.findall(".//text[@class='tick end']")]
    assert ticks[:5] == ["0", "20", "40", "60", "80"]
    assert [item[0].tail for item in drawing.findall(".//li")] == ["one", "two"]


def test_bars_of_nothing_are_not_drawn() -> None:
    drawing = _parsed(stacked_bars("x", ["a", "b", "c"], [Series("one", [0, 2, 0])], str))
    assert len(drawing.findall(".//rect[@class='c0 bar']")) == 1


def test_a_histogram_has_a_bar_for_every_bin_the_highest_for_the_most() -> None:
    drawing = _parsed(histogram("x", {0: 1, 19: 10}, 20, ("0", "9")))
    heights = [float(bar.attrib["height"]) for bar in drawing.findall(".//rect")]
    assert len(heights) == 20
    assert heights[19] == max(heights) > heights[0] > heights[5] == 0


@pytest.mark.parametrize("values", [[], [0.0], [1e-9], [1e18, 5.0]])
def test_any_values_make_a_chart(values: list[float]) -> None:
    points = [str(place) for place in range(len(values))]
    for draw in (line_chart, area_chart, stacked_bars):
        _parsed(draw("x", points, [Series("one", values)], str))


def test_texts_in_drawings_are_escaped() -> None:
    row = {
        "generator": HOSTILE, "needs": [], "columns": [HOSTILE], "column_type": HOSTILE, "strategy": "cell",
        "state": "done", "cells": 2, "done": 2, "skipped": 0, "dropped": 0, "deferred": 0,
    }  # fmt: skip
    for drawing in (
        graph_drawing([row]),
        line_chart(HOSTILE, [HOSTILE], [Series(HOSTILE, [1.0]), Series("b", [2.0])], lambda value: HOSTILE),
        histogram(HOSTILE, {0: 1}, 2, (HOSTILE, HOSTILE)),
    ):
        assert _parsed(drawing).findall(".//script") == []


def test_the_graph_puts_each_generator_right_of_what_it_needs() -> None:
    def row(name: str, *needs: str) -> dict[str, object]:
        counts = dict.fromkeys(("cells", "done", "skipped", "dropped", "deferred"), 0)
        kinds = {"column_type": "expression", "strategy": "sql", "state": "done"}
        return {"generator": name, "needs": list(needs), "columns": [name], **kinds, **counts}

    drawing = _parsed(graph_drawing([row("a"), row("b"), row("c", "a", "b"), row("d", "c")]))
    x = {box.findall("./text")[0].text: float(box.findall("./rect")[0].attrib["x"]) for box in drawing.findall(".//g")}
    assert x["a"] == x["b"] < x["c"] < x["d"]
    assert len(drawing.findall(".//path[@class='arrow']")) == 3
