"""Metrics of defects of fused images that the fusion metrics hardly reflect.

All take 8-bit luminance: three arrays (H, W) of one shape, whole grey levels 0 to 255 of any numeric type, or Pillow
images. They are nan if they are undefined for a pair. Values that are not grey levels raise ValueError.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from refusion.metrics.grey import UNIT_RANGE, grey_levels, range_problem

BLACK = 1
"""Highest grey level that counts as black."""

FLOOR = 0.1
"""Grey levels added to the mean steps at the border and inside: a tenth of the smallest possible step."""

SHARPNESS_WINDOW = 15
"""Side of the window of sharpness, the mean squared Laplacian, in pixels."""

CLEARLY_SHARPER, MIN_SHARPNESS = 4, 8
"""A source is clearly sharper if its sharpness is above this multiple of the other's, and above this minimum."""

AGREEMENT = 2
"""Largest difference, in grey levels, at which the sources agree."""

HOT_PERCENTILE, MIN_HEAT, HOT_PIXELS = 98, 10, 40
"""Hot pixels are above this percentile of the infrared and this many grey levels above its mean; a hot object has at
least this many pixels."""

BRIGHT = 225
"""Lowest grey level of bright pixels of the visible image, such as a sky."""

BORDER_MIN_SIZE = 4
"""Smallest height and width that have a step inside, between the outermost rows and columns."""


