"""Run functions in worker threads that the caller can interrupt."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, TypeVar

import psutil

T = TypeVar("T")

_TICK = 0.1
"""Seconds between two checks of the workers by the calling thread."""

_interruption: ContextVar[Callable[[], None] | None] = ContextVar("interruption", default=None)


@contextmanager
def interruptible(look: Callable[[], None]) -> Iterator[None]:
    """Make `side_by_side` and `interruption_point` check, a few times a second, whether to stop.

    Args:
        look: the check; raises an exception to stop the computation with it.
    """
    token = _interruption.set(look)
    try:
        yield
    finally:
        _interruption.reset(token)


def interruption_point() -> None:
    """Check whether to stop, in a computation of many short calls of `side_by_side`; see `interruptible`."""
    look = _interruption.get()
    if look is not None:
        look()


def cpu_threads() -> int:
    """Number of threads for a computation: that of torch, or what it would be if torch were imported."""
    torch = sys.modules.get("torch")
    # Another thread may be importing it right now.
    if torch is not None and hasattr(torch, "get_num_threads"):
        return torch.get_num_threads()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), cores) if wanted.isdecimal() and int(wanted) else cores


def side_by_side(functions: Sequence[Callable[[threading.Event], None]]) -> None:
    """Call each function in its own thread.

    Args:
        functions: each takes an event and returns soon after it is set, which means that another function failed or
            that the calling thread was interrupted.

    Raises:
        Exception: any exception of a function, or of the check given to `interruptible`.
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


def in_order(function: Callable[..., T], arguments: Iterable[tuple[Any, ...]]) -> Generator[T]:
    """Call a function with each tuple of arguments in `cpu_threads` threads, and yield the results in order.

    Arguments are taken in the calling thread, at most twice as many ahead as there are threads. torch uses one thread
    in each of them.

    Args:
        function: takes the items of one tuple; its exceptions are raised here and cancel the rest.
        arguments: tuples of arguments.
    """
    count = cpu_threads()
    if count == 1:
        yield from (function(*values) for values in arguments)
        return
    torch = sys.modules.get("torch")
    pool = ThreadPoolExecutor(count, "refusion", None if torch is None else partial(torch.set_num_threads, 1))
    waiting: deque[Future[T]] = deque()
    try:
        for values in arguments:
            waiting.append(pool.submit(function, *values))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        if torch is not None:
            # New threads use the number that was set last.
            torch.set_num_threads(count)


@cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """A thread pool that is kept for reuse; a forked process has its own."""
    return ThreadPoolExecutor(count, thread_name_prefix="refusion")


def _compute_alone() -> None:
    """Limit torch to one thread in a forked process: it would wait forever for the threads of its parent."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_alone)
