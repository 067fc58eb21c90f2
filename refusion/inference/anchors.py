"""Anchors: keep the fused luminance consistent with its sources, after the network and before the output range."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from refusion.inference.output_range import MIN_SPAN, ends_of
from refusion.tasks import Anchor

GUIDED_WINDOW = 15
"""Side of the window, in pixels, in which the sources are fitted to the fused image."""

GUIDED_FLOOR = 1e-4
"""Variance in a window, relative to that of the pair, below which the fit is the mean of the fused luminance."""

CHOICE_DETAIL = 7
"""Side of the window, in pixels, whose mean is subtracted before the sources are compared: only detail counts."""

CHOICE_WINDOWS = {15: 1.0, 61: 1e-3}
"""Sides of the windows, in pixels, in which the share of each source is fitted, and their weights: the large window
decides where the small one has no detail."""

CHOICE_FLOOR = 2.5e-8
"""Squared difference of the sources' detail, relative to the variance of the pair, below which both have a share of
1/2."""

MIN_VARIANCE = 1e-6
"""Lower bound for the variance of a pair, for luminance in [0, 1]."""

CHOICE_SHARPNESS = 16.0
"""Factor for the distance of a fitted share from 1/2."""

SEAM_WINDOW, SEAM_SHARPNESS = 15, 4.0
"""Side of the window, in pixels, over which the shares are averaged, and the factor for their distance from 1/2
afterwards."""

SOFT_SEAM, SEAM_STEP = 1.5, 0.5
"""Factor instead of `SEAM_SHARPNESS` where the local means of the sources differ by this multiple of the standard
deviation of the pair, and gradually up to there: a sharp seam is a visible cut then."""

CHOICE_REACH = CHOICE_DETAIL // 2 + max(CHOICE_WINDOWS) // 2 + SEAM_WINDOW // 2
"""Distance, in pixels, up to which other pixels influence the share of a pixel."""

KEPT_EXCESS: dict[Anchor, float] = {"detail": 4.0, "full-detail": 8.0, "heat": 8.0}
"""Factor k of the share of what exceeds both sources that is kept: k h (1 - h), at most all of it, where the brighter
source is at h between the darkest and the brightest pixel of the pair."""

HOT = 2.0
"""Standard deviations above its mean from which the first source counts as hot, gradually over one more."""

HEAT_GIVEN = 0.2
"""Share of what a hot pixel lacks in contrast to the whole image that ``heat`` adds."""

STRIP_PIXELS = 2**20
"""Pixels that are processed at a time, so that a large image needs little additional memory."""


def anchor_luminance(
    fused: np.ndarray, a: np.ndarray, b: np.ndarray, anchor: Anchor, shares: np.ndarray | None = None
) -> np.ndarray:
    """Keep the fused luminance consistent with its sources.

    Except with ``none``, ``detail``, ``full-detail`` and ``heat``, every pixel lies between its two sources. The
    darkest and the brightest stay so, except with ``none``.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.
        anchor: ``guided``, see `guided_by_sources`; ``detail`` and ``full-detail``: the same, plus a share of what
            exceeds the brighter source, see `_exceeding`; ``heat``: ``full-detail``, and what is hot in the first
            source becomes brighter, see `_heated`; ``choice``: the sources mixed by `choice_shares`; ``bounds``: every
            pixel is clipped to the range of its two sources; ``none``.
        shares: `choice_shares`, if already computed.

    Returns:
        The same shape, in [0, 1]; with ``detail``, ``full-detail`` and ``heat`` it may exceed 1, where the fit exceeds
        white.
    """
    if anchor in ("guided", *KEPT_EXCESS):
        fused = guided_by_sources(fused, a, b)
    elif anchor == "choice":
        shares = choice_shares(fused, a, b) if shares is None else shares
        fused = b + shares * (a - b)
    if anchor == "none":
        return fused
    between = np.clip(fused, np.minimum(a, b), np.maximum(a, b))
    if anchor not in KEPT_EXCESS:
        return between
    detailed = between + _exceeding(fused, a, b, KEPT_EXCESS[anchor])
    return _heated(detailed, a) if anchor == "heat" else detailed


def _exceeding(fused: np.ndarray, a: np.ndarray, b: np.ndarray, factor: float) -> np.ndarray:
    """What ``detail`` and ``full-detail`` add to the brighter source.

    Lettering on a warm wall can be brighter than in both sources, by the heat of the infrared, and so can the folds of
    an MRI on a bright CT. A share of what exceeds the brighter source is kept, see `KEPT_EXCESS`: with ``detail`` all
    of it at half brightness and less towards black and white, with ``full-detail`` all of it unless that source is
    almost black or white. Where both sources agree nothing is added: the excess is limited to their mean distance in a
    window.
    """
    brighter, lowest, highest = np.maximum(a, b), min(a.min(), b.min()), max(a.max(), b.max())
    excess = np.clip(fused - brighter, 0, _window_mean(np.abs(a - b), GUIDED_WINDOW))
    height = (brighter - lowest) / max(highest - lowest, MIN_SPAN)
    return excess * np.minimum(factor * height * (1 - height), 1)


def _heated(fused: np.ndarray, a: np.ndarray) -> np.ndarray:
    """What ``heat`` makes brighter: pixels that are hot in the first source and stand out less than there.

    In front of a bright wall by day, a person who is white in the infrared is hardly brighter than the wall. A hot
    pixel gets a share of what its distance from the mean of the image lacks in comparison with the infrared. It becomes
    no brighter than the upper end of the image's range, so that the output range stays the same.
    """
    (mean_fused, _), (mean_a, variance_a) = map(_mean_and_variance, (fused, a))
    deviation = max(variance_a**0.5, MIN_SPAN)
    hot = a > mean_a + HOT * deviation
    if not hot.any():
        return fused
    given, above = fused[hot], a[hot] - mean_a
    lacking = np.maximum(above - (given - mean_fused), 0)
    brighter = given + HEAT_GIVEN * np.minimum(above / deviation - HOT, 1) * lacking
    heated = fused.copy()
    heated[hot] = np.maximum(given, np.minimum(brighter, ends_of(fused)[1]))
    return heated


def guided_by_sources(fused: np.ndarray, a: np.ndarray, b: np.ndarray, window: int = GUIDED_WINDOW) -> np.ndarray:
    """The image p a + q b + c nearest to the fused one, with (p, q, c) fitted in a window around each pixel.

    It keeps the brightness, contrast and detail that the network takes from the sources, but not noise that is in
    neither of them. A pair with half the contrast gives half the contrast. This is the guided filter (He et al., TPAMI
    2013, equations 5, 6 and 8) with two guides.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.
        window: side of the window, odd, in pixels.

    Returns:
        The same shape.
    """

    (centre_fused, _), (centre_a, variance_a), (centre_b, variance_b) = map(_mean_and_variance, (fused, a, b))
    floor = GUIDED_FLOOR * max((variance_a + variance_b) / 2, MIN_VARIANCE)

    def fit(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # The variance loses precision if the mean is large.
        return _fit(fused - centre_fused, a - centre_a, b - centre_b, window, floor) + centre_fused

    return _in_strips(fit, 2 * (window // 2), fused, a, b)


def _fit(fused: np.ndarray, a: np.ndarray, b: np.ndarray, window: int, floor: float) -> np.ndarray:
    def mean(x: np.ndarray) -> np.ndarray:
        return _window_mean(x, window)

    mean_a, mean_b, mean_fused = mean(a), mean(b), mean(fused)
    a_a = mean(a * a) - mean_a * mean_a + floor
    b_b = mean(b * b) - mean_b * mean_b + floor
    a_b = mean(a * b) - mean_a * mean_b
    a_fused = mean(a * fused) - mean_a * mean_fused
    b_fused = mean(b * fused) - mean_b * mean_fused
    determinant = a_a * b_b - a_b * a_b
    p = (b_b * a_fused - a_b * b_fused) / determinant
    q = (a_a * b_fused - a_b * a_fused) / determinant
    c = mean_fused - p * mean_a - q * mean_b
    return mean(p) * a + mean(q) * b + mean(c)


def choice_shares(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the first source in each pixel, for tasks in which one source is the right one at each pixel.

    The m for which m a + (1 - m) b is nearest to the fused image, all three after subtracting the local mean, is fitted
    by least squares in a window and pushed away from 1/2. Where the sources hardly differ in this window, as in a flat
    area, a large window decides. Then the shares are averaged over a third window and pushed away from 1/2 again,
    which leaves soft seams and no islands. The seams are softer where the sources differ in brightness.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.

    Returns:
        The same shape, in [0, 1]; the share of the second source is one minus this.
    """
    variance = sum(_mean_and_variance(x)[1] for x in (a, b)) / 2
    share = partial(_choice_shares, variance=max(variance, MIN_VARIANCE))
    return _in_strips(share, CHOICE_REACH, fused, a, b)


