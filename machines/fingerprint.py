"""Which failures are the same one: the clause, and the minimal moves with their arguments abstracted.

Rule 1: of a move its kind counts, and whom it is about: by the order in which they appear, not by name. Of a workflow
its shape counts: its steps with the names of their policies, and their connections. Values and latencies do not.
Rule 2: it is taken of a minimal case, where everything that is left is needed.
Rule 3: before a case is minimal there is only its *kind*: the clause, the invariant, and the sentence without what it
says it of. Violations of one kind may be of several bugs, and those of one bug may be of several kinds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from machines.case import Case
from machines.moves import Convert, Move, Run, to_json
from machines.parts import names_of, source_of
from model.judge import Violation

Json: TypeAlias = Any
Fingerprint: TypeAlias = tuple[str, ...]
ViolationKind: TypeAlias = tuple[str, str, str]

_SAID_OF: Final = re.compile(r"'[^']*'|\"[^\"]*\"|[{\[].*")
"""In a sentence: texts, and what stands in brackets."""
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_]+[,:;]?")
_WORDS: Final = 12
_NO_POLICIES: Final = frozenset({"id", "name", "title", "type", "action", "config", "depends_on"})


def fingerprint(case: Case) -> Fingerprint:
    """What tells a failure apart from others."""
    names: dict[str, str] = {}
    return (case.clause, *(_told(line.move, names) for line in case.lines))


def kind_of(violation: Violation) -> ViolationKind:
    """What can be said of a violation before its case is minimal."""
    words = [word for word in _SAID_OF.sub(" ", violation.sentence).split() if _WORD.fullmatch(word)]
    return violation.clause, violation.invariant, " ".join(words[:_WORDS])


def _told(move: Move, names: dict[str, str]) -> str:
    """A move without its values."""
    document = to_json(move)
    about = document.get("gate") or document.get("execution") or ""
    words = [type(move).__name__, *("/".join(_called(part, names) for part in about.split("/")) for _ in about[:1])]
    definition = move.workflow if isinstance(move, Run) else move.graph if isinstance(move, Convert) else None
    if definition is not None:
        words += ["broken"] * bool(document["faults"])
        words += _shape(definition, names)
    return " ".join(words)


def _called(name: str, names: dict[str, str]) -> str:
    plain = name.rstrip("!")
    return names.setdefault(plain, str(len(names) + 1)) + "!" * name.endswith("!")


def _shape(workflow: Mapping[str, Json], names: dict[str, str]) -> Iterator[str]:
    """Each step with its policies and its sources, and the connections of a graph."""
    for name in names_of(workflow):
        _called(name, names)
    steps: list[Json] = next((workflow[key] for key in ("steps", "nodes") if isinstance(workflow.get(key), list)), [])
    for step in filter(lambda step: isinstance(step, dict), steps):
        policies = sorted({**step, **(step.get("config") or {})}.keys() - _NO_POLICIES)
        sources = [_called(str(source_of(entry)), names) for entry in step.get("depends_on") or ()]
        yield f"[{','.join([*policies, *(f'<{source}' for source in sources)])}]"
    yield from sorted(key for key in workflow if key not in {"id", "name", "steps", "nodes"})
