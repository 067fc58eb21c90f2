"""One job at a time on the device, each told its place and its time, and cancelled while it waits or computes.

Gradio's queue in front of this one bounds how many wait. It knows neither how large the images are, and so how long
they take, nor how to stop what is computed.
"""

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from torch.overrides import TorchFunctionMode

from refusion.system.threads import interruptible

Result = TypeVar("Result")

_TICK = 0.25
"""Seconds between two looks at a running job."""

_FIRST_GUESS = {"cpu": 4.0}
"""Seconds for a megapixel before the first job has shown it; any other device counts as a GPU."""

_GPU_GUESS = 1.0
_OTHER = 3.0
"""Seconds for scores and explanations."""

_OVERHEAD = 0.2


class CancelledError(Exception):
    """The visitor does not want the result any more."""


@dataclass(frozen=True)
class Tick:
    """How far a job is.

    Attributes:
        place: how many jobs are done before it; 0 once it computes.
        elapsed: seconds since it was handed in.
        left: seconds until it is done, as earlier jobs took; 0 once it takes longer than those.
    """

    place: int
    elapsed: float
    left: float


@dataclass(eq=False)
class _Job:
    expected: float
    handed_in: float = field(default_factory=time.monotonic)
    started: float | None = None

    @property
    def left(self) -> float:
        return max(0.0, self.expected - (time.monotonic() - self.started if self.started else 0.0))


class JobQueue:
    """Runs jobs one after the other in a thread of its own; waiting ones in the order in which they came.

    Args:
        device: where they compute, for the first guess of how long they take.
    """

    def __init__(self, device: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fusion")
        self._cancels: dict[str, set[threading.Event]] = {}
        self._line: list[_Job] = []
        self._lock = threading.Lock()
        self._seconds_per_megapixel = _FIRST_GUESS.get(device.partition(":")[0], _GPU_GUESS)

    def estimate(self, megapixels: float) -> float:
        """Seconds that fusing a pair of this size takes, as earlier pairs on this machine did."""
        return _OVERHEAD + megapixels * self._seconds_per_megapixel

    def estimate_with_line(self, megapixels: float) -> float:
        """The same with what waits and computes now."""
        with self._lock:
            return self.estimate(megapixels) + sum(job.left for job in self._line)

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
        megapixels: float | None = None,
        on_tick: Callable[[Tick], None] | None = None,
    ) -> Result:
        """Wait for the device, run a job on it and return its result.

        Args:
            session: whose job it is; `cancel` takes the same name.
            function: what to compute with torch.
            *args: its arguments.
            megapixels: how much is fused, to tell the time and to learn from it; something else is computed if None.
            on_tick: called about four times a second.

        Raises:
            CancelledError: `cancel` was called meanwhile.
        """
        cancelled = threading.Event()
        entry = _Job(_OTHER if megapixels is None else self.estimate(megapixels))

        def job() -> Result:
            entry.started = time.monotonic()
            with _StopOnceSet(cancelled), interruptible(partial(_end_if_set, cancelled)):
                return function(*args)

        with self._lock:
            self._cancels.setdefault(session, set()).add(cancelled)
            self._line.append(entry)
            # The context of the request goes along: progress and spaces.GPU look there for the visitor.
            future = self._thread.submit(contextvars.copy_context().run, job)
        try:
            while not wait([future], _TICK).done:
                if cancelled.is_set() and future.cancel():
                    raise CancelledError
                if on_tick is not None and not cancelled.is_set():
                    on_tick(self._tick(entry))
            result = future.result()
            if megapixels is not None and entry.started is not None:
                self.learn(megapixels, time.monotonic() - entry.started)
            return result
        finally:
            cancelled.set()
            with self._lock:
                self._line.remove(entry)
                self._cancels[session].discard(cancelled)
                if not self._cancels[session]:
                    del self._cancels[session]

    def _tick(self, entry: _Job) -> Tick:
        with self._lock:
            place = self._line.index(entry)
            left = sum(job.left for job in self._line[: place + 1])
        return Tick(place, time.monotonic() - entry.handed_in, left)

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
