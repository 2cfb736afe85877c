"""D2: order; D3: cycles and ancestors. networkx is asked the same, and answers in its own way."""

from typing import Any
from unittest.mock import patch

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.definition import parse_workflow
from engine.errors import DefinitionError
from engine.graph import cycles, graph_to_steps, strangers, topological_order

LARGEST = 8

Edges = set[tuple[int, int]]
vertices = st.integers(0, LARGEST - 1)
digraphs = st.sets(st.tuples(vertices, vertices), max_size=20)


@st.composite
def acyclic(draw: st.DrawFn) -> Edges:
    """Edges along a random permutation, so that positions and topological order differ."""
    order = draw(st.permutations(range(LARGEST)))
    pairs = draw(st.sets(st.tuples(vertices, vertices), max_size=20))
    return {(order[min(pair)], order[max(pair)]) for pair in pairs if pair[0] != pair[1]}


def ends(edges: Edges) -> tuple[list[list[int]], list[list[int]]]:
    sources: list[list[int]] = [[] for _ in range(LARGEST)]
    targets: list[list[int]] = [[] for _ in range(LARGEST)]
    for source, target in sorted(edges):
        sources[target].append(source)
        targets[source].append(target)
    return sources, targets


def graph(edges: Edges) -> "nx.DiGraph[int]":
    known: nx.DiGraph[int] = nx.DiGraph()
    known.add_nodes_from(range(LARGEST))
    known.add_edges_from(edges)
    return known


@given(acyclic())
def test_the_smallest_of_all_that_could_come_next_comes_next(edges: Edges) -> None:
    assert topological_order(*ends(edges)) == list(nx.lexicographical_topological_sort(graph(edges)))


@given(digraphs)
def test_cycles_are_found_if_and_only_if_there_are_any(edges: Edges) -> None:
    sources, targets = ends(edges)
    order = topological_order(sources, targets)
    found = cycles(sources, targets, order)
    assert bool(found) == (not nx.is_directed_acyclic_graph(graph(edges)))
    for cycle in found:
        assert cycle[0] == min(cycle)
        assert set(zip(cycle, [*cycle[1:], cycle[0]], strict=True)) <= edges
    on_cycles = [vertex for cycle in found for vertex in cycle]
    assert len(on_cycles) == len(set(on_cycles))
    broken = graph(edges)
    broken.remove_nodes_from(on_cycles)
    assert nx.is_directed_acyclic_graph(broken)


@pytest.mark.parametrize("chunk", [1, 2, 1024])
@given(edges=acyclic(), queries=st.lists(st.tuples(vertices, vertices), max_size=20))
def test_strangers_are_those_that_are_no_ancestors(chunk: int, edges: Edges, queries: list[tuple[int, int]]) -> None:
    sources, targets = ends(edges)
    known = graph(edges)
    with patch("engine.graph._CHUNK", chunk):
        wrong = strangers(queries, sources, topological_order(sources, targets))
    assert wrong == {(used, user) for used, user in queries if used not in nx.ancestors(known, user)}


def node(name: str, **config: Any) -> dict[str, Any]:
    return {"id": name, "config": {"action": "act", **config}}


def test_a_graph_becomes_steps_in_order() -> None:
    definition = {
        "id": "w",
        "nodes": [
            {**node("last", parameters={"v": "${first.v}"}), "title": "The last", "position": {"x": 1, "y": 2}},
            node("second", timeout=2, condition=None),
            node("first"),
        ],
        "connections": [
            {"source": "second", "target": "last", "condition": "first.v > 1"},
            {"source": "first", "target": "last"},
            {"source": "first", "target": "second"},
            {"source": "second", "target": "last", "condition": "first.v < 1"},
        ],
    }
    steps = graph_to_steps(definition)
    assert steps == [
        {"id": "first", "name": "first", "sequence_order": 1, "depends_on": [], "action": "act"},
        {"id": "second", "name": "second", "sequence_order": 2, "depends_on": ["first"], "action": "act", "timeout": 2},
        {
            "id": "last",
            "name": "The last",
            "sequence_order": 3,
            "depends_on": [
                {"source": "second", "condition": "first.v > 1"},
                "first",
                {"source": "second", "condition": "first.v < 1"},
            ],
            "action": "act",
            "parameters": {"v": "${first.v}"},
        },
    ]
    steps[2]["parameters"]["v"] = "changed"
    assert graph_to_steps(definition)[2]["parameters"] == {"v": "${first.v}"}
    assert (
        parse_workflow({"id": "w", "steps": graph_to_steps(definition)}).incoming == parse_workflow(definition).incoming
    )


@given(acyclic())
def test_ties_are_broken_by_the_order_of_definition(edges: Edges) -> None:
    definition = {
        "id": "w",
        "nodes": [node(f"n{position}") for position in range(LARGEST)],
        "connections": [{"source": f"n{source}", "target": f"n{target}"} for source, target in sorted(edges)],
    }
    names = [f"n{position}" for position in nx.lexicographical_topological_sort(graph(edges))]
    steps = graph_to_steps(definition)
    assert [step["id"] for step in steps] == names
    assert [step["sequence_order"] for step in steps] == list(range(1, LARGEST + 1))
    workflow = parse_workflow(definition)
    assert [step.id for step in workflow.steps] == names
    assert [f"n{step.position}" for step in workflow.steps] == names
    again = parse_workflow({"id": "w", "steps": steps})
    assert (again.index, again.incoming) == (workflow.index, workflow.incoming)
    assert list(map(set, again.outgoing)) == list(map(set, workflow.outgoing))


def test_a_cycle_names_its_steps_in_order() -> None:
    definition = {
        "id": "w",
        "nodes": [node(name) for name in ("d", "c", "b", "a", "behind")],
        "connections": [
            {"source": source, "target": target}
            for source, target in ("ab", "bc", "cd", "da", ("d", "behind"), ("behind", "behind"))
        ],
    }
    for read in (graph_to_steps, parse_workflow):
        with pytest.raises(DefinitionError) as refused:
            read(definition)
        assert [str(fault) for fault in refused.value.faults] == [
            "connections[5]: step 'behind' depends on itself",
            "connections[2]: closes a cycle: d -> a -> b -> c -> d",
        ]


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(DefinitionError, match="nodes: must be a list"):
        graph_to_steps({"id": "w", "steps": []})
    with pytest.raises(DefinitionError, match="the definition: must be an object, not a list"):
        graph_to_steps([])


@pytest.mark.unmeasured
@pytest.mark.parametrize("refers_to", ["first", "before last", "half"])
def test_a_chain_of_many_steps_is_an_ordinary_workflow(refers_to: str) -> None:
    count = 20_000
    steps: list[dict[str, Any]] = [{"id": "s0", "action": "act"}]
    for rank in range(1, count):
        used = {"first": 0, "before last": max(0, rank - 2), "half": rank // 2}[refers_to]
        parameters = {"v": f"${{s{used}.v}}"}
        steps.append({"id": f"s{rank}", "action": "act", "depends_on": [f"s{rank - 1}"], "parameters": parameters})
    assert len(parse_workflow({"id": "w", "steps": steps}).steps) == count
    steps[0]["depends_on"] = [f"s{count - 1}"]
    with pytest.raises(DefinitionError) as refused:
        parse_workflow({"id": "w", "steps": steps})
    assert [fault.problem.count(" -> ") for fault in refused.value.faults] == [count]
