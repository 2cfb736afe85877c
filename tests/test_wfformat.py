"""D1: a WfFormat 1.5 instance is a workflow of waits."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from engine.definition import parse_workflow
from engine.errors import DefinitionError

DATA = Path(__file__).parent / "data"


def load(name: str) -> Any:
    return json.loads((DATA / f"wfformat-{name}.json").read_text())


def faults_of(definition: Any) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as refused:
        parse_workflow(definition)
    return [(fault.place, fault.problem) for fault in refused.value.faults]


def test_a_task_is_a_step_that_waits() -> None:
    workflow = parse_workflow(load("diamond"), {"wait"})
    assert (workflow.id, workflow.name) == ("diamond", "diamond")
    assert [(step.id, step.action, step.parameters) for step in workflow.steps] == [
        ("split", "wait", {"seconds": 1.5}),
        ("left", "wait", {"seconds": 2}),
        ("right", "wait", {"seconds": 0.0}),
        ("merge", "wait", {"seconds": 3.25}),
    ]
    assert [step.position for step in workflow.steps] == [1, 2, 3, 0]


def test_parents_and_children_say_the_same_connections() -> None:
    definition = load("diamond")
    both = parse_workflow(definition)
    parents, children = copy.deepcopy(definition), copy.deepcopy(definition)
    for task in parents["workflow"]["specification"]["tasks"]:
        del task["children"]
    for task in children["workflow"]["specification"]["tasks"]:
        task["parents"] = None
    assert [(each.source, each.target) for ends in both.incoming for each in ends] == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert parse_workflow(parents).incoming == both.incoming
    assert parse_workflow(children).incoming == both.incoming
    assert parse_workflow(children).outgoing == both.outgoing == ((1, 2), (3,), (3,), ())


def test_an_id_that_no_reference_could_name_gets_one() -> None:
    workflow = parse_workflow(load("names"))
    assert {step.name: step.id for step in workflow.steps} == {
        "QC.READ {1}": "QC_READ__1_",
        "QC.READ.2": "QC_READ_2_2",  # QC_READ_2 keeps its own id
        "QC_READ_2": "QC_READ_2",
        "QC READ 2": "QC_READ_2_3",
        "input": "input_",
    }
    assert [step.parameters["seconds"] for step in workflow.steps] == [1, 2, 3, 4, 5]
    assert [len(ends) for ends in workflow.incoming] == [0, 1, 1, 0, 0]


def test_the_action_must_exist() -> None:
    with pytest.raises(DefinitionError, match=r"tasks\[0\]\.action: unknown action 'wait'"):
        parse_workflow(load("diamond"), {"other"})


@pytest.mark.parametrize("runtime", [None, -1, "2", True])
def test_a_task_without_a_runtime_is_refused(runtime: Any) -> None:
    definition = load("diamond")
    definition["workflow"]["execution"]["tasks"][0]["runtimeInSeconds"] = runtime
    problem = "has no runtimeInSeconds of at least 0 in workflow.execution.tasks"
    assert faults_of(definition) == [("workflow.specification.tasks[1]", problem)]


def test_every_fault_is_found_at_once() -> None:
    definition = load("diamond")
    definition["schemaVersion"] = "1.4"
    definition["name"] = ""
    tasks = definition["workflow"]["specification"]["tasks"]
    tasks[0]["parents"] = ["left", "lost", "left", "merge"]
    tasks[1]["children"].append("nobody")
    tasks[2]["children"] = "merge"
    tasks[3]["id"] = "left"
    place = "workflow.specification.tasks"
    assert faults_of(definition) == [
        ("schemaVersion", "must be '1.5', not '1.4'"),
        ("name", "must be a text that is not empty: it is the workflow's id"),
        (f"{place}[3].id", f"'left' is the id of {place}[2] already"),
        (f"{place}[0].parents[1]", "unknown task 'lost'"),
        (f"{place}[0].parents[2]", "is there twice"),
        (f"{place}[0].parents[3]", "step 'merge' depends on itself"),
        (f"{place}[1].children[0]", "unknown task 'right'"),
        (f"{place}[1].children[2]", "unknown task 'nobody'"),
        (f"{place}[2].children", "must be a list of task ids"),
    ]


def test_an_id_given_to_another_task_is_no_way_to_name_one() -> None:
    definition = load("names")
    definition["workflow"]["specification"]["tasks"][3]["parents"] = ["QC_READ__1_"]
    assert faults_of(definition) == [("workflow.specification.tasks[3].parents[0]", "unknown task 'QC_READ__1_'")]


@pytest.mark.parametrize("given", [None, 7, ""])
def test_a_task_without_an_id_is_refused(given: Any) -> None:
    definition = load("diamond")
    definition["workflow"]["specification"]["tasks"][0]["id"] = given
    assert "workflow.specification.tasks[0].id" in [place for place, _ in faults_of(definition)]


@pytest.mark.parametrize("tasks", [None, "", [1], []])
def test_tasks_are_a_list_of_objects(tasks: Any) -> None:
    definition = {"name": "w", "workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": []}}}
    assert [place for place, _ in faults_of(definition)] == ["workflow.specification.tasks"]


def test_without_an_execution_nothing_is_known() -> None:
    definition = load("diamond")
    del definition["workflow"]["execution"]
    places = [place for place, _ in faults_of(definition)]
    assert places == ["workflow.execution.tasks", *(f"workflow.specification.tasks[{rank}]" for rank in range(4))]


def test_an_older_format_is_no_shape_we_know() -> None:
    assert faults_of({"id": "w", "workflow": {"tasks": []}})[0] == ("", "has neither steps nor nodes")
