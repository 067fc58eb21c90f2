"""Score a fused stack, by the metrics that have the same meaning for any number of sources."""

import math
from collections.abc import Iterable

import numpy as np

from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import VIF_MIN_SIZE, score

ONE_PICTURE = ("EN", "SD", "SF", "AG")
"""Metrics of the fused image alone."""

EACH_SOURCE = ("MI", "CC", "VIF", "SSIM")
"""Metrics that compare the fused image with each source separately."""

STACK_METRICS = (*ONE_PICTURE, *EACH_SOURCE, "border")
"""Metrics of a stack. SCD, Qabf and MEF-SSIM are defined here for two sources only."""


def score_stack(sources: Iterable[np.ndarray], fused: np.ndarray) -> dict[str, float]:
    """Score one fused image against all images of its stack.

    CC is the mean over the sources. MI, VIF and SSIM, which are sums over two sources, are twice the mean over the
    sources, and the border is compared with the mean of all: a stack of two gets the same scores as its pair.

    Args:
        sources: two or more images, (H, W), grey levels 0 to 255; each is read once and not kept.
        fused: the fused image, likewise.

    Returns:
        The values of `STACK_METRICS` by name; without VIF if a side is shorter than `VIF_MIN_SIZE`.

    Raises:
        ValueError: there is no source, or the images do not fit (see `refusion.metrics.fusion`).
    """
    each = [name for name in EACH_SOURCE if name != "VIF" or min(fused.shape) >= VIF_MIN_SIZE]
    rows: list[dict[str, float]] = []
    total = np.zeros(fused.shape)
    for source in sources:
        # With one source given twice, a sum over both is twice its value, and a mean is its value.
        rows.append(score(source, source, fused, each))
        total += source
    if not rows:
        raise ValueError("A stack has two or more images, but none was given.")
    scores = score(fused, fused, fused, ONE_PICTURE)
    scores |= {name: math.fsum(row[name] for row in rows) / len(rows) for name in each}
    mean = np.rint(total / len(rows))
    return scores | {"border": DEFECTS["border"].function(mean, mean, fused)}
