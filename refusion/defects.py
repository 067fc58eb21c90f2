"""Two defects that a fused picture can have and the fusion metrics hardly see, as figures.

Both take 8-bit luminance: three arrays (H, W) of one shape, whole grey levels 0 to 255 of any numeric type. In both,
lower is better.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLACK = 1
"""Highest grey level that counts as black."""

FLOOR = 0.1
"""Grey levels added to the mean steps at the border and inside: a tenth of the smallest step that a pixel can have."""

BORDER_MIN_SIZE = 4
"""Smallest height and width with a step inside, between the two outermost rows and columns."""


def border_step_ratio(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """How much more the fused picture steps at its border than plain averaging of the sources does; 0 and up.

    The border step is the mean absolute difference between the outermost row or column and its neighbour, over all
    four sides. It is taken relative to the mean absolute difference of neighbours, along rows and columns, inside the
    picture (without its outermost rows and columns). The figure is this quotient of the fused picture divided by that
    of plain averaging, (a + b) / 2 rounded to whole grey levels: 1 is as plain averaging, and a frame around the
    picture, as convolutions with zeros outside make, gives more. `FLOOR` is added to every step, so that a black
    border, where averaging has no step at all, can be compared too.

    Args:
        a: first source, (H, W), 0 to 255, at least 4 x 4.
        b: second source, likewise.
        fused: fused picture, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W) of at least 4 x 4.
    """
    a, b, fused = _levels(a, b, fused)
    if min(fused.shape) < BORDER_MIN_SIZE:
        raise ValueError(
            f"The picture has {fused.shape[0]} rows and {fused.shape[1]} columns; "
            f"the step at the border needs at least {BORDER_MIN_SIZE} of both."
        )
    return _border_quotient(fused) / _border_quotient(np.rint((a + b) / 2))


def background_level(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Mean grey level of the fused picture where both sources are black (at most 1); 0 to 255.

    nan where both sources are black in no pixel.

    Args:
        a: first source, (H, W), 0 to 255.
        b: second source, likewise.
        fused: fused picture, likewise.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    a, b, fused = _levels(a, b, fused)
    black = (a <= BLACK) & (b <= BLACK)
    return float(fused[black].mean()) if black.any() else math.nan


def _levels(*pictures: np.ndarray) -> list[np.ndarray]:
    shapes = [np.shape(picture) for picture in pictures]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(
            f"The sources have the shapes {shapes[0]} and {shapes[1]} and the fused picture {shapes[2]}; "
            "all three must be of one shape (H, W)."
        )
    return [np.asarray(picture, dtype=np.float64) for picture in pictures]


def _border_quotient(picture: np.ndarray) -> float:
    """Mean step at the border by mean step inside, with `FLOOR` added to both."""
    rows, columns = np.abs(np.diff(picture, axis=0)), np.abs(np.diff(picture, axis=1))
    border = np.concatenate((rows[0], rows[-1], columns[:, 0], columns[:, -1])).mean()
    inside = np.concatenate((rows[1:-1, 1:-1].ravel(), columns[1:-1, 1:-1].ravel())).mean()
    return float((border + FLOOR) / (inside + FLOOR))


@dataclass(frozen=True)
class Defect:
    """One defect of fused pictures as a figure; lower is better.

    Attributes:
        name: what tables call it.
        function: takes (a, b, fused), arrays (H, W), and returns the figure, nan where it has no meaning.
        range: smallest and largest value it can take.
        definition: what it measures, in a few words.
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    range: tuple[float, float]
    definition: str


DEFECTS: dict[str, Defect] = {
    defect.name: defect
    for defect in (
        Defect(
            "border",
            border_step_ratio,
            (0, math.inf),
            "step at the border relative to that inside, 1 as plain averaging",
        ),
        Defect(
            "background",
            background_level,
            (0, 255),
            f"mean grey level where both sources are at most {BLACK}",
        ),
    )
}