def border_step_ratio(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Step of the fused image at its border relative to that of the average of the sources; 0 and up.

    The border step is the mean absolute difference between the outermost row or column and its neighbour, over all
    four sides. It is divided by the mean absolute difference of neighbours, along rows and columns, inside the
    image (without its outermost rows and columns). The value is this quotient for the fused image divided by that
    for the average (a + b) / 2, rounded to whole grey levels: 1 is the same as for averaging, and a visible frame, as
    caused by zero padding of convolutions, gives more. `FLOOR` is added to every step, so that the value is also
    defined for a black border, where the average has no step.

    Args:
        a: first source, (H, W), 0 to 255, at least 4 x 4.
        b: second source, likewise.
        fused: fused image, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W) of at least 4 x 4.
    """
    a, b, fused = _levels(a, b, fused)
    if min(fused.shape) < BORDER_MIN_SIZE:
        raise ValueError(
            f"The image has {fused.shape[0]} rows and {fused.shape[1]} columns; "
            f"the step at the border needs at least {BORDER_MIN_SIZE} of both."
        )
    return _border_quotient(fused) / _border_quotient(np.rint((a + b) / 2))


def background_level(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Mean grey level of the fused image where both sources are black (at most 1); 0 to 255.

    nan if there is no such pixel.

    Args:
        a: first source, (H, W), 0 to 255.
        b: second source, likewise.
        fused: fused image, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    a, b, fused = _levels(a, b, fused)
    black = (a <= BLACK) & (b <= BLACK)
    return float(fused[black].mean()) if black.any() else math.nan


def sharpness_kept(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Share of the clearly sharper pixels of a source that stay sharp, the smaller of both sources; 0 to 1.

    Of the pixels where one source is more than four times as sharp as the other, and not only by faint noise, the share
    where the fused image has more than half of that sharpness. nan if neither source is clearly sharper in 1 % of the
    image.

    Args:
        a: first source, (H, W), 0 to 255.
        b: second source, likewise.
        fused: fused image, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    sharp_a, sharp_b, sharp = (
        cv2.blur(cv2.Laplacian(x, cv2.CV_64F) ** 2, (SHARPNESS_WINDOW, SHARPNESS_WINDOW)) for x in _levels(a, b, fused)
    )
    shares = []
    for one, other in ((sharp_a, sharp_b), (sharp_b, sharp_a)):
        clearly = (one > CLEARLY_SHARPER * other) & (one > MIN_SHARPNESS)
        if clearly.mean() > 0.01:
            shares.append(float((sharp > 0.5 * one)[clearly].mean()))
    return min(shares, default=math.nan)


def disagreement(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Mean difference of the fused image from the mean of the sources where they agree, in grey levels; 0 and up.

    nan if they agree in less than 5 % of the image.

    Args:
        a: first source, (H, W), 0 to 255.
        b: second source, likewise.
        fused: fused image, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    a, b, fused = _levels(a, b, fused)
    agreed = np.abs(a - b) <= AGREEMENT
    return float(np.abs(fused - (a + b) / 2)[agreed].mean()) if agreed.mean() > 0.05 else math.nan


def heat_kept(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Contrast of hot objects to their surroundings, relative to that in the infrared; 1 keeps all of it.

    The mean over the hot objects, weighted by their pixels. The surroundings are a ring at a distance of 4 to 12
    pixels. nan without a hot object.

    Args:
        a: the infrared, (H, W), 0 to 255.
        b: the visible image, likewise.
        fused: fused image, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    a, b, fused = _levels(a, b, fused)
    hot = (a > max(np.percentile(a, HOT_PERCENTILE), a.mean() + MIN_HEAT)).astype(np.uint8)
    closed = cv2.morphologyEx(hot, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(closed)
    kept, pixels = [], []
    for label in range(1, count):
        if statistics[label, cv2.CC_STAT_AREA] < HOT_PIXELS:
            continue
        blob = (labels == label).astype(np.uint8)
        ring = (cv2.dilate(blob, np.ones((25, 25))) > cv2.dilate(blob, np.ones((7, 7)))) & (hot == 0)
        if ring.sum() < HOT_PIXELS // 2:
            continue
        inside = blob > 0
        contrast = a[inside].mean() - a[ring].mean()
        if contrast > MIN_HEAT:
            kept.append((fused[inside].mean() - fused[ring].mean()) / contrast)
            pixels.append(inside.sum())
    return float(np.average(kept, weights=pixels)) if kept else math.nan


def brightness_kept(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Ratio of the fused to the visible mean where the visible image is bright; 1 keeps a bright sky bright.

    nan if less than 3 % of the image is bright.

    Args:
        a: the infrared, (H, W), 0 to 255.
        b: the visible image, likewise.
        fused: fused image, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    a, b, fused = _levels(a, b, fused)
    bright = cv2.erode((b >= BRIGHT).astype(np.uint8), np.ones((5, 5))) > 0
    return float(fused[bright].mean() / b[bright].mean()) if bright.mean() > 0.03 else math.nan


def _levels(*given: np.ndarray) -> list[np.ndarray]:
    pictures = [grey_levels(x, "An image") if isinstance(x, Image.Image) else np.asarray(x) for x in given]
    shapes = [picture.shape for picture in pictures]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(
            f"The sources have the shapes {shapes[0]} and {shapes[1]} and the fused image {shapes[2]}; "
            "all three must be of one shape (H, W)."
        )
    arrays = [picture.astype(np.float64) for picture in pictures]
    for name, array in zip(("The first source", "The second source", "The fused image"), arrays, strict=True):
        low, high = float(array.min()), float(array.max())
        if problem := range_problem(low, high, high >= UNIT_RANGE or bool((array == np.rint(array)).all()), None):
            raise ValueError(f"{name} {problem}")
    return arrays


def _border_quotient(picture: np.ndarray) -> float:
    """Mean step at the border divided by mean step inside, with `FLOOR` added to both."""
    rows, columns = np.abs(np.diff(picture, axis=0)), np.abs(np.diff(picture, axis=1))
    border = np.concatenate((rows[0], rows[-1], columns[:, 0], columns[:, -1])).mean()
    inside = np.concatenate((rows[1:-1, 1:-1].ravel(), columns[1:-1, 1:-1].ravel())).mean()
    return float((border + FLOOR) / (inside + FLOOR))


@dataclass(frozen=True)
class Defect:
    """The metric of a defect.

    Attributes:
        name: name in tables.
        function: takes (a, b, fused), arrays (H, W), and returns the value, nan if undefined.
        range: smallest and largest possible value.
        definition: short description.
        higher_is_better: whether higher is better.
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    range: tuple[float, float]
    definition: str
    higher_is_better: bool = False


DEFECTS: dict[str, Defect] = {
    defect.name: defect
    for defect in (
        Defect(
            "border",
            border_step_ratio,
            (0, math.inf),
            "step at the border relative to that inside, 1 for plain averaging",
        ),
        Defect(
            "background",
            background_level,
            (0, 255),
            f"mean grey level where both sources are at most {BLACK}",
        ),
        Defect("sharp", sharpness_kept, (0, 1), "share of the clearly sharper pixels that are kept sharp", True),
        Defect("agree", disagreement, (0, 255), f"mean change where both sources agree within {AGREEMENT} levels"),
        Defect("heat", heat_kept, (-math.inf, math.inf), "contrast of hot objects relative to the infrared", True),
        Defect(
            "bright",
            brightness_kept,
            (0, math.inf),
            f"ratio of fused to visible where the visible is at least {BRIGHT}",
            True,
        ),
    )
}
