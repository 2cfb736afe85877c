"""Runs tests with a module of ours edited, in a process that has imported none of ours yet.

Rule 1: it reads a list of [name, module, old, new, tests] from stdin and writes by name what passed and what failed.
Rule 2: what is slow to import is imported once; each edit has a fork of its own, so none sees another.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import hypothesis.stateful  # noqa: F401  # slow (rule 2)
import jsonschema  # noqa: F401  # as above
import networkx as nx  # noqa: F401  # as above
import pytest


class Edited(importlib.machinery.SourceFileLoader):
    """Loads a module with one place changed."""

    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self.old, self.new = old, new

    def get_code(self, fullname: str) -> CodeType:
        """The code of the changed source; nothing is cached."""
        source = Path(self.path).read_text(encoding="utf-8")
        assert source.count(self.old) == 1, f"{fullname} holds {self.old!r} {source.count(self.old)} times"
        return compile(source.replace(self.old, self.new), self.path, "exec", dont_inherit=True)


class Edit(importlib.abc.MetaPathFinder):
    """Finds one module, changed; and as a plugin of pytest, what becomes of the tests."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self.module, self.old, self.new = module, old, new
        self.outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": [], "broken": []}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Where the module is."""
        if fullname != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        return importlib.util.spec_from_loader(fullname, Edited(fullname, spec.origin, self.old, self.new))

    def pytest_configure(self) -> None:
        """Come before pytest's own finder."""
        assert self.module not in sys.modules
        sys.meta_path.insert(0, self)

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be read says nothing of its tests."""
        if report.failed:
            self.outcomes["broken"].append(report.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test has run, or could not be set up."""
        if report.when == "call":
            self.outcomes[report.outcome].append(report.nodeid)
        elif report.failed:
            self.outcomes["broken"].append(report.nodeid)


def attempt(module: str, old: str, new: str, tests: Sequence[str]) -> dict[str, list[str]]:
    """Run some tests with an edit."""
    edit = Edit(module, old, new)
    # Warnings: Hypothesis is there already (rule 2), and what a blind checker leaves behind is not our trouble.
    pytest.main(["-q", "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist", *tests], plugins=[edit])
    return edit.outcomes


def forked(module: str, old: str, new: str, tests: Sequence[str]) -> dict[str, list[str]]:
    """The same in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        said = attempt(module, old, new, tests)
        with os.fdopen(write, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, list[str]] = json.loads(text) if text else {"broken": list(tests)}
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    asked = json.load(sys.stdin)
    json.dump({name: forked(*rest) for name, *rest in asked}, sys.stdout)
