"""Ctrl-C and SIGTERM during a training run."""

import signal
from types import FrameType
from typing import Any


class StopSignal:
    """Records Ctrl-C and SIGTERM between `listen` and `restore`, so that the current update is finished and saved."""

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return bool(self.received)

    def __enter__(self) -> "StopSignal":
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def listen(self) -> None:
        """Record these signals from now on."""
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}

    def restore(self) -> None:
        """Treat them as before; also called at the end of a `with` block."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
