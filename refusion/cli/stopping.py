"""Runs that the user stops with Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STOPPED = 130
"""Exit code of a program that the user stops."""


@dataclass
class Stop:
    """Whether the user stopped the run."""

    asked: bool = False


@contextmanager
def until_stopped() -> Iterator[Stop]:
    """End the block where the user presses Ctrl-C, so that what was done and what failed can still be said."""
    stop = Stop()
    try:
        yield stop
    except KeyboardInterrupt:
        stop.asked = True
