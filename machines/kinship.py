"""Workflows in which steps ask for the outputs of others, near and far, related or not (D3, V1).

Rule 1: steps are defined in any order, whatever follows what.
Rule 2: every step asks for what it asks at a place of its own, so each wrong question is a fault with a place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from machines.moves import Manner
from machines.strategies import as_graph

Json: TypeAlias = Any

_MOST: Final = 9
_SOURCES: Final = 2
_QUESTIONS: Final = 3
KIN: Final = 2 + _MOST * (1 + _SOURCES + _QUESTIONS)
"""Bytes that decide about such a workflow."""


def kin(chance: bytes, *, graph: bool) -> tuple[dict[str, Json], list[str], dict[str, Manner]]:
    """A workflow whose steps ask for what others have returned, its faults, and how its actions behave.

    In half of them only ancestors are asked. In the others steps ask for anybody's output but their own, and whoever is
    no ancestor is a fault.
    """
    draws = iter(chance)
    anybody = bool(next(draws) & 1)
    order = _shuffled(4 + next(draws) % (_MOST - 3), draws)
    steps: list[dict[str, Json]] = [{} for _ in order]
    before: list[list[int]] = [[] for _ in order]
    faults = []
    for rank, step in enumerate(order):
        sources = sorted({order[byte % rank] for byte in _drawn(draws, _SOURCES) if rank and byte % 4})
        before[step] = sorted({each for source in sources for each in (source, *before[source])})
        others = [other for other in order if other != step] if anybody else before[step]
        asked = [others[byte % len(others)] for byte in _drawn(draws, _QUESTIONS) if others and byte % 3]
        steps[step] = {
            "id": f"s{step}",
            "action": "work",
            "depends_on": [f"s{source}" for source in sources],
            "parameters": {f"p{place}": f"${{s{other}.n}}" for place, other in enumerate(asked)},
        }
        where = f"nodes[{step}].config" if graph else f"steps[{step}]"
        wrong = [(place, other) for place, other in enumerate(asked) if other not in before[step]]
        faults += [f"{where}.parameters.p{place} s{other}" for place, other in wrong]
    whole = {"id": "w", "steps": steps}
    manners: dict[str, Manner] = {step["id"]: "instant" for step in steps}
    return (as_graph(whole) if graph else whole), faults, manners


def _drawn(draws: Iterator[int], count: int) -> list[int]:
    return [next(draws) for _ in range(count)]


def _shuffled(count: int, draws: Iterator[int]) -> list[int]:
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = next(draws) % (last + 1)
        order[last], order[other] = order[other], order[last]
    return order
