"""V5: conditions are CEL, true or false or an error, and nothing in them reaches Python."""

from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conditions import FUNCTIONS, LONGEST, Condition, read_condition
from engine.errors import ConditionError
from engine.references import MalformedError
from engine.values import MAX_DEPTH

SCOPE = {
    "input": {"n": 1, "items": [1, 2, 3], "object": {"k": 1}, "text": "t", "none": None, "x-y": 4},
    "fetch-data": {"rows": [1, 2], "items": [4]},
    "x": 5,
    "true": {"v": 1},
}


def holds(text: str, scope: Any = SCOPE) -> bool:
    return read_condition(text).evaluate("target", scope)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("input.n == 1", ("input",)),
        ("x > input.n && !(x < 5)", ("input", "x")),
        ("${fetch-data.rows.1} == 2", ("fetch-data",)),
        ("${fetch-data.rows}[1] == 2 && ${fetch-data}.rows[0] == 1", ("fetch-data",)),
        ("has(${fetch-data}.rows) && !has(${fetch-data}.gone)", ("fetch-data",)),
        ("${true.v} == 1 && true", ("true",)),
        ("${input.x-y} == 4", ("input",)),
        ("${x}== x", ("x",)),
        ('"${x}" == "${x}" && "\\"${x}" != "" && \'${x}\' != ""', ()),
        ('r"${x}\\" == "${x}\\\\"', ()),
        ("'''${x}' ''' == \"${x}' \"", ()),
        ('"""${x}" """ == \'${x}" \' && b"${x}" == b"${x}"', ()),
        ("x == 5 // ${not.a.reference", ("x",)),
        ("x == // five\n 5", ("x",)),
        ("ref0 == 1 || ${x} == 5", ("ref0", "x")),
        ("true || gone.x == ${gone-too.y}", ("gone", "gone-too")),
        ("!(false && gone)", ("gone",)),
        ("input.none == null", ("input",)),
        ("type(x) == int && type(input.text) == string", ("input", "int", "string", "x")),
        ("size(input.items) == 3 && input.text.startsWith('t')", ("input",)),
        ("1e-1 < 0.5 && 1.5e3 == 1500.0", ()),
        ("input.items.all(x, x > 0) && x == 5", ("input", "x")),
        ("input.items.all(y, y > 0)", ("input",)),
        ("input . items . exists ( y , y > 2 )", ("input",)),
        ("input.items.exists(input, input > 2)", ("input",)),
        ("input.items.exists_one(y, y == x - 4)", ("input", "x")),
        ("input.items.filter(x, [x].all(y, y > 1)).size() == 2", ("input",)),
        ("input.items.map(y, y + 1).filter(z, z > 2) == [3, 4]", ("input",)),
        ("input.items.map(y, y > 1, y * 2) == [4, 6]", ("input",)),
        ("-input.items.map(y, y)[0] == -1", ("input",)),
        ("[[1]][0].all(y, y > 0) && {'k': [1]}['k'].all(y, y > 0) && {'k': [1]}.k.all(y, y > 0)", ()),
        ("(input.items).all(y, y > 0) && dyn(input.items).all(y, y > 0)", ("input",)),
        ("input['items'].all(y, y > 0) && 2 in [1].map(y, y + 1) && 2 in ([1]).map(y, y + 1)", ("input",)),
        ("${fetch-data.items}.all(y, y == 4 && ${x} == 5)", ("fetch-data", "x")),
        ("2 in input.items && 'n' in input", ("input",)),
        (f"{'1 + ' * (LONGEST // 4 - 3)}1 > 0", ()),
    ],
)
def test_a_condition_holds(text: str, names: tuple[str, ...]) -> None:
    condition = read_condition(text)
    assert condition == Condition(text, names)
    assert condition.evaluate("target", SCOPE) is True
    assert read_condition(f"!({text}\n)").evaluate("target", SCOPE) is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gone.x > 1", "gone is missing"),
        ("later > ${x.y.z} && gone", "gone, later, x.y.z is missing"),
        ("${fetch-data.rows.7} == 1", "fetch-data.rows.7 is missing"),
        ("input.gone == 1", "there is no key 'gone'"),
        ("input.items[7] == 1", "index out of bounds: 7"),
        ("input.none.x == 1", "No such overload: the operation is not defined for the given operand types"),
        ("input.n > 'a'", "No such overload: the operation is not defined for the given operand types"),
        ("input.n", "it is neither true nor false, but of type int"),
        ("input.none", "it is neither true nor false, but of type NoneType"),
        ("input.text", "it is neither true nor false, but of type str"),
        ("1 / (x - 5) == 1", "division by zero in CEL expression"),
        ("9223372036854775807 + x > 0", "Arithmetic overflow in 'add' on 9223372036854775807 and 5."),
        ("input.text.matches('(')", "Function 'matches' error: '(' not a valid regex:"),
        ("input.object.all(k, k != '')", "Unsupported operation: map + list"),
        ("input.object.map(k, k)[0] == 'k'", "Unsupported operation: map + list"),
        ("input.__class__ == 1", "there is no key '__class__'"),
        ("size(input.n) == 1", "Undefined variable or function: 'size'"),
    ],
)
def test_a_condition_that_cannot_be_evaluated_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ConditionError) as failed:
        holds(text)
    assert (failed.value.step, failed.value.condition) == ("target", text)
    assert failed.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "mismatched input '<EOF>'"),
        ("x ==", "mismatched input '<EOF>'"),
        ("x == 1)", "extraneous input ')'"),
        ("x = 1", "token recognition error at: '= '"),
        ("for == 1", "reserved identifier: for"),
        ("(" * 200 + "x" + ")" * 200, ""),
        ("\ud800 == 1", "surrogates not allowed"),
        ("1 == 1" + " " * LONGEST, f"it is longer than {LONGEST} characters"),
        ("eval('1')", "unknown function eval"),
        ("input.__class__()", "unknown function __class__"),
        ("optional.of(1).hasValue()", "unknown function hasValue, of"),
        ("[1].all(i, v, v > 0)", "unknown function all"),
        ("all(x, x > 0)", "unknown function all"),
        ("input.${x} == 1", "${x} does not stand for a value"),
        ("Thing{${x}: 1} == 1", "${x} does not stand for a value"),
        ("[1].all(${x}, ${x} > 0)", "${x} does not stand for a value"),
        ("size${x}", "extraneous input"),
        ("$${x}", "token recognition error at: '$'"),
        ("${", "token recognition error at: '$'"),
        ("${}", "a part of it is empty"),
        ("${x..y} == 1", "a part of it is empty"),
        ("has(${x})", "invalid argument to has() macro"),
        ("].all(x, x)", "mismatched input ']'"),
        ("a.all(", "mismatched input '<EOF>'"),
        (".all(x, x)", "Syntax error"),
    ],
)
def test_what_is_no_condition_is_told(text: str, reason: str) -> None:
    with pytest.raises(MalformedError) as told:
        read_condition(text)
    assert str(told.value).startswith("malformed ")
    assert reason in str(told.value)


