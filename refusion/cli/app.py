"""The `refusion` program: registers all commands."""

import atexit
import gc
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from refusion.cli.card import card
from refusion.cli.convert import convert
from refusion.cli.evaluate import evaluate
from refusion.cli.explain import explain
from refusion.cli.export import export
from refusion.cli.fuse import fuse
from refusion.cli.fuse_dataset import fuse_dataset
from refusion.cli.info import info
from refusion.cli.models import models
from refusion.cli.push import push
from refusion.cli.reproduce import reproduce
from refusion.cli.say import say
from refusion.cli.space import space
from refusion.cli.train import train
from refusion.system.errors import sentence_of
from refusion.system.extras import MissingExtraError
from refusion.system.output import keep_working_whoever_reads, leave_out_library_warnings
from refusion.version import __version__

_COLLECT_AFTER = 100_000
"""Number of new objects after which the garbage collector runs."""


class _Command(TyperCommand):
    """A command that says how several values of one option are given."""

    allow_extra_args = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            ValueError: there are more values than options and arguments take.
        """
        rest = super().parse_args(ctx, args)
        if ctx.args:
            repeated = [parameter.opts[0] for parameter in self.params if getattr(parameter, "multiple", False)]
            names = " or ".join(filter(None, (", ".join(repeated[:-1]), *repeated[-1:])))
            advice = f"to give several to {names}, repeat the option before each" if repeated else "leave it out"
            raise ValueError(
                f"{ctx.args[0]} is one value too many for {self.name}; {advice}. refusion {self.name} --help says what "
                "it takes."
            )
        return rest


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fuse registered images of one scene into one.",
)
for command in (fuse, fuse_dataset, evaluate, explain, convert, export, models, info, card, push, space, reproduce):
    app.command(cls=_Command)(command)


def main() -> None:
    """Run the command line; bad input and unusable paths print one sentence and exit with code 2."""
    # Importing torch creates many long-lived objects. Scanning all of them repeatedly during the import, and once more
    # at exit, takes half a second.
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(_skip_last_collection)
    keep_working_whoever_reads()
    leave_out_library_warnings()
    arguments = sys.argv[1:]
    if sys.platform == "win32":
        arguments = [os.path.expanduser(argument) for argument in arguments]  # noqa: PTH111 - not all are paths
    try:
        # Typer would expand patterns on Windows, also quoted ones that are meant for a command, such as --match.
        app(arguments, windows_expand_args=False)
    except (ValueError, OSError, MissingExtraError) as error:
        say(f"refusion: {sentence_of(error)}", err=True)
        raise SystemExit(2) from error
    except MemoryError as error:
        say(
            "refusion: Memory ran out; close other programs, raise the limit of this one (ulimit, container), or use "
            "smaller images.",
            err=True,
        )
        raise SystemExit(2) from error


def _skip_last_collection() -> None:
    # Triton reports each of its objects that is not collected as a leak.
    if "triton" not in sys.modules:
        gc.freeze()


# argparse reads the flags, --help among them.
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"refusion {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fuse registered images of one scene into one."""
