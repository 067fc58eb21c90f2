"""Scores of a fused stack, by the figures that mean the same for two sources and for more."""

import math
from collections.abc import Iterable

import numpy as np

from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import VIF_MIN_SIZE, score

ONE_PICTURE = ("EN", "SD", "SF", "AG")
"""Figures of the fused image alone."""

EACH_SOURCE = ("MI", "CC", "VIF", "SSIM")
"""Figures that compare the fused image with each source by itself."""

STACK_FIGURES = (*ONE_PICTURE, *EACH_SOURCE, "border")
"""Figures of a stack. SCD, Qabf and MEF-SSIM are defined here for two sources only."""


def score_stack(sources: Iterable[np.ndarray], fused: np.ndarray) -> dict[str, float]:
    """Score one fused image against all images of its stack.

    CC is the mean over the sources. MI, VIF and SSIM, which are sums over two sources, are twice the mean over the
    sources, and the border is compared with the mean of all: so a stack of two has the figures that its pair has.

    Args:
        sources: two or more images, (H, W), grey levels 0 to 255; each is looked at once, and not kept.
        fused: the fused image, likewise.

    Returns:
        The figures of `STACK_FIGURES` by name; without VIF if a side is shorter than `VIF_MIN_SIZE`.

    Raises:
        ValueError: there is no source, or the images do not fit (see `refusion.metrics.fusion`).
    """
    each = [name for name in EACH_SOURCE if name != "VIF" or min(fused.shape) >= VIF_MIN_SIZE]
    rows: list[dict[str, float]] = []
    total = np.zeros(fused.shape)
    for source in sources:
        # With the source in both places, a sum over two sources is twice the one, and a mean is the one.
        rows.append(score(source, source, fused, each))
        total += source
    if not rows:
        raise ValueError("A stack has two pictures or more, but none was given.")
    scores = score(fused, fused, fused, ONE_PICTURE)
    scores |= {name: math.fsum(row[name] for row in rows) / len(rows) for name in each}
    mean = np.rint(total / len(rows))
    return scores | {"border": DEFECTS["border"].function(mean, mean, fused)}
