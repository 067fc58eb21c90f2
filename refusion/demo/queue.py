"""Job queue: one job at a time on the device, with progress, and cancellation while a job waits or computes.

Gradio's queue in front of this one limits how many requests wait. It knows neither the size of the images, and thus
how long they take, nor how to stop a computation.
"""

import contextvars
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from torch.overrides import TorchFunctionMode

from refusion.system.threads import interruptible

Result = TypeVar("Result")

Kind = Literal["pair", "stack"]
"""What a job fuses; a stack takes another time per megapixel than a pair."""

_TICK = 0.25
"""Seconds between two progress reports of a job."""

_FIRST_GUESS = {"cpu": 4.0}
"""Seconds per megapixel assumed until the first job has been timed; any other device counts as a GPU."""

_GPU_GUESS = 1.0
_OTHER = 3.0
"""Seconds assumed for scores and explanations."""

_OVERHEAD = 0.2

_TIMED = 5
"""How many of the last jobs of a kind its estimate is made from: their median, as one may have been slowed down."""


class CancelledError(Exception):
    """The visitor cancelled the job."""


@dataclass(frozen=True)
class Tick:
    """Progress of a job.

    Attributes:
        place: how many jobs are ahead of it; 0 once it computes.
        elapsed: seconds since it was submitted.
        left: estimated seconds until it is done, from the time of earlier jobs; 0 once it takes longer than those.
    """

    place: int
    elapsed: float
    left: float


@dataclass(eq=False)
class _Job:
    expected: float
    cancelled: threading.Event = field(default_factory=threading.Event)
    handed_in: float = field(default_factory=time.monotonic)
    started: float | None = None

    @property
    def left(self) -> float:
        return max(0.0, self.expected - (time.monotonic() - self.started if self.started else 0.0))


class JobQueue:
    """Runs jobs one after the other in a thread of its own, first come, first served.

    Args:
        device: device of the jobs, for the first estimate of their time.
    """

    def __init__(self, device: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fusion")
        self._cancels: dict[str, set[threading.Event]] = {}
        self._line: list[_Job] = []
        self._lock = threading.Lock()
        guess = _FIRST_GUESS.get(device.partition(":")[0], _GPU_GUESS)
        self._rates: dict[Kind, deque[float]] = defaultdict(lambda: deque([guess], maxlen=_TIMED))

    def estimate(self, megapixels: float, kind: Kind = "pair") -> float:
        """Estimated seconds for a fusion of this size, from the time of earlier ones of its kind on this machine.

        Args:
            megapixels: size of a source, for a stack times one less than the number of sources.
            kind: what is fused.
        """
        with self._lock:
            return _OVERHEAD + megapixels * statistics.median_low(self._rates[kind])

    def wait(self) -> float:
        """Estimated seconds until the jobs that wait or compute now are done; those that were cancelled end at once."""
        with self._lock:
            return sum(job.left for job in self._line if not job.cancelled.is_set())

    def learn(self, megapixels: float, seconds: float, kind: Kind = "pair") -> None:
        """Update the estimate with the time of a fusion; small ones say little about large ones and are ignored."""
        if megapixels >= 0.05:
            with self._lock:
                self._rates[kind].append(seconds / megapixels)

    def run(
        self,
        session: str,
        function: Callable[..., Result],
        *args: Any,
        megapixels: float | None = None,
        kind: Kind = "pair",
        on_tick: Callable[[Tick], None] | None = None,
    ) -> Result:
        """Wait for the device, run a job on it and return its result.

        Args:
            session: session of the visitor; `cancel` takes the same id.
            function: the computation, with torch.
            *args: its arguments.
            megapixels: size of what it fuses, see `estimate`; None for a job that does not fuse.
            kind: what it fuses.
            on_tick: called about four times a second.

        Raises:
            CancelledError: `cancel` was called in the meantime.
        """
        entry = _Job(_OTHER if megapixels is None else self.estimate(megapixels, kind))
        cancelled = entry.cancelled

        def job() -> Result:
            entry.started = time.monotonic()
            with _StopOnceSet(cancelled), interruptible(partial(_end_if_set, cancelled)):
                return function(*args)

        with self._lock:
            self._cancels.setdefault(session, set()).add(cancelled)
            self._line.append(entry)
            # Progress and spaces.GPU find the visitor in the context of the request.
            future = self._thread.submit(contextvars.copy_context().run, job)
        try:
            while not wait([future], _TICK).done:
                if cancelled.is_set() and future.cancel():
                    raise CancelledError
                if on_tick is not None and not cancelled.is_set():
                    on_tick(self._tick(entry))
            result = future.result()
            if megapixels is not None and entry.started is not None:
                self.learn(megapixels, time.monotonic() - entry.started, kind)
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
        """Cancel the running and waiting jobs of a session."""
        with self._lock:
            for cancelled in self._cancels.get(session, ()):
                cancelled.set()


class _StopOnceSet(TorchFunctionMode):
    """Stops a computation between two torch operations of its thread."""

    def __init__(self, cancelled: threading.Event) -> None:
        super().__init__()
        self._cancelled = cancelled

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        _end_if_set(self._cancelled)
        return func(*args, **(kwargs or {}))


def _end_if_set(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise CancelledError
