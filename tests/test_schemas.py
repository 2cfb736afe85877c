"""V4: JSON Schema on parameters and outputs, and what JSON can hold."""

import json
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.schemas import Schema, json_fault, json_faults, json_value, schema_problems
from engine.values import MAX_DEPTH, MAX_PROBLEMS, fresh, json_problems, path_text

ORDER = {
    "type": "object",
    "required": ["rows"],
    "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/row"}}, "two words": {"type": "null"}},
    "additionalProperties": False,
    "$defs": {"row": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}}},
}


@pytest.mark.parametrize("value", [{"rows": []}, {"rows": [{"n": 0}, {}], "two words": None}])
def test_a_valid_value_has_no_faults(value: Any) -> None:
    assert schema_problems(ORDER) == ()
    assert Schema.of(ORDER).faults(value) == ()


def test_every_fault_has_its_path_and_they_are_sorted() -> None:
    value = {"rows": [{"n": "x"}, {"n": -1}, 3], "two words": 1}
    assert Schema.of(ORDER).faults(value) == (
        "$.rows[0].n: 'x' is not of type 'integer'",
        "$.rows[1].n: -1 is less than the minimum of 0",
        "$.rows[2]: 3 is not of type 'object'",
        "$[\"two words\"]: 1 is not of type 'null'",
    )
    assert Schema.of(ORDER).faults({}) == ("$: 'rows' is a required property",)


@pytest.mark.parametrize(("document", "faults"), [(False, ("$: False schema does not allow 1",)), (True, ())])
def test_true_and_false_are_schemas(document: Any, faults: tuple[str, ...]) -> None:
    assert schema_problems(document) == ()
    assert Schema.of(document).faults(1) == faults


def test_a_schema_is_its_text() -> None:
    assert Schema.of({"type": "null"}) == Schema.of({"type": "null"}) != Schema.of({"type": "string"})


def test_the_dialect_is_the_one_named() -> None:
    items = {"items": [{"type": "null"}]}  # a list here means something up to Draft 2019-09
    assert schema_problems({"$schema": "http://json-schema.org/draft-07/schema#", **items}) == ()
    assert [path for path, _ in schema_problems(items)] == [".items"]
    draft_7 = Schema.of({"$schema": "http://json-schema.org/draft-07/schema#", **items})
    assert draft_7.faults([1]) == ("$[0]: 1 is not of type 'null'",)


@pytest.mark.parametrize(
    ("document", "path", "problem"),
    [
        (None, "", "must be a JSON Schema: an object, true or false"),
        ([], "", "must be a JSON Schema: an object, true or false"),
        ({"type": "text"}, ".type", "is not valid under any of the given schemas"),
        ({"properties": {"a": {"minimum": "1"}}}, ".properties.a.minimum", "is not of type 'number'"),
        ({"pattern": "("}, ".pattern", "is not a 'regex'"),
        ({"pattern": "a{99999999999999999999}"}, "", "cannot be checked: OverflowError"),
        ({"$schema": "https://example.com/mine"}, ".$schema", "names a dialect that is not known"),
        ({"$schema": 7}, ".$schema", "names a dialect that is not known"),
        ({"$ref": "https://example.com/schema.json"}, "", "$ref 'https://example.com/schema.json' leads out of"),
        ({"$ref": "file:///etc/passwd"}, "", "leads out of the schema"),
        ({"$ref": "other.json"}, "", "leads out of the schema"),
        ({"$ref": "#/$defs/gone"}, "", "leads out of the schema"),
        ({"$ref": "#gone"}, "", "leads out of the schema"),
        ({"$dynamicRef": "https://example.com/a"}, "", "$dynamicRef 'https://example.com/a' leads out of"),
        ({"allOf": [{"items": {"$ref": "https://example.com/a"}}]}, "", "leads out of the schema"),
        ({"$ref": "#/x/y", "x": {"y": {"$ref": "https://example.com/a"}}}, "", "'https://example.com/a' leads out of"),
    ],
)
def test_what_is_no_schema_is_told(document: Any, path: str, problem: str) -> None:
    [(where, what)] = schema_problems(document)
    assert where == path
    assert problem in what


