"""Run a function on many items in several processes of this machine."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any, TypeVar

import psutil
from loky import ProcessPoolExecutor
from loky.backend import get_context
from loky.process_executor import BrokenProcessPool

from refusion.system.output import leave_out_library_warnings

Item = TypeVar("Item")
Result = TypeVar("Result")

# More threads than cores make everything slow.
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# loky replaces a worker that has grown by this many bytes since its first item. Its own default, 3e8, is less than some
# libraries take that are imported later.
_GROWTH = "LOKY_MAX_MEMORY_LEAK_SIZE"
_MAX_GROWTH = "2e9"

_work: Callable[[Any], Any] | None = None


def in_processes(works: Sequence[Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
    """Process items in several worker processes, which end when this process ends, even if it is killed.

    Args:
        works: one function for each worker process; they must be picklable. A worker that has grown by more than 2 GB,
            or by LOKY_MAX_MEMORY_LEAK_SIZE bytes, is replaced by a new one with the same function.
        items: their arguments.

    Yields:
        The results, in the order of completion.

    Raises:
        ChildProcessError: a worker process was killed.
    """
    holders = get_context("loky").SimpleQueue()
    holders.put([0] * len(works))
    pool = ProcessPoolExecutor(
        len(works),
        initializer=_begin,
        initargs=(list(works), holders, os.getpid()),
        env={**_ENVIRONMENT, _GROWTH: os.environ.get(_GROWTH, _MAX_GROWTH)},
        timeout=None,
    )
    try:
        for future in as_completed([pool.submit(_do, item) for item in items]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "A worker process was killed, perhaps because memory ran out. Finished results are kept: run the same "
            "command again to resume, with fewer --workers."
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _begin(works: list[Callable[[Any], Any]], holders: Any, parent: int) -> None:
    def end_with_parent() -> None:
        psutil.Process(parent).wait()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    leave_out_library_warnings()
    global _work
    # Whoever has the list of processes from the queue is alone with it.
    pids = holders.get()
    number = _without_process(pids)
    pids[number] = os.getpid()
    holders.put(pids)
    _work = works[number]


def _without_process(pids: list[int]) -> int:
    """Index of a function that no living process has; 0, which is not a worker's, stands for none yet."""
    return next((index for index, pid in enumerate(pids) if not pid or not psutil.pid_exists(pid)), 0)


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
