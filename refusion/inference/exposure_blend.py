"""Exposure fusion: the images of a bracket blended by how well each pixel is exposed (Mertens et al., 2007).

Like `cv2.createMergeMertens`, but on luminance, with one image in memory at a time, and with a weight for each image.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

WELL_EXPOSED, TOLERANCE = 0.5, 0.2
"""Luminance of the best exposure, and the standard deviation of the Gaussian around it (section 3.1)."""

MIN_QUALITY = 1e-12
"""Lower bound of the quality: where all images are flat or burnt out, they count equally."""


def blend(
    pictures: Sequence[Callable[[], np.ndarray]],
    weights: Sequence[float],
    on_picture: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Blend images in a Laplacian pyramid, each weighted by its local contrast and exposure.

    Args:
        pictures: functions that load one image each, float32 (H, W) in [0, 1]; each is called twice.
        weights: an additional weight for each image.
        on_picture: called after each image.

    Returns:
        The same shape, in [0, 1].
    """
    total: np.ndarray = np.zeros((), np.float32)
    for load, weight in zip(pictures, weights, strict=True):
        total = total + np.float32(weight) * quality(load())
    levels: list[np.ndarray] = []
    for load, weight in zip(pictures, weights, strict=True):
        picture = load()
        bands = _laplacian_pyramid(picture, np.float32(weight) * quality(picture) / total)
        levels = bands if not levels else [level + band for level, band in zip(levels, bands, strict=True)]
        on_picture()
    blended = levels.pop()
    while levels:
        level = levels.pop()
        blended = cv2.pyrUp(blended, dstsize=level.shape[::-1]) + level
    return np.clip(blended, 0, 1)


def quality(picture: np.ndarray) -> np.ndarray:
    """Local contrast times exposure (section 3.1, without saturation), above 0; input and output are (H, W)."""
    contrast = np.abs(cv2.Laplacian(picture, cv2.CV_32F))
    return contrast * exposedness(picture) + np.float32(MIN_QUALITY)


def exposedness(picture: np.ndarray) -> np.ndarray:
    """How well each pixel is exposed (section 3.1), (H, W) in [0, 1]."""
    return np.exp(-((picture - WELL_EXPOSED) ** 2) / (2 * TOLERANCE**2))


def _laplacian_pyramid(picture: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Bands of an image, from fine to coarse, each multiplied by the weights at its size (section 3.2)."""
    bands = []
    for _ in range(int(np.log2(min(picture.shape))) - 1):
        smaller = cv2.pyrDown(picture)
        bands.append(weights * (picture - cv2.pyrUp(smaller, dstsize=picture.shape[::-1])))
        picture, weights = smaller, cv2.pyrDown(weights)
    return [*bands, weights * picture]
