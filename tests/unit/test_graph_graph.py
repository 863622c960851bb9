"""Questions to a graph: bits, reachability, stages, critical path, task counts, endpoints, fingerprints, drawings."""

from __future__ import annotations

import dataclasses
import json

import pytest
from graph_fakes import column, graph_of, names
from hypothesis import given
from hypothesis import strategies as st

from rowmill.graph.endpoint import endpoint_of_alias, endpoints
from rowmill.graph.explanation import dot, explain
from rowmill.graph.fingerprint import fingerprint
from rowmill.graph.graph import Graph, default_cost
from rowmill.graph.mermaid import mermaid
from rowmill.graph.plan import Plan
from rowmill.spec.declaration import Reference, SkipRule
from rowmill.spec.spec import Spec


def test_a_generator_past_the_64th_has_its_bit_in_the_second_word() -> None:
    graph = graph_of(*(column(f"c{i}") for i in range(65)))
    assert graph.words == 2
    assert graph.bit(63) == (0, 1 << 63)
    assert graph.bit(64) == (1, 1)


def test_64_generators_fit_into_one_word() -> None:
    assert graph_of(*(column(f"c{i}") for i in range(64))).words == 1


def test_masks_say_which_generators_are_needed_directly() -> None:
    node = graph_of(column("a"), column("b"), column("c", "a", skip={"when": "{{ b }}"})).generators[2]
    assert node.upstream_mask == 0b11
    assert node.required_mask == 0b01


def test_unknown_names_are_key_errors() -> None:
    graph = graph_of(column("a"))
    for look_up in (graph.generator_of_column, graph.generator_of_name):
        with pytest.raises(KeyError):
            look_up("b")


def test_downstream_and_upstream_follow_all_steps() -> None:
    graph = graph_of(column("a"), column("b", "a"), column("c", "b"), column("x"))
    assert names(graph, graph.downstream([0])) == ["b", "c"]
    assert names(graph, graph.all_upstream([2])) == ["a", "b"]
    assert graph.downstream([3]) == ()
    assert graph.dependents(0) == (1,)


@given(st.lists(st.sets(st.integers(0, 14)), min_size=1, max_size=15))
def test_downstream_is_what_upstream_says_the_other_way_round(wanted: list[set[int]]) -> None:
    columns = [column(f"c{i}", *(f"c{j}" for j in sorted(needs) if j < i)) for i, needs in enumerate(wanted)]
    graph = graph_of(*columns)
    size = len(graph.generators)
    pairs = {(low, high) for low in range(size) for high in graph.downstream([low])}
    assert pairs == {(low, high) for high in range(size) for low in graph.all_upstream([high])}


def test_without_a_barrier_there_is_one_stage() -> None:
    (stage,) = graph_of(column("a"), column("b", "a")).stages
    assert (stage.generators, stage.barriers) == ((0, 1), ())


def test_a_dataset_generator_ends_its_stage_and_its_dependents_begin_the_next() -> None:
    graph = graph_of(
        column("a"),
        column("ranked", "a", strategy="dataset"),
        column("b", "ranked"),
        column("free"),
        column("best", "b", strategy="dataset"),
    )
    assert [(names(graph, s.generators), names(graph, s.barriers)) for s in graph.stages] == [
        (["a", "free"], ["ranked"]),
        (["b"], ["best"]),
    ]


def test_the_critical_path_is_the_costliest_chain() -> None:
    graph = graph_of(column("a"), column("b", "a"), column("slow"), column("c", "b", "slow"))
    assert [node.name for node in graph.critical_path(lambda node: 9.0 if node.name == "slow" else 1.0)] == [
        "slow",
        "c",
    ]
    assert [node.name for node in graph.critical_path()] == ["a", "b", "c"]


def test_a_request_outweighs_all_local_work_on_the_critical_path() -> None:
    models = [{"alias": "w", "provider": "simulated", "model": "m"}]
    graph = graph_of(column("a", model_alias="w"), column("s", sql="1"), column("l"), models=models)
    costs = [default_cost(node) for node in graph.generators]
    assert costs[0] > costs[2] > costs[1]


def test_an_empty_graph_answers_all_questions() -> None:
    graph = Graph((), ())
    assert (graph.words, graph.depth, graph.critical_path()) == (1, 0, ())
    assert len(graph.stages) == 1


def test_task_counts_follow_the_strategy() -> None:
    graph = graph_of(
        column("c"), column("b", strategy="batch"), column("d", strategy="dataset"), column("s", strategy="sql")
    )
    assert graph.task_counts(Plan.fresh(7, 2)) == {0: 7, 1: 4, 2: 1, 3: 0}
    assert graph.task_counts(Plan.fresh(0, 2)) == {0: 0, 1: 0, 2: 0, 3: 0}


# Endpoints (C1)


def model(alias: str, name: str = "m", url: str = "http://h:1/v1", limit: int = 4) -> dict[str, object]:
    return {"alias": alias, "provider": "openai", "model": name, "base_url": url, "max_parallel_requests": limit}


def test_c1_aliases_of_one_endpoint_share_the_smallest_limit() -> None:
    spec = Spec(records=1, models=[model("a", limit=9), model("b", url="http://H:1/v1/", limit=3)])  # type: ignore[list-item]
    (endpoint,) = endpoints(spec).values()
    assert (endpoint.resource, endpoint.limit, endpoint.aliases) == ("openai/m", 3, ("a", "b"))
    assert endpoint_of_alias(spec) == {"a": "openai/m", "b": "openai/m"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("http://h:1/v1", "http://g/v1", ["openai/m@h:1", "openai/m@g:80"]),
        ("http://h:1/v1", "http://h:1/v2", ["openai/m@http://h:1/v1", "openai/m@http://h:1/v2"]),
        ("http://h:1/v1", "http://[::1]:2/v1", ["openai/m@h:1", "openai/m@[::1]:2"]),
        ("https://h/v1", "https://h:443/v1", ["openai/m"]),
    ],
)
def test_c1_another_url_is_another_endpoint(first: str, second: str, expected: list[str]) -> None:
    spec = Spec(records=1, models=[model("a", url=first), model("b", url=second)])  # type: ignore[list-item]
    assert list(endpoints(spec)) == expected


