"""The Pythons of this machine, and an environment for each of them.

Rule 1: every CPython from ``OLDEST`` up that answers is found: on the PATH, and where pyenv, uv and CI keep
theirs; each version once. A virtual environment counts as the Python that it was made of; builds without a GIL are
left out.
Rule 2: an environment holds what requirements.lock says, checked by its hashes, and nothing else. Its stamp is written
last and is the lock itself: one that is half built, or of another lock, is built anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OLDEST: Final = (3, 11)
_PROBE: Final = """
import json, platform, sys, sysconfig
print(json.dumps([
    platform.python_implementation(), sys.version_info[:2], platform.python_version(),
    getattr(sys, "_base_executable", sys.executable), bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
]))
"""
_ANSWER: Final = 30.0
"""Seconds that a Python has to say which one it is."""
_FOLDERS: Final = (
    ("PYENV_ROOT", "~/.pyenv", "versions/*/bin/python3"),
    ("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python", "*/bin/python3"),
    ("AGENT_TOOLSDIRECTORY", "/opt/hostedtoolcache", "Python/*/*/bin/python3"),
)
"""Where others keep their Pythons: a variable that names the folder, the folder without it, the Pythons in there."""


class EnvironmentTrouble(Exception):  # noqa: N818  # the name of what happened
    """An environment cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that answered."""

    version: str
    path: Path


def interpreters(given: Collection[Path] = ()) -> list[Interpreter]:
    """The Pythons at these places, or (without any) all that are found, the oldest first."""
    answers = filter(None, map(_asked, given or _places()))
    found = {each.version: each for each in reversed(list(answers))}
    return sorted(found.values(), key=lambda each: [int(part) for part in each.version.split(".") if part.isdecimal()])


def _places() -> Iterator[Path]:
    for folder in os.get_exec_path():
        for name in ("python3", "python3.[0-9]", "python3.[0-9][0-9]"):
            yield from sorted(Path(folder).glob(name))
    for variable, folder, pattern in _FOLDERS:
        yield from sorted(Path(os.environ.get(variable, folder)).expanduser().glob(pattern))


def _asked(path: Path) -> Interpreter | None:
    """Ask a Python which one it is; one that is none of ours, or does not answer, is nobody."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", _PROBE], capture_output=True, text=True, check=True, timeout=_ANSWER
        ).stdout
        implementation, number, version, base, free = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if implementation != "CPython" or tuple(number) < OLDEST or free:
        return None
    return Interpreter(version, Path(base))


def environment(interpreter: Interpreter, folder: Path, lock: Path) -> Path:
    """The Python of an environment that holds what the lock says, built if need be; for this very version, our own.

    Raises:
        EnvironmentTrouble: it cannot be built.
    """
    if interpreter.version == sys.version.split()[0]:
        return Path(sys.executable)
    place = folder / f"python-{interpreter.version}"
    python, stamp = place / "bin" / "python", place / ".installed"
    wanted = lock.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and _asked(python) is not None:
        return python
    _carry_out([interpreter.path, "-m", "venv", "--clear", place])
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--require-hashes",
    ]
    _carry_out([*pip, "--requirement", lock])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _carry_out(command: list[str | Path]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, env=_plain(os.environ))
    except (OSError, subprocess.SubprocessError) as error:
        told = f"{getattr(error, 'stderr', '')}{getattr(error, 'stdout', '')}".strip() or str(error)
        message = f"{command[0]} {command[2]}: {told.splitlines()[-1]}"
        raise EnvironmentTrouble(message) from None


def _plain(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what would lead one Python to the modules of another."""
    return {name: value for name, value in variables.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
