"""The `refusion` program: its commands put together."""

import atexit
import gc

import typer

from refusion.commands.card import card
from refusion.commands.convert import convert
from refusion.commands.evaluate import evaluate
from refusion.commands.explain import explain
from refusion.commands.export import export
from refusion.commands.fuse import fuse
from refusion.commands.fuse_dataset import fuse_dataset
from refusion.commands.info import info
from refusion.commands.models import models
from refusion.commands.push import push
from refusion.commands.reproduce import reproduce
from refusion.commands.space import space

_COLLECT_AFTER = 100_000
"""New objects after which Python looks for garbage."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fuse registered pictures of one scene into one.",
)
for command in (fuse, fuse_dataset, evaluate, explain, convert, export, models, info, card, push, space, reproduce):
    app.command()(command)


def main() -> None:
    """Run the command line; bad input and paths that cannot be used are one sentence, exit code 2."""
    # Importing torch makes many objects that stay. Looking through all of them again and again meanwhile, and once more
    # at the end, takes half a second.
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"refusion: {error}", err=True)
        raise SystemExit(2) from error


@app.callback()
def _root() -> None:
    """Fuse registered pictures of one scene into one."""
