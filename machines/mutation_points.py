"""Where the engine's core can be changed, and how: mutmut's operators, applied to the source as it stands.

Rule 1: the operators are mutmut's, and so is what is never mutated (annotations, decorators, ``len`` and its like).
Rule 2: a text in capitals and one in small letters are left out: mutmut makes ``XX...XX`` of it already. So are
``__all__`` and type aliases, which nothing carries out: an alias is an annotation that has a name.
Rule 3: a mutant's key is made of its module and of what it says, so a result is never taken for another mutant's.
"""

from __future__ import annotations

import difflib
import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Final

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

CORE: Final = tuple(
    f"engine.{name}"
    for name in (
        *("transitions", "state", "driver", "slots", "workflow_engine", "state_manager"),
        *("definition", "policies", "workflow", "graph", "references", "conditions"),
    )
)
"""The modules that decide what an execution does. What is left out: files (``make kills`` and ``make crashes`` are
theirs), the words of errors, the shape of messages, what comes from other editors, and ready-made actions."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place and one of its changes; the source that comes of it is made on demand."""

    module: str
    line: int
    rank: int
    """Among all of its module."""
    tree: cst.Module
    statement: int
    """The module's statement that holds it."""
    old: cst.CSTNode
    new: cst.CSTNode


@dataclass(frozen=True, slots=True)
class Altered:
    """A module of the core with one change."""

    key: str
    module: str
    line: int
    change: str
    """The lines that differ, as a diff has them."""
    source: str
    """As it stands."""
    altered: str
    """What it says instead."""


def points(modules: Sequence[str] = CORE) -> list[Point]:
    """Every change of these modules, in the order of their places."""
    return [point for module in modules for point in _points_of(module)]


def shard(found: Sequence[Point], number: int, of: int) -> list[Point]:
    """The part with this number, from 1: every so many-th, so that parts take about the same time."""
    return list(found[number - 1 :: of])


def sample(found: Sequence[Point], size: int, seed: int) -> list[Point]:
    """So many of them in an order made by chance: what was judged when a run was stopped is a sample too."""
    return Random(seed).sample(found, min(size, len(found)))


def alter(point: Point) -> Altered | None:
    """Make the change; None if the source is no other by it, or is no Python any more."""
    source = point.tree.code
    body = list(point.tree.body)
    changed = body[point.statement].deep_replace(point.old, point.new)
    assert isinstance(changed, cst.SimpleStatementLine | cst.BaseCompoundStatement)
    body[point.statement] = changed
    altered = point.tree.with_changes(body=body).code
    if altered == source or not _compiles(altered):
        return None
    digest = hashlib.sha256(f"{point.module}\n{altered}".encode()).hexdigest()[:12]
    return Altered(digest, point.module, point.line, _difference(source, altered), source, altered)


def _points_of(module: str) -> Iterator[Point]:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    wrapper = MetadataWrapper(cst.parse_module(Path(spec.origin).read_text(encoding="utf-8")), unsafe_skip_copy=True)
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    wrapper.visit(visitor)
    places = wrapper.resolve(PositionProvider)
    ends = [places[statement].end.line for statement in wrapper.module.body]
    idle = [rank for rank, statement in enumerate(wrapper.module.body) if _is_for_readers(statement)]
    for rank, found in enumerate(visitor.mutations):
        old, new = found.original_node, found.mutated_node
        line = places[old].start.line
        statement = bisect_left(ends, line)
        if not (_same_but_for_case(old, new) or statement in idle):
            yield Point(module, line, rank, wrapper.module, statement, old, new)


def _same_but_for_case(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    texts = isinstance(old, cst.SimpleString) and isinstance(new, cst.SimpleString)
    return texts and old.value.lower() == new.value.lower()  # type: ignore[attr-defined]  # both are texts


def _is_for_readers(statement: cst.SimpleStatementLine | cst.BaseCompoundStatement) -> bool:
    text = cst.Module([statement]).code.lstrip()
    return isinstance(statement, cst.SimpleStatementLine) and (text.startswith("__all__") or ": TypeAlias =" in text)


def _compiles(source: str) -> bool:
    try:
        compile(source, "<altered>", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _difference(source: str, altered: str) -> str:
    lines = difflib.unified_diff(source.splitlines(), altered.splitlines(), n=0, lineterm="")
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in list(lines)[2:] if not line.startswith("@@"))
