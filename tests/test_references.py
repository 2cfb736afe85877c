"""V1, V2, V3: what a reference names, and that nothing else is one."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.references import (
    MalformedError,
    MissingPath,
    Reference,
    look_up,
    mentions,
    read_reference,
    references_in,
    resolve,
)

SCOPE = {
    "input": {"a": {"b": 1}, "rows": [10, {"x": None}, [True]], "0": "key", "text": "t", "two words": 2},
    "fetch-data": [1.5, "${input.a}"],
    "nothing": None,
}

# Texts that are full of what could be taken for a reference.
texts = st.text(st.sampled_from("${}.ai 0")) | st.sampled_from(["${input.v}", "$${input.v}", "${input}", "input.v"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${input.a.b}", 1),
        ("${input.a}", {"b": 1}),
        ("${input.rows.0}", 10),
        ("${input.rows.1.x}", None),
        ("${input.rows.2.0}", True),
        ("${input.rows.00}", 10),
        ("${input.0}", "key"),
        ("${input.two words}", 2),
        ("${fetch-data.0}", 1.5),
        ("${nothing}", None),
        ("${nothing}!", "null!"),
        ("<${input.text}>", "<t>"),
        ("${input.a} ${input.rows}", '{"b":1} [10,{"x":null},[true]]'),
        ("${input.text}${input.text}", "tt"),
        ("$${input.a}", "${input.a}"),
        ("$$${input.a}", "$${input.a}"),
        ("$${${input.text}", "${t"),
        ("$ {input.a} $$ }{ $x", "$ {input.a} $$ }{ $x"),
        ("${fetch-data.1}", "${input.a}"),
        ("a ${fetch-data.1}", "a ${input.a}"),
        ({"${input.text}": ["${input.text}", {"k": "${input.a.b}"}]}, {"${input.text}": ["t", {"k": 1}]}),
        ([None, True, 1, 1.5, "", {}, []], [None, True, 1, 1.5, "", {}, []]),
    ],
)
def test_what_a_template_becomes(template: Any, expected: Any) -> None:
    resolved = resolve(template, SCOPE)
    assert resolved == expected
    assert type(resolved) is type(expected)


@pytest.mark.parametrize(
    "path",
    [
        "input.b",
        "input.a.b.c",
        "input.text.0",
        "input.rows.3",
        "input.rows.-1",
        "input.rows.x",
        "input.rows.²",
        "input.rows." + "9" * 5000,
        "nothing.x",
        "later",
        "later.x",
    ],
)
def test_what_is_not_there_is_missing(path: str) -> None:
    with pytest.raises(MissingPath) as missing:
        look_up(read_reference(path), SCOPE)
    assert missing.value.paths == (path,)


def test_all_that_is_missing_is_named_once_and_in_order() -> None:
    template = {"z": "${later.z}", "a": ["x ${input.q} ${input.a.b} ${later.z}", {"k": "${input.a.c}"}]}
    with pytest.raises(MissingPath, match=r"missing: later\.z, input\.q, input\.a\.c") as missing:
        resolve(template, SCOPE)
    assert missing.value.paths == ("later.z", "input.q", "input.a.c")


@given(values)
def test_a_value_comes_as_it_is_and_is_never_expanded_again(value: Any) -> None:
    scope = {"input": {"v": value, "input": "wrong", "a": "wrong"}}
    resolved = resolve({"k": "${input.v}"}, scope)["k"]
    assert resolved == value
    assert type(resolved) is type(value)
    spelled = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert resolve("<${input.v}|${input.v}>", scope) == f"<{spelled}|{spelled}>"


@given(texts)
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    assert resolve(text.replace("${", "$${"), {}) == text


@given(values)
def test_what_comes_out_is_nobody_elses(value: Any) -> None:
    scope = {"input": {"v": [value]}}
    template = {"all": "${input.v}", "own": [{}]}
    before = copy.deepcopy((scope, template))
    resolved = resolve(template, scope)
    resolved["all"].append("more")
    resolved["own"][0]["k"] = 1
    if resolved["all"][0] and isinstance(resolved["all"][0], dict | list):
        resolved["all"][0].clear()
    assert (scope, template) == before


@pytest.mark.parametrize(
    "text", ["${", "a ${", "${}", "${.}", "${a.}", "${.a}", "${a..b}", "${a", "${a${b}}", "${a{b}"]
)
def test_a_malformed_reference_is_told(text: str) -> None:
    [(path, problem)] = references_in({"k": [text]})
    assert path == ".k[0]"
    assert str(problem).startswith("malformed reference '${")


@pytest.mark.parametrize("path", [" a", "a ", "a. b", "a.b\n", "a\tb", "a.$b", ""])
def test_a_reference_has_no_stray_spaces_or_signs(path: str) -> None:
    with pytest.raises(MalformedError, match="malformed reference"):
        read_reference(path)


def test_references_are_listed_in_order_with_their_places() -> None:
    template = {"a": ["${x.1} and ${y}", 3, "$${no}"], "two words": {"c": "${input.z}"}, "none": None}
    assert list(references_in(template)) == [
        (".a[0]", Reference("x", ("1",))),
        (".a[0]", Reference("y", ())),
        ('["two words"].c', Reference("input", ("z",))),
    ]
    assert Reference("x", ("1", "b")).text == "x.1.b"


@pytest.mark.parametrize(
    ("template", "expected"),
    [({"a": [{"b": "${x}"}]}, True), ("$${x}", True), ({"${x}": ["$x", 1, None]}, False), ([], False)],
)
def test_a_template_mentions_a_reference_or_is_plain(template: Any, expected: bool) -> None:  # noqa: FBT001  # pytest gives it by name
    assert mentions(template) is expected
