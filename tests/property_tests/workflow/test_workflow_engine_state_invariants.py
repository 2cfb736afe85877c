"""What holds in every execution, whatever its graph, its paces and its failures, as its own actions see it.

Rule 1: the real engine runs generated workflows in virtual time: steps in any order of definition, each attempt as long
and as lucky as its plan says. Seconds are whole numbers, so what is expected at a time is expected at that very time.
Rule 2: the witnesses are the actions. What a property says is held against what they saw: their starts, their ends,
their cancellations, how many of them there were. A report of the engine is only believed where it agrees with them.
Rule 3: what is expected follows from the drawn workflow in a few lines that share nothing with the engine.
Rule 4: a property makes its situation by construction and asserts that it was there, so none of them holds of nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from engine.definition import parse_workflow
from engine.driver import ActionContext
from engine.errors import DefinitionError, InputError, JournalError, UnknownExecutionError
from engine.graph import graph_to_steps
from engine.journal import MemoryJournal
from engine.messages import Event, ExecutionCreated, to_json
from engine.state import fold, report
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.loop import SimulatedLoop

Json: TypeAlias = Any
Sources: TypeAlias = dict[str, list[str]]
"""A workflow's graph: each step's sources, the steps in the order of definition."""

NAMES: Final = "abcdefg"
"""In topological order, so that a rule of the test's own may go through them one by one."""
ANCHOR: Final = "z"
"""A step that runs all the time: whenever something happens from outside, there is an action to see it."""
AGES: Final = 1000
UNDO: Final = {"compensation": {"action": "undo"}}
MANY: Final = 20


# What the actions are to do, and what they saw


