"""One job at a time on the device, which can be cancelled while it computes."""

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from torch.overrides import TorchFunctionMode

from refusion.system.threads import interruptible

Result = TypeVar("Result")

_TICK = 0.25
"""Seconds between two looks at a running job."""

_FIRST_GUESS = {"cpu": 10.0}
"""Seconds for a megapixel before the first job has shown it; any other device counts as a GPU."""

_GPU_GUESS = 1.0
_OVERHEAD = 0.2


class CancelledError(Exception):
    """The visitor does not want the result any more."""


class JobQueue:
    """Runs jobs one after the other in a thread of its own; waiting ones in the order in which they came.

    Args:
        device: where they compute, for the first guess of how long they take.
    """

    def __init__(self, device: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fusion")
        self._cancels: dict[str, set[threading.Event]] = {}
        self._lock = threading.Lock()
        self._seconds_per_megapixel = _FIRST_GUESS.get(device.partition(":")[0], _GPU_GUESS)

    def estimate(self, megapixels: float) -> float:
        """Seconds that fusing a pair of this size takes, as earlier pairs on this machine did."""
        return _OVERHEAD + megapixels * self._seconds_per_megapixel

    def learn(self, megapixels: float, seconds: float) -> None:
        """Take the time that one pair took into account; small ones say little about large ones."""
        if megapixels >= 0.05:
            with self._lock:
                self._seconds_per_megapixel += 0.5 * (seconds / megapixels - self._seconds_per_megapixel)

    def run(
        self,
        session: str,
        function: Callable[..., Result],
        *args: Any,
        on_tick: Callable[[float], None] | None = None,
    ) -> Result:
        """Wait for the device, run a job on it and return its result.

        Args:
            session: whose job it is; `cancel` takes the same name.
            function: what to compute with torch.
            *args: its arguments.
            on_tick: called about four times a second with the seconds since the job began to compute.

        Raises:
            CancelledError: `cancel` was called meanwhile.
        """
        cancelled = threading.Event()
        started: list[float] = []

        def job() -> Result:
            started.append(time.monotonic())
            with _StopOnceSet(cancelled), interruptible(partial(_end_if_set, cancelled)):
                return function(*args)

        with self._lock:
            self._cancels.setdefault(session, set()).add(cancelled)
        try:
            # The context of the request goes along: progress and spaces.GPU look there for the visitor.
            future = self._thread.submit(contextvars.copy_context().run, job)
            while not wait([future], _TICK).done:
                if cancelled.is_set() and future.cancel():
                    raise CancelledError
                if on_tick is not None and not cancelled.is_set():
                    on_tick(time.monotonic() - started[0] if started else 0.0)
            return future.result()
        finally:
            cancelled.set()
            with self._lock:
                self._cancels[session].discard(cancelled)
                if not self._cancels[session]:
                    del self._cancels[session]

    def cancel(self, session: str) -> None:
        """Stop what a visitor has running or waiting here."""
        with self._lock:
            for cancelled in self._cancels.get(session, ()):
                cancelled.set()


class _StopOnceSet(TorchFunctionMode):
    """Ends a computation between two torch operations of its thread."""

    def __init__(self, cancelled: threading.Event) -> None:
        super().__init__()
        self._cancelled = cancelled

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        _end_if_set(self._cancelled)
        return func(*args, **(kwargs or {}))


def _end_if_set(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise CancelledError