def test_a_name_from_the_root_is_no_step() -> None:
    assert read_condition(".input.n == 1").names == (".input",)


def test_a_step_may_be_called_like_a_type() -> None:
    assert holds("int == 5", {"int": 5})


class PanicException(BaseException):
    """Rust gave up."""

    def __str__(self) -> str:
        return "attempt to add with overflow"


def panic(*_: object) -> None:
    raise PanicException


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class Broken:
    """A program of a library that breaks."""

    def __init__(self, execute: Any) -> None:
        self.execute = execute

    def references(self) -> dict[str, list[str]]:
        return {"functions": [], "variables": []}


def test_a_panic_of_the_library_is_an_error_and_an_interrupt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cel, "compile", lambda _: Broken(panic))
    with pytest.raises(ConditionError, match="attempt to add with overflow"):
        holds("true // panics")
    monkeypatch.setattr(cel, "compile", lambda _: Broken(interrupt))
    with pytest.raises(KeyboardInterrupt):
        holds("true // interrupted")
    monkeypatch.setattr(cel, "compile", panic)
    with pytest.raises(MalformedError, match="attempt to add with overflow"):
        holds("true // panics while it compiles")
    monkeypatch.setattr(cel, "compile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        holds("true // interrupted while it compiles")


def test_the_deepest_value_there_is_can_be_looked_at() -> None:
    value: Any = True
    for _ in range(MAX_DEPTH):
        value = {"v": value}
    assert holds(f"input{'.v' * MAX_DEPTH}", {"input": value})


CALLS = [
    "size('a') == 1 && 'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.matches('^a')",
    "int('1') == 1 && uint(1) == 1u && double('1.5') == 1.5 && string(1) == '1' && bytes('a') == b'a' && dyn(1) == 1",
    "type(1) == int && duration('61s').getSeconds() == 61 && duration('1s').getMilliseconds() == 1000",
    *(
        f"timestamp('2026-02-03T04:05:06.007Z').{call}() == {value}"
        for call, value in [
            ("getFullYear", 2026),
            ("getMonth", 1),
            ("getDate", 3),
            ("getDayOfMonth", 2),
            ("getDayOfWeek", 2),
            ("getDayOfYear", 33),
            ("getHours", 4),
            ("getMinutes", 5),
            ("getSeconds", 6),
            ("getMilliseconds", 7),
        ]
    ),
]


@pytest.mark.parametrize("text", CALLS)
def test_the_functions_are_those_of_cel(text: str) -> None:
    assert holds(text)


def test_no_function_goes_untested() -> None:
    assert all(any(f"{name}(" in text for text in CALLS) for name in FUNCTIONS)


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
characters = st.characters(exclude_categories=["Cs"])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(characters) | st.sampled_from(["${x}", "true || true", '" == "']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(characters), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_a_value_is_never_expression_text(value: Any) -> None:
    scope = {"input": {"v": value}, "some-step": value}
    assert holds("${some-step} == input.v && ${input.v} == ${some-step}", scope)
    assert holds("${some-step} == 'no such text'", scope) is False


def lists() -> st.SearchStrategy[str]:
    """Texts of expressions that are lists of numbers, many of them ranges of macros."""

    def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.builds("{}.map(y, y + 1)".format, inner),
            st.builds("{}.filter(y, y > 1 && {}.exists(z, z == y))".format, inner, inner),
            st.builds("({} + {})".format, inner, inner),
            st.builds("[{}, [9]][0]".format, inner),
            st.builds("{{'k': {}}}.k".format, inner),
            st.builds("{{'k': {}}}['k']".format, inner),
            st.builds("dyn({})".format, inner),
            st.builds("(1 in {} ? {} : [7])".format, inner, inner),
            st.builds("[size({}), {}.size()]".format, inner, inner),
        )

    return st.recursive(st.sampled_from(["[1, 2, 3]", "input.items", "input['items']", "[-1]"]), deeper, max_leaves=4)


@given(lists(), lists())
def test_over_lists_a_macro_means_what_it_says(left: str, right: str) -> None:
    for text in (f"{left} == {right}", f"1 in {left}.map(x, x - 1)", f"!{right}.all(x, x > 1) || {left} == []"):
        assert holds(text) == cel.evaluate(text, {"input": {"items": [1, 2, 3]}})


@pytest.mark.parametrize("text", ["'a' < ${x}", "x ? 1 : 2", "input.items.all(y, ${gone})", "input.object.all(k, k)"])
def test_the_same_error_reads_the_same(text: str) -> None:
    def reason() -> str:
        with pytest.raises(ConditionError) as failed:
            holds(text)
        return str(failed.value)

    assert len({reason() for _ in range(20)}) == 1
