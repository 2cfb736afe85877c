"""D1, D3, D4: what a definition says, and everything that is wrong with one, each with its place."""

import copy
import json
import pickle
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.definition import Compensation, Retries, graph_to_steps, parse_workflow
from engine.errors import (
    CompensationError,
    ConditionError,
    DefinitionError,
    ExecutionTimeoutError,
    Fault,
    JournalError,
    MissingInputError,
    StepTimeoutError,
    UnknownExecutionError,
    UnresolvedReferenceError,
    ValidationError,
    WorkflowError,
)
from engine.shapes import EDITOR_KEYS
from engine.values import MAX_DEPTH

ACTIONS = {"fetch", "store", "undo"}

FULL: dict[str, Any] = {
    "id": "w",
    "name": "The workflow",
    "max_concurrent_steps": 2,
    "timeout": 3600,
    "rollback_on_cancel": True,
    "steps": [
        {
            "id": "store",
            "name": "Store it",
            "action": "store",
            "depends_on": [{"source": "fetch-data", "condition": "${fetch-data.n} > 1"}, "check"],
            "condition": "check.ok",
            "parameters": {"rows": "${fetch-data.rows}", "all": ["$${x}"]},
            "timeout": 0.5,
            "retries": {"max_attempts": 3, "initial_interval": 0, "backoff": 1, "max_interval": 5.5},
            "continue_on_error": True,
            "join": "any",
            "input_schema": {"type": "object"},
            "output_schema": False,
            "compensation": {
                "action": "undo",
                "parameters": {"key": "${store.key}", "from": "${fetch-data.rows.0}"},
                "timeout": 2,
                "retries": {"max_attempts": 2},
            },
        },
        {"id": "fetch-data", "action": "fetch", "condition": "input.go && type(input.n) == int"},
        {"id": "check", "action": "fetch", "depends_on": ["fetch-data"], "parameters": {"limit": 3}},
    ],
}


