"""Lines on a terminal, which names of files must not fake."""

import typer

from refusion.system.files import printable


def say(line: str, *, err: bool = False) -> None:
    """Print one line; line breaks and control characters in it, which come from names of files, are escaped.

    Args:
        line: the line.
        err: print to standard error.
    """
    typer.echo(printable(line), err=err)
