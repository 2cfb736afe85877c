"""J1: every event goes to JSON and back without loss, and what is no event is refused."""

import json
from collections.abc import Mapping
from itertools import permutations
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import JournalError
from engine.messages import EVENTS, Event, Failure, from_json, to_json

texts = st.text(max_size=5)
attempts = st.integers(0, 5)
times = st.floats(0, 1e9)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
failures = st.builds(Failure, step=texts, attempt=attempts, type=texts, message=texts)

# An event's fields are known by their names: the same name means the same everywhere.
FIELDS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "at": times,
    "workflow": objects,
    "input": objects,
    "missing": st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
    "inputs": objects,
    "error": failures,
    "status": texts,
    "step": texts,
    "attempt": attempts,
    "until": times,
    "output": values,
}


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    drawn = {name: FIELDS[name] for name in kind._fields}
    if kind.__name__ == "RollbackStarted":
        drawn["error"] = st.none() | failures | st.builds(Failure, st.none(), st.none(), texts, texts)
    return st.builds(kind, **drawn)


@pytest.mark.parametrize("kind", EVENTS.values())
@given(st.data())
def test_every_event_survives_json(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(kind))
    text = json.dumps(to_json(event))
    assert from_json(json.loads(text)) == event


def test_an_event_is_equal_to_its_own_kind_only() -> None:
    alike = [kind for kind in EVENTS.values() if kind._fields == EVENTS["StepStarted"]._fields]
    for kind, other in permutations(alike, 2):
        event, lookalike = kind._make(kind._fields), other._make(kind._fields)
        assert event == kind._make(kind._fields)
        assert event != lookalike
        assert not event == lookalike  # noqa: SIM201  # __eq__ and __ne__ are two methods
        assert event != tuple(event)


def test_an_event_is_frozen() -> None:
    for kind in EVENTS.values():
        event = kind._make(kind._fields)
        for name in (*kind._fields, "more"):
            with pytest.raises(AttributeError):
                setattr(event, name, 1)


def test_there_are_nineteen_events() -> None:
    assert len(EVENTS) == 19


def test_an_event_is_a_flat_object_with_its_name() -> None:
    failed = EVENTS["StepFailed"](1.5, "a", 2, Failure("a", 2, "ValueError", "no"))  # type: ignore[call-arg, arg-type]  # whichever class it is, by its name
    assert to_json(failed) == {
        "type": "StepFailed",
        "at": 1.5,
        "step": "a",
        "attempt": 2,
        "error": {"step": "a", "attempt": 2, "type": "ValueError", "message": "no"},
    }


@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        7,
        "StepStarted",
        [],
        [["type"]],
        {},
        {"type": None},
        {"type": ["StepStarted"], "at": 0},
        {"type": "StepBegan", "at": 0, "step": "a", "attempt": 1},
        {"type": "Pause"},
        {"at": 0, "step": "a", "attempt": 1},
        {"type": "StepStarted", "at": 0, "step": "a"},
        {"type": "StepStarted", "at": 0, "step": "a", "attempt": 1, "more": 1},
        {"type": "StepFailed", "at": 0, "step": "a", "attempt": 1},
        {"type": "StepFailed", "at": 0, "step": "a", "attempt": 1, "error": "no"},
        {"type": "StepFailed", "at": 0, "step": "a", "attempt": 1, "error": {"step": "a"}},
        {"type": "StepFailed", "at": 0, "step": "a", "attempt": 1, "error": {1: 2}},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused(rubbish: Any) -> None:
    with pytest.raises(JournalError, match="the journal failed: not an event of a journal: "):
        from_json(rubbish)


def test_a_refusal_is_short_however_long_the_rubbish() -> None:
    with pytest.raises(JournalError) as refused:
        from_json({"type": "x" * 10_000})
    assert len(str(refused.value)) < 300


@given(st.recursive(values, lambda inner: st.fixed_dictionaries({"type": st.sampled_from(list(EVENTS))}) | inner))
def test_nothing_but_a_journal_error_comes_of_rubbish(rubbish: Any) -> None:
    with pytest.raises(JournalError):
        from_json(rubbish)


def test_reading_does_not_change_what_is_read() -> None:
    told = {"type": "RollbackStarted", "at": 0.0, "error": {"step": None, "attempt": None, "type": "E", "message": ""}}
    before = json.dumps(told)
    from_json(told)
    assert json.dumps(told) == before
