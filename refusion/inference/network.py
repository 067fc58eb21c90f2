"""The interface of a model used for inference: its task, and a function from luminance to luminance."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from refusion.tasks import Engine, Task


class Network(Protocol):
    """A loaded model, such as `refusion.ReFusion` or `refusion.models.bundled.BundledModel`."""

    @property
    def task(self) -> Task:
        """The task of the weights."""

    def fuse_luminances(
        self, a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, engine: Engine | None = None
    ) -> list[np.ndarray]:
        """Run the network on several pairs of one size.

        Args:
            a: first sources, float32 (H, W) in [0, 1].
            b: second sources, equally many and of the same shape.
            engine: how it runs, see `refusion.tasks.Engine`; by default chosen for the machine.

        Returns:
            Fused luminances, float32 (H, W) in (0, 1).

        Raises:
            PictureError: there is not enough memory.
            ValueError: there is no such engine, or it does not run here.
        """


def fuse_luminance(network: Network, a: np.ndarray, b: np.ndarray, *, engine: Engine | None = None) -> np.ndarray:
    """Run the network on one pair; see `Network.fuse_luminances`."""
    return network.fuse_luminances([a], [b], engine=engine)[0]