@pytest.mark.parametrize(
    "document",
    [
        {"$ref": "#"},
        {"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}},
        {"$id": "https://example.com/me", "$ref": "me#/$defs/a", "$defs": {"a": True}},
        {"items": {"$dynamicRef": "#node"}, "$dynamicAnchor": "node"},
        {"properties": {"$ref": {"type": "null"}}},
        {"const": {"$ref": "https://example.com/not-a-schema"}},
    ],
)
def test_a_reference_within_the_schema_is_fine(document: Any) -> None:
    assert schema_problems(document) == ()


def test_a_check_always_ends_with_an_answer() -> None:
    endless = Schema.of({"$ref": "#"})
    [fault] = endless.faults(1)
    assert fault.startswith("$: cannot be checked: RecursionError")
    [fault] = Schema.of({"multipleOf": 0.5}).faults(10**400)
    assert fault.startswith("$: cannot be checked: OverflowError")


@pytest.mark.filterwarnings("ignore")  # the library warns before it fetches
def test_nothing_is_ever_fetched(tmp_path: Path) -> None:
    there = tmp_path / "schema.json"
    there.write_text('{"type": "null"}')
    document = {"$ref": there.as_uri()}
    assert "leads out of the schema" in schema_problems(document)[0][1]
    [fault] = Schema.of(document).faults(None)
    assert fault.startswith("$: cannot be checked")
    assert "Unresolvable" in fault


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**308), 10**308)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_json_value_survives_a_journal(value: Any) -> None:
    assert json_value(value)
    assert json_faults(value) == ()
    assert json_fault(value) is None
    assert json.loads(json.dumps(value)) == value
    assert fresh(value) == value


@given(json_values)
def test_a_fresh_copy_shares_no_container(value: Any) -> None:
    def containers(each: Any) -> list[int]:
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        return [id(each)] * isinstance(each, dict | list) + [known for item in inner for known in containers(item)]

    copy = fresh(value)
    assert not set(containers(value)) & set(containers(copy))


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Named(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ((1, 2), "is a tuple, which JSON does not have"),
        ({1}, "is a set, which JSON does not have"),
        (b"x", "is a bytes, which JSON does not have"),
        (float("nan"), "is nan, which JSON does not have"),
        (float("-inf"), "is -inf, which JSON does not have"),
        pytest.param(10**4300, "is an integer too large for JSON", id="huge"),
        pytest.param(-(10**309), "is an integer too large for JSON", id="-huge"),
        ("a\ud800", "is a text with a lone surrogate"),
        ({"\ud800": 1}, "has the key '\\ud800', which is no text"),
        (Colour.RED, "is a Colour, which JSON does not have"),
        (Size.LARGE, "is a Size, which JSON does not have"),
        (Named(), "is a Named, which JSON does not have"),
        (object, "is a type, which JSON does not have"),
        ({1: 2}, "has the key 1, which is no text"),
        ({None: 2}, "has the key None, which is no text"),
        pytest.param({10**5000: 2}, "has the key int, which is no text", id="huge key"),
        ({(): 2}, "has the key tuple, which is no text"),
        ({Colour.RED: 2}, "has the key Colour, which is no text"),
    ],
)
def test_what_json_does_not_have_is_told_with_its_path(value: Any, problem: str) -> None:
    assert not json_value(value)
    assert json_faults(value) == (f"$: {problem}",)
    assert json_faults({"a": [0, {"b c": value}], "z": 1}) == (f'$.a[1]["b c"]: {problem}',)
    assert json_fault([value, value]) == f"$[0]: {problem}"


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_a_value_has_a_greatest_depth() -> None:
    assert json_value(nested(MAX_DEPTH))
    assert json_value({"a": [[]], "b": nested(MAX_DEPTH - 1)})
    for depth in (MAX_DEPTH + 1, 100_000):
        assert not json_value(nested(depth))
        assert json_problems(nested(depth)) == [("[0]" * MAX_DEPTH, f"is nested more than {MAX_DEPTH} deep")]


def test_a_value_that_holds_itself_is_no_json() -> None:
    itself: list[Any] = []
    itself += [itself, itself]
    assert not json_value(itself)
    assert len(json_problems(itself)) == MAX_PROBLEMS


def test_a_path_reads_as_people_write_it() -> None:
    assert path_text(("a", 0, "b-c", "0", 'q"', "")) == '.a[0].b-c["0"]["q\\""][""]'
