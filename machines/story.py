"""``lockstep story``: a saved case as a story that somebody understands who has never seen this harness.

Rule 1: the case is carried out again; what is told is what is seen now, and beside it what was recorded.
Rule 2: a file is written whole or not at all, at the path that was given and nowhere else; never through a link.
Rule 3: exit status 0 the story was told, whatever it is; 2 bad input, or a case that cannot be carried out.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from machines import files
from machines.bounds import OutOfTime, bounded, seconds_for_a_case
from machines.given import refuse, target_named

if TYPE_CHECKING:
    from machines.case import Case
    from machines.target import TargetFactory
    from machines.witness import Testimony

TOLD: Final = 0


@click.command()
@click.argument("path", metavar="CASE")
@click.option("--html", "page_out", metavar="FILE", help="Write it as a page that needs no network.")
@click.option("--pytest", "test_out", metavar="FILE", help="Write the case as a test that pytest runs.")
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the recorded one.")
@seconds_for_a_case
def story(*, path: str, page_out: str | None, test_out: str | None, target: str | None, seconds: float) -> int:
    """Tell the story of a saved case: in the terminal, as a page, or as a test.

    Exit status: 0 it was told, 2 bad input, or the case cannot be carried out.
    """
    from machines.case import CaseError, load, target_of  # noqa: PLC0415  # the other commands need none of this
    from machines.registry import load_target  # noqa: PLC0415  # as above

    named = None if target is None else target_named(target)
    for option, out in (("--html", page_out), ("--pytest", test_out)):
        if out is not None:
            check_file(option, out)
    try:
        case = load(Path(path))
        factory = target_of(case) if named is None else load_target(named)
    except CaseError as error:
        refuse(str(error) if str(error).startswith(path) else f"{path}: {error}")
    try:
        with bounded(seconds):
            _tell(path, _testimony(path, case, factory), page_out, test_out, named or case.target)
    except OutOfTime as error:
        refuse(path, error)
    return TOLD


def _tell(path: str, found: Testimony, page_out: str | None, test_out: str | None, target: str) -> None:
    if page_out is not None:
        from machines.story_page import page  # noqa: PLC0415  # see above

        write_whole("--html", page_out, page(found, Path(path).name))
        click.echo(f"wrote {page_out}: {found.told}")
    if test_out is not None:
        from machines.program_text import program_text  # noqa: PLC0415  # see above

        write_whole("--pytest", test_out, program_text(found, target))
        click.echo(f"wrote {test_out}: {found.told}; run it with: pytest {shlex.quote(test_out)}")
    if page_out is None and test_out is None:
        from machines.story_text import story as in_words  # noqa: PLC0415  # see above

        click.echo(in_words(found), nl=False)


def _testimony(path: str, case: Case, factory: TargetFactory) -> Testimony:
    from machines.witness import testify  # noqa: PLC0415  # see above

    try:
        return testify(case, factory)
    except Exception as error:  # noqa: BLE001  # the target is the user's code
        refuse(path, f"cannot be carried out: {type(error).__name__}: {error}")


# Files


def check_file(option: str, out: str) -> None:
    """Find out before the work begins whether a file can be written there."""
    path = Path(out)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except (OSError, ValueError) as error:
        refuse(f"{option} {out}", getattr(error, "strerror", None) or error)
    if not stat.S_ISREG(mode):
        refuse(f"{option} {out}", "is a directory" if stat.S_ISDIR(mode) else "is a link, or no file")
    if not path.parent.is_dir():
        refuse(f"{option} {out}", f"there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        refuse(f"{option} {out}", "cannot be written to")


def write_whole(option: str, out: str, text: str) -> None:
    """Write a file, all of it or nothing."""
    try:
        files.write_whole(Path(out), text)
    except OSError as error:
        refuse(f"{option} {out}", error.strerror)
