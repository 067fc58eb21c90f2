"""Processes of this machine that work side by side."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any, TypeVar

import psutil
from loky import ProcessPoolExecutor
from loky.backend import get_context
from loky.process_executor import BrokenProcessPool

Item = TypeVar("Item")
Result = TypeVar("Result")

# More threads than cores make everything slow.
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_work: Callable[[Any], Any] | None = None


def in_processes(works: Sequence[Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
    """Do one thing to many items in several processes, which end when this one does, however that ends.

    Args:
        works: what each of the processes does; all can be pickled.
        items: what it is done to.

    Yields:
        The results, as they come.

    Raises:
        ChildProcessError: a process was killed.
    """
    free = get_context("loky").SimpleQueue()
    for number in range(len(works)):
        free.put(number)
    pool = ProcessPoolExecutor(
        len(works), initializer=_begin, initargs=(list(works), free, os.getpid()), env=_ENVIRONMENT, timeout=None
    )
    try:
        for future in as_completed([pool.submit(_do, item) for item in items]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "A worker process was killed, perhaps for want of memory. What was written is kept, and the same command "
            "goes on; --workers asks for fewer processes."
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _begin(works: list[Callable[[Any], Any]], free: Any, parent: int) -> None:
    def end_with_parent() -> None:
        psutil.Process(parent).wait()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    global _work
    _work = works[free.get()]


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
