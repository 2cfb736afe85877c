"""One altered engine against one suite: whether the suite notices.

Rule 1: each trial has a process of its own, forked from a warm one: a change may loop, eat memory or leave threads.
Rule 2: whatever is not the clean end counts as noticed: a broken contract, an error, an end that does not come.
Rule 3: the machines' run is fixed: the committed regressions, the witnesses of the planted bugs, then the same cases
for every alteration. Small chunks come first, since most alterations break nearly every case.
Rule 4: plain chance drives the machines, not Hypothesis: it makes twice as many cases in the same time, and what is
found need not be made small.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import io
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from random import Random
from types import CodeType, ModuleType
from typing import Any, Final

from machines import examples
from machines.case import carry_out, load
from machines.chance import drive
from machines.mutants.catalogue import WITNESSES
from machines.mutants.planting import ADAPTER, Edit, Mutant
from machines.mutation_points import Altered
from machines.registry import BUILTIN, MACHINES
from machines.searching import STEPS, derive
from machines.target import TargetFactory
from machines.world import ContractViolated

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = (ROOT / "tests" / "regressions", WITNESSES)
"""Folders of cases; each must replay to "the contract holds"."""
ROUNDS: Final = (
    *(("lifecycle", 20), ("recovery", 10), ("concurrency", 10), ("definitions", 10), ("service", 5)),
    *(("lifecycle", 180), ("recovery", 140), ("concurrency", 110), ("definitions", 90), ("service", 45)),
)
"""Machines and how many cases of each."""
UNITS: Final = (
    *("test_transitions", "test_state", "test_slots", "test_references", "test_conditions", "test_workflow_engine"),
    *("test_state_manager", "test_definition", "test_graph"),
)
"""The test files of the core's modules."""

_CPU_SECONDS: Final[Mapping[str, int]] = {"machines": 75, "examples": 60, "properties": 60, "units": 90}
"""CPU time after which an end counts as one that does not come: five times what the clean engine takes."""
_PATIENCE: Final = 20
"""Seconds on the clock for each of CPU time, for a process that waits for what never comes."""
_MEMORY: Final = 4 << 30
_SHOWN: Final = 160


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a suite had to say about an altered engine."""

    noticed: str | None
    """What noticed it, and how; None if nothing did."""
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Task:
    """A trial to be made; without an alteration it is the clean engine's."""

    suite: str
    altered: Altered | None


# The suites


def by_machines(altered: Altered | None) -> str | None:
    """The regressions and the witnesses, then a short search with all machines."""
    homes = dict.fromkeys(machine.home for machine in MACHINES.values())
    adapters = {home: ADAPTER if home == BUILTIN else home.partition(":")[0] for home in homes}
    factories = {
        home: Mutant("altered", "", "", "", _edits(altered), adapter=adapter).plant()
        for home, adapter in adapters.items()
    }
    return _again(factories) or _searched(factories)


def _edits(altered: Altered | None) -> tuple[Edit, ...]:
    return () if altered is None else (Edit(altered.module, altered.source, altered.altered),)


def _again(factories: Mapping[str, TargetFactory]) -> str | None:
    """What the kept programs notice."""
    for path in (path for kept in KEPT for path in sorted(kept.glob("*.json"))):
        case = load(path)
        course = carry_out(case.lines, factories[MACHINES[case.machine].home], case.max_concurrent_steps)
        if course.verdict is not None:
            return f"{path.stem}: {course.sentence}"
    return None


def _searched(factories: Mapping[str, TargetFactory]) -> str | None:
    """What a search notices."""
    cases = 0
    for number, (name, count) in enumerate(ROUNDS):
        base = MACHINES[name]
        machine = type(base.__name__, (base,), {"factory": staticmethod(factories[base.home])})
        chance = Random(derive(0, 0, number, name))
        for _ in range(count):
            cases += 1
            try:
                drive(machine(), chance, STEPS)
            except ContractViolated as violated:
                found = violated.violation
                return f"{name}, {cases} cases: {found.clause} ({found.invariant}): {found.sentence}"
            except Exception as error:  # noqa: BLE001  # whatever it is, something noticed
                return f"{name}, {cases} cases: {type(error).__name__}: {error}"
    return None


