"""What every model offers to the inference: a task, and luminance in, luminance out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from refusion.tasks import Engine, Task


class Network(Protocol):
    """A loaded model. `refusion.ReFusion` and `refusion.models.bundled.BundledModel` are such."""

    @property
    def task(self) -> Task:
        """The task that the weights are for."""

    def fuse_luminances(
        self, a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, engine: Engine | None = None
    ) -> list[np.ndarray]:
        """Run the network over several pairs of one size.

        Args:
            a: first sources, float32 (H, W) in [0, 1].
            b: second sources, as many of the same shape.
            engine: how it runs, see `refusion.tasks.Engine`; what suits the machine if not given.

        Returns:
            Fused luminances, float32 (H, W) in (0, 1).

        Raises:
            PictureError: there is not enough memory.
            ValueError: there is no such engine, or it does not run here.
        """


def fuse_luminance(network: Network, a: np.ndarray, b: np.ndarray, *, engine: Engine | None = None) -> np.ndarray:
    """Run the network over one pair, see `Network.fuse_luminances`."""
    return network.fuse_luminances([a], [b], engine=engine)[0]
