"""Output ranges: how the fused luminance is scaled, after the network and the anchor.

Every output range maps two values of the fused luminance to two others, along a straight line or a curve. `find_range`
computes the mapping and `Range.apply` applies it, so that it can be computed from many frames, or smoothed over time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refusion.images.colour import colour_excess
from refusion.tasks import CONTRAST, OutputRange, check_choice

# Percentage of the pixels ignored at each end of a range, so that a hot pixel or a speck of noise does not set it.
OUTLIERS = 0.5

MIDDLE = 0.4
"""Luminance that ``contrast`` leaves unchanged; the same for every image, so that two views of a scene agree."""

SHOULDER = 6
"""Exponent of the curve that rolls off added contrast near black and white; at 6 and 1.1 the slope there is 0.5."""

MAX_GAIN = 1.4
"""Largest factor of ``sources`` for differences: more turns a hazy scene into hard black and white."""

COLOURED = 0.1
"""A pixel counts as coloured if its strongest channel exceeds the luminance by more than this."""

PALER = 4
"""``robust`` lets at most one in so many coloured pixels become paler."""

MIN_SPAN = 1e-4
"""An image whose luminance spans less than this is treated as constant: rounding errors are not stretched."""


@dataclass(frozen=True)
class Range:
    """The straight line through (low, lowest) and (high, highest), clipped to [0, 1], or a curve.

    Attributes:
        low: value of the fused luminance that becomes `lowest`.
        high: value that becomes `highest`; more than `low`.
        lowest: see `low`.
        highest: see `high`.
        bent: nothing is clipped: a curve has the value and slope of the line at the midpoint of low and high, and bends
            so that 0 stays 0 and 1 stays 1. Needs a slope from 1 to 1.2 and a line that leaves the midpoint unchanged.
        spares_highlights: if the range is widened, a curve through both points whose slope falls to 1 at `high` and
            above, so that highlights are not stretched.
    """

    low: float
    high: float
    lowest: float
    highest: float
    bent: bool = False
    spares_highlights: bool = False

    def apply(self, luminance: np.ndarray) -> np.ndarray:
        """Scale luminance (H, W) to the range; returns float32 in [0, 1] of the same shape."""
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
        share = np.abs(difference) / np.maximum(side, np.float32(MIN_SPAN))
        difference *= slope - (slope - 1) * share ** (SHOULDER - 1)
        return np.clip(middle + difference, 0, 1).astype(np.float32)


def ends_of(luminance: np.ndarray) -> tuple[float, float]:
    """The ends of an image's range without `OUTLIERS`."""
    low, high = np.percentile(luminance, (OUTLIERS, 100 - OUTLIERS))
    return float(low), float(high)


def find_range(
    luminance: np.ndarray,
    source_ends: Iterable[tuple[float, float]],
    output_range: OutputRange,
    chroma: np.ndarray | None = None,
) -> Range | None:
    """Find the mapping of a fused image for an output range.

    Args:
        luminance: fused luminance, (H, W).
        source_ends: `ends_of` each source; only ``sources`` consumes the iterable.
        output_range: the output range.
        chroma: fused chroma, (2, H, W), on the scale of `Picture`; ``robust`` limits its gain so that most of
            the coloured pixels keep their saturation.

    Returns:
        The mapping, or None if the luminance stays unchanged: for ``network``, and for a constant image.

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
    if high - low < MIN_SPAN:
        return None
    if output_range == "sources":
        lows, highs = zip(*source_ends, strict=True)
        lowest, highest = min(lows), max(highs)
        return Range(low, high, max(lowest, highest - MAX_GAIN * (high - low)), highest, spares_highlights=True)
    if output_range == "robust" and chroma is not None:
        return Range(low, high, 0, min(1.0, (high - low) * max(1.0, _gain_for_colour(luminance - low, chroma))))
    return Range(low, high, 0, 1)


def _gain_for_colour(luminance: np.ndarray, chroma: np.ndarray) -> float:
    """Largest factor of the luminance at which all but one in `PALER` coloured pixels keep their saturation."""
    excess = colour_excess(chroma)
    coloured = excess > COLOURED
    if not coloured.any():
        return math.inf
    gains = (1 - excess[coloured]) / np.maximum(luminance[coloured], MIN_SPAN)
    return float(np.percentile(gains, 100 / PALER, method="lower"))


def bring_to_range(
    luminance: np.ndarray,
    source_ends: Iterable[tuple[float, float]],
    output_range: OutputRange,
    chroma: np.ndarray | None = None,
) -> np.ndarray:
    """Scale fused luminance to its output range; see `find_range`."""
    found = find_range(luminance, source_ends, output_range, chroma)
    return luminance if found is None else found.apply(luminance)
