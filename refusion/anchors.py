"""What ties the fused luminance to its sources, after the network and before the output range."""

from collections.abc import Callable

import cv2
import numpy as np

from refusion.tasks import Anchor

GUIDED_WINDOW = 15
"""Side of the window, in pixels, in which the fused picture is fitted by its sources."""

GUIDED_FLOOR = 1e-5
"""Variance of the sources, in luminance in [0, 1], below which the fit is the fused picture's mean."""

CHOICE_WINDOWS = (9, 27, 81)
"""Sides of the windows, in pixels, over which the share of each source is fitted for a choice."""

CHOICE_FLOOR = 1e-5
"""Squared difference of the sources, summed over the windows, below which both have a share of 1/2."""

CHOICE_SHARPNESS = 8.0
"""What a choice multiplies the distance of a share from 1/2 by."""

STRIP_PIXELS = 2**20
"""Pixels that are worked on at a time, so that a large picture needs little memory beside itself."""


def anchor_luminance(fused: np.ndarray, a: np.ndarray, b: np.ndarray, anchor: Anchor) -> np.ndarray:
    """Tie the fused luminance to its sources.

    With all but ``none``, every pixel lies between its two sources, so that what is black in both stays black.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.
        anchor: ``guided``, see `guided_by_sources`; ``choice``, see `choice_of_sources`; ``bounds``: every pixel is
            clipped to what lies between its two sources; ``none``.

    Returns:
        The same shape.
    """
    if anchor == "guided":
        fused = _in_strips(guided_by_sources, 2 * (GUIDED_WINDOW // 2), fused, a, b)
    elif anchor == "choice":
        fused = _in_strips(choice_of_sources, max(CHOICE_WINDOWS) // 2, fused, a, b)
    return fused if anchor == "none" else np.clip(fused, np.minimum(a, b), np.maximum(a, b))


def guided_by_sources(fused: np.ndarray, a: np.ndarray, b: np.ndarray, window: int = GUIDED_WINDOW) -> np.ndarray:
    """The picture p a + q b + c that comes nearest to the fused one, (p, q, c) fitted around each pixel.

    It keeps what the network does with both sources, brightness, contrast and detail, but not its noise, which is in
    neither of them. This is the guided filter (He et al., TPAMI 2013, equations 5, 6 and 8) with two guides.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.
        window: side of the window that it is fitted in, odd, in pixels.

    Returns:
        The same shape.
    """

    def mean(x: np.ndarray) -> np.ndarray:
        return _window_mean(x, window)

    mean_a, mean_b, mean_fused = mean(a), mean(b), mean(fused)
    a_a = mean(a * a) - mean_a * mean_a + GUIDED_FLOOR
    b_b = mean(b * b) - mean_b * mean_b + GUIDED_FLOOR
    a_b = mean(a * b) - mean_a * mean_b
    a_fused = mean(a * fused) - mean_a * mean_fused
    b_fused = mean(b * fused) - mean_b * mean_fused
    determinant = a_a * b_b - a_b * a_b
    p = (b_b * a_fused - a_b * b_fused) / determinant
    q = (a_a * b_fused - a_b * a_fused) / determinant
    c = mean_fused - p * mean_a - q * mean_b
    return mean(p) * a + mean(q) * b + mean(c)


def choice_of_sources(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Every pixel from the source that the fused picture is nearer to around it, with soft seams.

    For a task in which one source is right at each place. The m with which m a + (1 - m) b comes nearest to the fused
    picture is fitted by least squares in windows of three sizes together, and pushed away from 1/2: where the network
    takes more than 9/16 of one source, all of the pixel is that source. The differences of the sources count squared:
    where they differ, the small window decides; where they hardly do, as in a flat area, the large ones.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.

    Returns:
        The same shape.
    """
    difference = a - b
    squared = difference * difference
    towards_a = difference * (fused - b) - squared / 2
    along = _window_means(towards_a)
    share = 0.5 + along / (_window_means(squared) + CHOICE_FLOOR)
    share = (0.5 + CHOICE_SHARPNESS * (share - 0.5)).clip(0, 1)
    return share * a + (1 - share) * b


def _window_means(x: np.ndarray) -> np.ndarray:
    return np.sum([_window_mean(x, window) for window in CHOICE_WINDOWS], axis=0)


def _window_mean(x: np.ndarray, window: int) -> np.ndarray:
    return cv2.blur(x, (window, window), borderType=cv2.BORDER_REPLICATE)


def _in_strips(
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    reach: int,
    fused: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Carry out a function strip by strip, each with the `reach` rows above and below that its pixels depend on."""
    height, width = fused.shape
    rows = max(1, STRIP_PIXELS // width)
    result = np.empty_like(fused)
    for top in range(0, height, rows):
        first, last = max(0, top - reach), min(height, top + rows + reach)
        strip = function(fused[first:last], a[first:last], b[first:last])
        result[top : top + rows] = strip[top - first : top - first + rows]
    return result
