"""A picture cut into bands of rows, one for each CPU thread.

torch divides every operation among its threads, so that what one core writes another reads; for maps as small as those
of strips, that takes more time than it saves. Here each thread takes a band of its own through all the layers.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

HALO = 4
"""Rows beyond its own that a band holds at an inner border: as many as 3 x 3 convolutions follow each other between two
exchanges of what the bands hold."""

LEAST_ROWS = 32
"""Rows of a band at least: of fewer, the halo is too large a part."""

_TICK = 0.1
"""Seconds between two looks of the calling thread at its work."""


@dataclass(frozen=True)
class Band:
    """Rows of the picture that one thread works on.

    Attributes:
        start: first row of the picture that it holds.
        stop: the row after its last one.
        own: which of the rows that it holds are its own; the others are the halo.
    """

    start: int
    stop: int
    own: slice

    @property
    def height(self) -> int:
        """How many rows it holds."""
        return self.stop - self.start

    def owned(self, rows: slice) -> tuple[slice, slice]:
        """Which of some rows that it holds are its own: their places among the rows, and in the whole picture."""
        first, last = max(rows.start, self.own.start), min(rows.stop, self.own.stop)
        last = max(first, last)
        return slice(first - rows.start, last - rows.start), slice(first + self.start, last + self.start)


def bands_for(height: int, device: torch.device) -> int:
    """How many bands suit the machine: one for each of torch's threads, as far as the rows suffice."""
    return max(1, min(torch.get_num_threads(), height // LEAST_ROWS)) if device.type == "cpu" else 1


def cut(height: int, count: int) -> list[Band]:
    """Cut a picture of some rows into bands of nearly the same height.

    Raises:
        ValueError: a band would be smaller than its halo.
    """
    if count < 1 or height // count < min(HALO, height):
        raise ValueError(f"A picture of {height} rows cannot be cut into {count} bands of at least {HALO} rows.")
    edges = [height * i // count for i in range(count + 1)]
    bands = []
    for first, last in pairwise(edges):
        start, stop = max(0, first - HALO), min(height, last + HALO)
        bands.append(Band(start, stop, slice(first - start, last - start)))
    return bands


def exchange(bands: Sequence[Band], maps: Sequence[Tensor]) -> None:
    """Give every band the rows of its halo from those that own them.

    Args:
        bands: the bands of a picture.
        maps: what each of them holds, (rows, ...).
    """
    for i in range(len(bands) - 1):
        upper, lower = maps[i], maps[i + 1]
        border = bands[i].own.stop
        upper[border:] = lower[HALO : 2 * HALO]
        lower[:HALO] = upper[border - HALO : border]


def side_by_side(functions: Sequence[Callable[[threading.Event], None]]) -> None:
    """Call functions, each in a thread in which torch's operations are not divided among threads.

    A single one is called in the calling thread, as it is.

    Args:
        functions: each takes an event, and ends soon after it is set: another one has failed, or the calling thread
            was interrupted.

    Raises:
        Exception: what a function raised.
    """
    stop = threading.Event()
    if len(functions) == 1:
        functions[0](stop)
        return
    pool = _threads(len(functions), os.getpid())
    futures = [pool.submit(_without_gradients, function, stop) for function in functions]
    try:
        while (state := wait(futures, _TICK, FIRST_EXCEPTION)).not_done:
            if any(future.exception() for future in state.done):
                break
            # Whoever ends a computation between two operations of its thread finds one here.
            torch.empty(0)
    finally:
        stop.set()
        wait(futures)
    for future in futures:
        future.result()


def _without_gradients(function: Callable[[threading.Event], None], stop: threading.Event) -> None:
    with torch.inference_mode():
        function(stop)


@cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay; a forked process has its own."""
    # A thread's setting is its own, but threads that torch has not seen yet get the last one made: so might this one.
    of_caller = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, thread_name_prefix="refusion-band")
    everyone = threading.Barrier(count)

    def begin() -> None:
        torch.set_num_threads(1)
        everyone.wait()

    for future in [pool.submit(begin) for _ in range(count)]:
        future.result()
    torch.set_num_threads(of_caller)
    return pool
