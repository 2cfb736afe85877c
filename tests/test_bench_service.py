"""The benchmark of live events measures what it says: it is run here at a small size, and only counted."""

import asyncio
import json

import pytest

from machines import bench_service
from machines.bench_service import run_bare, run_service, speeds


def test_both_sides_tell_every_subscriber_the_same() -> None:
    took, texts = asyncio.run(run_service(10, 3))
    assert took > 0
    told = [json.loads(text) for text in texts]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert [event["type"] for event in told].count("StepCompleted") == 10
    assert asyncio.run(run_bare(texts, 3)) > 0


def test_the_ratio_is_told_with_its_floor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_service, "speeds", lambda: speeds(10, 2, 1))
    bench_service.main()
    told = capsys.readouterr().out
    assert "events per second delivered" in told
    assert told.count("(floor ") == 1
