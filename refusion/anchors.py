"""What ties the fused luminance to its sources, after the network and before the output range."""

import numpy as np
import torch
from torch.nn import functional as F

from refusion.tasks import Anchor

BLEND_WINDOW = 7
"""Side of the window, in pixels, over which the share of each source is fitted."""

BLEND_FLOOR = 1e-4
"""Squared difference of the sources, in luminance in [0, 1], below which both have a share of 1/2."""


def anchor_luminance(fused: np.ndarray, a: np.ndarray, b: np.ndarray, anchor: Anchor) -> np.ndarray:
    """Tie the fused luminance to its sources.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.
        anchor: ``blend``, see `blend_of_sources`; ``bounds``: every pixel is clipped to what lies between its two
            sources, so that what is black in both stays black; ``none``.

    Returns:
        The same shape.
    """
    if anchor == "blend":
        return blend_of_sources(fused, a, b)
    if anchor == "bounds":
        return np.clip(fused, np.minimum(a, b), np.maximum(a, b))
    return fused


def blend_of_sources(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The blend m a + (1 - m) b that comes nearest to the fused picture, m fitted in a window around each pixel.

    A picture that takes every pixel from one source or the other comes out as it is, but without the network's noise.
    The fit is least squares, as in the guided filter (He et al., TPAMI 2013), with one unknown.

    Args:
        fused: fused luminance, float32 (H, W) in [0, 1].
        a: first source, likewise.
        b: second source, likewise.

    Returns:
        The same shape; every pixel lies between its two sources.
    """
    difference = a - b
    along, square = _window_mean(difference * (fused - b)), _window_mean(difference * difference)
    share = np.clip((along + BLEND_FLOOR / 2) / (square + BLEND_FLOOR), 0, 1)
    return share * a + (1 - share) * b


def _window_mean(x: np.ndarray) -> np.ndarray:
    margin = BLEND_WINDOW // 2
    padded = F.pad(torch.from_numpy(x)[None, None], (margin,) * 4, mode="replicate")
    return F.avg_pool2d(padded, BLEND_WINDOW, stride=1)[0, 0].numpy()
