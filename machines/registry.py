"""The machines and the targets, by the names that people type.

Rule 1: a machine is one line of ``MACHINES``.
Rule 2: a target that cannot be had is one sentence that says why, never a traceback: whose code it is, its user knows.
Rule 3: to name a target is to run its code. People may name any; what a file names is only ours or nobody's.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from machines.concurrency import ConcurrencyMachine
from machines.definitions import DefinitionMachine
from machines.lifecycle import LifecycleMachine, WorldMachine
from machines.recovery import RecoveryMachine
from machines.service import ServiceMachine
from machines.target import Target, TargetFactory
from machines.targets.builtin import builtin

MACHINES: Final[Mapping[str, type[WorldMachine]]] = {
    "lifecycle": LifecycleMachine,
    "concurrency": ConcurrencyMachine,
    "definitions": DefinitionMachine,
    "recovery": RecoveryMachine,
    "service": ServiceMachine,
}

FORMERLY: Final[Mapping[str, str]] = {}
"""Names that machines had once, and what they are called now."""

BUILTIN: Final = "builtin"
_OURS: Final = (
    BUILTIN,
    "machines.targets.builtin:builtin",
    "machines.targets.naive:naive",
    "machines.targets.service:service",
    "machines.targets.sqlite:sqlite",
)


def target_of_machine(machine: str, target: str) -> str:
    """The target that a machine drives when people have named this one: the built-in engine has several homes."""
    return MACHINES[machine].home if target == BUILTIN else target


def is_ours(target: str) -> bool:
    """Whether a target comes with Lockstep: an engine, or one with a planted bug."""
    return target in _OURS or is_planted(target)


def is_planted(target: str) -> bool:
    """Whether it is an engine with a planted bug."""
    from machines.mutants import MUTANTS, target_name  # noqa: PLC0415  # nothing else here needs the bugs

    return any(target == target_name(mutant) for mutant in MUTANTS.values())


_PARTS: Final = [name for name, part in inspect.getmembers(Target, inspect.isfunction) if not name.startswith("_")]


class TargetError(Exception):
    """There is no such target, or it is none."""


def _refuse(message: str) -> NoReturn:
    raise TargetError(message) from None


def load_target(name: str) -> TargetFactory:
    """Find the factory that ``MODULE:FACTORY`` names (the current directory is searched first), or the built-in one.

    Raises:
        TargetError: it cannot be had, and why.
    """
    if name == BUILTIN:
        return builtin
    module_name, colon, path = name.partition(":")
    if not (colon and _dotted(module_name) and _dotted(path)):
        _refuse(f"a target is {BUILTIN} or MODULE:FACTORY, not {name!r}")
    factory = _import(module_name)
    for part in path.split("."):
        try:
            factory = getattr(factory, part)
        except AttributeError:
            _refuse(f"target {name}: the module {module_name} has no {path}")
    if not callable(factory):
        _refuse(f"target {name}: {path} is of type {type(factory).__name__}, and cannot be called")
    try:
        made = factory()
    except Exception as error:  # noqa: BLE001  # it is the user's code
        _refuse(f"target {name}: calling {path} raised {_told(error)}")
    if lacking := [part for part in _PARTS if not callable(getattr(made, part, None))]:
        _refuse(f"target {name}: what {path} makes is no target, it lacks {', '.join(lacking)}")
    return factory  # type: ignore[no-any-return]  # it has been looked at


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _import(name: str) -> Any:  # noqa: ANN401  # a module is whatever it holds
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            _refuse(f"there is no module {error.name} (searched in {here} too)")
        _refuse(f"importing {name} raised {_told(error)}")
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the user's code
        _refuse(f"importing {name} raised {_told(error)}")


def _told(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
