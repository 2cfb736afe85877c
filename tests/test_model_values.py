"""What the model makes of definitions, references, conditions and schemas (D1, D2, D4, V)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.definition import Compensation, Retries, read
from model.values import MISSING, condition, faulty_paths, find, has_references, merge, resolve, same
from tests.histories import graph, step, workflow

SCOPE: dict[str, Any] = {
    "input": {
        "user": {"name": "Ada", "age": 36, "tags": ["x", {"y": None}]},
        "0": "zero",
        "text": "${input.user.name}",
    },
    "fetch": {"rows": [1, 2.5, True], "none": None, "héllo": "ü"},
    "fetch-data": {"rows": 4},
    "list": [1],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.user.name", "Ada"),
        ("input.user.tags.1.y", None),
        ("input.0", "zero"),
        ("fetch.rows.2", True),
        ("fetch", SCOPE["fetch"]),
        ("fetch.rows.3", MISSING),
        ("fetch.rows.-1", MISSING),
        ("fetch.rows.²", MISSING),
        ("fetch.none.x", MISSING),
        ("input.user.name.0", MISSING),
        ("fetch.gone.further", MISSING),
        ("other", MISSING),
    ],
)
def test_a_path_leads_to_a_value_or_nowhere(path: str, value: object) -> None:
    assert find(path, SCOPE) is value or find(path, SCOPE) == value


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${input.user.age}", 36),
        ("${fetch.none}", None),
        ("is ${input.user.age} and ${fetch.none}", "is 36 and null"),
        ("${fetch.rows}!", "[1,2.5,true]!"),
        ("${fetch}!", '{"rows":[1,2.5,true],"none":null,"héllo":"ü"}!'),
        ("$${input.user.age}", "${input.user.age}"),
        ("$$${input.user.age}", "$${input.user.age}"),
        ("$${a} ${fetch.héllo}", "${a} ü"),
        ("${input.text}", "${input.user.name}"),
        ("<${input.text}>", "<${input.user.name}>"),
        ({"${input.user.age}": ["${input.user.name}", 1, None]}, {"${input.user.age}": ["Ada", 1, None]}),
    ],
)
def test_references_are_resolved_once_and_keep_their_type(template: object, value: object) -> None:
    missing: list[str] = []
    assert same(resolve(template, SCOPE, missing), value)
    assert missing == []
    assert has_references(template)


def test_each_missing_path_is_named_once() -> None:
    missing: list[str] = []
    resolve(["${input.no}", {"x": "<${input.no}${fetch.no}>"}], SCOPE, missing)
    assert missing == ["input.no", "fetch.no"]


@pytest.mark.parametrize("template", [1, None, "plain", {"a": ["b", 2]}, []])
def test_what_holds_no_reference_is_left_alone(template: object) -> None:
    assert not has_references(template)
    assert resolve(template, {}, []) == template


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("input.user.age > 35", True),
        ("input.user.age > 36.5", False),
        ("${fetch-data.rows} == 4 && fetch.rows.size() == 3", True),
        ("input.text == '${input.user.name}'", True),
        ('input.text == "${input.user.name}" // ${gone}', True),
        ("r'a\\b' == 'a\\\\b' && ${fetch.rows.0} == 1", True),
        ("fetch.rows.exists(_0, _0 == 2.5) && ${fetch.rows.2}", True),
        ("fetch.none == null", True),
        ("has(input.gone)", False),
        ("input.gone", None),
        ("${input.gone} == 1", None),
        ("input.gone || true", True),
        ("${input.gone} > 1 || true", True),
        ("false && ${other.x}", False),
        ("type(input.user.age) == int && ${list}.size() == 1", True),
        ("other.x", None),
        ("input.user.age", None),
        ("input.user.age > 'x'", None),
        ("1 > 'x'", None),
        ("input.user.name == 'Ada' ? true : false", True),
        ("'a' in ['a']", True),
    ],
)
def test_a_condition_is_true_false_or_cannot_be_evaluated(text: str, *, verdict: bool | None) -> None:
    assert condition(text).holds(SCOPE) is verdict
    assert condition(text) is condition(text)


def test_a_condition_on_a_text_that_is_no_unicode_cannot_be_evaluated() -> None:
    assert condition("input == 'x'").holds({"input": "\ud800"}) is None


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"b": 2, "c": [2]}}, {"a": {"b": 2, "c": [2]}, "d": 1}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": None, "n": 0}, {"a": None, "n": 0}),
        (5, {"a": 1}, {"a": 1}),
    ],
)
def test_a_resume_merges_objects_key_by_key(old: object, new: object, merged: object) -> None:
    assert merge(old, new) == merged


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, True, False),
        (0, False, False),
        (1, 1.0, True),
        ({"a": 1, "b": [None]}, {"b": [None], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 1}, False),
        ({"a": 1}, [1], False),
        ([1, [True]], [1, [1]], False),
        ([1, 2], (1, 2), True),
        ([1], [1, 2], False),
        ([1], 1, False),
        (math.nan, float("nan"), True),
        ([math.inf, math.nan], [math.inf, -math.nan], True),
        ("1", 1, False),
    ],
)
def test_two_values_are_one_or_not(left: object, right: object, *, equal: bool) -> None:
    assert same(left, right) is equal
    assert same(right, left) is equal


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, width=16) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3),
)


@given(JSON, JSON)
def test_a_merge_brings_all_of_the_new_and_is_done_once(old: object, new: object) -> None:
    merged = merge(old, new)
    assert same(merge(merged, new), merged)
    assert same(merge(new, new), new)


def test_a_violation_of_a_schema_is_named_by_its_keys() -> None:
    definition = read(workflow(step("a", input_schema={"properties": {"n": {"items": {"type": "integer"}}}})))
    validator = definition.steps["a"].input_schema
    assert faulty_paths(validator, {"n": [1, "x"]}) == [["n", "1"]]
    assert faulty_paths(validator, {"n": [1]}) is None
    assert faulty_paths(None, {}) is None


def test_both_shapes_of_a_workflow_are_one_definition() -> None:
    edges = (("c", "b"), ("c", "a"), ("a", "d"), ("b", "d"))
    drawn = read(graph("d", "b", "a", "c", edges=edges, timeout=9, max_concurrent_steps=2, rollback_on_cancel=True))
    listed = read(workflow(step("d", "a", "b"), step("b", "c"), step("a", "c"), step("c"), timeout=9))
    assert list(drawn.steps) == list(listed.steps) == ["d", "b", "a", "c"]
    assert drawn.sequence == listed.sequence == ("c", "b", "a", "d")
    assert (drawn.timeout, drawn.max_concurrent_steps, drawn.rollback_on_cancel) == (9, 2, True)
    assert (listed.timeout, listed.max_concurrent_steps, listed.rollback_on_cancel) == (9, None, False)
    assert [connection.source for connection in drawn.steps["d"].incoming] == ["a", "b"]
    assert drawn.steps["c"].outgoing == ("b", "a")


def test_policies_have_defaults() -> None:
    a, b = read(
        workflow(step("a", retries={"max_attempts": 4, "backoff": 1.5}), step("b", compensation={"action": "x"}))
    ).steps.values()
    assert a.retries == Retries(4, 1, 1.5, 60)
    assert (a.timeout, a.continue_on_error, a.join, a.compensation) == (None, False, "all", None)
    assert b.compensation == Compensation({}, None, Retries())


def test_a_wait_grows_up_to_a_limit() -> None:
    retries = Retries(2000, 1, 3, 20)
    assert [retries.delay(attempt) for attempt in (1, 2, 3, 4, 1999)] == [1, 3, 9, 20, 20]
    assert Retries(2000, 1, 3.0, 20).delay(1999) == 20


def test_a_steps_own_condition_stands_on_each_of_its_connections() -> None:
    definition = read(
        workflow(
            step("a", condition="input.a"),
            step("b"),
            step("c", "b", {"source": "a", "condition": "input.x"}, condition="input.c"),
        )
    )
    assert definition.steps["a"].condition is condition("input.a")
    assert definition.steps["c"].condition is None
    assert [connection.conditions for connection in definition.steps["c"].incoming] == [
        (condition("input.c"),),
        (condition("input.x"), condition("input.c")),
    ]
