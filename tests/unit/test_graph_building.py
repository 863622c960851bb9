"""Building the graph: order, side effects, skip rules, seed columns, and every problem at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from graph_fakes import FakeSeedColumn, analyse_sql, column, graph_of, names, problems_of_graph
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import SpecError
from rowmill.graph.building import build_graph
from rowmill.spec.declaration import SeedColumn
from rowmill.spec.spec import Spec


def messages(*arguments: object, **fields: object) -> list[str]:
    return [str(problem) for problem in problems_of_graph(*arguments, **fields)]  # type: ignore[arg-type]


def test_generators_come_after_what_they_need() -> None:
    assert names(graph_of(column("c", "b"), column("b", "a"), column("a"))) == ["a", "b", "c"]


def test_ties_are_in_declaration_order() -> None:
    assert names(graph_of(column("z"), column("d", "y"), column("y"), column("x"))) == ["z", "y", "d", "x"]


def test_outputs_are_in_declaration_order_whatever_the_topological_order() -> None:
    graph = graph_of(column("c", "b", effects=("c__trace",)), column("b"))
    assert [output.name for output in graph.outputs] == ["c", "c__trace", "b"]


def test_a_chain_of_ten_thousand_columns_needs_no_recursion() -> None:
    graph = graph_of(*(column(f"c{i}", *([f"c{i + 1}"] if i < 9_999 else [])) for i in range(10_000)))
    assert graph.generators[0].name == "c9999"
    assert graph.depth == 10_000


def test_an_unknown_reference_names_the_nearest_column_and_its_place() -> None:
    assert messages(column("review"), column("b", "reveiw")) == [
        "Column 'reveiw' is not defined. Did you mean 'review'? (columns.1.needs)"
    ]


def test_a_reference_to_the_number_of_the_row_says_what_to_use() -> None:
    (message,) = messages(column("row_idea"), column("b", "row_id"))
    assert "'row_id' is no column that others can use" in message
    assert "column_type: rank" in message
    assert "Did you mean" not in message
    assert message.endswith("(columns.1.needs)")


def test_a_template_reference_in_another_case_is_unknown() -> None:
    assert messages(column("Rating"), column("b", "rating")) == [
        "Column 'rating' is not defined. Did you mean 'Rating'? (columns.1.needs)"
    ]


def test_an_sql_reference_ignores_case() -> None:
    graph = graph_of(column("Rating"), column("b", sql="RATING + 1"))
    assert graph.generators[1].inputs == ("Rating",)


def test_a_cycle_is_told_with_all_its_members_in_order() -> None:
    found = messages(column("free"), column("a", "c"), column("b", "a"), column("c", "b"), column("behind", "a"))
    assert found == ["Columns need each other in a circle: 'a' → 'c' → 'b' → 'a'. (columns.1)"]


def test_two_cycles_are_two_problems_and_nothing_can_start() -> None:
    found = messages(column("a", "b"), column("b", "a"), column("c", "d"), column("d", "c"))
    assert found == [
        "Columns need each other in a circle: 'a' → 'b' → 'a'. Nothing can start. (columns.0)",
        "Columns need each other in a circle: 'c' → 'd' → 'c'. Nothing can start. (columns.2)",
    ]


def test_a_self_reference_is_told() -> None:
    assert messages(column("a", "a")) == ["Column 'a' refers to itself. (columns.0.needs)"]


def test_a_reference_to_the_own_side_effect_is_told() -> None:
    assert messages(column("a", "a__trace", effects=("a__trace",))) == [
        "Column 'a' refers to 'a__trace', which it makes itself. (columns.0.needs)"
    ]


def test_an_output_made_twice_is_told_also_when_only_case_differs() -> None:
    assert messages(column("a", also=("x",)), column("b", also=("X",))) == [
        "Column 'X' of column 'b' is made by column 'a' already (as 'x': names must differ by more than case). "
        "(columns.1)"
    ]


def test_two_producers_of_a_side_effect_are_told() -> None:
    assert messages(column("a", effects=("t",)), column("b", effects=("t",))) == [
        "Side-effect column 't' of column 'b' is made by column 'a' already. (columns.1)"
    ]


def test_r11_a_declared_column_wins_over_a_side_effect_of_the_same_name() -> None:
    graph = graph_of(column("a", effects=("a__trace", "a__more")), column("a__trace"), column("b", "a__trace"))
    maker = graph.generator_of_column("a__trace")
    assert maker.name == "a__trace"
    first = graph.generator_of_name("a")
    assert first.kept == (0, 2)
    assert [output.name for output in first.columns] == ["a", "a__more"]
    assert graph.generator_of_name("b").upstream == (maker.number,)


def test_r11_a_side_effect_column_belongs_to_its_generator() -> None:
    graph = graph_of(column("b", "a__trace"), column("a", effects=("a__trace",)))
    assert graph.generator_of_name("b").upstream == (graph.generator_of_name("a").number,)


def test_a_side_effect_with_a_reserved_name_is_told() -> None:
    (message,) = messages(column("a", effects=("done_0",)))
    assert message.startswith("Column 'a' cannot make 'done_0'")


def test_every_problem_is_found_at_once_in_document_order() -> None:
    found = problems_of_graph(column("a", "nope"), column("b", "b"), column("c", "d"), column("d", "c"))
    assert [problem.place for problem in found] == ["columns.0.needs", "columns.1.needs", "columns.2"]


def test_a_spec_without_columns_has_nothing_to_generate() -> None:
    assert messages() == ["The spec has no columns, so there is nothing to generate. (columns)"]


def test_an_unknown_model_alias_names_the_nearest() -> None:
    models = [{"alias": "writer", "provider": "simulated", "model": "m"}]
    assert messages(column("a", model_alias="writr"), models=models) == [
        "Model 'writr' is not defined. Did you mean 'writer'? (columns.0.model_alias)"
    ]
    assert messages(column("a", model_alias="w")) == [
        "Model 'w' is not defined. The spec has no models. (columns.0.model_alias)"
    ]


# Seed columns


def test_seed_columns_come_first_in_file_order_with_the_types_of_the_file() -> None:
    graph = graph_of(column("c", "island"), seed_columns=[("species", "VARCHAR"), ("island", "INTEGER")])
    assert names(graph) == ["species", "island", "c"]
    assert [output.sql_type for output in graph.outputs] == ["VARCHAR", "INTEGER", "VARCHAR"]
    assert graph.generators[1].declaration.sql == SeedColumn("island")


def test_a_declared_seed_column_keeps_its_position_and_drop_and_gets_its_type() -> None:
    graph = graph_of(
        column("c"), FakeSeedColumn(name="island", drop=True), seed_columns=[("species", "VARCHAR"), ("island", "INT")]
    )
    assert [(output.name, output.sql_type, output.drop) for output in graph.outputs] == [
        ("species", "VARCHAR", False),
        ("c", "VARCHAR", False),
        ("island", "INT", True),
    ]


def test_a_seed_column_the_file_lacks_names_the_nearest() -> None:
    assert messages(FakeSeedColumn(name="ilsand"), seed_columns=[("island", "INT")]) == [
        "The seed dataset has no column 'ilsand'. Did you mean 'island'? (columns.0.name)"
    ]


def test_a_seed_column_without_a_seed_dataset_is_told() -> None:
    (message,) = messages(FakeSeedColumn(name="island"))
    assert message == "Column 'island' needs a seed_dataset; the spec has none. (columns.0.column_type)"


def test_a_declared_column_that_the_seed_file_has_too_is_told() -> None:
    (message,) = messages(column("Island"), seed_columns=[("island", "INT")])
    assert message.startswith("Column 'Island' is a column of the seed dataset, too")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ([("a", "INT"), ("A", "INT")], "names differ by nothing but case"),
        ([("a", "INT"), ("a", "INT")], "two columns named 'a'"),
        ([("row_id", "INT")], "Rowmill's own columns"),
        ([("", "INT")], "must not be empty"),
    ],
)
def test_seed_files_with_impossible_columns_are_refused(columns: list[tuple[str, str]], reason: str) -> None:
    (problem,) = problems_of_graph(column("c"), seed_columns=columns)
    assert problem.place == "seed_dataset.path"
    assert reason in problem.message


# Skip rules (S1)


def test_s1_a_jinja_condition_makes_its_references_inputs_but_not_required_ones() -> None:
    graph = graph_of(column("a"), column("b"), column("c", "b", skip={"when": "{{ a > 1 }}", "value": 7}))
    node = graph.generator_of_name("c")
    assert node.upstream == (0, 1)
    assert node.required == (1,)
    assert node.inputs == ("b", "a")
    rule = node.declaration.skip
    assert rule is not None
    assert (rule.template, rule.sql, rule.value, rule.place) == ("{{ a > 1 }}", None, 7, "columns.2.skip.when")


def test_s1_any_other_condition_is_an_sql_predicate() -> None:
    graph = graph_of(column("A"), column("c", skip={"when": "a"}))
    rule = graph.generator_of_name("c").declaration.skip
    assert rule is not None
    assert (rule.template, rule.sql) == (None, "a")
    assert graph.generator_of_name("c").inputs == ("A",)


def test_s2_a_column_that_is_needed_and_tested_stays_required() -> None:
    node = graph_of(column("a"), column("c", "a", skip={"when": "{{ a }}"})).generator_of_name("c")
    assert node.required == (0,)


def test_s1_an_sql_column_does_not_take_a_jinja_condition() -> None:
    (message,) = messages(column("a"), column("c", sql="a", skip={"when": "{{ a }}"}))
    assert "its condition must be SQL, not Jinja" in message
    assert message.endswith("(columns.1.skip.when)")


@pytest.mark.parametrize(
    ("when", "reason"),
    [("{{ a", "not valid Jinja"), ("a ?", "cannot be parsed"), (" ", "is empty"), ("{{ zz }}", "'zz' is not defined")],
)
def test_s1_a_wrong_condition_is_a_problem_at_its_place(when: str, reason: str) -> None:
    (problem,) = problems_of_graph(column("a"), column("c", skip={"when": when}))
    assert problem.place == "columns.1.skip.when"
    assert reason in problem.message


def test_a_condition_on_the_own_column_is_a_self_reference() -> None:
    assert messages(column("a", skip={"when": "{{ a }}"})) == ["Column 'a' refers to itself. (columns.0.skip.when)"]


# Against a naive model


@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.sets(st.integers(0, n - 1)), min_size=n, max_size=n)))
def test_the_order_is_that_of_taking_the_first_possible_column_again_and_again(needs: list[set[int]]) -> None:
    columns = [column(f"c{i}", *(f"c{j}" for j in sorted(wanted))) for i, wanted in enumerate(needs)]
    expected: list[int] = []
    while ready := [i for i in range(len(needs)) if i not in expected and needs[i] <= set(expected)]:
        expected.append(ready[0])
    spec = Spec(records=1, columns=tuple(columns))
    if len(expected) < len(needs):
        with pytest.raises(SpecError, match=r"circle|itself"):
            build_graph(spec, [], analyse_sql)
        return
    graph = build_graph(spec, [], analyse_sql)
    assert names(graph) == [f"c{i}" for i in expected]
    for node in graph.generators:
        assert all(number < node.number for number in node.upstream)
        assert {graph.generators[number].name for number in node.upstream} == set(node.inputs)


_ORDER_SCRIPT = """
import json
from graph_fakes import column, graph_of, names
from rowmill.graph.explanation import dot
from rowmill.graph.mermaid import mermaid
graph = graph_of(*(column(f"c{i}", *{f"c{j}" for j in range(i + 1, min(i + 6, 40))}) for i in range(40)))
print(json.dumps([names(graph), mermaid(graph), dot(graph), [node.upstream for node in graph.generators]]))
"""


def test_order_and_drawings_are_the_same_in_every_process() -> None:
    here = Path(__file__).parent
    printed = set()
    for seed in ("0", "1", "4711"):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1] / "src")]),
        }
        result = subprocess.run(
            [sys.executable, "-c", _ORDER_SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        printed.add(result.stdout)
    assert len(printed) == 1
    assert json.loads(printed.pop())[0][0] == "c39"
