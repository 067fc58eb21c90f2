"""Threads of ours that work side by side, and can be interrupted."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import psutil

_TICK = 0.1
"""Seconds between two looks of the calling thread at its work."""

_interruption: ContextVar[Callable[[], None] | None] = ContextVar("interruption", default=None)


@contextmanager
def interruptible(look: Callable[[], None]) -> Iterator[None]:
    """Have `side_by_side` and `interruption_point` look, a few times a second, whether it is to go on.

    Args:
        look: raises what the computation is to end with.
    """
    token = _interruption.set(look)
    try:
        yield
    finally:
        _interruption.reset(token)


def interruption_point() -> None:
    """Look whether to go on, for a computation of many short calls of `side_by_side`; see `interruptible`."""
    look = _interruption.get()
    if look is not None:
        look()


def cpu_threads() -> int:
    """Threads that a computation takes: as many as torch's, or would be if it were imported."""
    torch = sys.modules.get("torch")
    # Another thread may just be importing it.
    if torch is not None and hasattr(torch, "get_num_threads"):
        return torch.get_num_threads()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), cores) if wanted.isdecimal() and int(wanted) else cores


def side_by_side(functions: Sequence[Callable[[threading.Event], None]]) -> None:
    """Call functions, each in a thread of its own.

    Args:
        functions: each takes an event, and ends soon after it is set: another one has failed, or the calling thread
            was interrupted.

    Raises:
        Exception: what a function raised, or what was given to `interruptible`.
    """
    stop, look = threading.Event(), _interruption.get()
    pool = _threads(len(functions), os.getpid())
    futures = [pool.submit(function, stop) for function in functions]
    try:
        while (state := wait(futures, _TICK, FIRST_EXCEPTION)).not_done:
            if any(future.exception() for future in state.done):
                break
            if look is not None:
                look()
    finally:
        stop.set()
        wait(futures)
    for future in futures:
        future.result()


@cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay; a forked process has its own."""
    return ThreadPoolExecutor(count, thread_name_prefix="refusion")


def _compute_alone() -> None:
    """Let torch use one thread in a forked process: it would wait for its parent's forever."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_alone)
