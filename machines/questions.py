"""Workflows of conditions and references: what they can say, asked of all kinds of values (V1, V5).

Rule 1: every step returns at once and its failure is tolerated, so that one execution asks them all.
Rule 2: what is asked has one answer: where the two libraries of engine and model part ways, and the contract is silent,
nothing is asked (macros over objects, conversions of booleans).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from machines.moves import Run
from machines.strategies import as_graph

Json: TypeAlias = Any

VALUES: Final[Sequence[Json]] = (
    *(1, 0, -1, 1.5, "x", "", "t.u", True, False, None, [], [1, 2, 3], ["x", {"k": 1}], {"k": 1}, {"k": [1]}, {}),
)
LISTS: Final[Sequence[Json]] = ([1, 2, 3], [], [1], ["x", {"k": 1}], [0, -1], 1, "x", None)
_TYPES: Final = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
_PARTS: Final = {
    "getFullYear": 2020,
    "getMonth": 1,
    "getDate": 3,
    "getDayOfMonth": 2,
    "getDayOfWeek": 1,
    "getDayOfYear": 33,
    "getHours": 4,
    "getMinutes": 5,
    "getSeconds": 6,
    "getMilliseconds": 7,
}
"""Of a moment: the third of February, 2020, which was a Monday."""
TEXTS: Final[Sequence[str]] = (
    *("input.v == 1", "input.v != null", "input.v > 0", "input.v <= 1", "1 < input.v", "input.v == input.w"),
    *(
        "input.v in [0, 1, 'x']",
        "'k' in input.v",
        "2 in input.v",
        "!input.v",
        "input.v",
        "true",
        "input.v ? true : false",
    ),
    *("input.v.k == 1", 'input.v["k"] == 1', "input.v[0] == 1", "${input.v.0} == 1", "${input.v.k} == 1"),
    *("${input.v}.k == 1", "${input.v}[0] == ${input.v.0}", "${input.nothing} == 1", "input.nothing == 1"),
    *("has(input.v.k)", "!has(input.nothing)", "size(input.v) > 1", "input.v.size() == 3", 'input.v.contains("x")'),
    *("input.v.startsWith('t') && input.v.endsWith('u')", "input.v.matches('^[a-t.]+u?$')", "string(input.w) == '1'"),
    *("input.l.all(x, x > 0)", "input.l.exists(x, x == 1)", "input.l.exists_one(x, x == 1)"),
    *("input.l.map(x, x + 1) == [2, 3, 4]", "input.l.filter(x, x > 1).size() == 2", "[1, 2].all(x, x in input.v)"),
    *(
        "[[1]][0].exists(x, x == input.v)",
        "(input.l).exists(y, [y].all(x, x == 1))",
        "input . l . exists ( x , x == 2 )",
    ),
    *("[input.v].map(x, x) == [input.v]", "2 in [1].map(y, y + 1) && input.v == 1", "{'k': [1]}.k.all(y, y > 0)"),
    *(
        "{'k': [1]}['k'].all(y, y > 0) && 'x' == input.v",
        "-[1].map(y, y)[0] == -1",
        "input.l.map(x, x > 0, x * 2) == [2]",
    ),
    "input.l.filter(x, x > 0).all(y, y > 0)",
    " || ".join(f"type(input.v) == {name}" for name in _TYPES),
    " && ".join(f"timestamp('2020-02-03T04:05:06.007Z').{name}() == {value}" for name, value in _PARTS.items()),
    *("input.l.all(l, l == input.w) && input.l.exists(l, l == 1)", "dyn(input.l).exists(x, x == 1)"),
    *("bytes('u') == b'u' && input.v == 1", "[1].all(input, input > 0) && input.v == 1", "input.v == 1 // )"),
    *(
        "type(input.v) == int",
        "type(input.v) == string || type(input.v) == list",
        "input.v + 1 == 2",
        "1 / input.v == 1",
    ),
    *(
        'input.v + "!" == "x!"',
        "input.v * 2 > 1",
        "input.v % 2 == 1",
        "-input.w < 0",
        "input.v == 1.0",
        "0x1 == input.v",
    ),
    *(
        "(input.v == 1 ? 'a' : 'b') == 'a'",
        'input.v == "${input.v}"',
        "'a // b' != input.v // ${but",
        "r'\\d' != input.v",
    ),
    *('"""t.u""" == input.v', "b'x' == b'x' && input.v == 1", "uint(1) == 1u && input.v == 1", "input.v == [1, 2, 3]"),
    *(
        'input.v == {"k": input.w}',
        "duration('90s').getSeconds() == 90",
        "int('1') == input.v",
        "double('1.5') == input.v",
    ),
    *("timestamp('2020-02-03T04:05:06Z').getMonth() == 1", "timestamp('2020-02-03T04:05:06Z').getFullYear() == 2020"),
    *("timestamp('2020-02-03T04:05:06Z').getDayOfWeek() == 1", "timestamp('2020-02-03T04:05:06Z').getHours() == 4"),
)
_JOINTS: Final = ("{}", "({}\n) && ({}\n)", "({}\n) || ({}\n)", "{}", "!({}\n)", "({}\n) ? ({}\n) : false")
_FIRST: Final = {"id": "first", "action": "work"}
_PATHS: Final = (
    *("${input.p}", "got ${input.p}", "${input.p.0}", "${input.p.k}", "${input.p.1.k}", "$${input.p} ${input.w}"),
    *(
        "${input.p.k.0} and ${input.p.0}",
        "${input.p.-1}",
        "${input.p.99999999999999999999}",
        "${input.p.²}",
        "$ {input}",
    ),
)
QUESTIONS: Final = 6
"""How many are asked in one workflow; each is three bytes."""


def questions(chance: bytes) -> Run:
    """A workflow of conditions, of two bytes for the values and three for each; and of references."""
    steps = [_FIRST, *(_question(rank, chance[2 + 3 * rank :]) for rank in range(QUESTIONS))]
    paths = [_PATHS[byte % len(_PATHS)] for byte in chance[:2]]
    steps.append({**_FIRST, "id": "last", "parameters": {"x": paths[0], "y": [{"z": paths[1]}, 1]}})
    workflow = {"id": "w", "steps": steps}
    value = VALUES[chance[0] % len(VALUES)]
    given = {"v": value, "p": value, "l": LISTS[chance[1] % len(LISTS)], "w": 1}
    return Run(as_graph(workflow) if chance[1] & 128 else workflow, given, {step["id"]: "instant" for step in steps})


def _question(rank: int, chance: bytes) -> dict[str, Json]:
    """A step with a condition of its own, on its connection, or one of each."""
    one, other = TEXTS[chance[0] % len(TEXTS)], TEXTS[chance[1] % len(TEXTS)]
    text = _JOINTS[chance[2] % len(_JOINTS)].format(one, other)
    step = {"id": f"q{rank}", "action": "work", "continue_on_error": True}
    match rank % 3:
        case 0:
            return {**step, "condition": text}
        case 1:
            return {**step, "depends_on": [{"source": "first", "condition": text}]}
        case _:
            return {**step, "depends_on": [{"source": "first", "condition": one}], "condition": other}
