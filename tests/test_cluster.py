"""A campaign on a cluster: real schedulers and workers of Dask; some die, and nothing that was found is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dask
import pytest
from distributed import Client
from distributed.scheduler import KilledWorker, WorkerState

from machines import campaign, cluster, cluster_task, searching
from machines.case import carry_out as carry_out_case
from machines.case import from_text, load
from machines.cluster import ClusterCampaign, ClusterError, connected, threads
from machines.cluster_child import Tasks
from machines.cluster_task import Carried, Task, carry_out, dismiss, identity, introduce
from machines.runs import document_of, read_runs
from machines.searching import Plan, Report
from machines.targets.builtin import builtin
from machines.totals import Totals
from machines.underway import Underway
from tests.cluster import (
    BOUND,
    Processes,
    another_python,
    certificate,
    free_port,
    in_environment,
    redis_server,
    scheduler,
    until,
    worker,
)
from tests.command_line import ROOT, called, outcome

pytestmark = pytest.mark.xdist_group("cluster")  # one cluster for all

PLANTED = """
import os
import signal
from pathlib import Path

import machines.searching
from machines.targets.builtin import BuiltinTarget

machines.searching.BUDGET = 20_000
OURS = os.environ.get("LOCKSTEP_TEST_CLUSTER") == "yes"
KILLED = Path(__file__).with_name("killed")


class Rare(BuiltinTarget):
    async def cancel(self, execution):
        found = await super().cancel(execution)
        if self.report(execution)["status"] in ("COMPLETED", "CANCELLED"):
            return True
        return found


class RareAndDeadly(Rare):
    async def pause(self, execution):
        if OURS and not KILLED.exists():
            KILLED.touch()
            os.kill(os.getppid(), signal.SIGKILL)  # the worker of the cluster
        return await super().pause(execution)


class Deadly(BuiltinTarget):
    async def cancel(self, execution):
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(1)


class Killed(BuiltinTarget):
    async def pause(self, execution):
        os.write(2, b"farewell")
        os.kill(os.getpid(), signal.SIGKILL)


class Endless(BuiltinTarget):
    async def pause(self, execution):
        while True:
            pass
"""


@dataclass
class Cluster:
    """A scheduler, and two machines with two workers each."""

    address: str
    folder: Path
    processes: Processes
    scheduler: subprocess.Popen[bytes]
    machines: list[subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Engines with planted bugs, to be had as targets by name, here and on the cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "planted_far.py").write_text(PLANTED)
    sys.path.insert(0, str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "BUDGET", searching.BUDGET)  # the module changes it in whoever imports it
        yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def processes(planted: Path) -> Iterator[Processes]:
    found = Processes(
        {
            "PYTHONPATH": os.pathsep.join([str(planted), str(ROOT)]),
            "LOCKSTEP_TEST_CLUSTER": "yes",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
    )
    yield found
    found.end()


@pytest.fixture(scope="module")
def far(processes: Processes, planted: Path) -> Cluster:
    begun, address = scheduler(processes, planted / "scheduler")
    machines = [worker(processes, planted / name, address, "--nworkers", "2") for name in ("one", "another")]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(4, timeout=BOUND)
    return Cluster(address, planted, processes, begun, machines)


def plan_for(target: str, cases: int | None, directory: Path) -> Plan:
    return Plan(5, machines=("lifecycle",), cases=cases, fast=True, target=target, directory=directory)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few cases."""
    monkeypatch.setattr(campaign, "EXAMPLES", 6)


def told(totals: Totals) -> dict[str, Any]:
    """What of a campaign must not depend on who carried it out: all but the time, and the order of what came."""
    run = document_of(totals)
    failures = [(failure["count"], failure["program"], failure["case"]["digest"]) for failure in run["failures"]]
    same = ("seed", "target", "moves", "news", "cases_of", "moves_of", "reach_of", "tallies_of")
    return {name: run[name] for name in same} | {"lived": round(run["lived"], 6), "failures": sorted(failures)}


def allow_no_failure(dask_scheduler: Any) -> None:
    """Let a chunk end no more than one worker."""
    dask_scheduler.allowed_failures = 0


