"""Conditions: CEL expressions over the input and the ancestors' outputs (V5).

Rule 1: a value is never expression text. CEL's own names, and ``${...}`` outside of CEL's string literals, are bound
        as values; a step id that CEL cannot spell is named by a reference. The two read alike: one that is missing is
        an error where it is needed, and none where ``&&`` or ``||`` decide without it.
Rule 2: nothing in an expression reaches Python: only JSON values are bound, and only the functions of ``FUNCTIONS``,
        CEL's own, may be called. They know no clock and no chance. Integers beyond 64 bits count as floating point.
Rule 3: the same values always give the same answer. CEL's macros (``all``, ``map``, ...) may range over lists only: the
        library walks an object's keys in an order that changes. So each macro's range ``r`` becomes ``(r + [])``: the
        same list, and an error for an object.
Rule 4: a condition is true, false, or an error; whatever the library raises is an error.
Rule 5: a text is at most ``LONGEST`` characters. The library recurses, and a stack that overflows ends the process.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, pairwise
from typing import Final, NamedTuple

import cel

from engine.errors import ConditionError
from engine.references import MalformedError, MissingPath, Reference, look_up, read_reference
from engine.values import Json

__all__ = ["FUNCTIONS", "LONGEST", "Condition", "read_condition"]

LONGEST = 4000
FUNCTIONS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches"}
    | {"int", "uint", "double", "string", "bytes", "type", "dyn", "timestamp", "duration"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_MAY_HOLD_MACRO = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter)\s*\(")
_CLOSERS = (")", "]", "}")
_OPERANDS = ("name", "string")
_SENTENCE = re.compile(r"(?:.*?ERROR: <input>:\d+:\d+: )?(.*?)(?:\. |\n|$)", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<string>(?:[rR][bB]?|[bB][rR])(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
      |(?P<reference>\$\{(?P<path>[^${}]*)\})
      |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<number>[0-9][0-9A-Za-z_.]*)
      |(?P<space>\s+|//[^\n]*)
      |(?P<sign>&&|\|\||[=!<>]=|.)""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str


_SPACE: Final = _Token("space", " ")


class _Compiled(NamedTuple):
    """A condition's program, and what to bind: names as they are, references under names of our own."""

    program: cel.Program
    names: tuple[str, ...]
    references: tuple[tuple[str, Reference], ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that compiles; ``names`` are the steps' ids and ``input`` as far as it uses them, sorted."""

    text: str
    names: tuple[str, ...]

    def evaluate(self, step_id: str, scope: Mapping[str, Json]) -> bool:
        """Whether the condition holds; ``scope`` has the input and the outputs there are, by name (V5).

        Raises ConditionError, which names ``step_id`` (the step decided about), if it is neither true nor false.
        """
        program, names, references = _compiled(self.text)
        bound = {name: scope[name] for name in names if name in scope}
        missing: list[str] = [name for name in names if name not in bound and name not in TYPES]
        for name, reference in references:
            try:
                bound[name] = look_up(reference, scope)
            except MissingPath as error:
                missing.extend(error.paths)
        try:
            result = program.execute(bound)
        except BaseException as error:  # a panic of the library is not an Exception
            if not _is_of_the_library(error):
                raise
            reason = _reason(error)
            if missing and reason.startswith("Undefined variable"):
                reason = f"{', '.join(missing)} is missing"
            raise ConditionError(step_id, self.text, reason) from None
        if type(result) is not bool:
            raise ConditionError(
                step_id, self.text, f"it is neither true nor false, but of type {type(result).__name__}"
            )
        return result


def read_condition(text: str) -> Condition:
    """The condition written as ``text``; raises MalformedError (D3, V5).

    Which of its ``names`` exist is not known here: a name of ``TYPES`` may be a step's id or the type.
    """
    compiled = _compiled(text)
    return Condition(text, tuple(sorted({*compiled.names, *(reference.name for _, reference in compiled.references)})))


@lru_cache(maxsize=4096)
def _compiled(text: str) -> _Compiled:
    """Compile a condition's text; raises MalformedError."""
    if len(text) > LONGEST:
        raise MalformedError("condition", f"{text[:50]}...", f"it is longer than {LONGEST} characters")
    tokens, references = _bind_references(text)
    rewritten = "".join(token.text for token in tokens)
    if _MAY_HOLD_MACRO.search(rewritten):
        rewritten = _over_lists(tokens)
    try:
        program = cel.compile(rewritten)
        used = program.references()
    except BaseException as error:  # a panic of the library is not an Exception
        if not _is_of_the_library(error):
            raise
        raise MalformedError("condition", text, _reason(error)) from None
    # Operators are functions too, called _+_, !_, @in and the like.
    if unknown := [name for name in used["functions"] if name not in FUNCTIONS and name.isidentifier()]:
        raise MalformedError("condition", text, f"unknown function {', '.join(unknown)}")
    free = _free_names(tokens)
    names = [name for name in used["variables"] if name in free or name.startswith(".")]
    for name, reference in references:
        if name not in names:
            raise MalformedError("condition", text, f"${{{reference.text}}} does not stand for a value")
    own = {name for name, _ in references}
    return _Compiled(program, tuple(name for name in names if name not in own), references)


def _bind_references(text: str) -> tuple[list[_Token], tuple[tuple[str, Reference], ...]]:
    """A condition in pieces, with a name of our own, in spaces, where a reference stands; raises MalformedError."""
    prefix = "ref"
    while prefix in text:
        prefix = f"_{prefix}"
    references: dict[Reference, str] = {}
    bound: list[_Token] = []
    for found in _TOKEN.finditer(text):
        if (path := found["path"]) is None:
            bound.append(_Token(str(found.lastgroup), found[0]))
        else:
            name = references.setdefault(read_reference(path), f"{prefix}{len(references)}")
            bound.extend([_SPACE, _Token("name", name), _SPACE])
    return bound, tuple((name, reference) for reference, name in references.items())


def _free_names(tokens: Sequence[_Token]) -> set[str]:
    """The names that stand for something outside of an expression that compiles: no members, nor bound by a macro."""
    solid = [token for token in tokens if token.kind != "space"]
    free: set[str] = set()
    bound: list[str | None] = []  # for each open parenthesis, the name its macro binds
    for rank, (before, (kind, piece)) in enumerate(pairwise([_SPACE, *solid])):
        if piece == "(":
            bound.append(solid[rank + 1].text if _calls_macro(solid, rank - 2) else None)
        elif piece == ")":
            bound.pop()
        elif kind == "name" and before.text != "." and piece not in bound:
            free.add(piece)
    return free


def _calls_macro(solid: Sequence[_Token], rank: int) -> bool:
    """Whether the token at ``rank`` is the dot before a macro's call."""
    match [token.text for token in solid[rank : rank + 3]]:
        case [".", name, "("]:
            return name in _MACROS
        case _:
            return False


def _over_lists(tokens: Sequence[_Token]) -> str:
    """The expression with ``(r + [])`` for the range ``r`` of each macro (rule 3)."""
    solid = [token for token in tokens if token.kind != "space"]
    opened = _openers(solid)
    before: dict[int, str] = {}
    for rank in range(len(solid)):
        if _calls_macro(solid, rank):
            start = _start_of_operand(solid, opened, rank - 1)
            before[start] = f"({before.get(start, '')}"
            before[rank] = " + [])"
    ranks = count()
    return "".join(
        token.text if token.kind == "space" else before.get(next(ranks), "") + token.text for token in tokens
    )


def _openers(solid: Sequence[_Token]) -> dict[int, int]:
    """For each closing bracket the rank of the one that opens it; an expression that has too few will not compile."""
    opened: dict[int, int] = {}
    waiting: list[int] = []
    for rank, token in enumerate(solid):
        if token.text in ("(", "[", "{"):
            waiting.append(rank)
        elif token.text in _CLOSERS and waiting:
            opened[rank] = waiting.pop()
    return opened


def _start_of_operand(solid: Sequence[_Token], opened: Mapping[int, int], end: int) -> int:
    """Where the operand begins whose last token is at ``end``: ``a.b[0].f(x)`` as a whole."""
    rank = end
    while True:
        start = opened.get(rank, rank)
        closes = solid[rank].text
        previous = solid[start - 1] if start > 0 else _SPACE
        if closes == ")" and previous.kind == "name" and previous.text != "in":
            start -= 1  # a call: its name belongs to it
        elif closes == "]" and previous.text != "in" and (previous.text in _CLOSERS or previous.kind in _OPERANDS):
            rank = start - 1  # an index: what is indexed belongs to it
            continue
        if start > 1 and solid[start - 1].text == ".":
            rank = start - 2
            continue
        return start


def _is_of_the_library(error: BaseException) -> bool:
    """Whether an evaluation failed, rather than the program being told to stop; Rust's panics are BaseExceptions."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _reason(error: BaseException) -> str:
    """The library's reason in short: one sentence, without the advice that follows and without our rewriting."""
    if isinstance(error, KeyError):
        return f"there is no key {error}"
    found = _SENTENCE.match(str(error))
    assert found is not None
    return found[1][:200]
