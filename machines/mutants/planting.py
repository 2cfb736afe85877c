"""How a bug is planted: the engine's own source with one place changed, run beside the clean one.

Rule 1: a mutant is data: what it says, and what it says instead. So it follows the engine as that is worked on, and an
edit whose place is gone is an error, never a mutant without a bug.
Rule 2: nothing clean is touched: the changed module, and those that import it, are run again as modules of their own,
which ``sys.modules`` never sees; all others are shared.
Rule 3: the happy path stays right wherever that is possible: a bug that breaks everything tests nothing.
"""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from machines.target import TargetFactory

ADAPTER: Final = "machines.targets.builtin"
"""What makes a target of the engine; an adapter may lie too."""
ON_A_FILE: Final = "machines.targets.sqlite"
"""The same for an engine whose journal is a file."""
BEHIND_A_SERVICE: Final = "machines.targets.service"
"""The same for an engine behind its service."""


class PlantingError(Exception):
    """A bug cannot be planted, because its place is not there any more, or there twice."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A place in the source of a module, and what stands there instead."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """Change the source.

        Raises:
            PlantingError: the place is not there, or not only once.
        """
        if (found := source.count(self.old)) != 1:
            message = f"{self.module} holds {self.old!r} {found} times, expected once"
            raise PlantingError(message)
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """An engine with one planted bug, and the invariant that has to catch it."""

    name: str
    invariant: str
    clause: str
    what: str
    """What the engine does wrong, in a sentence."""
    edits: tuple[Edit, ...]
    """One; more where the engine guards one promise in several places."""
    source: str = ""
    """The public report of the real bug that it is modelled on."""
    adapter: str = ADAPTER
    """The module that makes the target; its factory has the module's last name."""
    machines: tuple[str, ...] = ("lifecycle", "concurrency", "definitions")
    """Which search for it."""

    @property
    def clean(self) -> str:
        """The target without the bug, as people name it."""
        return f"{self.adapter}:{self._factory}"

    @property
    def _factory(self) -> str:
        return self.adapter.rpartition(".")[2]

    def plant(self) -> TargetFactory:
        """Make the factory of targets that have the bug.

        Raises:
            PlantingError: the engine has changed, and the mutant must follow.
        """
        factory: TargetFactory = getattr(_Planted(self.edits, self.name).load(self.adapter), self._factory)
        return factory


class _Planted:
    """Modules run again with some places changed."""

    def __init__(self, edits: Sequence[Edit], name: str) -> None:
        self._edits = edits
        self._edited = frozenset(edit.module for edit in edits)
        self._name = name
        self._modules: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def load(self, name: str) -> ModuleType:
        """Run a module, and all that it imports and that is changed."""
        if name in self._modules:
            return self._modules[name]
        source = source_of(name, self._edits)
        import_module(name)  # dataclasses look for the clean one
        file = file_of(name, self._name)
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        module = self._modules[name] = ModuleType(name)
        namespace: dict[str, Any] = vars(module)
        namespace["__builtins__"] = self._builtins
        exec(compile(source, file, "exec", dont_inherit=True), namespace)  # noqa: S102  # our own source
        return module

    def _import(
        self,
        name: str,
        globals_: Mapping[str, object] | None = None,
        locals_: Mapping[str, object] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if self._affected(name):
            return self.load(name)
        return builtins.__import__(name, globals_, locals_, wanted or (), level)

    def _affected(self, name: str) -> bool:
        """Whether a module is changed, or imports one that is."""
        return name in self._edited or any(map(self._affected, _imports(name)))


def file_of(module: str, mutant: str) -> str:
    """The file of a module that is run for a mutant, in brackets: coverage counts what the clean engine does."""
    return f"<{module} of {mutant}>"


def source_of(module: str, edits: Sequence[Edit]) -> str:
    """A module's source, changed as the edits say that are of it.

    Raises:
        PlantingError: the place of an edit is gone.
    """
    source = _source(module)
    for edit in edits:
        if edit.module == module:
            source = edit.apply(source)
    return source


@cache
def _source(name: str) -> str:
    spec = find_spec(name)
    assert spec is not None, name
    assert spec.origin is not None, name
    return Path(spec.origin).read_text(encoding="utf-8")


@cache
def _imports(name: str) -> frozenset[str]:
    """The modules of the engine that a module of ours imports when it is run."""
    if not _may_change(name):
        return frozenset()
    nodes = ast.parse(_source(name)).body
    return frozenset(
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and _may_change(node.module)
    )


def _may_change(name: str) -> bool:
    return name.startswith("engine.") or name in {ADAPTER, ON_A_FILE, BEHIND_A_SERVICE}