# A task


def task(number: int, target: str = "builtin", examples: int | None = 5, *, fast: bool = True) -> Task:
    plan = Plan(5, machines=("lifecycle",), cases=examples, fast=True, target=target)
    return Task("test", number, ("lifecycle", fast), plan, identity(), examples)


@pytest.mark.unmeasured
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "hypothesis"])
def test_a_task_is_a_function_of_its_plan_and_number(tmp_path: Path, *, fast: bool) -> None:
    first, second = (Tasks(Underway(tmp_path / name)) for name in "ab")
    second.carry_out(task(1, fast=fast))
    (one,), (other,) = (tasks.carry_out(task(0, fast=fast)) for tasks in (first, second))
    assert replace(one, cpu_seconds=0) == replace(other, cpu_seconds=0)
    assert one.cases >= 5


def test_a_child_that_dies_leaves_its_case(planted: Path) -> None:
    carried = carry_out(task(0, "planted_far:Killed", 60))
    assert carried.reports == ()
    assert carried.lost is not None
    assert carried.lost.message.endswith(" was ended by SIGKILL")
    assert "farewell" in carried.lost.details
    assert carried.lost.case is not None
    case = from_text(carried.lost.case)
    assert any(type(line.move).__name__ == "Pause" for line in case.lines)
    assert carry_out_case(case.lines, builtin, case.max_concurrent_steps).error is None


