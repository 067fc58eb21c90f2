"""Lines on a terminal, which names of files must not fake."""

from collections.abc import Sequence

import typer

from refusion.system.files import printable
from refusion.system.lists import listed

_NOTES_SHOWN = 10


def say(line: str, *, err: bool = False) -> None:
    """Print one line; line breaks and control characters in it, which come from names of files, are escaped.

    Args:
        line: the line.
        err: print to standard error.
    """
    typer.echo(printable(line), err=err)


def print_listed(title: str, lines: Sequence[str], shown: int) -> None:
    """Print a list to standard error, see `refusion.system.lists.listed`."""
    for line in listed(title, lines, shown):
        say(line, err=True)


def print_notes(notes: Sequence[str]) -> None:
    """Print the first notes to standard error, and how many more there are."""
    print_listed("Notes", notes, _NOTES_SHOWN)
