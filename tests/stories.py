"""Cases that have a story: small ones, wide ones, and such as want to be more than text."""

from dataclasses import replace
from typing import Any, Final

from machines.case import Case, Line, carry_out, target_of
from machines.moves import Crash, Elapse, Fail, Finish, Json, Manner, Move, Pause, Recover, Resume, Run
from machines.tape import LATENCIES, Tape
from machines.witness import Testimony, testify

BACKWARDS: Final = "machines.mutants:rolled_back_by_definition"
"""An engine that compensates in the order of the definition."""
HOSTILE: Final = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\u2028\x1b[31m"
NAME: Final = "</script><script>taken=1</script>"
"""A step may be called so: no reference needs more."""


def case_of(*moves: Move, target: str = BACKWARDS, slots: int = 3, tapes: dict[int, Tape] | None = None) -> Case:
    """The case of these moves, as it was violated (or not)."""
    lines = tuple(Line(move, (tapes or {}).get(place, Tape())) for place, move in enumerate(moves))
    case = Case(lines, "F4", "newest_first", "it was so", "0" * 64, target=target, max_concurrent_steps=slots)
    course = carry_out(lines, target_of(case), slots)
    verdict = course.verdict or ("F4", "newest_first")
    return replace(case, clause=verdict[0], invariant=verdict[1], sentence=course.sentence, digest=course.digest)


def told_of(case: Case) -> Testimony:
    return testify(case, target_of(case))


def undone(name: str, *after: str, **policies: Json) -> dict[str, Any]:
    """A step with a compensation."""
    return {"id": name, "action": "work", "depends_on": list(after), "compensation": {"action": "undo"}, **policies}


def latency(seconds: float) -> Tape:
    return Tape(latencies=bytes([LATENCIES.index(seconds)]))


def three_steps() -> Case:
    """C completes, then b; a fails late, and the rollback begins with the wrong one."""
    workflow = {"id": "w", "steps": [{"id": "a", "action": "work"}, undone("b"), undone("c")]}
    moves = (Run(workflow), Fail("x1/a"), Finish("x1/c"), Finish("x1/b"))
    return case_of(*moves, tapes={1: latency(0.0035)})


def of_many_steps(layers: int = 20) -> Case:
    """Two hundred steps, ten in a layer, with a retry, a pause and a failure."""
    steps: list[dict[str, Any]] = []
    manners: dict[str, Manner] = {}
    for layer in range(layers):
        for place in range(10):
            name = f"step-{layer:02}-{place}"
            before = [f"step-{layer - 1:02}-{place}", f"step-{layer - 1:02}-{(place + 3) % 10}"] if layer else []
            policies = {"retries": {"max_attempts": 2}} if place == 5 else {}
            steps.append(undone(name, *before[: 1 + (place % 3 == 0)], **policies))
            manners[name] = "instant" if layer == 0 and place not in {3, 4, 5, 6} else "gate"
    moves = (
        Run({"id": "wide", "steps": steps}, {}, manners),
        Fail("x1/step-00-5"),
        Elapse(),
        Finish("x1/step-00-4"),
        Finish("x1/step-00-3"),
        Pause("x1"),
        Elapse(20.0),
        Resume("x1"),
        Fail("x1/step-00-6"),
    )
    return case_of(*moves, slots=6)


def hostile() -> Case:
    """Names and messages that a careless page would run."""
    steps = [undone(NAME), undone("__proto__"), {"id": "</style>", "action": "work"}]
    return case_of(
        Run({"id": "w", "steps": steps}),
        Finish("x1/__proto__", {"__proto__": HOSTILE}),
        Finish(f"x1/{NAME}"),
        Fail("x1/</style>", HOSTILE, HOSTILE),
    )


def that_holds() -> Case:
    """The engine dies, comes back, and does all that it must."""
    workflow = {"id": "w", "steps": [{"id": "a", "action": "work", "retries": {"max_attempts": 2}}]}
    moves = (Run(workflow), Crash(), Recover(), Fail("x1/a"), Elapse(), Finish("x1/a"))
    return case_of(*moves, target="machines.targets.sqlite:sqlite")
