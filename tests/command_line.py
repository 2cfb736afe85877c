"""The command ``lockstep`` as its users meet it: as a process, or in this one."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from machines import cli

Answer: TypeAlias = tuple[int, str, str]
"""Exit status, stdout, stderr."""

ROOT: Final = Path(__file__).parent.parent
COMMAND: Final = (sys.executable, "-P", "-m", "machines.cli")
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": str(ROOT)}


def lockstep(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    command = (*COMMAND, *map(str, arguments))
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120, **options
    )


def called(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Answer:
    """The same command in this process."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code, *capsys.readouterr()


@contextmanager
def begun(*arguments: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """The real command, once it has said which execution it is at."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stderr is not None
            line = child.stderr.readline()
            assert ", execution " in line, line + child.stderr.read()
            yield child
        finally:
            child.kill()


def shown(*arguments: str | Path, cwd: Path) -> tuple[int, str]:
    """The real command on a terminal: exit status, and all the text that was ever on it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"},
        stdout=theirs,
        stderr=theirs,
    ) as child:
        os.close(theirs)
        found = b""
        try:
            while chunk := os.read(ours, 65536):
                found += chunk
        except OSError:
            pass  # Linux says so when the last one has closed the other end
        os.close(ours)
        return child.wait(60), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode())


def write(path: Path, *steps: dict[str, Any], **policies: Any) -> Path:
    """A workflow in a file."""
    path.write_text(json.dumps(workflow(*steps, **policies)), encoding="utf-8")
    return path


def workflow(*steps: dict[str, Any], **policies: Any) -> dict[str, Any]:
    return {"id": "w", "steps": list(steps), **policies}


def step(name: str, action: str = "echo", *after: str, **policies: Any) -> dict[str, Any]:
    return {"id": name, "action": action, "depends_on": list(after), **policies}


def outcome(path: Path) -> dict[str, Any]:
    """What ``--json`` wrote."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def journaled(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every execution's events, read by this process as SQLite has them."""
    found: dict[str, list[dict[str, Any]]] = {}
    with closing(sqlite3.connect(path)) as other:
        for execution, text in other.execute("SELECT execution, event FROM events ORDER BY execution, seq"):
            found.setdefault(execution, []).append(json.loads(text))
    return found
