"""Options of a demo, set when it is started."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@dataclass(frozen=True)
class DemoOptions:
    """Limits, models and device of a demo.

    Attributes:
        queue_size: how many requests can wait; any more are refused.
        max_megapixels: largest image that is decoded, in millions of pixels.
        max_file_mb: largest file that is accepted, in millions of bytes.
        device: ``cpu``, ``cuda``, ``mps`` or another torch device.
        models: names, folders or Hub ids of models that replace the bundled one of their task.
        hub_models: whether a visitor can name a public model on the Hub.
        load_at_start: load the weights of all tasks before the first visit.
        on_device: decorator for the functions that compute, such as ``spaces.GPU``.
    """

    queue_size: int = 16
    max_megapixels: float = 24.0
    max_file_mb: int = 50
    device: str = "cpu"
    models: tuple[str, ...] = ()
    hub_models: bool = True
    load_at_start: bool = False
    on_device: Decorator = _as_it_is
