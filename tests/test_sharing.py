"""What searches share through a real Redis server: a bounded corpus, and what Hypothesis remembers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machines import searching, sharing
from machines.case import to_text
from machines.corpus_folder import exchange_of
from machines.fresh import fresh_ones
from machines.registry import BUILTIN
from machines.searching import Chunk, Plan, Searcher
from machines.sharing import CORPUS, EXAMPLES, Link, SharedCorpus, SharedExamples
from tests.cluster import Processes, Server, free_port, redis_server
from tests.command_line import called

pytestmark = pytest.mark.xdist_group("cluster")  # one server for all

PLANTED = """
from machines.targets.builtin import BuiltinTarget


class Liar(BuiltinTarget):
    async def cancel(self, execution):
        found = await super().cancel(execution)
        return found or self.report(execution)["status"] == "COMPLETED"
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    processes = Processes({})
    yield redis_server(processes, tmp_path_factory.mktemp("redis"))
    processes.end()


@pytest.fixture
def server(shared: Server) -> Server:
    """The server, with nothing in it."""
    shared.redis.flushall()
    return shared


def chunk(examples: int, *, fast: bool = True) -> Chunk:
    return Chunk("lifecycle", 1, examples, swarm=False, fast=fast)


class TestCorpus:
    def test_it_is_a_set_of_cases_that_is_bounded(self, server: Server) -> None:
        (case, *_) = fresh_ones(1, [BUILTIN])
        corpus, text = SharedCorpus(Link(server.address)), to_text(case)
        corpus.put("lifecycle", {"a": text, "b": "{", "c": "x" * (1 << 17)}, 3)
        corpus.put("lifecycle", {"a": "another", "d": text, "e": text}, 3)
        assert corpus.names("lifecycle") == ["a", "b", "d"]
        assert [found.lines for found in corpus.read("lifecycle", ["a", "b", "d", "gone"])] == [case.lines] * 2
        assert not corpus.read("lifecycle", [])
        assert not corpus.names("recovery")
        assert 0 < int(server.redis.ttl(f"{CORPUS}lifecycle")) <= sharing.KEPT.total_seconds()

    def test_searches_without_a_common_folder_learn_of_each_other(self, server: Server, tmp_path: Path) -> None:
        one, other = (
            Searcher(Plan(1, seconds=60, fast=True, directory=tmp_path / name, redis=server.address)) for name in "ab"
        )
        one.run(chunk(20))
        exchange_of(one).write(chunk(20))
        kept = one.corpora["lifecycle"].kept
        assert sorted(SharedCorpus(Link(server.address)).names("lifecycle")) == sorted(each.name for each in kept)
        exchange_of(other).read(chunk(20))
        unplayed = other.corpora["lifecycle"].unplayed
        assert [each.lines for each in unplayed] == [each.lines for each in sorted(kept, key=lambda each: each.name)]
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_is_gone_is_told_of_once(self, tmp_path: Path) -> None:
        processes = Processes({})
        server = redis_server(processes, tmp_path)
        searcher = Searcher(Plan(1, seconds=60, fast=True, redis=server.address))
        exchange = exchange_of(searcher)
        exchange.read(chunk(5))
        report = searcher.run(chunk(5))
        assert exchange.told(report) is report
        server.kill()
        processes.end()
        exchange.write(chunk(5))
        troubled = exchange.told(report).trouble
        assert troubled is not None
        assert troubled.message == f"{server.address} does not answer, and nothing is shared any more"
        assert exchange.told(report) is report
        assert searcher.run(chunk(3, fast=False)).trouble is None


class TestExamples:
    @pytest.mark.unmeasured
    def test_what_was_found_is_tried_first_by_whoever_comes_next(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "planted_liar.py").write_text(PLANTED)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        monkeypatch.setattr(searching, "minimise", lambda case, _, **__: case)
        plan = Plan(1, seconds=60, target="planted_liar:Liar", redis=server.address)
        first = Searcher(plan).run(chunk(400, fast=False))
        assert first.found is not None
        assert len(list(server.redis.scan_iter(f"{EXAMPLES}lifecycle:*"))) == 1
        second = Searcher(plan)
        known = second.run(chunk(400, fast=False))
        assert known.found is not None
        assert known.cases < first.cases
        assert second.run(chunk(5, fast=False)).cases > known.cases

    def test_it_is_bounded_and_forgets(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sharing, "MOST_EXAMPLES", 3)
        examples = SharedExamples(Link(server.address), "lifecycle")
        values = [hashlib.sha256(bytes([number])).digest() for number in range(5)]
        for value in values:
            examples.save(b"key", value)
        assert sorted(examples.fetch(b"key")) == sorted(values[:3])
        examples.delete(b"key", values[0])
        assert sorted(examples.fetch(b"key")) == sorted(values[1:3])
        assert list(SharedExamples(Link(server.address), "recovery").fetch(b"key")) == []

    def test_without_a_server_nothing_is_remembered_and_nothing_raised(self) -> None:
        link = Link(f"redis://u:secret@127.0.0.1:{free_port()}/0")
        examples = SharedExamples(link, "lifecycle")
        examples.save(b"key", b"value")
        assert list(examples.fetch(b"key")) == []
        assert link.lost.startswith("ConnectionError")
        assert "secret" not in link.address + link.lost


def test_a_server_that_does_not_answer_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, said = called(capsys, "fuzz", "--redis", f"redis://127.0.0.1:{free_port()}/0")
    assert status == 2
    assert ": no server answers: ConnectionError" in said
