"""What stands on a step or a workflow besides the graph: action, parameters and policies (D4), read and judged (D3).

Rule 1: a reader takes a value and its place, notes what is wrong with it, and returns something of the right type.
Rule 2: nothing is converted that the writer did not write: a text is no number, a bool is no integer, 1 is no flag.
Rule 3: seconds are finite; a timeout of 0 means nothing and is refused, it never means "none".
"""

from collections.abc import Collection, Mapping

from engine.schemas import Schema, schema_problems
from engine.shapes import Faults, check_keys, present
from engine.values import Json
from engine.workflow import Compensation, Join, Retries

__all__ = ["read_action", "read_compensation", "read_count", "read_flag", "read_join", "read_parameters"]
__all__ += ["read_retries", "read_schema", "read_timeout"]

_NO_RETRIES = Retries()
_RETRIES_KEYS = frozenset({"max_attempts", "initial_interval", "backoff", "max_interval"})
_COMPENSATION_KEYS = frozenset({"action", "parameters", "timeout", "retries"})


def read_action(body: Mapping[str, Json], place: str, actions: Collection[str] | None, faults: Faults) -> str:
    """The name of an action, one of ``actions`` unless that is None."""
    action = body.get("action")
    if action is None:
        faults.add(f"{place}.action", "is missing")
    elif type(action) is not str or not action:
        faults.add(f"{place}.action", "must be a text that is not empty")
    elif actions is not None and action not in actions:
        faults.add(f"{place}.action", f"unknown action {action!r}")
    else:
        return action
    return ""


def read_parameters(body: Mapping[str, Json], place: str, faults: Faults) -> dict[str, Json]:
    """The parameters, an object; none without it."""
    parameters = body.get("parameters")
    if type(parameters) is dict:
        return parameters
    if parameters is not None:
        faults.add(f"{place}.parameters", "must be an object")
    return {}


def read_timeout(body: Mapping[str, Json], place: str, faults: Faults) -> float | None:
    """A timeout in seconds, or None without one (rule 3)."""
    timeout = body.get("timeout")
    if timeout is None:
        return None
    seconds = _number(timeout)
    if seconds is None or seconds <= 0:
        faults.add(_at(place, "timeout"), "must be a finite number of seconds greater than 0")
        return None
    return seconds


def read_retries(body: Mapping[str, Json], place: str, faults: Faults) -> Retries:
    """The retries: an object of ``max_attempts``, ``initial_interval``, ``backoff``, ``max_interval`` (D4)."""
    given = body.get("retries")
    if given is None:
        return _NO_RETRIES
    place = f"{place}.retries"
    if type(given) is not dict:
        faults.add(place, "must be an object")
        return _NO_RETRIES
    retries = present(given)
    check_keys(retries, place, _RETRIES_KEYS, faults)
    return Retries(
        read_count(retries, "max_attempts", place, faults) or _NO_RETRIES.max_attempts,
        _at_least(0, retries, "initial_interval", place, faults),
        _at_least(1, retries, "backoff", place, faults),
        _at_least(0, retries, "max_interval", place, faults),
    )


def read_count(body: Mapping[str, Json], key: str, place: str, faults: Faults) -> int | None:
    """An integer of at least 1, or None without one."""
    value = body.get(key)
    if value is None or (type(value) is int and value >= 1):
        return value
    faults.add(_at(place, key), "must be an integer of at least 1")
    return None


def read_flag(body: Mapping[str, Json], key: str, place: str, faults: Faults) -> bool:
    """True or false, and false without it."""
    value = body.get(key, False)
    if type(value) is bool:
        return value
    faults.add(_at(place, key), "must be true or false")
    return False


def read_join(body: Mapping[str, Json], place: str, faults: Faults) -> Join:
    """How many of the connections must be taken (O2)."""
    join = body.get("join", "all")
    if join == "any":
        return "any"
    if join != "all":
        faults.add(f"{place}.join", "must be 'all' or 'any'")
    return "all"


def read_schema(body: Mapping[str, Json], key: str, place: str, faults: Faults) -> Schema | None:
    """A JSON Schema, or None without one (V4)."""
    document = body.get(key)
    if document is None:
        return None
    problems = schema_problems(document)
    for path, problem in problems:
        faults.add(f"{place}.{key}{path}", problem)
    return None if problems else Schema.of(document)


def read_compensation(
    body: Mapping[str, Json], place: str, actions: Collection[str] | None, faults: Faults
) -> Compensation | None:
    """The action that undoes a step, or None without one (F4)."""
    given = body.get("compensation")
    if given is None:
        return None
    place = f"{place}.compensation"
    if type(given) is not dict:
        faults.add(place, "must be an object with an action")
        return None
    compensation = present(given)
    check_keys(compensation, place, _COMPENSATION_KEYS, faults)
    return Compensation(
        read_action(compensation, place, actions, faults),
        read_parameters(compensation, place, faults),
        read_timeout(compensation, place, faults),
        read_retries(compensation, place, faults),
    )


def _at_least(least: int, retries: Mapping[str, Json], key: str, place: str, faults: Faults) -> float:
    """A finite number of at least ``least``, or the default."""
    default: float = getattr(_NO_RETRIES, key)
    if (value := retries.get(key)) is None:
        return default
    number = _number(value)
    if number is None or number < least:
        faults.add(f"{place}.{key}", f"must be a finite number of at least {least}")
        return default
    return number


def _number(value: Json) -> float | None:
    """A number as a float, or None for what is no number; JSON values are finite, and none is too large."""
    return float(value) if type(value) is int or type(value) is float else None


def _at(place: str, key: str) -> str:
    """The place of a key; a workflow's own keys have no place before them."""
    return f"{place}.{key}" if place else key
