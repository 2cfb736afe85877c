"""The command ``lockstep``: one word per task.

Rule 1: bad input of any kind is answered by one line on stderr, which says what and where, and by exit status 2.
Rule 2: a command is a ``click.Command`` in a module of its own. It returns its exit status (None is 0), and raises a
``click.ClickException`` for bad input; this file makes the line of it.
Rule 3: Ctrl-C that a command does not take up itself is exit status 130, and one line.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NoReturn

import click

from machines.bugs import bugs
from machines.canary import canary
from machines.course import one_line
from machines.crashes import crashes
from machines.exploring import explore
from machines.fuzzing import fuzz
from machines.journals import journal
from machines.keeping import cases
from machines.recovering import recover
from machines.replaying import reach, replay
from machines.running import run
from machines.runs import merge
from machines.serving import serve
from machines.steering import drive
from machines.story import story

__all__ = ["COMMANDS", "lockstep", "main"]

COMMANDS: Final[tuple[click.Command, ...]] = (
    *(run, recover, journal, serve),
    *(fuzz, merge, drive, explore, replay, story, cases),
    *(reach, crashes, canary, bugs),
)

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130


class _Commands(click.Group):
    """The group; what click would do in several lines, or too late, is done here."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's signature
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()  # a reader that has gone is click's to handle, as long as we are in here
        except KeyboardInterrupt:
            _say(ctx, "interrupted")
            ctx.exit(INTERRUPTED)
        except click.ClickException as error:
            _say(getattr(error, "ctx", None) or ctx, error.format_message())
            ctx.exit(BAD_INPUT)
        return status


def _say(ctx: click.Context | None, message: str) -> None:
    """The line that a refused command leaves."""
    place = "lockstep" if ctx is None else " ".join(filter(None, (ctx.command_path, ctx.invoked_subcommand)))
    click.echo(one_line(f"{place}: {message}"), err=True)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  # click's signature
    if wanted:
        try:
            found = version("workflow-lockstep")
        except PackageNotFoundError:
            found = "(not installed)"
        click.echo(f"lockstep {found}")
        ctx.exit()


@click.group(
    cls=_Commands,
    commands={command.name: command for command in COMMANDS if command.name},
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Say which it is."
)
def lockstep() -> None:
    """Run workflows, and find out whether a workflow engine keeps its contract."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command line and exit."""
    try:
        status = lockstep.main(arguments, prog_name="lockstep", standalone_mode=False)
    except click.ClickException as error:
        _say(None, error.format_message())
        status = BAD_INPUT
    except click.Abort:
        _say(None, "interrupted")
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