def test_a_child_waits_for_the_next_task_and_is_ended(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = carry_out(task(0))
    assert sum(report.cases for report in first.reports) == 5
    (child,) = cluster_task._idle
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(carry_out, task(1, "planted_far:Endless", 60))
        while cluster_task._idle:
            assert not waiting.done()
        dismiss("another")
        assert not waiting.done()
        dismiss("test")
        ended = waiting.result()
    assert ended.lost is not None
    assert ended.lost.message.endswith(" was ended by SIGKILL")
    assert cluster_task._all == {}
    assert not child.folder.exists()
    carry_out(task(0))
    (child,) = cluster_task._idle
    child._process.kill()
    child._process.wait()
    carry_out(task(0))
    (child,) = cluster_task._idle
    old = task(0)
    carry_out(replace(old, plan=replace(old.plan, lifetime=2)))
    assert not child.folder.exists()
    assert cluster_task._all == {}
    monkeypatch.setattr(cluster_task, "PATIENCE", 0.1)
    hung = carry_out(task(1, "planted_far:Endless", 60))
    assert hung.lost is not None
    assert hung.lost.message.endswith(" did not end its chunk in time and was ended")


def test_whoever_is_another_carries_out_nothing() -> None:
    other = replace(identity(), python="CPython 3.9", lockstep="0.0.9 (abc)")
    carried = carry_out(replace(task(0), like=other))
    assert carried.reports == ()
    ours = identity()
    assert carried.misfit.endswith(
        f": Python {ours.python}, not CPython 3.9; Lockstep {ours.lockstep}, not 0.0.9 (abc)"
    )
    assert introduce(ours, "builtin", None) == []
    (no_target, no_server) = introduce(ours, "nowhere:none", f"redis://127.0.0.1:{free_port()}/0")
    assert "there is no module nowhere" in no_target
    assert "does not answer: ConnectionError" in no_server


# A campaign whose cluster does as it is told


class Scripted:
    """A client whose chunks come to what they are told to; a result may be an exception."""

    status = "running"

    def __init__(self, *results: Any, times: int = 1) -> None:
        self._results = list(results)
        self._times = times
        self.keys: list[str] = []

    def nthreads(self) -> dict[str, int]:
        return {"tcp://a": 1}

    def submit(self, _: Any, given: Task, *, key: str, pure: bool) -> Any:
        self.keys.append(key.rpartition("-")[2])
        return SimpleNamespace(
            result=self.result, add_done_callback=lambda say: [say(None) for _ in range(self._times)]
        )

    def result(self, timeout: float) -> Any:
        found = self._results.pop(0) if len(self._results) > 1 else self._results[0]
        if isinstance(found, BaseException):
            raise found
        return replace(found)

    def run_on_scheduler(self, *_: Any) -> list[str]:
        raise ModuleNotFoundError

    def run(self, *_: Any, **options: Any) -> dict[str, Any]:
        return {} if not self._results else {"tcp://b": [], "tcp://a": self._results[0]}

    def cancel(self, *_: Any, **options: Any) -> None:
        self.keys.append("cancelled")


ONE = Carried((Report("lifecycle", 6, 60, 0.1, {}),))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("client", [Scripted(ONE, times=2), Scripted(TimeoutError(), ONE)], ids=["doubled", "late"])
def test_a_chunk_counts_once(client: Any, tmp_path: Path) -> None:
    totals = ClusterCampaign(plan_for("builtin", 20, tmp_path), client).run()
    assert (totals.cases, totals.moves, totals.troubles) == (24, 240, {})
    assert client.keys == ["0", "1", "2", "3", "cancelled"]


@pytest.mark.usefixtures("small")
def test_a_chunk_that_several_workers_died_with_is_asked_for_once_more(tmp_path: Path) -> None:
    client: Any = Scripted(KilledWorker("k", cast("WorkerState", None), 3), ONE)
    assert ClusterCampaign(plan_for("builtin", 12, tmp_path), client).run().cases == 12
    assert client.keys == ["0", "1", "again", "cancelled"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("result", "sentences"),
    [
        (Carried(misfit="b: Python 3, not 4"), ["a worker has come that cannot take part, b: Python 3, not 4"]),
        (ValueError("no"), ["a chunk could not be carried out: ValueError: no", "nothing comes of any chunk any more"]),
        (CancelledError("lost"), ["a chunk could not be carried out: CancelledError: lost", "nothing comes of any"]),
    ],
    ids=["misfit", "error", "cancelled"],
)
def test_a_search_that_makes_no_sense_any_more_ends(result: Any, sentences: list[str], tmp_path: Path) -> None:
    client: Any = Scripted(result)
    totals = ClusterCampaign(plan_for("builtin", 6000, tmp_path), client).run()
    told = [entry.trouble.message for entry in totals.troubles.values()]
    assert len(told) == len(sentences)
    assert all(message.startswith(sentence) for message, sentence in zip(told, sentences, strict=True))
    assert {entry.trouble.kind for entry in totals.troubles.values()} == {"cluster"}


@pytest.mark.parametrize(
    ("constant", "stopped", "sentence"),
    [
        ("SILENCE", False, "the cluster, with 1 threads, was silent for 0 seconds; chunks that were under way and"),
        ("GRACE", True, "what was under way did not end within 0 seconds; chunks that were under way and are not"),
    ],
)
def test_nobody_waits_for_ever(
    constant: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stopped: bool
) -> None:
    monkeypatch.setattr(campaign, constant, 0.0)
    client: Any = Scripted(ONE, times=0)
    running = ClusterCampaign(plan_for("builtin", 6000, tmp_path), client)

    def watch(totals: Totals) -> None:
        totals.interrupted = stopped

    running._watch = watch
    (entry,) = running.run().troubles.values()
    assert entry.trouble.message.startswith(sentence)


def test_whoever_cannot_be_asked_is_named() -> None:
    lone, mixed = (Scripted(*results) for results in ((), (["Python 3, not 4"],)))
    silent = "the scheduler cannot be asked: ModuleNotFoundError:"
    assert cluster._unfit(cast("Client", lone), identity(), "builtin", None) == [silent, "there is no worker"]
    assert cluster._unfit(cast("Client", mixed), identity(), "builtin", None) == [
        silent,
        "worker tcp://a: Python 3, not 4",
    ]


# On a cluster


@pytest.mark.unmeasured
@pytest.mark.usefixtures("small")
def test_four_workers_find_what_one_does_though_one_of_them_dies(far: Cluster, tmp_path: Path) -> None:
    plan = plan_for("planted_far:RareAndDeadly", 24, tmp_path / "alone")
    alone = Totals(plan)
    for number in range(4):
        for report in carry_out(Task("alone", number, ("lifecycle", number % 2 == 0), plan, identity(), 6)).reports:
            alone.add(report)
    dismiss("alone")
    plan = replace(plan, directory=tmp_path / "far")
    with connected(far.address, plan.target, None) as client:
        assert threads(client) == 4
        together = ClusterCampaign(plan, client).run()
    assert (far.folder / "killed").exists()
    assert told(together) == told(alone)
    assert together.troubles == alone.troubles == {}
    assert together.hits > 1
    assert together.cases >= 24
    assert together.chunks == {0: 4}
    assert [path.name for path in tmp_path.glob("far/*")] == ["cases"]
    assert len(list((tmp_path / "far" / "cases").iterdir())) == len(together.failures)
    for failure in together.failures.values():
        assert failure.path is not None
        assert load(failure.path).digest == failure.case.digest


@pytest.mark.usefixtures("small")
def test_a_chunk_that_ends_worker_after_worker_is_told_of(
    far: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with connected(far.address, "builtin", None) as client:
        client.run_on_scheduler(allow_no_failure)
    options = ("--cases", "6", "--machine", "lifecycle", "--seed", "5", "--target", "planted_far:Deadly")
    status, said, progress = called(capsys, "fuzz", "--cluster", far.address, *options)
    assert status == 1
    assert "4 workers, seed 5" in progress
    assert "\nworker: a chunk ended 2 workers of the cluster, one after the other (1 time)\n" in said
    assert "  chunk 0 of seed 5: lifecycle, by the fast driver; the last one was " in said
    assert [run["chunks"] for run in read_runs(tmp_path / ".lockstep").values()] == [{"0": 1}]


def test_another_lockstep_is_refused_by_the_name_of_its_worker(far: Cluster, tmp_path: Path) -> None:
    for package in ("engine", "machines", "model"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "engine" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    child = worker(far.processes, tmp_path / "place", far.address, "--no-nanny", PYTHONPATH=str(tmp_path))

    with Client(far.address, set_as_default=False) as client:
        until(lambda: len(client.nthreads()) == 5, child, "a worker that cannot take part")
        with pytest.raises(ClusterError) as refused, connected(far.address, "planted_far:Rare", None):
            pass
        child.kill()
        child.wait()
        until(lambda: len(client.nthreads()) == 4, far.scheduler, "the others alone")
    assert re.fullmatch(
        r"worker tcp://\S+: Lockstep \S+ \(\w+\), not \S+ \(\w+\), there is no module planted_far .*",
        str(refused.value),
    )


@pytest.mark.unmeasured
def test_what_was_found_outlives_the_server_and_the_scheduler(
    far: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one, since it ends the cluster; one machine is gone before."""
    os.killpg(far.machines[1].pid, signal.SIGKILL)
    with Client(far.address, set_as_default=False) as client:
        until(lambda: len(client.nthreads()) == 2, far.scheduler, "the other machine alone")
    monkeypatch.setattr(campaign, "CHUNK_SECONDS", 0.2)
    server, hits = redis_server(far.processes, tmp_path / "redis"), 0

    def watch(totals: Totals) -> None:
        nonlocal hits
        if server.process.poll() is None:
            if server.redis.hlen("lockstep:corpus:lifecycle") > 5:
                server.kill()
        elif totals.troubles and totals.failures and not hits:
            hits = totals.hits
            far.scheduler.kill()

    plan = replace(plan_for("planted_far:Rare", None, tmp_path), redis=server.address)  # without any other end
    with connected(far.address, plan.target, plan.redis) as client:
        totals = ClusterCampaign(plan, client, watch, {0: 100}).run()
    troubles = [entry.trouble for entry in totals.troubles.values()]
    assert {trouble.kind for trouble in troubles} <= {"redis", "worker", "cluster"}, troubles
    first, *_, last = [trouble.message for trouble in troubles]
    assert first == f"{server.address} does not answer, and nothing is shared any more"
    assert last.startswith(f"the scheduler at {far.address} is gone; chunks that were under way and are not counted: ")
    assert totals.hits >= hits > 0
    assert totals.chunks[0] > 100
    assert all(failure.path is not None and failure.path.exists() for failure in totals.failures.values())


@pytest.mark.unmeasured
def test_a_search_goes_on_where_it_stopped_behind_tls(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = certificate(tmp_path)
    monkeypatch.setattr(processes, "environment", {**processes.environment, **in_environment(given)})
    _, address = scheduler(processes, tmp_path / "scheduler")
    assert address.startswith("tls://")
    worker(processes, tmp_path / "worker", address, "--no-nanny")
    monkeypatch.chdir(tmp_path)
    options = ("--cluster", address, "--cases", "6", "--machine", "lifecycle", "--json", "out.json")
    assert "tls:// needs certificates" in called(capsys, "fuzz", *options)[2]
    with dask.config.set(given):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=BOUND)
        assert called(capsys, "fuzz", *options, "--seed", "5")[0] == 0
        first = outcome(Path("out.json"))
        status, said, _ = called(capsys, "fuzz", *options, "--resume")
    both, runs = outcome(Path("out.json")), read_runs(tmp_path / ".lockstep").values()
    assert status == 0
    assert "with 1 earlier run:" in said
    assert (both["seed"], both["cases"]) == (5, 12)
    assert sorted(run["chunks"]["0"] for run in runs) == [1, 2]
    assert {run["moves"] for run in runs} == {first["moves"], both["moves"] - first["moves"]}


def test_certificates_that_cannot_be_used_are_bad_input(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("ca-file", "client.cert", "client.key"), str(tmp_path / "none.pem"))
    found = {f"distributed.comm.tls.{name}": file for name, file in nowhere.items()}
    with (
        dask.config.set(found),
        pytest.raises(ClusterError, match="cannot be used: FileNotFoundError"),
        connected("tls://127.0.0.1:1", "builtin", None),
    ):
        pass


def test_a_worker_on_another_python_is_refused_in_one_sentence(processes: Processes, tmp_path: Path) -> None:
    other = another_python()
    _, address = scheduler(processes, tmp_path / "scheduler")
    child = worker(processes, tmp_path / "worker", address, "--no-nanny", python=other)
    until(lambda: "Registered to" in (tmp_path / "worker" / "log").read_text(), child, "a worker that has come")
    with pytest.raises(ClusterError) as refused, connected(address, "builtin", None):
        pass
    assert re.fullmatch(r"worker tcp://\S+: Python CPython 3\.\d+, not CPython 3\.\d+", str(refused.value))


def test_whoever_is_no_scheduler_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    monkeypatch.chdir(tmp_path)
    status, _, said = called(capsys, "fuzz", "--cluster", f"tcp://127.0.0.1:{free_port()}")
    assert status == 2
    assert ": no scheduler of Dask answers: OSError: Timed out" in said
    assert said.count("\n") == 1


# What is given


def test_every_fault_of_the_addresses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = (
        "--cluster",
        "tcp://me@:99999/x",
        "--redis",
        "redis://u:secret@host/one?a",
        "--workers",
        "2",
        "--cases",
        "9",
    )
    status, _, said = called(capsys, "fuzz", *given)
    assert status == 2
    for fault in (
        "--cluster tcp://:99999/x: names no host",
        "has a port that is no number from 1 to 65535",
        "takes no user",
        "takes no path, not 'x'",
        "--redis redis://host/one?a: names no port",
        "names a database by its number, not 'one'",
        "takes nothing behind ? or #",
        "--workers: a cluster has the workers that it has",
        "--redis: where --cases are counted, nothing is shared: give --seconds",
    ):
        assert fault in said
    assert "secret" not in said
    assert list(tmp_path.iterdir()) == []
    for address in ("127.0.0.1:8786", "http://host:1", "tcp://[::1"):
        assert called(capsys, "fuzz", "--cluster", address)[0] == 2


@pytest.mark.parametrize(("module", "option"), [("distributed", "--cluster"), ("redis", "--redis")])
def test_the_extra_that_is_missing_is_named(
    module: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    address = {"distributed": "tcp://127.0.0.1:1", "redis": "redis://127.0.0.1:1/0"}[module]
    status, _, said = called(capsys, "fuzz", option, address)
    assert status == 2
    assert f"{module} is not installed: pip install 'workflow-lockstep[cluster]'" in said
