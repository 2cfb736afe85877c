"""What commands are given, and where they write: whatever is wrong is told before the work begins.

Rule 1: bad input is one line that names what was given and what is wrong with it; `machines.cli` says it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click

Json = Any

_LIFECYCLE: Final = "lifecycle"
"""The machine that takes a workflow."""


def refuse(*parts: object) -> NoReturn:
    """Refuse bad input."""
    raise click.UsageError(": ".join(map(str, parts)), click.get_current_context())


def workers_given(given: str) -> int:
    """How many processes are asked for."""
    if given == "all":
        return os.cpu_count() or 1
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= 4 * (os.cpu_count() or 1) + 12):
        refuse("--workers", f"must be all, or a sensible number of processes, not {given!r}")
    return int(given)


def machines_named(names: Sequence[str], workflow: str | None = None) -> tuple[str, ...]:
    """The machines by these names, each once; all of them without any."""
    from machines.registry import MACHINES  # noqa: PLC0415  # it imports Hypothesis

    if unknown := [name for name in names if name not in MACHINES]:
        refuse("--machine", f"there is no machine {', '.join(unknown)}; there is {', '.join(MACHINES)}")
    if workflow is not None:
        if any(name != _LIFECYCLE for name in names):
            refuse("--workflow", f"only the {_LIFECYCLE} machine takes a workflow")
        return (_LIFECYCLE,)
    return tuple(dict.fromkeys(names or MACHINES))


def target_named(name: str | None) -> str:
    """The target's name, once it is known to be one."""
    from machines.registry import BUILTIN, TargetError, load_target  # noqa: PLC0415  # it imports Hypothesis

    if name is None:
        return BUILTIN
    try:
        load_target(name)
    except TargetError as error:
        refuse("--target", error)
    return name


def directory_named(name: str) -> Path:
    """A folder that cases can be kept in."""
    path = Path(name)
    try:
        (path / "cases").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse("--dir", name, error.strerror)
    if not os.access(path / "cases", os.W_OK):
        refuse("--dir", name, "cannot be written to")
    return path


def check_out(out: str | None) -> None:
    """Find out before the work begins whether the report can be written."""
    if out is None:
        return
    path = Path(out)
    if path.is_dir():
        refuse(f"--json {out}", "is a directory")
    if not path.parent.is_dir():
        refuse(f"--json {out}", f"there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        refuse(f"--json {out}", "cannot be written to")


def write_out(out: str | None, report: Json) -> None:
    """Write a report as JSON."""
    if out is not None:
        try:
            Path(out).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            refuse(f"--json {out}", error.strerror)
