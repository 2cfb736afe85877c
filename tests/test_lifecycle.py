"""The machine of executions is not vacuous: it gets where bugs are, chooses only what fits, and hides no violation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from machines import choosing
from machines.lifecycle import UNSETTLED, LifecycleMachine, WorldMachine
from machines.moves import Cancel, Elapse, Fail, Finish, Manner, Pause, Resume, Run, Subscribe, Yield
from machines.reach import STARTED, THREE
from machines.strategies import Drawn, character_of
from machines.tape import PLAIN
from machines.target import Target
from machines.targets.builtin import BuiltinTarget
from machines.world import ContractViolated
from model.execution import Phase as ExecutionPhase
from tests.histories import step, workflow

UNDO: Final = {"action": "undo"}
MOVE_RULES: Final = {"finish", "finish_well", "finish_oldest", "fail"}


def search(machine: type[WorldMachine], cases: int, *, of: int = 1) -> None:
    """Have Hypothesis carry out so many cases."""
    test = get_state_machine_test(
        machine,
        settings=settings(
            settings.get_profile("lockstep"),
            max_examples=cases,
            stateful_step_count=30,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    seed(of)(test)()


def watched(*, swarm: bool = False, target: Callable[[], Target] | None = None) -> tuple[type[Any], list[Any]]:
    """A lifecycle machine, and the list of the machines whose cases are over."""
    over: list[Any] = []
    attributes: dict[str, Any] = {"swarm": swarm, "on_case": staticmethod(over.append)}
    if target is not None:
        attributes["factory"] = staticmethod(target)
    return type("Watched", (LifecycleMachine,), attributes), over


def begun(
    *steps: dict[str, Any],
    manners: dict[str, Manner] | None = None,
    given: dict[str, Any] | None = None,
    **policies: Any,
) -> LifecycleMachine:
    """A machine that has begun with this workflow."""
    machine = LifecycleMachine()
    drawn = Drawn(workflow(*steps, **policies), manners or {})
    machine.begin(drawn=drawn, given=given or {}, limit=2, calm=False, tape=PLAIN)
    return machine


def offered(machine: WorldMachine) -> set[str]:
    """The rules that may come next."""
    return {found.function.__name__ for found in machine.valid_rules()}


def ended(machine: WorldMachine) -> None:
    """End the case; the contract holds."""
    machine.teardown()
    assert machine.violation is None


# It gets somewhere


def test_sixty_cases_get_into_the_interesting_regions() -> None:
    machine, over = watched()
    search(machine, 60)
    reached = Counter(name for found in over for name in found.reach.found)
    assert reached[STARTED] >= 0.8 * len(over)
    assert reached[THREE] >= 0.2 * len(over)
    for status in ("PAUSED", "CANCELLING", "ROLLING_BACK", "COMPLETED", "PARTIAL"):
        assert reached[f"execution RUNNING -> {status}"], status
    for status in ("RUNNING -> RETRYING", "PENDING -> SKIPPED", "RUNNING -> CANCELLED", "COMPENSATING -> COMPENSATED"):
        assert reached[f"step {status}"], status
    kinds = Counter(type(played.move) for found in over for played in found.world.moves)
    for kind in (Run, Finish, Fail, Yield, Pause, Resume, Cancel, Elapse, Subscribe):
        assert kinds[kind], kind
    assert any(played.deviations for found in over for played in found.world.moves)


def test_the_same_seed_gives_the_same_cases() -> None:
    digests = []
    for _ in range(2):
        machine, over = watched()
        search(machine, 15, of=7)
        digests.append([found.world.digest() for found in over])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) > 10


# Swarm


def choices(monkeypatch: pytest.MonkeyPatch, *, swarm: bool) -> tuple[list[dict[str, bool]], list[tuple[bool, bool]]]:
    """What was enabled in each case; and of each choice whether its rule was, and whether any valid one was."""
    cases: list[dict[str, bool]] = []
    chosen: list[tuple[bool, bool]] = []
    draw = choosing._Choice.do_draw

    def watch(choice: Any, data: Any) -> Any:
        found = draw(choice, data)
        valid = {rule.function.__name__ for rule in choice.machine.valid_rules()}
        flags = choice.machine._rules_strategy._feature_flags
        enabled = {
            rule.function.__name__: flags.is_enabled(rule.function.__name__)
            for rule in choice.machine._rules_strategy.rules
        }
        if not cases or choice.machine is not last[0]:
            cases.append(enabled)
            last[:] = [choice.machine]
        assert found.function.__name__ in valid
        chosen.append((enabled[found.function.__name__], any(enabled[name] for name in valid)))
        return found

    last: list[Any] = []
    monkeypatch.setattr(choosing._Choice, "do_draw", watch)
    machine, _ = watched(swarm=swarm)
    search(machine, 30)
    return cases, chosen


def test_without_swarm_every_rule_stays_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    cases, chosen = choices(monkeypatch, swarm=False)
    assert len(cases) >= 30
    assert all(all(case.values()) for case in cases)
    assert len(chosen) > 300


def test_with_swarm_rules_are_switched_off_for_a_case_and_then_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    cases, chosen = choices(monkeypatch, swarm=True)
    off = Counter(name for case in cases for name, enabled in case.items() if not enabled)
    assert len(off) > 10, "each rule is switched off now and then"
    assert max(off.values()) < len(cases), "and none always"
    assert all(mine for mine, any_of_them in chosen if any_of_them)


# Preconditions


def test_before_it_has_begun_there_is_nothing_to_choose_from() -> None:
    machine = LifecycleMachine()
    assert machine.standing() == machine.open_gates() == machine.stubborn_gates() == []
    ended(machine)


def test_what_is_offered_while_an_action_waits() -> None:
    machine = begun(step("a"))
    now = offered(machine)
    assert now >= {*MOVE_RULES, "pause", "cancel", "refused", "subscribe"}
    assert now.isdisjoint({"give_in", "resume", "reach_timer", "run_another", "connect", "run"})
    ended(machine)


def test_a_pause_is_followed_by_a_resume_and_not_by_a_pause() -> None:
    machine = begun(step("a"))
    machine.pause(index=0, tape=PLAIN)
    assert "resume" in offered(machine)
    assert "pause" not in offered(machine)
    machine.resume(index=0, inputs=None, tape=PLAIN)
    assert "pause" in offered(machine)
    ended(machine)


def test_when_all_is_over_another_one_may_begin() -> None:
    machine = begun(step("a"))
    machine.finish_oldest(tape=PLAIN)
    now = offered(machine)
    assert "run_another" in now
    assert now.isdisjoint({*MOVE_RULES, "pause", "resume", "cancel", "give_in"})
    machine.run_another(drawn=Drawn(workflow(step("a")), {}), given={}, tape=PLAIN)
    assert machine.standing(*ExecutionPhase) == ["x2", "x1"]
    ended(machine)


def test_a_calm_case_has_no_cancel() -> None:
    machine = LifecycleMachine()
    machine.begin(drawn=Drawn(workflow(step("a")), {}), given={}, limit=1, calm=True, tape=PLAIN)
    assert "cancel" not in offered(machine)
    ended(machine)


def test_a_stubborn_action_that_was_cancelled_may_give_in() -> None:
    machine = begun(step("a"), manners={"a": "stubborn"})
    assert "give_in" not in offered(machine)
    machine.cancel(index=0, tape=PLAIN)
    assert machine.stubborn_gates() == ["x1/a"]
    assert "give_in" in offered(machine)
    machine.give_in(index=3, tape=PLAIN)
    assert machine.standing(*UNSETTLED) == []
    ended(machine)


def test_time_is_offered_where_there_is_something_to_wait_for() -> None:
    machine = begun(step("a", timeout=2))
    assert {"reach_timer", "elapse"} <= offered(machine)
    machine.reach_timer(before=0.0, tape=PLAIN)
    assert offered(machine).isdisjoint({"reach_timer", "elapse"})
    ended(machine)


def test_a_draft_grows_and_is_run() -> None:
    machine = begun(step("a"))
    assert machine.world is not None
    character = character_of(iter(bytes(6)))
    machine.add_step(character=character, tape=PLAIN)
    assert "connect" not in offered(machine)
    machine.add_step(character=character, tape=PLAIN)
    assert {"connect", "run"} <= offered(machine)
    machine.connect(index=0, condition="FROM.n > 0", tape=PLAIN)
    assert "connect" not in offered(machine)
    assert machine.world.draft[1]["depends_on"] == [{"source": "a", "condition": "a.n > 0"}]
    machine.run(given={}, tape=PLAIN)
    assert machine.world.draft == []
    assert "x2/a" in machine.open_gates()
    ended(machine)


def test_rules_play_what_they_say() -> None:
    machine = begun(step("a"), step("b"), step("c"))
    machine.finish(index=1, output={"n": 0}, tape=PLAIN)
    machine.fail(index=2, kind="KeyError", tape=PLAIN)
    machine.refused(index=1, command=Pause, tape=PLAIN)
    machine.subscribe(index=0, after=3, tape=PLAIN)
    assert machine.world is not None
    moves = [played.move for played in machine.world.moves]
    assert moves[1:3] == [Finish("x1/b", {"n": 0}), Fail("x1/a", "KeyError")]
    assert moves[-2:] == [Pause("nobody"), Subscribe("x1", 3)]
    ended(machine)


# The end of a case


class Lying(BuiltinTarget):
    """Says no to a pause that it has carried out."""

    async def pause(self, execution: str) -> bool:
        await super().pause(execution)
        return False


class Leaking(BuiltinTarget):
    """Leaves a task behind."""

    async def start(self, workflow: Any, input_data: Any) -> str:
        self.kept = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="housekeeping")
        return await super().start(workflow, input_data)


class Broken(BuiltinTarget):
    """Cannot say where an execution stands."""

    def report(self, execution: str) -> Any:
        raise ZeroDivisionError("broken")


def test_a_violation_in_a_move_is_raised_and_kept_and_the_case_ends_without_another_look() -> None:
    kind, over = watched(target=Lying)
    machine = kind()
    machine.begin(drawn=Drawn(workflow(step("a")), {}), given={}, limit=2, calm=False, tape=PLAIN)
    with pytest.raises(ContractViolated) as violated:
        machine.pause(index=0, tape=PLAIN)
    assert machine.violation is violated.value
    length = len(machine.world.history)
    machine.teardown()
    assert machine.violation is violated.value
    assert over == [machine]
    assert len(machine.world.history) == length
    assert machine.world.loop.is_closed()


def test_a_violation_in_the_liveness_phase_is_raised_and_kept() -> None:
    kind, over = watched(target=Leaking)
    machine = kind()
    machine.begin(drawn=Drawn(workflow(step("a")), {}), given={}, limit=2, calm=False, tape=PLAIN)
    with pytest.raises(ContractViolated, match="tasks are still alive: housekeeping") as violated:
        machine.teardown()
    assert machine.violation is violated.value
    assert over == [machine]
    assert machine.world.loop.is_closed()


def test_what_is_no_violation_is_raised_as_it_is_and_the_world_is_closed() -> None:
    kind, over = watched(target=Broken)
    machine = kind()
    with pytest.raises(ZeroDivisionError, match="broken"):
        machine.begin(drawn=Drawn(workflow(step("a")), {}), given={}, limit=2, calm=False, tape=PLAIN)
    machine.teardown()
    assert machine.violation is None
    assert over == [machine]
    assert machine.world.loop.is_closed()


def test_a_case_that_holds_is_told_of_too() -> None:
    kind, over = watched()
    machine = kind()
    machine.begin(drawn=Drawn(workflow(step("a")), {}), given={}, limit=2, calm=False, tape=PLAIN)
    machine.teardown()
    assert over == [machine]
    assert "execution RUNNING -> COMPLETED" in machine.reach.found, "what the liveness phase reaches counts"


@pytest.mark.parametrize(("target", "clause"), [(Lying, "K1"), (Leaking, "O4")])
def test_a_search_finds_a_bad_target(target: type[BuiltinTarget], clause: str) -> None:
    machine, over = watched(target=target)
    with pytest.raises(ContractViolated) as violated:
        search(machine, 60)
    assert violated.value.violation.clause == clause
    assert over[-1].violation is not None
