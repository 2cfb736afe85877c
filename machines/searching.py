"""One process' search: chunk by chunk, and what a chunk finds is minimised and confirmed.

Rule 1: a chunk is one run of one front end, Hypothesis or the fast driver, over one machine with a seed of its own,
made from the campaign's: Hypothesis keeps memory as long as a run lasts, and a run cannot be stopped half-way. It ends
with the first violation.
Rule 2: Hypothesis generates, and does not shrink: ``machines.minimise`` takes a second where shrinking takes ten, and
its cost is bounded. What comes again and again is looked into less and less often (`worth_a_look`), by its kind, so
that a rare bug is not taken for a common one of the same clause; and none is passed over: all are counted.
Rule 3: both front ends feed one corpus for each machine, and the fast driver varies what is in it.
Rule 4: what Hypothesis itself raises is trouble with the harness, and so is every exception that is no violation.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.errors import HypothesisException
from hypothesis.stateful import get_state_machine_test

from machines.case import HARNESS, VIOLATED, Case, CaseError, carry_out, case_of, from_text, replay, to_text
from machines.corpus import Corpus
from machines.covering import Branch
from machines.driving import Driver, Way
from machines.feeding import feed, watched
from machines.fingerprint import ViolationKind, kind_of
from machines.fresh import HOLDS
from machines.lifecycle import WorldMachine
from machines.minimise import minimise
from machines.moves import tell
from machines.own_workflow import machine_for
from machines.registry import BUILTIN, MACHINES, load_target, target_of_machine
from machines.shares import Lane
from machines.target import TargetFactory
from machines.underway import Underway, noting
from machines.world import ContractViolated
from model.judge import Violation

if TYPE_CHECKING:
    from machines.sharing import Link

Json: TypeAlias = Any

STEPS: Final = 30
"""Moves that a machine makes in a case, at most."""
LOOKED_INTO: Final = 4
"""How often a searcher minimises violations of one kind; from then on the 8th, the 16th, the 32nd... the rest count."""
BUDGET: Final = 150_000
"""Entries of history that this may cost each time: some four seconds, so that a worker that is to stop soon does."""
_SHOWN: Final = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign shall do."""

    seed: int
    machines: tuple[str, ...] = ("lifecycle",)
    seconds: float | None = None
    cases: int | None = None
    workers: int = 1
    target: str = BUILTIN
    workflow: dict[str, Json] | None = None
    """A workflow of the user's own, for the lifecycle moves."""
    directory: Path = Path(".lockstep")
    lifetime: int = 100
    """Chunks after which a worker is replaced, since Hypothesis keeps memory."""
    fast: bool = False
    """Whether the fast front end searches too."""
    again: int = 0
    """One case of so many is played a second time, in a fresh process; none: 0."""
    covers: bool = False
    """Whether workers count the branches of the engine that they go through."""
    redis: str | None = None
    """The server through which searches share what they know."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One run of a front end."""

    machine: str
    seed: int
    examples: int
    swarm: bool
    """Whether rules may be switched off for a whole case. Of the fast driver's cases this holds for half, and half have
    PCT's schedules."""
    fast: bool = False
    """Whether the fast driver makes its cases."""

    @property
    def lane(self) -> Lane:
        """Whose turn it is."""
        return self.machine, self.fast


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong, and not with the engine's contract."""

    kind: str
    """``harness error`` (an exception in a case), ``hypothesis``, ``worker``, ``drift``, ``case file``, ``cluster`` or
    ``redis``."""
    message: str
    details: str = ""
    case: str | None = None
    """The case as text, if there is one."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a chunk came to."""

    machine: str
    cases: int
    moves: int
    cpu_seconds: float
    reach: Mapping[str, int]
    found: str | None = None
    """The case that was found, as text."""
    program: tuple[str, ...] = ()
    """Its moves in words, their deviations marked."""
    kind: ViolationKind | None = None
    """The kind of the violation that was found; without a case it is only counted."""
    trouble: Trouble | None = None
    tallies: Mapping[str, int] = field(default_factory=dict)
    """What was counted to know what is wasted."""
    fast: bool = False
    lived: float = 0.0
    """Virtual seconds."""
    news: int = 0
    """How much of the model was reached that this process had not reached before."""
    again: tuple[str, ...] = ()
    """Cases to be played again, as text."""
    branches: tuple[Branch, ...] = ()
    """Of the engine: those that this process had not been through before."""
    branches_in_all: int = 0


def derive(campaign: int, worker: int, number: int, machine: str) -> int:
    """Make the seed of a chunk."""
    return int.from_bytes(hashlib.sha256(f"{campaign}/{worker}/{number}/{machine}".encode()).digest()[:8], "big")


def worth_a_look(times: int) -> bool:
    """Whether a violation is made small that is of a kind that came so many times, this one too."""
    return times <= LOOKED_INTO or times & (times - 1) == 0


