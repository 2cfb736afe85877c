"""For each distinct failure of a night one issue at GitHub, opened or added to, with the command `gh`.

Rule 1: a failure is known again by its fingerprint, a mark in the issue's text; its words may differ each time.
Rule 2: nothing of a case reaches a shell, and its story stands in a code block that it cannot end.
Rule 3: whatever `gh` refuses is told, and the others are still tried. Exit status 0 all are told, 1 not all, 2 bad
input.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click

from machines.case import Case, CaseError, load
from machines.fingerprint import fingerprint

Json = Any

TOLD: Final = 0
NOT_ALL: Final = 1
_TITLE: Final = 200
_STORY: Final = 30_000
_FENCE: Final = "`" * 12


class RefusedError(Exception):
    """`gh` did not do it."""


def mark_of(case: Case) -> str:
    """The word by which an issue is found again."""
    return f"lockstep-{hashlib.sha256(json.dumps(fingerprint(case)).encode()).hexdigest()[:16]}"


def title_of(case: Case) -> str:
    """Clause and sentence, on one line."""
    title = " ".join(f"{case.clause}: {case.sentence}".split())
    return title if len(title) <= _TITLE else f"{title[: _TITLE - 3]}..."


def body_of(case: Case, path: Path, count: int, story: str) -> str:
    """The story, and how to replay it."""
    story = story[:_STORY].replace(_FENCE, "")
    return "\n".join(
        (
            f"Found {count} time{'' if count == 1 else 's'} in one night, by the machine {case.machine}.",
            "",
            f"{_FENCE}text\n{story.rstrip()}\n{_FENCE}",
            "",
            "The case is in the night's artifact. Unpacked as `.lockstep/` in the clone's root, it is replayed by",
            "",
            f"    .venv/bin/lockstep replay {path}",
            "",
            f"<!-- {mark_of(case)} -->",
            "",
        )
    )


def tell(case: Case, path: Path, count: int) -> str:
    """Open an issue of a failure, or add to the one that is open; returns what was done.

    Raises:
        RefusedError: `gh` did not do it.
    """
    mark = mark_of(case)
    found = json.loads(_gh("issue", "list", "--state", "open", "--search", f"{mark} in:body", "--json", "number"))
    body = body_of(case, path, count, _story(path))
    if found:
        number = str(min(each["number"] for each in found))
        _gh("issue", "comment", number, "--body-file", "-", text=body)
        return f"added to #{number}: {title_of(case)}"
    _gh("issue", "create", "--title", title_of(case), "--body-file", "-", text=body)
    return f"opened: {title_of(case)}"


def _story(path: Path) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "machines.cli", "story", str(path)], capture_output=True, text=True, check=False
    )
    return told.stdout or told.stderr


def _gh(*arguments: str, text: str = "") -> str:
    command = shutil.which("gh")
    if command is None:
        message = "there is no command gh"
        raise RefusedError(message)
    answer = subprocess.run([command, *arguments], input=text, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RefusedError(" ".join(answer.stderr.split()) or f"exit status {answer.returncode}")
    return answer.stdout


@click.command()
@click.argument("report", metavar="REPORT")
def telling(*, report: str) -> int:
    """Open or update an issue for each failure in REPORT, which `lockstep fuzz --json` wrote."""
    try:
        found = json.loads(Path(report).read_text(encoding="utf-8"))["failures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{report} is no report: {type(error).__name__}: {error}"
        raise click.UsageError(message) from error
    status = TOLD
    for each in found:
        try:
            path = Path(each["path"] or "(no case was kept)")
            click.echo(tell(load(path), path, each["count"]))
        except (CaseError, RefusedError) as error:
            status = NOT_ALL
            click.echo(f"not told: {each['clause']}: {each['sentence']}: {error}", err=True)
    return status


def main() -> None:
    """Carry out the command line."""
    try:
        sys.exit(telling.main(prog_name="machines.telling", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"machines.telling: {error.format_message()}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
