"""The graph of a workflow: order, cycles, ancestors; and the graph shape as ordered steps (D2).

Rule 1: vertices are numbers, their positions in the definition; of all that could come next, the smallest comes first.
Rule 2: nothing recurses and nothing is quadratic: a chain of 100,000 steps is an ordinary workflow.
Rule 3: nothing unordered decides anything: the same graph gives the same order, and the same cycles in the same words.
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from engine.shapes import Faults, Outline, outline_of_graph, private_copy
from engine.values import Json

__all__ = ["Ends", "cycles", "graph_to_steps", "sorted_outline", "strangers", "topological_order"]

Ends: TypeAlias = Sequence[Sequence[int]]

_CHUNK = 1024  # referenced steps whose descendants are found in one pass, a bit for each


def topological_order(sources: Ends, targets: Ends) -> list[int]:
    """Every vertex that is on no cycle nor behind one, by Kahn's algorithm, the smallest first (D2).

    ``sources[v]`` and ``targets[v]`` list the ends of the edges into and out of ``v``; parallel edges may repeat.
    """
    waits = [len(ends) for ends in sources]
    ready = [vertex for vertex, count in enumerate(waits) if not count]
    heapify(ready)
    order = []
    while ready:
        vertex = heappop(ready)
        order.append(vertex)
        for target in targets[vertex]:
            waits[target] -= 1
            if not waits[target]:
                heappush(ready, target)
    return order


def cycles(sources: Ends, targets: Ends, order: Iterable[int]) -> list[list[int]]:
    """Cycles that share no vertex, enough of them to break every cycle; each goes with its edges, smallest first (D3).

    ``order`` is what ``topological_order`` gave: the rest of the graph is searched.
    """
    alive = [True] * len(sources)
    for vertex in order:
        alive[vertex] = False
    waits = [sum(alive[source] for source in ends) for ends in sources]
    tried = [0] * len(sources)  # how many of a vertex's sources are known to be gone
    found = []
    for first in range(len(sources)):
        path, on_path = ([first], {first: 0}) if alive[first] else ([], {})
        while path:
            ends = sources[path[-1]]
            while not alive[ends[tried[path[-1]]]]:
                tried[path[-1]] += 1
            source = ends[tried[path[-1]]]
            if source not in on_path:
                on_path[source] = len(path)
                path.append(source)
                continue
            cycle = path[on_path[source] :][::-1]
            smallest = cycle.index(min(cycle))
            found.append(cycle[smallest:] + cycle[:smallest])
            _remove(cycle, targets, waits, alive)
            while path and not alive[path[-1]]:
                del on_path[path.pop()]
    return found


def _remove(cycle: Sequence[int], targets: Ends, waits: list[int], alive: list[bool]) -> None:
    """Take a cycle out of the graph, and all that nothing holds back any longer."""
    for vertex in cycle:
        alive[vertex] = False
    todo = list(cycle)
    while todo:
        for target in targets[todo.pop()]:
            waits[target] -= 1
            if alive[target] and not waits[target]:
                alive[target] = False
                todo.append(target)


def strangers(queries: Iterable[tuple[int, int]], sources: Ends, order: Sequence[int]) -> set[tuple[int, int]]:
    """Of pairs (ancestor, vertex), those where the first is no ancestor of the second. ``order`` is topological.

    Sources are looked at first. The rest is answered in passes over the stretch of the order that matters, with a bit
    for each ancestor asked about (see rule 2).
    """
    rank = {vertex: place for place, vertex in enumerate(order)}
    asked: dict[int, list[int]] = {}
    wrong = set()
    for ancestor, vertex in queries:
        if rank[ancestor] >= rank[vertex]:
            wrong.add((ancestor, vertex))
        elif ancestor not in sources[vertex]:
            asked.setdefault(ancestor, []).append(vertex)
    ancestors = sorted(asked, key=rank.__getitem__)
    for start in range(0, len(ancestors), _CHUNK):
        bits = {ancestor: 1 << bit for bit, ancestor in enumerate(ancestors[start : start + _CHUNK])}
        last = max(rank[vertex] for ancestor in bits for vertex in asked[ancestor])
        reached: dict[int, int] = {}  # for each vertex so far: the ancestors it has, and itself
        for vertex in order[rank[ancestors[start]] : last + 1]:
            mask = bits.get(vertex, 0)
            for source in sources[vertex]:
                mask |= reached.get(source, 0)
            if mask:
                reached[vertex] = mask
        wrong.update(
            (ancestor, vertex)
            for ancestor, bit in bits.items()
            for vertex in asked[ancestor]
            if not reached.get(vertex, 0) & bit
        )
    return wrong


def sorted_outline(outline: Outline, faults: Faults) -> tuple[list[int], Ends]:
    """The positions in topological order, and each one's distinct sources; notes cycles as faults (D2, D3)."""
    sources: list[dict[int, None]] = [{} for _ in outline.drafts]
    targets: list[list[int]] = [[] for _ in outline.drafts]
    for arrow in outline.arrows:
        if arrow.source not in sources[arrow.target]:
            sources[arrow.target].setdefault(arrow.source)
            targets[arrow.source].append(arrow.target)
    ends = [tuple(known) for known in sources]
    order = topological_order(ends, targets)
    if len(order) < len(outline.drafts):
        places = {(arrow.source, arrow.target): arrow.place for arrow in reversed(outline.arrows)}
        for cycle in cycles(ends, targets, order):
            place = places[cycle[-1], cycle[0]]
            names = [outline.drafts[position].id for position in (*cycle, cycle[0])]
            faults.add(place, f"closes a cycle: {' -> '.join(names)}")
    return order, ends


def graph_to_steps(definition: Json) -> list[dict[str, Json]]:
    """The steps of a definition in the graph shape, in topological order, as the other shape has them (D2).

    Each has its ``sequence_order`` from 1 and a ``depends_on``; a conditional connection is ``{source, condition}``.
    Raises DefinitionError if nodes or connections are broken or form a cycle; policies are left to the parser.
    """
    faults = Faults()
    outline = outline_of_graph(private_copy(definition, faults), faults)
    order, _ = sorted_outline(outline, faults)
    faults.refuse()
    depends_on: list[list[Json]] = [[] for _ in outline.drafts]
    for arrow in outline.arrows:
        source = outline.drafts[arrow.source].id
        plain = arrow.condition is None
        depends_on[arrow.target].append(source if plain else {"source": source, "condition": arrow.condition})
    return [
        {
            "id": outline.drafts[position].id,
            "name": outline.drafts[position].name,
            "sequence_order": rank,
            "depends_on": depends_on[position],
            **outline.drafts[position].body,
        }
        for rank, position in enumerate(order, 1)
    ]