class Searcher:
    """Runs chunks, in this process, one after the other."""

    def __init__(self, plan: Plan, underway: Underway | None = None) -> None:
        self.plan = plan
        self.corpora: dict[str, Corpus] = {}
        """By machine."""
        self.link = _link_to(plan.redis)
        """The server that is shared with others, if there is one."""
        self._remembered: dict[str, None] = {}
        """Machines whose known failures have been tried."""
        self._underway = underway
        self.factories: dict[str, TargetFactory] = {}
        """By machine: what makes its target."""
        self._came: Counter[ViolationKind] = Counter()
        """How often violations of a kind came."""
        self._machines: dict[tuple[str, bool], type[WorldMachine]] = {}
        self._reach: Counter[str] = Counter()
        self._tallies: Counter[str] = Counter()
        self.cases = 0
        """Cases carried out in all."""
        self._cases = self._moves = self._news = 0
        self._lived = 0.0
        self._again: list[str] = []
        self._chunked = ""
        """The machine of the chunk."""
        self._drawing = False
        """Whether Hypothesis makes its cases."""
        self._last: WorldMachine | None = None
        self._seconds_a_case: dict[Lane, float] = {}

    def hear(self, came: Mapping[ViolationKind, int]) -> None:
        """What somebody who hears of several searchers has heard: how often violations of each kind came."""
        own = {kind: times for kind, times in self._came.items() if kind[0] == HARNESS}
        self._came = Counter({**came, **own})

    def pace(self, seconds: float, smallest: int, largest: int, deadline: float | None, lane: Lane) -> int:
        """Say how many cases take so many seconds, going by the lane's last chunk; 0 if there is no time left."""
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
        if seconds <= 0:
            return 0
        known = self._seconds_a_case.get(lane)
        fit = smallest if known is None else int(seconds / known)
        return min(max(fit, smallest), largest)

    def run(self, chunk: Chunk) -> Report:
        """Carry out a chunk, and look into what it finds."""
        self._reach, self._tallies, self._cases, self._moves, self._last = Counter(), Counter(), 0, 0, None
        self._news, self._lived, self._again = 0, 0.0, []
        self._chunked, self._drawing = chunk.machine, not chunk.fast
        before, began = time.process_time(), time.monotonic()
        report = Report(chunk.machine, 0, 0, 0.0, {}, fast=chunk.fast)
        report = self._drive(chunk, report) if chunk.fast else self._draw(chunk, report)
        self._last = None
        self.cases += self._cases
        spent = time.process_time() - before
        self._seconds_a_case[chunk.lane] = (time.monotonic() - began) / max(self._cases, 1)
        return replace(
            report,
            cases=self._cases,
            moves=self._moves,
            cpu_seconds=spent,
            reach=dict(self._reach),
            tallies=dict(self._tallies),
            lived=self._lived,
            news=self._news,
            again=tuple(self._again),
        )

    def _draw(self, chunk: Chunk, report: Report) -> Report:
        """Let Hypothesis make the cases."""
        machine = self._machine(chunk.machine, swarm=chunk.swarm)
        if self.plan.fast:
            machine = watched(machine)
        # A test that is given a seed loses its database; a machine's seed leaves it to the test.
        test = get_state_machine_test(seed(chunk.seed)(machine), settings=self._settings(chunk))
        try:
            test()
        except ContractViolated as violated:
            return self._look_into(report, violated.violation)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told
            return self._explain(report, error)
        return report

    def _settings(self, chunk: Chunk) -> settings:
        """Those of a chunk; with a database, the first chunk of a machine tries what others have found before."""
        chosen = explicit_settings(chunk.examples)
        if self.link is None:
            return chosen
        from machines.sharing import SharedExamples  # noqa: PLC0415  # the extra may be missing

        phases = [Phase.generate] if chunk.machine in self._remembered else [Phase.reuse, Phase.generate]
        self._remembered[chunk.machine] = None
        return settings(chosen, phases=phases, database=SharedExamples(self.link, chunk.machine))

    def _drive(self, chunk: Chunk, report: Report) -> Report:
        """Let the fast driver make the cases."""
        driver = Driver(
            chunk.machine,
            chunk.seed,
            self.corpus_of(chunk.machine),
            target=self.plan.target,
            factory=self.factory_of(chunk.machine),
            base=self._machine(chunk.machine, swarm=False),
            way=Way("both", swarm=0.5) if chunk.swarm else Way(),
        )
        with contextlib.closing(driver.cases()) as cases:
            for driven in islice(cases, chunk.examples):
                self._news += len(driven.novel)
                if driven.violation is not None:
                    return self._look_into(report, driven.violation)
                if driven.error is not None:
                    return self._explain(report, driven.error)
        return report

    def corpus_of(self, machine: str) -> Corpus:
        """What is varied of a machine's cases."""
        return self.corpora.setdefault(machine, Corpus())

    def _machine(self, name: str, *, swarm: bool) -> type[WorldMachine]:
        """The machine of this name, driving our target, and telling us of its cases."""
        if (name, swarm) not in self._machines:
            base = MACHINES[name] if self.plan.workflow is None else machine_for(self.plan.workflow)
            if self._underway is not None:
                base = noting(base, self._underway, name, target_of_machine(name, self.plan.target))
            factory = staticmethod(self.factory_of(name))
            parts = {"factory": factory, "on_case": staticmethod(_weakly(self._note)), "swarm": swarm}
            self._machines[name, swarm] = type(base.__name__, (base,), parts)
        return self._machines[name, swarm]

    def factory_of(self, machine: str) -> TargetFactory:
        """What makes the target of a machine."""
        if machine not in self.factories:
            self.factories[machine] = load_target(target_of_machine(machine, self.plan.target))
        return self.factories[machine]

    def _note(self, machine: WorldMachine) -> None:
        assert machine.world is not None
        self._cases += 1
        self._moves += len(machine.world.moves)
        self._reach.update(list(machine.reach.found))
        self._tallies.update(machine.reach.tallies)
        self._lived += machine.world.loop.time()
        self._last = machine
        if self.plan.fast and self._drawing:  # the fast driver feeds its corpus itself
            target = target_of_machine(self._chunked, self.plan.target)
            self._news += len(feed(self.corpus_of(self._chunked), machine, self._chunked, target))
        number = self.cases + self._cases
        if self.plan.again and number % self.plan.again == 0 and machine.violation is None and not machine.spoilt:
            with contextlib.suppress(CaseError):  # what JSON cannot hold has no file
                self._again.append(to_text(self._case(self._chunked, HOLDS)))

    def _case(self, machine: str, violation: Violation) -> Case:
        """The last case that was carried out: after a failure, Hypothesis carries it out once more."""
        assert self._last is not None
        world = self._last.world
        assert world is not None
        return case_of(
            world.moves,
            violation,
            target=target_of_machine(machine, self.plan.target),
            machine=machine,
            max_concurrent_steps=world.max_concurrent_steps,
            digest=world.digest(),
        )

    def _look_into(self, report: Report, violation: Violation) -> Report:
        kind = kind_of(violation)
        self._came[kind] += 1
        report = replace(report, kind=kind)
        if not worth_a_look(self._came[kind]):
            return report
        case = self._case(report.machine, violation)
        try:
            case = from_text(to_text(case))
            factory = self.factory_of(report.machine)
            course = carry_out(case.lines, factory, case.max_concurrent_steps)
            if course.error is not None:  # what looked like a violation is what it left behind
                return self._explain(report, course.error)
            small = minimise(case, factory, budget=BUDGET)
            outcome = replay(small, factory)
        except CaseError as error:
            trouble = Trouble("harness error", f"{kind[0]} ({kind[1]}) was violated, but the case is none: {error}")
            return replace(report, trouble=replace(trouble, details=_program(case)))
        if (outcome.status, outcome.digest) != (VIOLATED, small.digest):
            message = f"{kind[0]} ({kind[1]}) was violated, but not again when the case was replayed"
            return replace(report, trouble=Trouble("harness error", message, _program(case), to_text(case)))
        return replace(report, found=to_text(small), program=tuple(played.tell() for played in outcome.played))

    def _explain(self, report: Report, error: Exception) -> Report:
        """Tell of an exception that is no violation."""
        details = "".join(traceback.format_exception(error))
        message = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        if isinstance(error, HypothesisException):
            return replace(report, trouble=Trouble("hypothesis", message, details))
        trouble = Trouble("harness error", message, details)
        kind = (HARNESS, type(error).__name__, "")
        self._came[kind] += 1
        often = not worth_a_look(self._came[kind])
        if self._last is not None and self._last.world is not None and not often:
            raised = Violation(HARNESS, type(error).__name__, message, len(self._last.world.history))
            with contextlib.suppress(CaseError):
                case = from_text(to_text(self._case(report.machine, raised)))
                case = minimise(case, self.factory_of(report.machine), budget=BUDGET // LOOKED_INTO)
                trouble = replace(trouble, details=f"{_program(case)}\n{details}", case=to_text(case))
        return replace(report, trouble=trouble)


def explicit_settings(examples: int) -> settings:
    """Hypothesis' settings for so many cases: what the environment says (CI, a profile, a database) does not matter."""
    return settings(
        settings.get_profile("default"),
        max_examples=examples,
        stateful_step_count=STEPS,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )


def _weakly(note: Callable[[WorldMachine], None]) -> Callable[[WorldMachine], None]:
    """A method of ours for a class of machines, which Hypothesis keeps for ever: us and our corpora it should not."""
    found = weakref.WeakMethod(note)

    def tell_if_there(machine: WorldMachine) -> None:
        if (note := found()) is not None:
            note(machine)

    return tell_if_there


def _link_to(address: str | None) -> Link | None:
    if address is None:
        return None
    from machines.sharing import Link  # noqa: PLC0415  # the extra may be missing

    return Link(address)


def _program(case: Case) -> str:
    return "\n".join(f"{number}. {tell(line.move)}" for number, line in enumerate(case.lines, 1))