def _choice_shares(fused: np.ndarray, a: np.ndarray, b: np.ndarray, variance: float) -> np.ndarray:
    step = np.abs(_window_mean(a - b, CHOICE_DETAIL))
    fused, a, b = (x - _window_mean(x, CHOICE_DETAIL) for x in (fused, a, b))
    difference = a - b
    squared = difference * difference
    along = _weighted_means(difference * (fused - b) - squared / 2)
    share = 0.5 + CHOICE_SHARPNESS * along / (_weighted_means(squared) + CHOICE_FLOOR * variance)
    evened = _window_mean(share.clip(0, 1), SEAM_WINDOW)
    softness = (_window_mean(step, SEAM_WINDOW) / (SEAM_STEP * variance**0.5)).clip(0, 1)
    return (0.5 + (SEAM_SHARPNESS + softness * (SOFT_SEAM - SEAM_SHARPNESS)) * (evened - 0.5)).clip(0, 1)


def _weighted_means(x: np.ndarray) -> np.ndarray:
    return np.sum([weight * _window_mean(x, window) for window, weight in CHOICE_WINDOWS.items()], axis=0)


def _mean_and_variance(x: np.ndarray) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(x)
    return float(mean[0, 0]), float(deviation[0, 0]) ** 2


def _window_mean(x: np.ndarray, window: int) -> np.ndarray:
    return cv2.blur(x, (window, window), borderType=cv2.BORDER_REPLICATE)


def _in_strips(
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    reach: int,
    fused: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Apply a function strip by strip, each with the `reach` rows above and below that its pixels depend on."""
    height, width = fused.shape
    rows = max(1, STRIP_PIXELS // width)
    result = np.empty_like(fused)
    for top in range(0, height, rows):
        first, last = max(0, top - reach), min(height, top + rows + reach)
        strip = function(fused[first:last], a[first:last], b[first:last])
        result[top : top + rows] = strip[top - first : top - first + rows]
    return result