def as_graph(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The same workflow in the graph shape."""
    nodes, connections = [], []
    for step in definition["steps"]:
        config = {key: value for key, value in step.items() if key not in ("id", "name", "depends_on")}
        nodes.append({"id": step["id"], "title": step.get("name"), "config": config})
        for entry in step.get("depends_on", []):
            end = entry if isinstance(entry, dict) else {"source": entry}
            connections.append({**end, "target": step["id"]})
    rest = {key: value for key, value in definition.items() if key != "steps"}
    return {**rest, "nodes": nodes, "connections": connections}


def workflow_of(*steps: dict[str, Any], **policies: Any) -> dict[str, Any]:
    """A small definition; each step gets an action."""
    return {"id": "w", "steps": [{"action": "fetch", **step} for step in steps], **policies}


def faults_of(definition: Any, actions: Any = ACTIONS) -> list[str]:
    with pytest.raises(DefinitionError) as refused:
        parse_workflow(definition, actions)
    return [str(fault) for fault in refused.value.faults]


def test_every_word_of_a_definition_is_read() -> None:
    workflow = parse_workflow(FULL, ACTIONS)
    assert (workflow.id, workflow.name) == ("w", "The workflow")
    assert (workflow.max_concurrent_steps, workflow.timeout, workflow.rollback_on_cancel) == (2, 3600.0, True)
    assert [step.id for step in workflow.steps] == ["fetch-data", "check", "store"]
    assert dict(workflow.index) == {"fetch-data": 0, "check": 1, "store": 2}
    assert workflow.outgoing == ((2, 1), (2,), ())  # by the position of the target: store is defined first
    step = workflow.steps[2]
    assert (step.index, step.position, step.sequence_order) == (2, 0, 3)
    assert (step.name, step.action) == ("Store it", "store")
    assert step.parameters == {"rows": "${fetch-data.rows}", "all": ["$${x}"]}
    assert step.has_references
    assert (step.timeout, step.continue_on_error, step.join) == (0.5, True, "any")
    assert step.retries == Retries(3, 0.0, 1.0, 5.5)
    assert step.input_schema is not None
    assert step.input_schema.faults([]) == ("$: [] is not of type 'object'",)
    assert step.output_schema is not None
    assert step.output_schema.faults(1)
    parameters = {"key": "${store.key}", "from": "${fetch-data.rows.0}"}
    assert step.compensation == Compensation("undo", parameters, 2.0, Retries(max_attempts=2))
    assert step.condition is None


def test_what_is_not_said_has_a_default() -> None:
    workflow = parse_workflow({"id": "w", "steps": [{"id": "a", "action": "fetch"}]})
    assert (workflow.name, workflow.max_concurrent_steps, workflow.timeout) == ("w", None, None)
    assert not workflow.rollback_on_cancel
    [step] = workflow.steps
    assert (step.name, step.parameters, step.timeout, step.retries) == ("a", {}, None, Retries(1, 1.0, 2.0, 60.0))
    assert (step.continue_on_error, step.join, step.has_references) == (False, "all", False)
    assert [step.condition, step.input_schema, step.output_schema, step.compensation] == [None] * 4


def test_null_counts_as_not_said() -> None:
    optional = ("parameters", "depends_on", "condition", "timeout", "retries", "join", "compensation", "input_schema")
    step = {"id": "a", "action": "fetch", **dict.fromkeys(optional), "retries": {"backoff": None}}
    plain = parse_workflow({"id": "w", "steps": [{"id": "a", "action": "fetch"}]})
    assert parse_workflow({"id": "w", "timeout": None, "nodes": None, "steps": [step]}).steps == plain.steps


def test_a_steps_own_condition_stands_on_each_incoming_connection() -> None:
    workflow = parse_workflow(FULL)
    first, second = workflow.incoming[2]
    assert (first.source, first.target, second.source, second.target) == (0, 2, 1, 2)
    assert first.condition is not None
    assert first.condition.text == "(${fetch-data.n} > 1) && (check.ok)"
    assert first.condition.names == ("check", "fetch-data")
    assert second.condition is not None
    assert second.condition.text == "check.ok"
    assert workflow.steps[0].condition is not None
    assert workflow.steps[0].condition.names == ("input",)  # int is a type here
    for n, ok, taken in [(2, True, True), (2, False, False), (1, True, False)]:
        assert first.condition.evaluate("store", {"fetch-data": {"n": n}, "check": {"ok": ok}}) is taken


@pytest.mark.parametrize(("its", "own"), [("false // never", "true // yes"), ("true // yes", "false // never")])
def test_a_comment_swallows_no_part_of_a_condition(its: str, own: str) -> None:
    workflow = parse_workflow(with_a(depends_on=[{"source": "a", "condition": its}], condition=own))
    [[], [connection]] = workflow.incoming
    assert connection.condition is not None
    assert connection.condition.evaluate("b", {}) is False


def test_a_step_called_like_a_type_is_that_step() -> None:
    steps: list[dict[str, Any]] = [
        {"id": "int"},
        {"id": "b", "depends_on": ["int"], "condition": "int == 1"},
        {"id": "c", "condition": "int == 1"},
    ]
    assert faults_of(workflow_of(*steps)) == ["steps[2].condition: refers to 'int', which is no ancestor of 'c'"]
    [_, [connection]] = parse_workflow(workflow_of(*steps[:2])).incoming
    assert connection.condition is not None
    assert connection.condition.names == ("int",)


def test_parallel_connections_with_different_conditions_stay_two() -> None:
    entries = [{"source": "a", "condition": "a.x"}, {"source": "a", "condition": "a.y"}, "a"]
    workflow = parse_workflow(workflow_of({"id": "a"}, {"id": "b", "depends_on": entries}))
    texts = [connection.condition and connection.condition.text for connection in workflow.incoming[1]]
    assert texts == ["a.x", "a.y", None]
    assert workflow.outgoing == ((1,), ())


def test_both_shapes_of_one_workflow_are_alike() -> None:
    steps, graph = parse_workflow(FULL, ACTIONS), parse_workflow(as_graph(FULL), ACTIONS)
    for name in ("id", "name", "steps", "incoming", "outgoing", "index", "max_concurrent_steps", "timeout"):
        assert getattr(steps, name) == getattr(graph, name), name


def test_what_visual_editors_save_means_nothing() -> None:
    graph = as_graph(FULL)
    extra = dict.fromkeys(EDITOR_KEYS - {"title"}, "x")
    for place in (graph, *graph["nodes"], *graph["connections"]):
        place.update(extra)
    for rank, connection in enumerate(graph["connections"]):
        connection["id"] = f"edge-{rank}"
    assert parse_workflow(graph).steps == parse_workflow(FULL).steps
    graph["nodes"][0]["config"]["position"] = {"x": 1}
    assert faults_of(graph) == ["nodes[0].config.position: unknown key; did you mean 'condition'?"]


def test_the_definition_given_is_neither_changed_nor_shared() -> None:
    given_definition = copy.deepcopy(FULL)
    workflow = parse_workflow(given_definition)
    assert given_definition == FULL
    given_definition["steps"][0]["parameters"]["all"].append("more")
    given_definition["steps"].clear()
    assert workflow.definition == FULL
    assert workflow.steps[2].parameters == FULL["steps"][0]["parameters"]


def test_a_sequence_order_is_the_rank_or_refused() -> None:
    definition = {**as_graph(FULL), "connections": as_graph(FULL)["connections"]}
    steps = graph_to_steps(definition)
    assert [step.id for step in parse_workflow({"id": "w", "steps": steps}).steps] == ["fetch-data", "check", "store"]
    steps[1]["sequence_order"] = 7
    steps[2]["sequence_order"] = True
    assert faults_of({"id": "w", "steps": steps}) == [
        "steps[1].sequence_order: must be 2, the step's rank in topological order",
        "steps[2].sequence_order: must be 3, the step's rank in topological order",
    ]


A: dict[str, Any] = {"id": "a"}
BAD_SECONDS: list[Any] = [0, -1, "5", True, {}]
PARTS = "a part of it is empty, or begins or ends with a space"
NAMELESS = "holds a dot, brace, '$', space or control character: no reference could name it"


def with_a(**more: Any) -> dict[str, Any]:
    """Step a, and step b with more, which depends on it."""
    return workflow_of(A, {"id": "b", "depends_on": ["a"], **more})


@pytest.mark.parametrize(
    ("definition", "faults"),
    [
        (None, ["the definition: must be an object, not a NoneType"]),
        ([], ["the definition: must be an object, not a list"]),
        ({}, ["the definition: has neither steps nor nodes", "id: is missing"]),
        ({"id": "w"}, ["the definition: has neither steps nor nodes"]),
        ({"id": "w", "steps": []}, ["steps: is empty: a workflow needs at least one step"]),
        ({"id": "w", "nodes": []}, ["nodes: is empty: a workflow needs at least one step"]),
        ({"id": "w", "steps": {}}, ["steps: must be a list"]),
        ({"id": "w", "nodes": 1}, ["nodes: must be a list"]),
        ({**workflow_of(A), "nodes": []}, ["nodes: a definition has steps or nodes, not both"]),
        ({**workflow_of(A), "id": ""}, ["id: must be a text that is not empty"]),
        ({**workflow_of(A), "id": 3}, ["id: must be a text that is not empty"]),
        (workflow_of(A, name=3), ["name: must be a text"]),
        (workflow_of(A, timout=3), ["timout: unknown key; did you mean 'timeout'?"]),
        (workflow_of(A, timeout=0), ["timeout: must be a finite number of seconds greater than 0"]),
        (workflow_of(A, max_concurrent_steps=0), ["max_concurrent_steps: must be an integer of at least 1"]),
        (workflow_of(A, max_concurrent_steps=True), ["max_concurrent_steps: must be an integer of at least 1"]),
        (workflow_of(A, max_concurrent_steps=1.0), ["max_concurrent_steps: must be an integer of at least 1"]),
        (workflow_of(A, rollback_on_cancel=1), ["rollback_on_cancel: must be true or false"]),
        ({"id": "w", "steps": [3]}, ["steps[0]: must be an object"]),
        (workflow_of({}), ["steps[0].id: is missing"]),
        (workflow_of({"id": 7}), ["steps[0].id: must be a text that is not empty"]),
        (workflow_of({"id": ""}), ["steps[0].id: must be a text that is not empty"]),
        (workflow_of({"id": "input"}), ["steps[0].id: must not be 'input': references call the execution's input so"]),
        *(
            (workflow_of({"id": name}), [f"steps[0].id: {name!r} {NAMELESS}"])
            for name in ("a.b", "a{", "}", "a$", "a b")
        ),
        *(
            (workflow_of({"id": name}), [f"steps[0].id: {name!r} {NAMELESS}"])
            for name in ("\n", "a\0", "\x7f", "\u2003")
        ),
        (workflow_of(A, A), ["steps[1].id: 'a' is the id of steps[0] already"]),
        (workflow_of({**A, "name": []}), ["steps[0].name: must be a text"]),
        (workflow_of({**A, "action": None}), ["steps[0].action: is missing"]),
        (workflow_of({**A, "action": 3}), ["steps[0].action: must be a text that is not empty"]),
        (workflow_of({**A, "action": "fetsh"}), ["steps[0].action: unknown action 'fetsh'"]),
        (workflow_of({**A, "parameters": []}), ["steps[0].parameters: must be an object"]),
        (workflow_of({**A, "retry": 3}), ["steps[0].retry: unknown key; did you mean 'retries'?"]),
        (workflow_of({**A, "description": "x"}), ["steps[0].description: unknown key; did you mean 'condition'?"]),
        (workflow_of({**A, "depends_on": "b"}), ["steps[0].depends_on: must be a list of step ids"]),
        (with_a(depends_on=["a", "a"]), ["steps[1].depends_on[1]: is there twice"]),
        (with_a(depends_on=["c"]), ["steps[1].depends_on[0]: unknown step 'c'"]),
        (
            with_a(depends_on=[None, 0]),
            ["steps[1].depends_on[0]: is missing", "steps[1].depends_on[1]: must be a step's id"],
        ),
        (with_a(depends_on=["b"]), ["steps[1].depends_on[0]: step 'b' depends on itself"]),
        (with_a(depends_on=[{"condition": "true"}]), ["steps[1].depends_on[0].source: is missing"]),
        (with_a(depends_on=[{"source": "a", "if": "true"}]), ["steps[1].depends_on[0].if: unknown key"]),
        (with_a(depends_on=[{"source": "a", "condition": 1}]), ["steps[1].depends_on[0].condition: must be a text"]),
        (workflow_of({**A, "condition": True}), ["steps[0].condition: must be a text"]),
        (
            workflow_of({**A, "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"], "timeout": "1"}),
            [
                "steps[0].depends_on[0]: closes a cycle: a -> b -> a",
                "steps[1].timeout: must be a finite number of seconds greater than 0",
            ],
        ),
        *(
            (
                workflow_of({**A, "timeout": seconds}),
                ["steps[0].timeout: must be a finite number of seconds greater than 0"],
            )
            for seconds in BAD_SECONDS
        ),
        (workflow_of({**A, "timeout": float("nan")}), ["steps[0].timeout: is nan, which JSON does not have"]),
        (workflow_of({**A, "timeout": 10**400}), ["steps[0].timeout: is an integer too large for JSON"]),
        (workflow_of({**A, "retries": 3}), ["steps[0].retries: must be an object"]),
        (
            workflow_of(
                {
                    **A,
                    "retries": {
                        "max_attempts": True,
                        "initial_interval": -1,
                        "backoff": 0.5,
                        "max_interval": "1",
                        "x": 1,
                    },
                }
            ),
            [
                "steps[0].retries.x: unknown key",
                "steps[0].retries.max_attempts: must be an integer of at least 1",
                "steps[0].retries.initial_interval: must be a finite number of at least 0",
                "steps[0].retries.backoff: must be a finite number of at least 1",
                "steps[0].retries.max_interval: must be a finite number of at least 0",
            ],
        ),
        (workflow_of({**A, "join": "some"}), ["steps[0].join: must be 'all' or 'any'"]),
        (workflow_of({**A, "continue_on_error": "yes"}), ["steps[0].continue_on_error: must be true or false"]),
        (
            workflow_of({**A, "input_schema": []}),
            ["steps[0].input_schema: must be a JSON Schema: an object, true or false"],
        ),
        (
            workflow_of({**A, "output_schema": {"properties": {"a": {"minimum": "1"}}}}),
            ["steps[0].output_schema.properties.a.minimum: '1' is not of type 'number'"],
        ),
        (workflow_of({**A, "compensation": "undo"}), ["steps[0].compensation: must be an object with an action"]),
        (
            workflow_of(
                {**A, "compensation": {"action": "gone", "parameters": 1, "timeout": 0, "retries": {"max_attempts": 0}}}
            ),
            [
                "steps[0].compensation.action: unknown action 'gone'",
                "steps[0].compensation.parameters: must be an object",
                "steps[0].compensation.timeout: must be a finite number of seconds greater than 0",
                "steps[0].compensation.retries.max_attempts: must be an integer of at least 1",
            ],
        ),
        (
            workflow_of({**A, "compensation": {"if": "x"}}),
            ["steps[0].compensation.if: unknown key", "steps[0].compensation.action: is missing"],
        ),
        (
            workflow_of({**A, "parameters": {"x": ["${", "${a..b}", "${gone.x}", "${a.x}", "${input.x} $${gone}"]}}),
            [
                "steps[0].parameters.x[0]: malformed reference '${': it is not closed, or holds '$' or a brace",
                f"steps[0].parameters.x[1]: malformed reference '${{a..b}}': {PARTS}",
                "steps[0].parameters.x[2]: refers to 'gone', and there is no such step",
                "steps[0].parameters.x[3]: refers to 'a', which is no ancestor of 'a'",
            ],
        ),
        (
            workflow_of(
                A, {"id": "b", "parameters": {"x": "${a}"}}, {"id": "c", "depends_on": ["a"], "condition": "b.ok"}
            ),
            [
                "steps[2].condition: refers to 'b', which is no ancestor of 'c'",
                "steps[1].parameters.x: refers to 'a', which is no ancestor of 'b'",
            ],
        ),
        (
            with_a(compensation={"action": "undo", "parameters": {"x": "${b.x} ${a.x} ${c.x}", "y": "${}"}}),
            [
                "steps[1].compensation.parameters.x: refers to 'c', and there is no such step",
                f"steps[1].compensation.parameters.y: malformed reference '${{}}': {PARTS}",
            ],
        ),
        (with_a(condition="b.ok"), ["steps[1].condition: refers to 'b', which is no ancestor of 'b'"]),
        (with_a(condition="fetch.ok"), ["steps[1].condition: refers to 'fetch', and there is no such step"]),
        (
            with_a(condition="${a..x}"),
            [f"steps[1].condition: malformed reference '${{a..x}}': {PARTS}"],
        ),
        (with_a(condition="now() > 3"), ["steps[1].condition: malformed condition 'now() > 3': unknown function now"]),
        (
            with_a(depends_on=[{"source": "a", "condition": "a.x > b.x"}]),
            ["steps[1].depends_on[0].condition: refers to 'b', which is no ancestor of 'b'"],
        ),
        (
            {
                "id": "w",
                "nodes": [
                    3,
                    {"id": "a"},
                    {"id": "b", "config": 1, "timeout": 3},
                    {"id": "c", "title": 1, "config": {}},
                ],
            },
            [
                "nodes[0]: must be an object",
                "nodes[1].config: must be an object with the step's action",
                "nodes[2].timeout: unknown key",
                "nodes[2].config: must be an object with the step's action",
                "nodes[3].title: must be a text",
                "nodes[3].config.action: is missing",
            ],
        ),
        (
            {
                "id": "w",
                "nodes": [{"id": "a", "config": {"action": "fetch", "retries": {"max_attempts": 0}, "depends_on": []}}],
                "connections": [
                    {"source": "a", "target": "z"},
                    {"target": "a", "when": 1},
                    3,
                    {"source": "a", "condition": 3},
                ],
            },
            [
                "nodes[0].config.depends_on: unknown key",
                "connections[0].target: unknown step 'z'",
                "connections[1].when: unknown key",
                "connections[1].source: is missing",
                "connections[2]: must be an object",
                "connections[3].target: is missing",
                "connections[3].condition: must be a text",
                "nodes[0].config.retries.max_attempts: must be an integer of at least 1",
            ],
        ),
        (
            workflow_of({**A, "parameters": {"x": (1,)}}),
            ["steps[0].parameters.x: is a tuple, which JSON does not have"],
        ),
        (
            workflow_of({**A, "parameters": {1: 2}, "timeout": 0}),
            [
                "steps[0].parameters: has the key 1, which is no text",
                "steps[0].timeout: must be a finite number of seconds greater than 0",
            ],
        ),
    ],
    ids=lambda value: None if isinstance(value, dict | list) else "",
)
def test_a_fault_has_its_place(definition: Any, faults: list[str]) -> None:
    assert faults_of(definition) == faults


def test_conditions_that_fit_only_one_by_one_are_refused_together() -> None:
    long = "a.x > 1 && " * 300 + "true"
    place, start = "steps[1].depends_on[0].condition", f"({long}"[:50]
    problem = f"malformed condition '{start}...': it is longer than 4000 characters"
    assert faults_of(with_a(depends_on=[{"source": "a", "condition": long}], condition=long)) == [f"{place}: {problem}"]


def test_actions_are_not_checked_unless_they_are_given() -> None:
    assert parse_workflow(workflow_of({**A, "action": "any"})).steps[0].action == "any"
    assert faults_of(workflow_of(A), actions=[]) == ["steps[0].action: unknown action 'fetch'"]


def test_a_definition_of_any_depth_gets_an_answer() -> None:
    for depth in (MAX_DEPTH, 100_000):
        value: Any = 1
        for _ in range(depth):
            value = {"k": value}
        assert "is nested more than 100 deep" in faults_of(workflow_of({**A, "parameters": value}))[0]
    value = []
    value.append(value)
    assert "is nested more than 100 deep" in faults_of({"id": "w", "steps": value})[0]
    assert len(faults_of({"id": "w", "steps": [()] * 50})) == 20


def test_the_message_lists_every_fault() -> None:
    with pytest.raises(DefinitionError) as refused:
        parse_workflow({"steps": [{"id": "a"}]})
    assert str(refused.value) == "the definition has 2 faults:\n  steps[0].action: is missing\n  id: is missing"
    assert refused.value.faults[1] == Fault("id", "is missing")
    assert str(DefinitionError((Fault("id", "is missing"),))) == "the definition has 1 fault:\n  id: is missing"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DefinitionError((Fault("", "is empty"),)), "the definition has 1 fault:\n  the definition: is empty"),
        (ValidationError("a", ("$.x: bad", "$.y: bad")), "step 'a' is not valid: $.x: bad; $.y: bad"),
        (StepTimeoutError("a", 2, 1.50), "attempt 2 of step 'a' took longer than 1.5 seconds"),
        (ExecutionTimeoutError("e", 60.0), "execution 'e' took longer than 60 seconds"),
        (MissingInputError("a", ("input.x", "input.y")), "step 'a' misses input.x, input.y"),
        (UnresolvedReferenceError("a", "b.x"), "step 'a' refers to b.x, which does not exist"),
        (ConditionError("a", "x > 1", "why"), "the condition of step 'a' cannot be evaluated: 'x > 1': why"),
        (CompensationError("a", "why"), "the compensation of step 'a' failed: why"),
        (UnknownExecutionError("e"), "there is no execution 'e'"),
        (JournalError("disk full"), "the journal failed: disk full"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_says_its_facts_and_travels(error: WorkflowError, message: str) -> None:
    assert str(error) == message
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again), vars(again)) == (type(error), message, vars(error))


@pytest.mark.parametrize(
    ("retries", "delays"),
    [
        (Retries(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (Retries(9, 0.5, 1, 60), [0.5] * 4),
        (Retries(9, 0, 2, 60), [0, 0]),
        (Retries(9, 5, 2, 3), [3, 3]),
    ],
    ids=["default", "constant", "none", "capped"],
)
def test_the_delay_grows_up_to_its_maximum(retries: Retries, delays: list[float]) -> None:
    assert [retries.delay(attempt) for attempt in range(1, len(delays) + 1)] == delays


def test_the_delay_does_not_overflow() -> None:
    assert Retries(backoff=2.0).delay(10**6) == 60.0
    assert Retries(initial_interval=0.0).delay(10**6) == 0.0
    assert Retries(initial_interval=1e308, max_interval=1e308).delay(3) == 1e308


names = st.sampled_from(["a", "b", "c", "d", "e"])


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Valid definitions in the steps shape, defined in any order."""
    order = draw(st.permutations(["a", "b", "c", "d", "e"]))[: draw(st.integers(1, 5))]
    steps = []
    for rank, name in enumerate(order):
        sources = draw(st.lists(st.sampled_from(order[:rank]), unique=True)) if rank else []
        conditions = st.none() | st.sampled_from(["input.ok", *(f"{source}.ok" for source in sources)])
        step: dict[str, Any] = {"id": name, "action": "fetch"}
        step["depends_on"] = [
            source if condition is None else {"source": source, "condition": condition}
            for source, condition in ((source, draw(conditions)) for source in sources)
        ]
        step["condition"] = draw(conditions)
        step["parameters"] = {"v": f"${{{draw(st.sampled_from(['input', *sources]))}.v}}"}
        step["join"] = draw(st.sampled_from(["all", "any"]))
        steps.append(step)
    return {"id": "w", "steps": draw(st.permutations(steps))}


@given(definitions())
def test_any_valid_definition_means_the_same_in_both_shapes(definition: dict[str, Any]) -> None:
    steps, graph = parse_workflow(definition), parse_workflow(as_graph(definition))
    assert (steps.steps, steps.incoming, steps.outgoing) == (graph.steps, graph.incoming, graph.outgoing)
    for index, step in enumerate(steps.steps):
        assert (step.index, step.sequence_order, steps.index[step.id]) == (index, index + 1, index)
        assert definition["steps"][step.position]["id"] == step.id
        assert all(each.source < index == each.target for each in steps.incoming[index])
        targets = [
            target for target in range(len(steps.steps)) if any(each.source == index for each in steps.incoming[target])
        ]
        assert list(steps.outgoing[index]) == sorted(targets, key=lambda target: steps.steps[target].position)
    assert parse_workflow(json.loads(json.dumps(definition))).steps == steps.steps


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.tuples(st.integers())
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | names | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with every key of it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in ((value, key), *places(item))]


@given(st.sampled_from([FULL, as_graph(FULL)]), st.data())
def test_nothing_but_a_definition_error_is_ever_raised(definition: dict[str, Any], data: st.DataObject) -> None:
    broken = copy.deepcopy(definition)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(broken)))
        value = data.draw(anything | st.sampled_from([definition, "${a.b}", "a.b > 1", "${", "store", "fetch-data"]))
        container[key] = copy.deepcopy(value)
    before = copy.deepcopy(broken)
    with suppress(DefinitionError):
        assert parse_workflow(broken, ACTIONS).definition == broken
    assert repr(broken) == repr(before)


@given(anything)
def test_anything_at_all_gets_an_answer(value: Any) -> None:
    for read in (parse_workflow, graph_to_steps):
        with pytest.raises(DefinitionError):
            read(value)


def test_nothing_of_a_fault_is_told_twice() -> None:
    definition = workflow_of({"id": b"a", "action": (1,), "join": float("nan")})
    places_told = [fault.partition(":")[0] for fault in faults_of(definition)]
    assert places_told == ["steps[0].action", "steps[0].id", "steps[0].join"]