# Fingerprints (V2)


def test_v2_a_fingerprint_changes_with_what_shapes_values() -> None:
    declaration = graph_of(column("a"), column("b", "a")).generators[1].declaration
    rule = SkipRule("{{ a }}", None, None, (), "p")
    others = [
        dataclasses.replace(declaration, fingerprint={"size": 2}),
        dataclasses.replace(declaration, skip=rule),
        dataclasses.replace(declaration, skip=dataclasses.replace(rule, value=1)),
        dataclasses.replace(declaration, inputs=()),
        dataclasses.replace(declaration, outputs=(dataclasses.replace(declaration.outputs[0], sql_type="BIGINT"),)),
        dataclasses.replace(declaration, propagate_skip=False),
    ]
    assert len({fingerprint(each) for each in [declaration, *others]}) == len(others) + 1


def test_v2_a_fingerprint_does_not_change_with_limits_places_or_drop() -> None:
    declaration = graph_of(column("a"), column("b", "a")).generators[1].declaration
    same = dataclasses.replace(
        declaration,
        place="columns.9",
        reason="other",
        resource="r",
        timeout_s=5.0,
        max_rows_per_call=9,
        inputs=(Reference("a", "columns.9.prompt"), Reference("a", "columns.9.system_prompt")),
        outputs=(dataclasses.replace(declaration.outputs[0], drop=True),),
    )
    assert fingerprint(same) == fingerprint(declaration)
    assert len(fingerprint(same)) == 64


def test_a_fingerprint_takes_any_text() -> None:
    declaration = graph_of(column("a")).generators[0].declaration
    assert fingerprint(dataclasses.replace(declaration, fingerprint={"x": "é\ud800"}))


# Explanation


def explained() -> tuple[Spec, Graph]:
    models = [model("a", limit=8), model("b", limit=2)]
    columns = [
        column("seed"),
        column("first", "seed", model_alias="a", skip={"when": "{{ seed }}"}),
        column("second", "first", model_alias="b"),
        column("length", sql="second"),
    ]
    return Spec(name="x", records=10, models=models, columns=columns), graph_of(*columns, models=models)  # type: ignore[arg-type]


def test_an_explanation_counts_tasks_and_requests() -> None:
    spec, graph = explained()
    told = explain(spec, graph, Plan.fresh(10, 4))
    assert (told.records, told.row_groups, told.tasks, told.model_requests) == (10, 3, 30, 20)
    assert told.critical_path == ("seed", "first", "second", "length")
    assert told.stages == (("seed", "first", "second", "length"),)
    (endpoint,) = told.endpoints
    assert (endpoint.aliases, endpoint.max_parallel_requests, endpoint.requests) == (("a", "b"), 2, 20)


def test_an_explanation_as_json_is_plain_and_complete() -> None:
    spec, graph = explained()
    told = json.loads(json.dumps(explain(spec, graph, Plan.fresh(10, 4)).as_json()))
    assert [g["name"] for g in told["generators"]] == ["seed", "first", "second", "length"]
    assert told["generators"][1] == {
        "name": "first",
        "column_type": "fake",
        "strategy": "cell",
        "reason": "as the test says",
        "inputs": ["seed"],
        "columns": ["first"],
        "stage": 0,
        "tasks": 10,
        "resource": "openai/m",
        "skips": True,
    }


def test_mermaid_frames_the_stages_between_barriers() -> None:
    graph = graph_of(column("a"), column("b", "a", strategy="dataset"), column("c", "b"))
    assert [line.strip() for line in mermaid(graph).splitlines()] == [
        "flowchart LR",
        'subgraph s0["stage 0"]',
        'g0["a<br/>fake · cell"]',
        "end",
        'g1{{"b<br/>fake · dataset"}}',
        'subgraph s1["stage 1"]',
        'g2["c<br/>fake · cell"]',
        "end",
        "g0 --> g1",
        "g1 --> g2",
    ]


def test_mermaid_draws_every_generator_and_need() -> None:
    graph = graph_of(column("a"), column("b"), column("c", "a", skip={"when": "{{ b }}"}))
    assert mermaid(graph) == (
        "flowchart LR\n"
        '  g0["a<br/>fake · cell"]\n'
        '  g1["b<br/>fake · cell"]\n'
        '  g2["c<br/>fake · cell"]\n'
        "  g0 --> g2\n"
        "  g1 -.-> g2\n"
    )


def test_names_with_marks_are_escaped_in_drawings() -> None:
    graph = graph_of(column('a"] --> b; <script>#1&\\'))
    drawn = mermaid(graph)
    assert "<script>" not in drawn
    assert drawn.count('"') == 2
    assert "a#34;#93;" in drawn
    assert 'label="a\\"] --> b; <script>#1&amp;\\\\\\nfake · cell"' in dot(graph)


def test_dot_draws_a_directed_graph() -> None:
    graph = graph_of(column("a"), column("b", "a", strategy="dataset"))
    assert dot(graph).splitlines() == [
        "digraph rowmill {",
        "  rankdir=LR;",
        '  g0 [label="a\\nfake · cell", shape=box];',
        '  g1 [label="b\\nfake · dataset", shape=hexagon];',
        "  g0 -> g1;",
        "}",
    ]
