"""WfFormat 1.5, the WfCommons JSON standard, read into an outline (D1).

Rule 1: a task becomes a step whose action ``wait`` takes ``seconds``, the task's ``runtimeInSeconds``. A task that has
        none is a fault: nothing is made up.
Rule 2: a connection is what either end says: the task's ``parents``, or another's ``children``.
Rule 3: an id that no reference could name gets ``_`` for each character that is in the way, and ``_2``, ``_3``, ... if
        that is taken: those that keep their ids come first, then the rest in the order of definition. The step's name
        is the id as given.
Rule 4: the standard holds much that means nothing here (files, machines, ...): other keys are ignored.
"""

from collections.abc import Mapping

from engine.shapes import UNNAMEABLE, Draft, Faults, Outline, add_arrow, add_draft
from engine.values import Json

__all__ = ["is_wfformat", "outline_of_wfformat"]

_TASKS = "workflow.specification.tasks"
_RUNS = "workflow.execution.tasks"


def is_wfformat(definition: Mapping[str, Json]) -> bool:
    """Whether a definition is meant to be WfFormat: it has a ``workflow`` that holds a ``specification``."""
    workflow = definition.get("workflow")
    return type(workflow) is dict and "specification" in workflow


def outline_of_wfformat(definition: Mapping[str, Json], faults: Faults) -> Outline:
    """The outline of a WfFormat instance: its ``name`` is the workflow's id, each task a step (D1)."""
    version = definition.get("schemaVersion", "1.5")
    if version != "1.5":
        faults.add("schemaVersion", f"must be '1.5', not {version!r}")
    workflow = definition["workflow"]
    outline = Outline({"id": definition.get("name")})
    faults.spoilt.add("id")
    if type(definition.get("name")) is not str or not definition["name"]:
        faults.add("name", "must be a text that is not empty: it is the workflow's id")
    tasks = _tasks(workflow["specification"], _TASKS, faults)
    runs = _tasks(workflow.get("execution"), _RUNS, faults)
    runtimes = {run["id"]: run.get("runtimeInSeconds") for _, run in runs if type(run.get("id")) is str}
    steps = _steps_of([task.get("id") for _, task in tasks])
    for place, task in tasks:
        given = task.get("id")
        name = given if isinstance(given, str) else ""
        seconds = _runtime(runtimes, name, place, faults)
        body = {"action": "wait", "parameters": {"seconds": seconds}}
        add_draft(outline, Draft(place, place, "", name, body), steps.get(name, given), faults)
    _connect(outline, tasks, steps, faults)
    return outline


def _runtime(runtimes: Mapping[str, Json], task: str, place: str, faults: Faults) -> float:
    """The seconds that a task ran (rule 1)."""
    seconds = runtimes.get(task)
    if (type(seconds) is int or type(seconds) is float) and seconds >= 0:
        return seconds
    faults.add(place, f"has no runtimeInSeconds of at least 0 in {_RUNS}")
    return 0.0


def _connect(
    outline: Outline, tasks: list[tuple[str, Mapping[str, Json]]], steps: Mapping[str, str], faults: Faults
) -> None:
    """Add the connections: every task's parents, then every task's children that did not name it (rule 2)."""
    for position, (place, task) in enumerate(tasks):
        for rank, parent in enumerate(_relatives(task, "parents", place, faults)):
            where = f"{place}.parents[{rank}]"
            add_arrow(outline, (_position(outline, steps, parent, where, faults), position), None, where, faults)
    said_by_child = set(outline.known)
    for position, (place, task) in enumerate(tasks):
        for rank, child in enumerate(_relatives(task, "children", place, faults)):
            where = f"{place}.children[{rank}]"
            target = _position(outline, steps, child, where, faults)
            if target is not None and (position, target, None) not in said_by_child:
                add_arrow(outline, (position, target), None, where, faults)


def _position(outline: Outline, steps: Mapping[str, str], task: str, place: str, faults: Faults) -> int | None:
    """The position of a task by its own id, if there is one."""
    if task in steps:
        return outline.index[steps[task]]
    faults.add(place, f"unknown task {task!r}")
    return None


def _relatives(task: Mapping[str, Json], key: str, place: str, faults: Faults) -> list[str]:
    """The ids under ``parents`` or ``children``."""
    ids = task.get(key)
    if ids is None:
        return []
    if type(ids) is list and all(type(each) is str for each in ids):
        return ids
    faults.add(f"{place}.{key}", "must be a list of task ids")
    return []


def _tasks(part: Json, place: str, faults: Faults) -> list[tuple[str, Mapping[str, Json]]]:
    """The tasks of the specification or the execution, each with its place."""
    tasks = part.get("tasks") if type(part) is dict else None
    if type(tasks) is not list or not all(type(task) is dict for task in tasks):
        faults.add(place, "must be a list of objects")
        return []
    if not tasks and place == _TASKS:
        faults.add(place, "is empty: a workflow needs at least one step")
    return [(f"{place}[{rank}]", task) for rank, task in enumerate(tasks)]


def _steps_of(ids: list[Json]) -> dict[str, str]:
    """A nameable step id for each task id (rule 3)."""
    given = dict.fromkeys(each for each in ids if type(each) is str and each)
    steps = {each: each for each in given if each != "input" and not UNNAMEABLE.search(each)}
    taken = set(steps)
    for each in given:
        if each not in steps:
            base = UNNAMEABLE.sub("_", each) if each != "input" else "input_"
            candidate, count = base, 2
            while candidate in taken or candidate == "input":
                candidate, count = f"{base}_{count}", count + 1
            steps[each] = candidate
            taken.add(candidate)
    return steps