def by_examples(altered: Altered | None) -> str | None:
    """The engine's own file of examples."""
    return examples.noticed(_edits(altered), "altered", (examples.EXAMPLES,))


def by_properties(altered: Altered | None) -> str | None:
    """The engine's own file of property tests."""
    return examples.noticed(_edits(altered), "altered", (examples.PROPERTIES,))


def by_units(altered: Altered | None) -> str | None:
    """The test files of the core's modules, as pytest runs them."""
    import pytest  # noqa: PLC0415  # the other suites do without

    for name in [name for name in sys.modules if name.partition(".")[0] in {"engine", "machines", "model", "tests"}]:
        del sys.modules[name]
    if altered is not None:
        sys.meta_path.insert(0, _Substitute(altered))
    said = _Said()
    files = [str(ROOT / "tests" / f"{name}.py") for name in UNITS]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        status = pytest.main([*options, *files], plugins=[said])
    return None if status == pytest.ExitCode.OK else said.first or f"pytest ends with {status!r}"


SUITES: Final[Mapping[str, Callable[[Altered | None], str | None]]] = {
    "machines": by_machines,
    "examples": by_examples,
    "properties": by_properties,
    "units": by_units,
}


class _Said:
    """Keeps the name of the first test that fails."""

    first: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401  # pytest's
        if report.failed and self.first is None:
            self.first = str(report.nodeid)


class _Substitute(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the altered module in place of the clean one."""

    def __init__(self, altered: Altered) -> None:
        self._altered = altered

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        return importlib.util.spec_from_loader(name, self) if name == self._altered.module else None

    def get_source(self, fullname: str) -> str:
        del fullname
        return self._altered.altered

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._altered.altered, f"<{fullname} altered>")


# The processes


@dataclass(slots=True)
class _Running:
    task: Task
    process: ForkProcess
    ending: Connection
    folder: str
    until: float


def trials(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Verdict]]:
    """Make the trials, so many at a time, and hand out what comes of each as soon as it is known."""
    if any(task.suite in {"examples", "properties"} for task in tasks):
        examples.warm()
    context = multiprocessing.get_context("fork")
    waiting, running = deque(tasks), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_begin(context, waiting.popleft()))
            wait([each.ending for each in running], 1.0)
            for each in [each for each in running if each.ending.poll() or time.monotonic() > each.until]:
                running.remove(each)
                yield each.task, _end(each)
    finally:
        for each in running:
            _end(each)


def _begin(context: multiprocessing.context.ForkContext, task: Task) -> _Running:
    ending, beginning = context.Pipe(duplex=False)
    folder = tempfile.mkdtemp(prefix="mutation-")
    process = context.Process(target=_carry_out, args=(task, beginning, folder))
    process.start()
    beginning.close()
    return _Running(task, process, ending, folder, time.monotonic() + _CPU_SECONDS[task.suite] * _PATIENCE)


def _end(run: _Running) -> Verdict:
    try:
        verdict = Verdict(*run.ending.recv()) if run.ending.poll() else None
    except EOFError:  # it was ended: too much time or memory
        verdict = None
    if verdict is None:
        run.process.kill()
    run.process.join()
    run.ending.close()
    shutil.rmtree(run.folder, ignore_errors=True)
    return verdict or Verdict("no end", float(_CPU_SECONDS[run.task.suite]))


def _carry_out(task: Task, beginning: Connection, folder: str) -> None:
    """A process' whole life."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    spent = int(time.process_time()) + _CPU_SECONDS[task.suite]
    resource.setrlimit(resource.RLIMIT_CPU, (spent, spent))
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    began = time.process_time()
    try:
        noticed = SUITES[task.suite](task.altered)
    except BaseException as error:  # noqa: BLE001  # an engine that cannot even be imported, for one
        noticed = f"{type(error).__name__}: {error}"
    if noticed is not None:
        noticed = " ".join(noticed.split())[:_SHOWN]
    beginning.send((noticed, time.process_time() - began))  # plain values: a suite may have replaced our own modules
    beginning.close()
    os._exit(0)  # threads that an altered engine has left are nobody's
