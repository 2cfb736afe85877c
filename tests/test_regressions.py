"""Every case that was once a counterexample holds, and is told in docs/bugs-found.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines.case import HOLDS, load, replay

HERE = Path(__file__).parent
CASES = sorted((HERE / "regressions").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_contract_holds_where_it_was_once_violated(path: Path) -> None:
    outcome = replay(load(path))
    assert outcome.status == HOLDS, outcome.violation


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_is_told(path: Path) -> None:
    assert path.name in (HERE.parent / "docs" / "bugs-found.md").read_text(encoding="utf-8")
    assert load(path).sentence


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_says_why_it_is_kept(path: Path) -> None:
    assert load(path).why
    assert load(path).kept_on


def test_there_are_some() -> None:
    assert CASES
