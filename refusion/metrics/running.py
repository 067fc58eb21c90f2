"""Metrics that accumulate over batches, with the interface of torchmetrics: update, compute, reset."""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, distributed, nn

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.fusion import METRICS, choose
from refusion.metrics.inputs import GREY_LEVELS

CHEAP = ("EN", "SD", "SF", "AG", "MI", "CC", "SCD", "NMI", "TE", "Qncie", "CE", "EI", "PSNR", "RMSE", "variance")
"""Metrics that take less than 20 ms on one core for 640 x 480 pixels."""

DIFFERENTIABLE = (
    *("SD", "SF", "AG", "CC", "SCD", "VIF", "VIFF", "Qabf", "SSIM", "MEF-SSIM", "EI", "PSNR", "RMSE", "variance"),
    *("Qcb", "Qcv", "Qw", "Qy", "Qc"),
)
"""Metrics that are differentiable with conventions of ``rounding="none"``."""


class RunningMetric(nn.Module):
    """Mean of one metric over the images of many batches, and of all processes of `torch.distributed`.

    ``metric.update(a, b, fused)`` adds a batch, ``metric.compute()`` returns the mean so far, and ``metric.reset()``
    starts over. Calling the metric adds a batch and returns the mean of that batch alone, which is differentiable for
    those in `DIFFERENTIABLE` if the conventions have ``rounding="none"``.

    Args:
        name: key of `METRICS`, in upper or lower case; those in `CHEAP` suit every training step.
        conventions: how it is computed, a set or its name.
        data_range: the value of white in the batches; 1 for tensors in 0 to 1.

    Raises:
        ValueError: there is no such metric, it is the name of a set, or there are no such conventions.
    """

    total: Tensor
    count: Tensor

    def __init__(self, name: str, conventions: Conventions | str = REFUSION, data_range: float = GREY_LEVELS) -> None:
        super().__init__()
        chosen = choose([name])
        if len(chosen) > 1:
            raise ValueError(f"{name!r} is a set of {len(chosen)} metrics; give one metric, or use RunningMetrics.")
        self.metric, self.conventions, self.data_range = METRICS[chosen[0]], get_conventions(conventions), data_range
        self.register_buffer("total", torch.zeros((), dtype=torch.float64), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64), persistent=False)

    @property
    def higher_is_better(self) -> bool:
        """Whether papers consider higher values better."""
        return self.metric.higher_is_better

    def update(self, a: Tensor, b: Tensor, fused: Tensor) -> None:
        """Add the images of a batch.

        Args:
            a: first sources, (N, 1, H, W).
            b: second sources, likewise.
            fused: fused images, likewise.

        Raises:
            ValueError: see `refusion.metrics.fusion`.
        """
        self(a, b, fused)

    def forward(self, a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
        """Add a batch, and return its mean, a scalar; nan if no image has a finite value. See `update`."""
        images = (a, b, fused) if self.metric.needs_sources else (fused,)
        values = self.metric.function(*images, self.conventions, data_range=self.data_range)
        values = values[values.isfinite()]
        self.total = self.total.to(values.device) + values.detach().sum()
        self.count = self.count.to(values.device) + len(values)
        return values.mean()

    def compute(self) -> Tensor:
        """Mean over all images so far in all processes, each of which must call this; nan before the first."""
        state = torch.stack((self.total, self.count))
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(state)
        return state[0] / state[1]

    def reset(self) -> None:
        """Discard all batches."""
        self.total, self.count = torch.zeros_like(self.total), torch.zeros_like(self.count)


class RunningMetrics(nn.Module):
    """Several metrics at once, with the methods of `RunningMetric`; results are dictionaries by name.

    Attributes:
        metrics: the `RunningMetric` of each key of `METRICS`.

    Args:
        names: a key of `METRICS` or of `METRIC_SETS` or several, in upper or lower case, as for `score`; by default
            those in `CHEAP`.
        conventions: see `RunningMetric`.
        data_range: see `RunningMetric`.

    Raises:
        ValueError: there is no such metric, or there are no such conventions.
    """

    def __init__(
        self,
        names: str | Iterable[str] = CHEAP,
        conventions: Conventions | str = REFUSION,
        data_range: float = GREY_LEVELS,
    ) -> None:
        super().__init__()
        chosen = choose([names] if isinstance(names, str) else names)
        self.metrics = nn.ModuleDict({name: RunningMetric(name, conventions, data_range) for name in chosen})

    def update(self, a: Tensor, b: Tensor, fused: Tensor) -> None:
        """Add the images of a batch to all metrics, see `RunningMetric.update`."""
        self(a, b, fused)

    def forward(self, a: Tensor, b: Tensor, fused: Tensor) -> dict[str, Tensor]:
        """Add a batch to all metrics, and return the means of the batch by name."""
        return {name: metric(a, b, fused) for name, metric in self._metrics()}

    def compute(self) -> dict[str, Tensor]:
        """Means over all batches by name, see `RunningMetric.compute`."""
        return {name: metric.compute() for name, metric in self._metrics()}

    def reset(self) -> None:
        """Discard all batches."""
        for _, metric in self._metrics():
            metric.reset()

    def _metrics(self) -> Iterator[tuple[str, RunningMetric]]:
        return ((name, cast(RunningMetric, metric)) for name, metric in self.metrics.items())
