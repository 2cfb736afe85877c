"""Format 1: what is written satisfies its schema, what is read is held to it, and what is old or unknown survives."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from itertools import islice, repeat
from pathlib import Path
from random import Random
from typing import Any, Final

import jsonschema
import jsonschema_rs
import pytest

from machines import case_format, moves, registry
from machines.case import CaseError, from_text, load, replay, save, to_text
from machines.case_format import FORMAT, MAX_MOVES, UPGRADES, FormatError, document_of, faults
from machines.fresh import fresh_ones
from machines.moves import MOVES
from tests.damage import COMMITTED, ROOT, documents, edited

Json = Any
SCHEMA: Final = json.loads((ROOT / "machines" / "case.schema.json").read_text(encoding="utf-8"))
VALID: Final = jsonschema_rs.validator_for(SCHEMA, validate_formats=True)
FRESH: Final = 100
EDITED: Final = 3000


def one(**changes: Json) -> dict[str, Json]:
    """A committed case with changes."""
    document: dict[str, Json] = documents()[0]
    return {**document, **changes}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_knows_every_move() -> None:
    assert [choice["$ref"].removeprefix("#/$defs/") for choice in SCHEMA["$defs"]["line"]["anyOf"]] == list(MOVES)
    for name, kind in MOVES.items():
        told = SCHEMA["$defs"][name]
        assert list(told["properties"]) == ["move", *(part.name for part in fields(kind))]
        needed = [part.name for part in fields(kind) if part.default is part.default_factory is MISSING]
        assert told["required"] == ["move", *needed]
        assert told["description"] == kind.__doc__


def test_the_schema_knows_every_field() -> None:
    known = {"format", "settings", "moves", "reorder_only"}
    assert set(SCHEMA["properties"]) == known | {*case_format.TEXTS, *case_format.VERSIONS, *case_format.KEPT}
    assert SCHEMA["properties"]["moves"]["maxItems"] == MAX_MOVES


def test_the_page_tells_all_of_it() -> None:
    page = (ROOT / "docs" / "case-format.md").read_text(encoding="utf-8")
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    VALID.validate(example)
    assert from_text(json.dumps(example)).to_json().keys() == example.keys() == SCHEMA["properties"].keys()
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| `")]
    for name, kind in MOVES.items():
        told = next(row[1] for row in rows if f"`{name}`" in row[0])
        assert [part.name for part in fields(kind) if f"`{part.name}`" not in told] == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_case_satisfies_it(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    VALID.validate(document)
    assert from_text(json.dumps(document)).to_json() == document


def test_every_fresh_case_satisfies_it() -> None:
    for case in islice(fresh_ones(1, repeat(registry.BUILTIN), moves=8), FRESH):
        VALID.validate(json.loads(to_text(case)))
        assert from_text(to_text(case)) == case


def test_a_fresh_case_replays() -> None:
    for case in islice(fresh_ones(2, repeat(registry.BUILTIN), moves=6), 8):
        outcome = replay(case)
        assert (outcome.status, outcome.digest) == (0, case.digest)


def test_loader_and_schema_agree_on_edited_cases() -> None:
    chance, originals = Random(0), documents()
    verdicts = {True: 0, False: 0}
    for _ in range(EDITED):
        document = edited(chance.choice(originals), chance)
        found = list(faults(document))
        if "\\ud800" not in json.dumps(document):  # the library takes no lone surrogates
            assert VALID.is_valid(document) == (not found), (found, document)
        verdicts[not found] += 1
    assert min(verdicts.values()) > EDITED / 10


# What is unknown


def test_what_is_unknown_survives_at_every_level(tmp_path: Path) -> None:
    given = one(colour="red", notes={"by": ["somebody"]})
    given["settings"]["weather"] = {"sun": 1}
    given["moves"][0]["because"] = None
    given["moves"][0]["tape"] = {"latencies": "00ff", "echo": [1]}
    given["moves"][-1]["tape"] = {"echo": [2]}
    path = save(from_text(json.dumps(given)), tmp_path / "case.json")
    assert json.loads(path.read_text(encoding="utf-8")) == given


def test_what_is_unknown_changes_no_history() -> None:
    case = load(COMMITTED[0])
    document = case.to_json()
    for line in document["moves"]:
        line |= {"unheard_of": 1, "tape": {**line.get("tape", {}), "unheard_of": "00"}}
    assert replay(from_text(json.dumps(document))).digest == replay(case).digest


def test_an_unknown_move_is_no_unknown_field() -> None:
    with pytest.raises(CaseError, match=r"moves\[0\]: there is no move 'Explode'"):
        from_text(json.dumps(one(moves=[{"move": "Explode"}])))


# What has become of a format, a name, an argument


def test_a_case_of_format_0_is_upgraded(tmp_path: Path) -> None:
    program = [{"move": "Run", "workflow": {"id": "w", "steps": [{"id": "a", "action": "work"}]}}]
    case = from_text(json.dumps({"format": 0, "moves": program, "story": "the first one"}))
    assert (case.target, case.machine, case.max_concurrent_steps, case.clause) == ("builtin", "lifecycle", 2, "none")
    assert case.extra == {"story": "the first one"}
    assert replay(case).status == 0
    again = json.loads(save(case, tmp_path / "case.json").read_text(encoding="utf-8"))
    assert again["format"] == FORMAT
    VALID.validate(again)


def test_a_damaged_case_of_an_older_format_is_still_a_damaged_case() -> None:
    with pytest.raises(FormatError, match=r"a damaged case: moves must be a list"):
        document_of('{"format": 0}')


def test_upgrades_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_2(document: Json) -> Json:
        return {**document, "format": 3, "digest": document["hash"]}

    monkeypatch.setitem(UPGRADES, 1, lambda document: {**document, "format": 2, "hash": "ab"})
    monkeypatch.setitem(UPGRADES, 2, from_2)
    monkeypatch.setattr(case_format, "FORMAT", 3)
    assert document_of(json.dumps({"format": 0, "moves": []}))["digest"] == "ab"
    assert document_of(json.dumps(one()))["format"] == 3


def test_there_is_a_way_from_every_older_format() -> None:
    assert list(UPGRADES) == list(range(FORMAT))


@pytest.mark.parametrize("number", [FORMAT + 1, 10**30])
def test_a_case_of_a_newer_format_is_refused(number: int) -> None:
    with pytest.raises(
        CaseError, match=r"written in case format \d+, and this version of Lockstep reads formats up to"
    ):
        from_text(json.dumps(one(format=number)))


@pytest.mark.parametrize("number", [-1, 1.5, "1", None, True])
def test_a_format_that_never_was_is_refused(number: Json) -> None:
    with pytest.raises(CaseError, match="format must be 1, not"):
        from_text(json.dumps(one(format=number)))


def test_a_renamed_move_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(moves.FORMERLY, "Begin", "Run")
    case = load(COMMITTED[0])
    document = case.to_json()
    renamed = [{**line, "move": "Begin"} if line["move"] == "Run" else line for line in document["moves"]]
    assert renamed != document["moves"]
    assert from_text(json.dumps({**document, "moves": renamed})) == case


def test_a_renamed_machine_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FORMERLY, "one_life", "lifecycle")
    assert from_text(json.dumps(one(machine="one_life"))).machine == "lifecycle"
    assert from_text(json.dumps(one(machine="of my own"))).machine == "of my own"


def test_new_names_stand_for_something() -> None:
    assert set(moves.FORMERLY.values()) <= set(MOVES)
    assert set(registry.FORMERLY.values()) <= set(registry.MACHINES)


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause an execution, as a later version might."""

    execution: str
    softly: bool = False


def test_a_new_argument_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOVES, "Pause", Pause)
    line = from_text(json.dumps(one(moves=[{"move": "Pause", "execution": "x1"}]))).lines[0]
    assert line.to_json() == {"move": "Pause", "execution": "x1", "softly": False}


def test_an_argument_of_a_later_version_is_kept() -> None:
    given = {"move": "Pause", "execution": "x1", "softly": True}
    assert from_text(json.dumps(one(moves=[given]))).lines[0].to_json() == given


# Too much


def test_a_program_without_end_is_refused() -> None:
    with pytest.raises(CaseError, match="moves are 1,000,000: no case has more than 10,000"):
        from_text(json.dumps(one(moves=[{}] * 1_000_000)))


def test_faults_without_end_are_cut() -> None:
    with pytest.raises(CaseError, match=r"and there is more$") as refusal:
        from_text(json.dumps(one(moves=[{"move": "x" * 10_000, "tape": ["y" * 10_000]}] * 5000)))
    assert len(str(refusal.value)) < 6000
