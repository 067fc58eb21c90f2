"""Progress on standard error: a bar on a terminal, otherwise a line from time to time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from refusion.cli.say import say

LINE_SECONDS = 30
"""Seconds between two lines if standard error is not a terminal."""


@contextmanager
def progress_bar(what: str, *, unit: str | None = None, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar that is full at the end if the block succeeds.

    Args:
        what: description of the work.
        unit: what is counted, such as ``pairs``; if given, the number per second is shown, too.
        quiet: show nothing.

    Yields:
        A function that takes the number done and the total, 0 if unknown.
    """
    if quiet:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    rate = _rate(unit)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, rate)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None, rate="")
        yield lambda done, total: bar.update(task, completed=done, total=total or None, rate=rate(done))
        done = bar.tasks[task].completed
        bar.update(task, total=max(done, 1), completed=max(done, 1))


def _rate(unit: str | None) -> Callable[[int], str]:
    start = time.monotonic()
    return lambda done: f"{done / max(time.monotonic() - start, 1e-9):.2f} {unit}/s" if unit else ""


def _lines(what: str, rate: Callable[[int], str]) -> Callable[[int, int], None]:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            speed = f", {said}" if (said := rate(done)) else ""
            say(f"{what}: {done}{f' of {total}' if total else ''} done{speed}", err=True)

    return report


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner and the elapsed time while the block runs, on a terminal.

    Args:
        what: description of the work.
        quiet: show nothing.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(what, total=None)
        yield
