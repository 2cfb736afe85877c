"""Case files that a disk, an editor or a stranger has changed: each is read, or refused in one line. Never a traceback.

A few thousand here; ``make damage`` does it with a hundred thousand.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Final

import pytest

from machines.bounds import bounded
from machines.case import Case, CaseError, from_text, load, replay, to_text
from tests.damage import COMMITTED, documents, edited, mangled

DAMAGED: Final = int(os.environ.get("DAMAGED", "3000"))
_REPLAYED: Final = 50
"""Of so many that can still be read, one is carried out too."""
_LONGEST: Final = 6000


@pytest.mark.timeout(3600)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in COMMITTED]
    originals, path = documents(), tmp_path / "case.json"
    read = refused = 0
    for number in range(DAMAGED):
        chance = Random(number)
        if number % 2:
            data = mangled(chance.choice(contents), chance)
        else:
            data = json.dumps(edited(chance.choice(originals), chance)).encode()
        path.write_bytes(data)
        case = read_or_refused(path, number)
        if case is None:
            refused += 1
            continue
        read += 1
        assert from_text(to_text(case)) == case, number
        if read % _REPLAYED == 0:
            carried_out_or_refused(case, number)
    assert min(read, refused) > DAMAGED / 10
    assert [each.name for each in tmp_path.iterdir()] == ["case.json"]


def read_or_refused(path: Path, number: int) -> Case | None:
    try:
        return load(path)
    except CaseError as error:
        said = str(error)
    assert said.startswith(f"{path}: "), number
    assert said.count("\n") == 0, number
    assert len(said) < _LONGEST, number
    return None


def carried_out_or_refused(case: Case, number: int) -> None:
    said = ""
    with bounded(60):
        try:
            assert replay(case).status in {0, 1, 3}, number
        except CaseError as error:
            said = str(error)
    assert not said or "cannot be carried out" in said, number
