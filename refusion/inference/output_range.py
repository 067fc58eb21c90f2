"""What the fused luminance is brought to, after the network and the anchor.

Every output range takes two values of the fused luminance to two others, along a straight line or a curve: found by
`find_range`, carried out by `Range.apply`. So it can be found from many frames, or smoothed over time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refusion.tasks import CONTRAST, OutputRange, check_choice

# Share of the pixels, in per cent, that a range leaves out at each end, so that one hot pixel or a speck of noise does
# not set it.
OUTLIERS = 0.5

MIDDLE = 0.4
"""Luminance that ``contrast`` leaves as it is. It is the same for every picture, so that two views of a scene agree."""

SHOULDER = 6
"""Power with which added contrast bends towards black and white; at 6 and 1.16 their slope is still 0.2."""

LEAST_SPAN = 1e-4
"""Span of luminance below which a picture is called constant: rounding errors are not stretched to a picture."""


@dataclass(frozen=True)
class Range:
    """The straight line through (low, lowest) and (high, highest), clipped to [0, 1], or a curve through both.

    Attributes:
        low: value of the fused luminance that becomes `lowest`.
        high: value that becomes `highest`; more than `low`.
        lowest: see `low`.
        highest: see `high`.
        bent: nothing is clipped: the line goes through the middle of low and high, has its slope there, and bends so
            that 0 stays 0 and 1 stays 1. For slopes from 1 to 1.2, and a middle that is its own value.
    """

    low: float
    high: float
    lowest: float
    highest: float
    bent: bool = False
    spares_highlights: bool = False

    def apply(self, luminance: np.ndarray) -> np.ndarray:
        """Bring luminance (H, W) to the range; float32 in [0, 1], the same shape."""
        if self.bent:
            return self._bend(luminance)
        given, wanted = self.high - self.low, self.highest - self.lowest
        share = (luminance - self.low) / given
        if self.spares_highlights and wanted > given:
            inside = np.clip(share, 0, 1)
            share = share + (1 - given / wanted) * (inside * (1 - inside) - np.abs(share - inside))
        return np.clip(self.lowest + wanted * share, 0, 1).astype(np.float32)

    def _bend(self, luminance: np.ndarray) -> np.ndarray:
        middle = (self.low + self.high) / 2
        slope = (self.highest - self.lowest) / (self.high - self.low)
        difference = (luminance - middle).astype(np.float32)
        side = np.where(difference < 0, middle, 1 - middle).astype(np.float32)
        share = np.abs(difference) / np.maximum(side, np.float32(LEAST_SPAN))
        difference *= slope - (slope - 1) * share ** (SHOULDER - 1)
        return np.clip(middle + difference, 0, 1).astype(np.float32)


def ends_of(luminance: np.ndarray) -> tuple[float, float]:
    """The ends of a picture's range, but for `OUTLIERS`."""
    low, high = np.percentile(luminance, (OUTLIERS, 100 - OUTLIERS))
    return float(low), float(high)


def find_range(
    luminance: np.ndarray, source_ends: Iterable[tuple[float, float]], output_range: OutputRange
) -> Range | None:
    """The range that a fused picture is brought to.

    Args:
        luminance: fused luminance, (H, W).
        source_ends: `ends_of` each source; only ``sources`` takes them from the iterable.
        output_range: which range.

    Returns:
        The range, or None where nothing is to be done: for ``network``, and for a constant picture.

    Raises:
        ValueError: there is no such output range.
    """
    check_choice("output range", output_range, OutputRange)
    if output_range == "network":
        return None
    if output_range == "contrast":
        return Range(MIDDLE - 1, MIDDLE + 1, MIDDLE - CONTRAST, MIDDLE + CONTRAST, bent=True)
    if output_range == "stretch":
        low, high = float(luminance.min()), float(luminance.max())
    else:
        low, high = ends_of(luminance)
    if high - low < LEAST_SPAN:
        return None
    if output_range == "sources":
        lows, highs = zip(*source_ends, strict=True)
        return Range(low, high, min(lows), max(highs), spares_highlights=True)
    return Range(low, high, 0, 1)


def bring_to_range(
    luminance: np.ndarray, source_ends: Iterable[tuple[float, float]], output_range: OutputRange
) -> np.ndarray:
    """Bring fused luminance to its output range; see `find_range`."""
    found = find_range(luminance, source_ends, output_range)
    return luminance if found is None else found.apply(luminance)
