"""The project installs from its lock, its command answers, and its tools agree with its walls."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def stated() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]


def locked(name: str) -> list[str]:
    """Every version that the lock has of a package: more than one where the Python decides."""
    return [
        version
        for package, version in re.findall(r"^([\w.-]+)==([^ ]+)", LOCK, flags=re.MULTILINE)
        if canonicalize_name(package) == canonicalize_name(name)
    ]


def test_the_command_answers() -> None:
    answer = run(SCRIPTS / "lockstep", "--help")
    assert answer.returncode == 0, answer.stderr
    assert "fuzz" in answer.stdout


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (\w+)$", makefile, flags=re.MULTILINE)
    answer = run("make", "help")
    listed = re.findall(r"^  make (\w+) +\S", answer.stdout, flags=re.MULTILINE)
    assert answer.returncode == 0, answer.stderr
    assert targets
    assert listed == targets


@pytest.mark.parametrize("dependency", stated())
def test_the_lock_covers(dependency: str) -> None:
    requirement = Requirement(dependency)
    versions = locked(requirement.name)
    assert versions, "run `make lock`"
    assert all(requirement.specifier.contains(version) for version in versions), "run `make lock`"


def test_a_group_of_tests_stays_in_one_process(tmp_path: Path) -> None:
    marks = "@pytest.mark.xdist_group('one')\n@pytest.mark.parametrize('n', range(4))"
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(f"import pytest\n{marks}\ndef test(n): pass\n", encoding="utf-8")
    alone = f"-p no:cacheprovider -c /dev/null --rootdir {tmp_path} --numprocesses 2 --dist loadgroup"
    answer = run(sys.executable, "-m", "pytest", "-v", *alone.split(), tmp_path)
    ran = re.findall(r"^\[(gw\d)\].* PASSED ", answer.stdout, flags=re.MULTILINE)
    assert len(ran) == 8, answer.stdout + answer.stderr
    assert len(set(ran)) == 1, "two browsers, or two clusters, would share what a machine has"


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_host() -> None:
    options = [line for line in LOCK.splitlines() if line.startswith("-") or "://" in line]
    assert options == []


def test_the_walls_stand() -> None:
    answer = run(SCRIPTS / "lint-imports", "--no-cache")
    assert answer.returncode == 0, answer.stdout + answer.stderr
