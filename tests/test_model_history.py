"""One history has one text and one digest."""

from __future__ import annotations

import json

from model.history import digest, to_json
from tests.histories import History, step, workflow


def told(output: object) -> History:
    h = History()
    h.start(workflow(step("a")), {"x": [1, None]})
    h.run("a")
    h.finish("a", output)
    h.ended_as("COMPLETED")
    h.store_failed()
    h.come_back()
    h.rest()
    h.close()
    return h


def test_equal_histories_have_one_digest_and_others_have_others() -> None:
    assert digest(told({"b": 1, "a": 2}).entries) == digest(told({"a": 2, "b": 1}).entries)
    assert digest(told(1).entries) != digest(told(2).entries)
    assert (
        len({digest(told(1).entries[:length]) for length in range(len(told(1).entries) + 1)})
        == len(told(1).entries) + 1
    )


def test_an_entry_is_a_json_object() -> None:
    for entry in told(None).entries:
        shown = to_json(entry)
        assert shown["entry"] == type(entry).__name__
        assert json.loads(json.dumps(shown)) == shown | ({"tasks": [], "errors": []} if "tasks" in shown else {})