@dataclass(frozen=True, slots=True)
class Plan:
    """How a step's attempts go."""

    seconds: float = 1
    failures: int = 0
    """This many attempts raise, the first ones."""
    output: Json = None
    cleanup: float = 0
    """Seconds that an attempt takes to end once it is cancelled."""
    swallows: bool = False
    """It returns although it was cancelled."""
    undo_failures: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What an action saw: it ``started``, ``returned``, ``raised``; was ``cancelled``, is ``gone``; ``undo ...``."""

    at: float
    what: str
    execution: str
    step: str
    attempt: int
    key: str
    parameters: Json


class Refusal(Exception):  # noqa: N818  # what an action says, not an error of ours
    """An action does as its plan says."""


class Witness:
    """The actions of all engines on one loop, and all that they saw, in order."""

    def __init__(self, loop: SimulatedLoop, plans: Mapping[str, Plan]) -> None:
        self.loop = loop
        self.plans = plans
        self.diary: list[Seen] = []
        self.live: dict[str, int] = {}
        """How many actions of each execution there are now."""
        self.peak = 0
        self.peaks: dict[str, int] = {}
        self.undone_with: list[tuple[str, Json, Json]] = []
        self.reports: dict[str, dict[str, Json]] = {}
        self.at_start: Callable[[ActionContext], None] = lambda context: None
        self.ids = count(1)

    async def work(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        """Do a step's work as planned. What it is given it leaves changed: nobody else may notice."""
        plan = self.plans.get(context.step, Plan())
        self._enter("", parameters, context)
        self.at_start(context)
        parameters["spoilt"] = True
        try:
            await asyncio.sleep(plan.seconds)
            if context.attempt <= plan.failures:
                self._note("raised", context)
                message = f"{context.step} failed at attempt {context.attempt}"
                raise Refusal(message)
        except asyncio.CancelledError:
            self._note("cancelled", context)
            await asyncio.sleep(plan.cleanup)
            if not plan.swallows:
                self._note("gone", context)
                raise
        finally:
            self.live[context.execution] -= 1
        self._note("returned", context)
        return deepcopy(plan.output)

    async def undo(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        """Undo a step's work."""
        self._enter("undo ", parameters, context)
        self.undone_with.append((context.step, deepcopy(context.step_parameters), deepcopy(context.step_output)))
        try:
            await asyncio.sleep(1)
        finally:
            self.live[context.execution] -= 1
        if context.attempt <= self.plans.get(context.step, Plan()).undo_failures:
            self._note("undo raised", context)
            raise Refusal(context.step)
        self._note("undo returned", context)

    def _enter(self, kind: str, parameters: Json, context: ActionContext) -> None:
        execution = context.execution
        self._note(f"{kind}started", context, deepcopy(parameters))
        self.live[execution] = self.live.get(execution, 0) + 1
        self.peaks[execution] = max(self.peaks.get(execution, 0), self.live[execution])
        self.peak = max(self.peak, sum(self.live.values()))

    def _note(self, what: str, context: ActionContext, parameters: Json = None) -> None:
        place = context.execution, context.step, context.attempt, context.idempotency_key
        self.diary.append(Seen(self.loop.time(), what, *place, parameters))

    # Questions to the witness

    def all(self, what: str, execution: str = "x1") -> list[Seen]:
        """Everything of one kind, in order."""
        return [seen for seen in self.diary if seen.what == what and seen.execution == execution]

    def steps(self, what: str, execution: str = "x1") -> list[str]:
        """The steps that saw it, in order."""
        return [seen.step for seen in self.all(what, execution)]

    def times(self, what: str, execution: str = "x1") -> dict[str, float]:
        """When each step saw it; no step may have seen it twice."""
        found = self.all(what, execution)
        assert len({seen.step for seen in found}) == len(found), f"{what} twice: {found}"
        return {seen.step: seen.at for seen in found}

    def engine(self, journal: MemoryJournal | None = None, slots: int = MANY) -> WorkflowEngine:
        """Open an engine with these actions."""
        return WorkflowEngine(
            ExecutionStateManager(journal),
            {"work": self.work, "undo": self.undo},
            max_concurrent_steps=slots,
            clock=self.loop.time,
            new_id=lambda: f"x{next(self.ids)}",
        )


Program: TypeAlias = Callable[[Witness], Awaitable[None]]


def play(plans: Mapping[str, Plan], program: Program) -> Witness:
    """Carry out a program in virtual time; nothing may go wrong behind its back, or be left behind."""
    loop = SimulatedLoop()
    witness = Witness(loop, plans)

    async def main() -> None:
        await asyncio.wait_for(program(witness), AGES)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == [], "the engine left tasks behind"

    try:
        loop.run(main())
    finally:
        loop.close()
    assert loop.errors == []
    return witness


def carry_out(
    definition: Json, plans: Mapping[str, Plan], given: dict[str, Json] | None = None, slots: int = MANY
) -> Witness:
    """Run one execution, ``x1``, to its end."""

    async def program(witness: Witness) -> None:
        async with witness.engine(slots=slots) as engine:
            execution = await engine.start_workflow(definition, given)
            witness.reports[execution] = await engine.wait(execution)

    return play(plans, program)


def statuses(found: Mapping[str, Json]) -> dict[str, str]:
    return {name: step["status"] for name, step in found["steps"].items()}


def described(sources: Sources, policies: Mapping[str, Json] | None = None, **own: Json) -> dict[str, Json]:
    """A definition in the steps shape; ``policies`` by step."""
    steps = [
        {"id": name, "action": "work", "depends_on": list(before), **(policies or {}).get(name, {})}
        for name, before in sources.items()
    ]
    return {"id": "w", "steps": steps, **own}


# What is drawn


SECONDS: Final = st.integers(1, 4)
HALVES: Final = st.integers(0, 6).map(lambda whole: whole + 0.5)
"""Moments at which no action ends."""
PACES: Final = st.fixed_dictionaries(dict.fromkeys(NAMES, SECONDS))
FLAGS: Final = st.fixed_dictionaries({name: st.booleans() for name in NAMES})
ATOMS: Final = st.sampled_from([0, 1.5, True, None, "", "text", "${input.a}", "$${", "é", -3])
VALUES: Final = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("kl"), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def graphs(draw: st.DrawFn, least: int = 3, most: int = 7) -> Sources:
    """Graphs that branch and join, their steps defined in any order; at least the last step has a source."""
    names = NAMES[: draw(st.integers(least, most))]
    sources: Sources = {}
    for rank, name in enumerate(names):
        fewest = 1 if rank == len(names) - 1 else 0
        sources[name] = draw(st.lists(st.sampled_from(names[:rank]), unique=True, min_size=fewest)) if rank else []
    return {name: sources[name] for name in draw(st.permutations(names))}


def paced(paces: Mapping[str, float], **others: Plan) -> dict[str, Plan]:
    return {**{name: Plan(seconds) for name, seconds in paces.items()}, **others}


def spelled(value: Json) -> str:
    """A value inside a longer text (V1)."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Slow(MemoryJournal):
    """A journal that takes its time: what is being written is not durable yet."""

    def __init__(self, seconds: float = 0.125) -> None:
        super().__init__()
        self.seconds = seconds

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        await asyncio.sleep(self.seconds)
        self.write(execution, first, events)

    def kept(self, execution: str) -> list[Event]:
        return list(self._events.get(execution, ()))


class Broken(Slow):
    """A journal whose writes fail after the first few, until it is repaired."""

    def __init__(self, good: int) -> None:
        super().__init__(0)
        self.good = good

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)
        if self.good <= 0:
            raise JournalError("the disk is full")  # noqa: TRY003  # its reason is what the store said
        self.good -= 1
        self.write(execution, first, events)


class TestWorkflowStateInvariants:
    """The contract's promises over all workflows that can be drawn; each names its clauses."""

    # Order

    @given(graphs(), PACES)
    def test_execution_order_preserved(self, graph: Sources, paces: dict[str, int]) -> None:
        """O1, O3: each step starts once, at the very moment when the last of its sources has returned."""
        witness = carry_out(described(graph), paced(paces))
        started, returned = witness.times("started"), witness.times("returned")
        assert started.keys() == returned.keys() == graph.keys()
        for name, before in graph.items():
            assert started[name] == max((returned[source] for source in before), default=0)
        diary = [(seen.what, seen.step) for seen in witness.diary]
        for name, before in graph.items():
            assert all(diary.index(("returned", source)) < diary.index(("started", name)) for source in before)
        assert any(graph.values())
        assert witness.reports["x1"]["status"] == "COMPLETED"

    @given(graphs(least=4), PACES)
    def test_ready_steps_take_turns(self, graph: Sources, paces: dict[str, int]) -> None:
        """C3, D2: with one slot, steps start as they became ready, by one event in the order of definition."""
        witness = carry_out(described(graph), paced(paces), slots=1)
        queue, done, order, now = [name for name in graph if not graph[name]], set[str](), [], 0
        while queue:
            name = queue.pop(0)
            order.append((name, now))
            now += paces[name]
            done.add(name)
            queue += [other for other, before in graph.items() if name in before and done.issuperset(before)]
        assert [(seen.step, seen.at) for seen in witness.all("started")] == order
        assert witness.peak == 1

    @given(st.integers(2, 3), st.integers(2, 3), st.permutations("abcd"))
    def test_no_execution_starves_another(self, slots: int, executions: int, names: list[str]) -> None:
        """C1, C3: over the whole engine slots go to those that became ready first."""
        definition = described({name: [] for name in names})

        async def program(witness: Witness) -> None:
            async with witness.engine(slots=slots) as engine:
                for execution in [await engine.start_workflow(definition) for _ in range(executions)]:
                    await engine.wait(execution)

        witness = play({}, program)
        line = [(f"x{number}", name) for number in range(1, executions + 1) for name in names]
        starts = [seen for seen in witness.diary if seen.what == "started"]
        assert [(seen.execution, seen.step) for seen in starts] == line
        assert [seen.at for seen in starts] == [place // slots for place in range(len(line))]

    @given(graphs(), PACES, FLAGS, FLAGS, FLAGS)
    def test_joins_wait_for_all_their_sources(
        self, graph: Sources, paces: dict[str, int], anys: dict[str, bool], bad: dict[str, bool], shut: dict[str, bool]
    ) -> None:
        """O1, O2, O4: a join of any waits for all its sources too; a tolerated failure is taken, a skip is not."""
        policies: dict[str, Json] = {
            name: {
                "join": "any" if anys[name] else "all",
                "continue_on_error": True,
                **({"condition": "false"} if shut[name] and not graph[name] else {}),
            }
            for name in graph
        }
        plans = {name: Plan(paces[name], failures=int(bad[name])) for name in graph}
        witness = carry_out(described(graph, policies), plans)
        starts: dict[str, float] = {}
        settled: dict[str, float] = {}
        for name in sorted(graph):
            ready = max((settled[source] for source in graph[name]), default=0)
            taken = [source in starts for source in graph[name]] or [not shut[name]]
            settled[name] = ready
            if any(taken) if anys[name] else all(taken):
                starts[name] = ready
                settled[name] += paces[name]
        failed = {name for name in starts if bad[name]}
        event(f"skipped: {len(starts) < len(graph)}, failed: {bool(failed)}")
        assert witness.times("started") == starts
        found = witness.reports["x1"]
        assert found["status"] == ("PARTIAL" if failed else "COMPLETED")
        assert {name for name, status in statuses(found).items() if status == "SKIPPED"} == graph.keys() - starts.keys()
        assert {name for name, status in statuses(found).items() if status == "FAILED"} == failed

    @given(graphs(), FLAGS, FLAGS, st.integers(0, 9), st.data())
    def test_conditional_branching(
        self, graph: Sources, anys: dict[str, bool], says: dict[str, bool], number: int, data: st.DataObject
    ) -> None:
        """O2, V5: a connection is taken if its source completed and its condition is true; the rest is skipped."""
        steps, holds = [], {}
        for name, before in graph.items():
            entries: list[Json] = []
            for source in before:
                limit = data.draw(st.integers(0, 9))
                text, truth = data.draw(
                    st.sampled_from(
                        [
                            (None, True),
                            (f"input.n > {limit}", number > limit),
                            (f"{source}.says || input.absent", says[source] or None),
                            (f"${{{source}.says}} == false", not says[source]),
                            (f"{source}.rows.all(row, row < 3) && {source}.says", says[source]),
                        ]
                    )
                )
                holds[source, name] = truth
                entries.append(source if text is None else {"source": source, "condition": text})
            join = "any" if anys[name] else "all"
            steps.append({"id": name, "action": "work", "depends_on": entries, "join": join})
        plans = {name: Plan(output={"says": says[name], "rows": [0, 2]}) for name in graph}
        witness = carry_out({"id": "w", "steps": steps}, plans, {"n": number})
        runs: dict[str, bool] = {}
        doubtful: str | None = None
        for name in sorted(graph):
            taken = [runs[source] and holds[source, name] for source in graph[name]]
            doubtful = doubtful or (name if None in taken else None)
            runs[name] = not taken or bool(any(taken) if anys[name] else all(taken))
        found = witness.reports["x1"]
        event(f"doubtful: {doubtful is not None}, branches not taken: {not all(runs.values())}")
        if doubtful is None:
            assert sorted(witness.steps("started")) == sorted(name for name in graph if runs[name])
            skipped = {name for name, status in statuses(found).items() if status == "SKIPPED"}
            assert skipped == {name for name in graph if not runs[name]}
        else:
            assert (found["status"], found["error"]["type"]) == ("FAILED", "ConditionError")
            assert "input is missing" in found["error"]["message"] or "absent" in found["error"]["message"]
            assert found["error"]["step"] not in witness.steps("started")

    @given(graphs(), PACES, FLAGS, st.data())
    def test_both_shapes_alike(
        self, graph: Sources, paces: dict[str, int], anys: dict[str, bool], data: st.DataObject
    ) -> None:
        """D1, D2: steps, graph and the graph's conversion to steps are one workflow."""
        policies = {name: {"join": "any"} if anys[name] else {} for name in graph}
        ends = data.draw(st.permutations([(source, name) for name, before in graph.items() for source in before]))
        drawn = {
            "id": "w",
            "nodes": [
                {
                    "id": name,
                    "title": name.upper(),
                    "position": {"x": 1},
                    "config": {"action": "work", **policies[name]},
                }
                for name in graph
            ],
            "connections": [{"source": source, "target": target, "id": source + target} for source, target in ends],
        }
        converted = graph_to_steps(drawn)
        order: list[str] = []
        while len(order) < len(graph):
            order.append(next(name for name in graph if name not in order and set(graph[name]) <= set(order)))
        assert [step["id"] for step in converted] == order
        assert [step["sequence_order"] for step in converted] == list(range(1, len(graph) + 1))
        assert [step.id for step in parse_workflow(described(graph)).steps] == order
        seen = [
            [(seen.at, seen.what, seen.step) for seen in carry_out(definition, paced(paces), slots=2).diary]
            for definition in (described(graph, policies), drawn)
        ]
        assert seen[0] == seen[1]
        again = carry_out({"id": "w", "steps": converted}, paced(paces)).times("started")
        assert again == carry_out(drawn, paced(paces)).times("started")

    # Concurrency

    @given(st.integers(1, 3), st.none() | st.integers(1, 2), st.integers(1, 3), PACES, FLAGS)
    def test_concurrent_step_limit(
        self, slots: int, own: int | None, executions: int, paces: dict[str, int], late: dict[str, bool]
    ) -> None:
        """C1, C2, O3: never more actions than slots, those that clean up included; and never fewer than could be."""
        policies = {name: {"timeout": 0.5, "continue_on_error": True} if late[name] else {} for name in NAMES}
        definition = described({name: [] for name in NAMES}, policies)
        definition["max_concurrent_steps"] = own
        plans = {name: Plan(paces[name], cleanup=2) for name in NAMES}

        async def program(witness: Witness) -> None:
            async with witness.engine(slots=slots) as engine:
                for _ in range(2):  # the second time: no slot was lost
                    witness.peak = 0
                    begun = [await engine.start_workflow(definition) for _ in range(executions)]
                    for execution in begun:
                        witness.reports[execution] = await engine.wait(execution)
                    each = slots if own is None else min(slots, own)
                    assert all(witness.peaks[execution] <= each for execution in begun)
                    assert witness.peak == min(slots, each * executions)

        witness = play(plans, program)
        assert len(NAMES) > slots, "more steps than slots"
        for found in witness.reports.values():
            assert found["status"] == ("PARTIAL" if any(late.values()) else "COMPLETED")

    # Values

    @given(VALUES, VALUES, VALUES, st.lists(SECONDS, min_size=4, max_size=4), st.integers(0, 2))
    def test_variable_resolution_deterministic(
        self, one: Json, other: Json, output: Json, paces: list[int], failures: int
    ) -> None:
        """V1, V2: parameters are a function of input and outputs; interleavings and retries make no difference."""
        template = {
            "whole": "${input.one}",
            "deep": ["${input.nest.rows.1.other}", {"${input.one}": "${a.out}"}],
            "text": "<${input.one}|${input.nest.rows.0}|${a.out}>",
            "literal": "$${input.one} and $$",
        }
        expected = {
            "whole": one,
            "deep": [other, {"${input.one}": output}],
            "text": f"<{spelled(one)}|7|{spelled(output)}>",
            "literal": "${input.one} and $$",
        }
        retries = {"retries": {"max_attempts": 3, "backoff": 1}, "parameters": template}
        definition = described({"d": ["c"], "c": ["a", "b"], "b": [], "a": []}, {"c": retries, "d": retries})
        given_ = {"one": one, "nest": {"rows": [7, {"other": other}]}}
        kept = deepcopy((definition, given_))
        for order in (paces, paces[::-1]):
            plans = {name: Plan(seconds) for name, seconds in zip("abcd", order, strict=True)}
            plans |= {"a": Plan(order[0], output={"out": output}), "c": Plan(order[2], failures)}
            witness = carry_out(definition, plans, given_)
            told = [seen.parameters for seen in witness.all("started") if seen.step in "cd"]
            assert told == [expected] * (failures + 2)
            assert [list(found) for found in told] == [list(expected)] * len(told)
        assert (definition, given_) == kept

    @given(
        absent=st.lists(st.sampled_from(["p", "q", "r"]), unique=True, min_size=1),
        null=st.booleans(),
        again=st.booleans(),
    )
    def test_missing_inputs(self, absent: list[str], *, null: bool, again: bool) -> None:
        """P4, V3, P2: a step without its input pauses; what is missing is named; a resume brings it key by key."""
        needs = {"a": "p", "b": "q", "c": "r"}
        policies = {name: {"parameters": {"got": f"${{input.deep.{key}}}"}} for name, key in needs.items()}
        have = {key: f"{key} given" for key in needs.values() if key not in absent}
        brought = {key: None if null else f"{key} brought" for key in absent}
        missing = {name: [f"input.deep.{key}"] for name, key in needs.items() if key in absent}

        async def program(witness: Witness) -> None:
            async with witness.engine() as engine:
                definition = described({"b": [], "a": [], "c": []}, policies)
                execution = await engine.start_workflow(definition, {"deep": {**have, "o": 1}, "n": [1]})
                await asyncio.sleep(1)
                found = await engine.get_execution(execution)
                assert (found["status"], found["missing"]) == ("PAUSED", missing)
                assert witness.diary == []
                if again:
                    assert await engine.resume_execution(execution, {"deep": {"o": 2}, "n": [2]})
                    await asyncio.sleep(1)
                    assert (await engine.get_execution(execution))["missing"] == missing
                assert await engine.resume_execution(execution, {"deep": brought})
                witness.reports[execution] = await engine.wait(execution)

        witness = play({}, program)
        values = {**have, **brought}
        assert {seen.step: seen.parameters for seen in witness.all("started")} == {
            name: {"got": values[key]} for name, key in needs.items()
        }
        assert witness.steps("started") == ["b", "a", "c"]
        assert (witness.reports["x1"]["status"], witness.reports["x1"]["missing"]) == ("COMPLETED", {})

    @given(VALUES)
    def test_unresolved_references_fail_their_step(self, output: Json) -> None:
        """V3: a path that an output does not have fails the step before it starts, and is named; null is a value."""
        policies = {"b": {"parameters": {"p": "${a.there}"}}, "c": {"parameters": {"p": "${a.there.not.9}"}}}
        witness = carry_out(
            described({"a": [], "b": ["a"], "c": ["b"]}, policies), {"a": Plan(output={"there": output})}
        )
        found = witness.reports["x1"]
        assert witness.steps("started") == ["a", "b"]
        assert witness.all("started")[1].parameters == {"p": output}
        assert found["error"] == {
            "step": "c",
            "attempt": 0,
            "type": "UnresolvedReferenceError",
            "message": "step 'c' refers to a.there.not.9, which does not exist",
        }

    @given(st.lists(VALUES, min_size=1, max_size=3), st.lists(VALUES, min_size=1, max_size=3))
    def test_parameter_schema_validation(self, parameters: list[Json], outputs: list[Json]) -> None:
        """V4: resolved parameters are checked before the action starts, outputs after; never retried."""
        names = [f"s{rank}" for rank in range(len(parameters) * len(outputs))]
        schema = {"type": "object", "properties": {"p": {"type": ["string", "number"]}}}
        pairs = [(given_, output) for given_ in parameters for output in outputs]
        policies = {
            name: {
                "parameters": {"p": f"${{input.v{rank}}}"},
                "input_schema": schema,
                "output_schema": {"type": ["string", "number"]},
                "retries": {"max_attempts": 3},
                "continue_on_error": True,
            }
            for rank, name in enumerate(names)
        }
        plans = {name: Plan(output=output) for name, (_, output) in zip(names, pairs, strict=True)}
        inputs = {f"v{rank}": given_ for rank, (given_, _) in enumerate(pairs)}
        witness = carry_out(described({name: [] for name in names}, policies), plans, inputs)
        found = witness.reports["x1"]["steps"]

        def valid(value: Json) -> bool:
            return isinstance(value, str | int | float) and not isinstance(value, bool)

        assert witness.steps("started") == [
            name for name, (given_, _) in zip(names, pairs, strict=True) if valid(given_)
        ]
        for name, (given_, output) in zip(names, pairs, strict=True):
            assert found[name]["status"] == ("COMPLETED" if valid(given_) and valid(output) else "FAILED")
            if not valid(given_):
                assert (found[name]["error"]["type"], found[name]["error"]["attempt"]) == ("ValidationError", 0)
                assert f"step '{name}' is not valid: $.p: " in found[name]["error"]["message"]
            elif not valid(output):
                assert (found[name]["error"]["type"], found[name]["error"]["attempt"]) == ("ValidationError", 1)
        event(f"refused: {any(step['status'] == 'FAILED' for step in found.values())}")

    # Failure and rollback

    @given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.integers(2, 9), SECONDS)
    def test_retries_and_backoff(
        self, attempts: int, failures: int, first: int, backoff: int, most: int, seconds: int
    ) -> None:
        """F1, D4: attempts are numbered and keyed from 1; each waits its backoff; none is one too many."""
        retries = {"max_attempts": attempts, "initial_interval": first, "backoff": backoff, "max_interval": most}
        witness = carry_out(described({"a": []}, {"a": {"retries": retries}}), {"a": Plan(seconds, failures)})
        expected, now = [], 0
        for attempt in range(1, min(attempts, failures + 1) + 1):
            expected.append((now, attempt, f"x1/a/{attempt}"))
            now += seconds + min(first * backoff ** (attempt - 1), most)
        assert [(seen.at, seen.attempt, seen.key) for seen in witness.all("started")] == expected
        assert len(witness.all("raised")) == min(attempts, failures)
        found = witness.reports["x1"]
        assert found["status"] == ("COMPLETED" if failures < attempts else "FAILED")
        assert found["steps"]["a"]["attempts"] == len(expected)
        if failures >= attempts:
            message = f"a failed at attempt {attempts}"
            assert found["error"] == {"step": "a", "attempt": attempts, "type": "Refusal", "message": message}

    @given(
        seconds=st.integers(2, 5), limit=SECONDS, cleanup=SECONDS, attempts=st.integers(1, 3), swallows=st.booleans()
    )
    def test_timeout_enforcement(
        self, seconds: int, limit: int, cleanup: int, attempts: int, *, swallows: bool
    ) -> None:
        """F2: an attempt is cancelled when its time is over, not before, and completes nothing any more."""
        policy = {"timeout": limit + 0.5, "retries": {"max_attempts": attempts, "initial_interval": 1, "backoff": 1}}
        plan = Plan(seconds, cleanup=cleanup, swallows=swallows)
        witness = carry_out(described({"b": ["a"], "a": []}, {"a": policy}), {"a": plan})
        found = witness.reports["x1"]
        if seconds < limit + 0.5:
            assert witness.all("cancelled") == []
            assert statuses(found) == {"a": "COMPLETED", "b": "COMPLETED"}
            return
        starts = [seen.at for seen in witness.all("started")]
        each = limit + 0.5 + cleanup + 1
        assert starts == [each * rank for rank in range(attempts)]
        assert [seen.at for seen in witness.all("cancelled")] == [start + limit + 0.5 for start in starts]
        assert statuses(found) == {"a": "FAILED", "b": "CANCELLED"}
        assert found["error"] == {
            "step": "a",
            "attempt": attempts,
            "type": "StepTimeoutError",
            "message": f"attempt {attempts} of step 'a' took longer than {limit}.5 seconds",
        }

    @given(graphs(), PACES, FLAGS, SECONDS, st.integers(0, 3))
    def test_step_failure_rollback(
        self, graph: Sources, paces: dict[str, int], bare: dict[str, bool], pace: int, cleanup: int
    ) -> None:
        """F3, F4: what runs is cancelled and awaited, then all that completed is undone, newest first."""
        graph = {"y": list(graph), **graph, "after": ["y"], ANCHOR: []}
        policies = {name: UNDO if not bare.get(name) or name in "ab" else {} for name in graph}
        for name, policy in policies.items():
            policies[name] = {**policy, "parameters": {"name": name}}
        plans = {name: Plan(paces[name], output={"of": name}) for name in graph if name in paces}
        plans |= {"y": Plan(pace, failures=1), ANCHOR: Plan(100, cleanup=cleanup)}
        witness = carry_out(described(graph, policies), plans)
        returned = witness.steps("returned")
        assert sorted(returned) == sorted(graph.keys() - {"y", "after", ANCHOR})
        undone = [name for name in reversed(returned) if policies[name].get("compensation")]
        assert len(undone) >= 2
        (failure,) = witness.all("raised")
        assert witness.times("cancelled") == {ANCHOR: failure.at}
        begun = [(seen.step, seen.at) for seen in witness.all("undo started")]
        assert begun == [(name, failure.at + cleanup + rank) for rank, name in enumerate(undone)]
        assert witness.steps("undo returned") == undone
        assert witness.undone_with == [(name, {"name": name}, {"of": name}) for name in undone]
        assert "after" not in witness.steps("started")
        found = witness.reports["x1"]
        assert (found["status"], found["error"]["step"]) == ("FAILED", "y")
        assert {name for name, status in statuses(found).items() if status == "COMPENSATED"} == set(undone)
        assert (statuses(found)["after"], statuses(found)[ANCHOR]) == ("CANCELLED", "CANCELLED")
        assert not any("output" in found["steps"][name] for name in undone)

    @given(PACES, st.fixed_dictionaries({name: st.integers(0, 3) for name in "abcd"}), st.integers(1, 3))
    def test_failed_compensations_are_listed(self, paces: dict[str, int], stuck: dict[str, int], attempts: int) -> None:
        """F5, F8: a compensation has its attempts; the rollback goes on; the first failure stays the error."""
        policy = {"compensation": {"action": "undo", "retries": {"max_attempts": attempts, "initial_interval": 0}}}
        plans = {name: Plan(paces[name], undo_failures=stuck[name]) for name in "abcd"}
        plans["y"] = Plan(1, failures=1)
        graph: Sources = {"y": list("abcd"), **{name: [] for name in "dbca"}}
        witness = carry_out(described(graph, dict.fromkeys("abcd", policy)), plans)
        newest = witness.steps("returned")[::-1]
        expected = [
            (name, attempt, f"x1/{name}/compensation/{attempt}")
            for name in newest
            for attempt in range(1, min(stuck[name] + 1, attempts) + 1)
        ]
        assert [(seen.step, seen.attempt, seen.key) for seen in witness.all("undo started")] == expected
        failed = [name for name in newest if stuck[name] >= attempts]
        event(f"compensations that failed: {len(failed)}")
        found = witness.reports["x1"]
        assert (found["status"], found["error"]["step"], found["error"]["type"]) == ("FAILED", "y", "Refusal")
        assert [entry["step"] for entry in found["error"].get("compensations", [])] == failed
        assert {name for name, status in statuses(found).items() if status == "COMPENSATION_FAILED"} == set(failed)

    @given(pace=SECONDS, cleanup=st.integers(0, 3), cancel=st.booleans(), rollback=st.booleans())
    def test_swallowed_cancellation_compensated(self, pace: int, cleanup: int, *, cancel: bool, rollback: bool) -> None:
        """F6: an action that returns although it was cancelled has had its effect, and that is undone."""
        policies = {"a": {**UNDO, "timeout": 50}, "b": UNDO}
        plans = {
            "a": Plan(99, cleanup=cleanup, swallows=True),
            "b": Plan(pace),
            "y": Plan(pace, failures=int(not cancel)),
        }
        definition = described({"after": ["a"], "a": [], "b": [], "y": ["b"]}, policies, rollback_on_cancel=rollback)

        async def program(witness: Witness) -> None:
            async with witness.engine() as engine:
                execution = await engine.start_workflow(definition)
                if cancel:
                    await asyncio.sleep(pace + 0.5)
                    assert await engine.cancel_execution(execution)
                witness.reports[execution] = await engine.wait(execution)

        witness = play(plans, program)
        assert (witness.steps("cancelled"), witness.steps("returned")) == (["a", "y"] if cancel else ["a"], ["b", "a"])
        assert sorted(witness.steps("started")) == ["a", "b", "y"]
        undoing = rollback or not cancel
        assert witness.steps("undo returned") == (["a", "b"] if undoing else [])
        found = statuses(witness.reports["x1"])
        assert (found["a"], found["b"]) == (("COMPENSATED",) * 2 if undoing else ("COMPLETED",) * 2)
        assert witness.reports["x1"]["status"] == ("CANCELLED" if cancel else "FAILED")

    @given(graphs(), PACES, HALVES, st.none() | HALVES)
    def test_deadline(self, graph: Sources, paces: dict[str, int], limit: float, pause: float | None) -> None:
        """F7: the deadline counts from the start, pauses included; then what runs ends and is rolled back."""
        graph = {**graph, ANCHOR: []}
        definition = described(graph, dict.fromkeys(graph, UNDO), timeout=limit)

        async def program(witness: Witness) -> None:
            async with witness.engine() as engine:
                execution = await engine.start_workflow(definition)
                if pause is not None and pause < limit:
                    await asyncio.sleep(pause)
                    assert await engine.pause_execution(execution)
                witness.reports[execution] = await engine.wait(execution)

        witness = play(paced(paces, z=Plan(99)), program)
        assert witness.times("cancelled")[ANCHOR] == limit
        assert {seen.at for seen in witness.all("cancelled")} == {limit}
        assert all(seen.at < min(limit, limit if pause is None else pause) for seen in witness.all("started"))
        assert witness.steps("undo returned") == witness.steps("returned")[::-1]
        assert witness.reports["x1"]["error"] == {
            "step": None,
            "attempt": None,
            "type": "ExecutionTimeoutError",
            "message": f"execution 'w' took longer than {limit} seconds",
        }

    # Pause, resume, cancel

    @given(graphs(), PACES, HALVES, st.integers(1, 6), FLAGS)
    def test_pause_resume(
        self, graph: Sources, paces: dict[str, int], pause: float, span: int, unlucky: dict[str, bool]
    ) -> None:
        """P1, P2: under a pause nothing starts, retries included; what runs goes on; the resume loses nothing."""
        plans = {name: Plan(paces[name], failures=int(unlucky[name])) for name in graph}
        graph = {"w": ["v"], **graph, "v": [], ANCHOR: []}
        plans |= {ANCHOR: Plan(99), "v": Plan(pause + 0.5), "w": Plan()}
        retries = {"retries": {"max_attempts": 2, "initial_interval": 1}}

        async def program(witness: Witness) -> None:
            async with witness.engine() as engine:
                execution = await engine.start_workflow(described(graph, dict.fromkeys(graph, retries)))
                await asyncio.sleep(pause)
                assert await engine.pause_execution(execution)
                assert not await engine.pause_execution(execution)
                await asyncio.sleep(span)
                assert (await engine.get_execution(execution))["status"] == "PAUSED"
                assert await engine.resume_execution(execution)
                assert not await engine.resume_execution(execution)
                witness.reports[execution] = await engine.wait(execution)

        witness = play(plans, program)
        expected: dict[tuple[str, int], float] = {}
        ends: dict[str, float] = {}
        held = 0
        for name in sorted(graph):
            ready = max((ends[source] for source in graph[name]), default=0)
            for attempt in range(1, plans[name].failures + 2):
                held += pause < ready < pause + span
                expected[name, attempt] = pause + span if pause < ready < pause + span else ready
                ends[name] = expected[name, attempt] + plans[name].seconds
                ready = ends[name] + 1
        assert expected["w", 1] == pause + span, "the pause holds something back"
        event(f"held back by the pause: {min(held, 3)}")
        starts = witness.all("started")
        assert {(seen.step, seen.attempt): seen.at for seen in starts} == expected
        assert len(starts) == len(expected)
        assert witness.all("cancelled") == []
        assert witness.reports["x1"]["status"] == "COMPLETED"

    @given(
        graph=graphs(), paces=PACES, at=HALVES, cleanup=st.integers(0, 3), paused=st.booleans(), rollback=st.booleans()
    )
    def test_cancellation_propagation(
        self, graph: Sources, paces: dict[str, int], at: float, cleanup: int, *, paused: bool, rollback: bool
    ) -> None:
        """K1-K5: all that runs is cancelled at once and awaited, nothing starts, nobody else notices; once for all."""
        graph = {**graph, ANCHOR: []}
        plans = {name: Plan(paces.get(name, 99), cleanup=cleanup) for name in graph}
        definition = described(graph, dict.fromkeys(graph, UNDO), rollback_on_cancel=rollback)
        bystander = described({name: before for name, before in graph.items() if name != ANCHOR})

        async def program(witness: Witness) -> None:
            async with witness.engine() as engine:
                execution, other = await engine.start_workflow(definition), await engine.start_workflow(bystander)
                await asyncio.sleep(at)
                assert not paused or await engine.pause_execution(execution)
                assert await engine.cancel_execution(execution)
                assert not await engine.cancel_execution(execution)
                witness.reports[execution] = await engine.wait(execution)
                assert witness.live[execution] == 0, "actions outlive their execution"
                witness.reports[other] = await engine.wait(other)
                for ask in (engine.pause_execution, engine.resume_execution, engine.cancel_execution):
                    assert not await ask(execution)
                assert await engine.get_execution(execution) == witness.reports[execution]

        witness = play(plans, program)
        started, returned = witness.times("started"), witness.times("returned")
        assert all(start < at for start in started.values())
        running = {name for name in started if name not in returned}
        assert ANCHOR in running
        assert witness.times("cancelled") == dict.fromkeys(running, at)
        assert witness.steps("undo returned") == (list(returned)[::-1] if rollback else [])
        assert all(seen.at >= at + cleanup for seen in witness.all("undo started"))
        expected = {**dict.fromkeys(graph, "CANCELLED"), **dict.fromkeys(returned, "COMPLETED")}
        expected |= dict.fromkeys(returned, "COMPENSATED") if rollback else {}
        assert statuses(witness.reports["x1"]) == expected
        assert (witness.reports["x1"]["status"], witness.reports["x1"]["error"]) == ("CANCELLED", None)
        alone = [(seen.at, seen.what, seen.step) for seen in carry_out(bystander, plans).diary]
        assert [(seen.at, seen.what, seen.step) for seen in witness.diary if seen.execution == "x2"] == alone

    @given(st.lists(st.sampled_from(["pause", "resume", "cancel"]), min_size=3, max_size=6))
    def test_commands_answer_what_they_did(self, asked: list[str]) -> None:
        """K1, K6: each command is accepted where it means something, else it changes nothing; an end is an end."""
        allowed = {("running", "pause"): "paused", ("paused", "resume"): "running"}
        allowed |= {("running", "cancel"): "over", ("paused", "cancel"): "over"}
        journal = Slow(0)

        async def program(witness: Witness) -> None:
            async with witness.engine(journal) as engine:
                commands: dict[str, Callable[[str], Awaitable[bool]]] = {
                    "pause": engine.pause_execution,
                    "resume": engine.resume_execution,
                    "cancel": engine.cancel_execution,
                }
                execution = await engine.start_workflow(described({"a": []}))
                await asyncio.sleep(0.5)
                phase = "running"
                for name in asked:
                    before = journal.kept(execution)
                    accepted = await commands[name](execution)
                    assert accepted == ((phase, name) in allowed), f"{name} while {phase}"
                    phase = allowed.get((phase, name), phase)
                    assert accepted or phase == "over" or journal.kept(execution) == before
                    with pytest.raises(UnknownExecutionError):
                        await commands[name]("nobody")
                found = await engine.wait(execution)
                after = journal.kept(execution)
                assert found["status"] == ("CANCELLED" if "cancel" in asked else "COMPLETED")
                assert not await commands[asked[-1]](execution)
                assert journal.kept(execution) == after

        witness = play({}, program)
        assert witness.steps("cancelled") == (["a"] if "cancel" in asked else [])
        assert len(witness.all("started")) == 1

    # Journal, recovery, notifications

    @given(graph=graphs(), paces=PACES, unlucky=FLAGS, fails=st.booleans())
    def test_journal_fold_equals_report(
        self, graph: Sources, paces: dict[str, int], unlucky: dict[str, bool], *, fails: bool
    ) -> None:
        """J1, J2: at any time the report is the fold of the journal, and no action runs before its start is durable."""
        graph = {**graph, "y": list(graph)}
        policies = {name: {**UNDO, "retries": {"max_attempts": 2}} for name in graph if name != "y"}
        plans = {name: Plan(paces[name], int(unlucky[name]), {"n": name}) for name in graph if name != "y"}
        plans["y"] = Plan(1, failures=int(fails))
        journal = Slow()
        definition = described(graph, policies)

        def durable(context: ActionContext) -> None:
            kept = [to_json(event_) for event_ in journal.kept(context.execution)]
            starts = [(fact["step"], fact["attempt"]) for fact in kept if fact["type"] == "StepStarted"]
            assert (context.step, context.attempt) in starts

        async def program(witness: Witness) -> None:
            witness.at_start = durable
            async with witness.engine(journal) as engine:
                execution = await engine.start_workflow(definition)
                found: dict[str, Json] = {"status": "PENDING"}
                while found["status"] not in ("COMPLETED", "FAILED"):
                    await asyncio.sleep(0.25)
                    found = await engine.get_execution(execution)
                    kept = journal.kept(execution)
                    created = kept[0]
                    assert isinstance(created, ExecutionCreated)
                    assert created.workflow == definition
                    assert found == report(fold(parse_workflow(created.workflow), created, kept[1:]))
                    assert found["seq"] == len(kept)
                    done = {name for name, status in statuses(found).items() if status == "COMPLETED"}
                    assert done <= set(witness.steps("returned"))
                witness.reports[execution] = found

        witness = play(plans, program)
        assert (witness.reports["x1"]["status"], "y" in witness.steps("raised")) == (
            ("FAILED", True) if fails else ("COMPLETED", False)
        )
        kept = [to_json(event_) for event_ in journal.kept("x1")]
        told = [(fact["step"], fact["attempt"]) for fact in kept if fact["type"] == "StepStarted"]
        assert told == [(seen.step, seen.attempt) for seen in witness.all("started")]
        assert [fact["at"] for fact in kept] == sorted(fact["at"] for fact in kept)

    @given(graphs(), PACES, st.integers(0, 9), st.integers(1, 5))
    def test_notifications_in_sequence(self, graph: Sources, paces: dict[str, int], after: int, few: int) -> None:
        """N1, N2: each event once, in sequence, from the number asked for; a reconnect loses and repeats nothing."""
        journal = Slow()
        heard: list[tuple[int, Event]] = []
        pieces: list[tuple[int, Event]] = []

        async def program(witness: Witness) -> None:
            async with witness.engine(journal) as engine:
                execution = await engine.start_workflow(described(graph))

                async def listen() -> None:
                    async for seq, told in engine.subscribe(execution, after):
                        assert journal.kept(execution)[seq - 1] == told, "told before it was durable"
                        heard.append((seq, told))

                async def come_and_go() -> None:
                    while len(pieces) < AGES:
                        before = len(pieces)
                        subscription = engine.subscribe(execution, pieces[-1][0] if pieces else 0)
                        async for numbered in subscription:
                            pieces.append((numbered.seq, numbered.event))
                            if len(pieces) - before == few:
                                subscription.close()
                        if len(pieces) == before:
                            return

                await asyncio.gather(listen(), come_and_go(), engine.wait(execution))

        witness = play(paced(paces), program)
        kept = list(enumerate(journal.kept("x1"), 1))
        assert heard == kept[after:]
        assert pieces == kept
        told = [to_json(event_) for _, event_ in pieces]
        assert [fact["step"] for fact in told if fact["type"] == "StepStarted"] == witness.steps("started")
        assert [fact["step"] for fact in told if fact["type"] == "StepCompleted"] == witness.steps("returned")

    @given(
        graph=graphs(),
        paces=PACES,
        crashes=st.lists(HALVES, min_size=1, max_size=2),
        unlucky=FLAGS,
        pause=st.booleans(),
    )
    def test_recovery_continues_where_it_stood(
        self, graph: Sources, paces: dict[str, int], crashes: list[float], unlucky: dict[str, bool], *, pause: bool
    ) -> None:
        """J3, F1: what completed never runs again; what was running does, under its number and key; paused stays so."""
        graph = {**graph, ANCHOR: []}
        plans = {name: Plan(paces[name], failures=int(unlucky[name])) for name in graph if name != ANCHOR}
        plans[ANCHOR] = Plan(9)
        retries = {"retries": {"max_attempts": 2}}
        journal = Slow(0)

        async def program(witness: Witness) -> None:
            engine = witness.engine(journal)
            execution = await engine.start_workflow(described(graph, dict.fromkeys(graph, retries)))
            for rank, crash in enumerate(crashes):
                await asyncio.sleep(crash + rank / 4)  # what was taken up at a half ends at one
                paused = pause and await engine.pause_execution(execution)
                before = await engine.get_execution(execution)
                await engine.close()
                engine = witness.engine(journal)
                assert await engine.recover() == [execution]
                assert await engine.recover() == []
                assert await engine.get_execution(execution) == before
                assert not paused or await engine.resume_execution(execution)
            witness.reports[execution] = await engine.wait(execution)
            await engine.close()

        witness = play(plans, program)
        assert witness.reports["x1"]["status"] == "COMPLETED"
        assert sorted(witness.times("returned")) == sorted(graph)
        cancelled = {seen.key for seen in witness.all("cancelled")}
        assert f"x1/{ANCHOR}/1" in cancelled
        for name in graph:
            keys = [seen.key for seen in witness.all("started") if seen.step == name]
            assert sorted(set(keys)) == [f"x1/{name}/{n}" for n in range(1, plans[name].failures + 2)]
            assert keys == sorted(keys)
            assert all(key in cancelled for key, again in pairwise(keys) if key == again)
        returned = witness.times("returned")
        for seen in witness.all("started"):
            assert all(returned[source] <= seen.at for source in graph[seen.step])

    @given(graphs(), PACES, st.integers(0, 8))
    def test_failing_journal_stops_the_execution(self, graph: Sources, paces: dict[str, int], good: int) -> None:
        """J4, J3: what cannot be journaled has not happened, starts nothing and is said; repaired, all goes on."""
        journal = Broken(good)

        async def program(witness: Witness) -> None:
            async with witness.engine(journal) as engine:
                try:
                    execution = await engine.start_workflow(described(graph))
                    witness.reports[execution] = await engine.wait(execution)
                except JournalError:
                    assert journal.good == 0
                    await asyncio.sleep(9)
                    kept = [to_json(event_) for event_ in journal.kept("x1")]
                    started = [fact["step"] for fact in kept if fact["type"] == "StepStarted"]
                    assert witness.steps("started") == started
                    journal.good = AGES
                    ended = {fact["step"] for fact in kept if fact["type"] == "StepCompleted"}
                    assert await engine.recover() == (["x1"] if good else [])
                    for execution in ["x1"] if good else []:
                        witness.reports[execution] = await engine.wait(execution)
                        again = witness.steps("started")[len(started) :]
                        assert not ended & set(again)
                        assert set(again) | ended == graph.keys()
                event(f"the journal failed: {journal.good > good}")

        witness = play(paced(paces), program)
        assert all(found["status"] == "COMPLETED" for found in witness.reports.values())
        assert bool(witness.reports) == bool(good)

    @given(graphs(), PACES, FLAGS, HALVES)
    def test_same_inputs_same_journal(
        self, graph: Sources, paces: dict[str, int], unlucky: dict[str, bool], at: float
    ) -> None:
        """C4: the same inputs, completions and times give the same journal and the same diary, to the letter."""
        plans = {name: Plan(paces[name], int(unlucky[name]), cleanup=1) for name in graph}
        definition = described(
            graph, {name: {**UNDO, "continue_on_error": True} for name in graph}, rollback_on_cancel=True
        )
        journals: list[list[Event]] = []

        async def program(witness: Witness) -> None:
            journal = Slow()
            async with witness.engine(journal, slots=2) as engine:
                execution = await engine.start_workflow(definition)
                await asyncio.sleep(at)
                await engine.cancel_execution(execution)
                await engine.wait(execution)
            journals.append(journal.kept(execution))

        first, second = play(plans, program), play(plans, program)
        assert first.diary == second.diary
        assert journals[0] == journals[1]
        assert len(journals[0]) >= len(first.diary) > 0

    # Definitions

    @given(graphs(), st.lists(st.integers(0, 99), unique_by=lambda n: n % len(FAULTS), min_size=1, max_size=5))
    def test_definition_faults_are_all_listed(self, graph: Sources, chosen: list[int]) -> None:
        """D3: a definition is refused with all its faults, each with its place; and nothing of it is kept."""
        definition = described(graph)
        rank = {name: place for place, name in enumerate(graph)}
        expected: dict[str, str] = {}
        for number in chosen:
            place, path, value, problem = FAULTS[number % len(FAULTS)]
            target = definition["steps"][rank[place]] if place else definition
            *outer, key = path.split("/")
            for part in outer:
                target = target.setdefault(part, {"action": "undo"} if part == "compensation" else {})
            target[key] = value
            where = ".".join(filter(None, (f"steps[{rank[place]}]" if place else "", *outer, key)))
            expected[where] = problem
        kept = deepcopy(definition)

        async def program(witness: Witness) -> None:
            async with witness.engine(Slow(0)) as engine:
                with pytest.raises(DefinitionError) as refused:
                    await engine.start_workflow(definition)
                found = {fault.place: fault.problem for fault in refused.value.faults}
                assert found.keys() == expected.keys()
                for place, problem in expected.items():
                    assert problem in found[place]
                assert str(refused.value).startswith(f"the definition has {len(found)} fault")
                with pytest.raises(UnknownExecutionError):
                    await engine.get_execution("x1")
                with pytest.raises(InputError):
                    await engine.start_workflow(described(graph), {"a": {1, 2}})

        assert play({}, program).diary == []
        assert definition == kept

    @given(graphs(), st.data())
    def test_cycles_and_strangers_are_named(self, graph: Sources, data: st.DataObject) -> None:
        """D3: a cycle is refused and its steps named; so is a reference to a step that is no ancestor."""
        last = max(graph)
        source = data.draw(st.sampled_from(graph[last]))
        closed = {**graph, source: [*graph[source], last]}
        with pytest.raises(DefinitionError) as cyclic:
            parse_workflow(described(closed))
        (told,) = [fault.problem for fault in cyclic.value.faults][:1]
        assert told.startswith("closes a cycle: ")
        named = told.removeprefix("closes a cycle: ").split(" -> ")
        assert named[0] == named[-1]
        assert all(before in closed[after] for before, after in pairwise(named))
        policies = {name: {"parameters": {"p": f"${{{last}.x}}"}} for name in graph if name != last}
        with pytest.raises(DefinitionError) as strange:
            parse_workflow(described(graph, policies))
        assert {fault.problem for fault in strange.value.faults} == {
            f"refers to {last!r}, which is no ancestor of {name!r}" for name in policies
        }


FAULTS: Final[Sequence[tuple[str, str, Json, str]]] = (
    ("", "id", "", "must be a text that is not empty"),
    ("", "max_concurrent_steps", 0, "must be an integer of at least 1"),
    ("", "timeout", True, "must be a finite number of seconds greater than 0"),
    ("", "rollback_on_cancel", 1, "must be true or false"),
    ("", "tiemout", 1, "unknown key; did you mean 'timeout'?"),
    ("", "name", 3, "must be a text"),
    ("a", "action", "none", "unknown action 'none'"),
    ("a", "parameters", [], "must be an object"),
    ("a", "timeout", 0, "must be a finite number of seconds greater than 0"),
    ("a", "retries/max_attempts", 1.0, "must be an integer of at least 1"),
    ("a", "retries/backoff", 0.5, "must be a finite number of at least 1"),
    ("a", "retries/initial_interval", -1, "must be a finite number of at least 0"),
    ("a", "retries/colour", 1, "unknown key"),
    ("a", "join", "some", "must be 'all' or 'any'"),
    ("a", "continue_on_error", "no", "must be true or false"),
    ("a", "condition", "1 +", "malformed condition"),
    ("a", "input_schema", 3, "must be a JSON Schema"),
    ("b", "output_schema/type", "text", "is not valid under any of the given schemas"),
    ("b", "compensation", "undo", "must be an object with an action"),
    ("b", "retries", 3, "must be an object"),
    ("b", "parameters/p", "${input.}", "malformed reference"),
    ("b", "condition", 1, "must be a text"),
    ("b", "name", 1, "must be a text"),
    ("b", "sequence_order", 99, "the step's rank in topological order"),
    ("c", "compensation/action", "", "must be a text that is not empty"),
    ("c", "compensation/timeout", "1", "must be a finite number of seconds greater than 0"),
    ("c", "action", None, "is missing"),
    ("c", "parameters/q", "${nobody.x}", "refers to 'nobody', and there is no such step"),
    ("c", "condition", "open('x')", "unknown function open"),
)
"""Where (a step, or the workflow), the path of the key there, a value that it must not have, and the problem."""
