"""Edge maps, in which the grey levels of two kinds of images agree, and in which pixels without content do not count.

Luminance is 0 where nothing is shown. A weighted mean there would end in a dark rim, whose edge is no structure of the
scene: so means are taken over what is shown (normalised convolution, Knutsson and Westin, CVPR 1993), and a margin
along its outline is left out.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from refusion.images.picture import Picture

if TYPE_CHECKING:
    from types import ModuleType

_MARGIN, _MIN_CONTENT = 4, 0.8
"""Where edges are compared, this share of what a Gaussian of this sigma in pixels covers must have content: 3 pixels
off an outline, but also between single missing pixels."""


def opencv() -> "ModuleType":
    """OpenCV, imported when it is first used, as help and wrong arguments do without."""
    import cv2

    return cv2


@dataclass(frozen=True, eq=False)
class View:
    """What of an image is compared.

    Attributes:
        luminance: float32 (H, W) in [0, 1], 0 where there is no content.
        shown: float32 (H, W) in [0, 1], the share of each pixel that has content; None if all have.
    """

    luminance: np.ndarray
    shown: np.ndarray | None = None

    @classmethod
    def of(cls, picture: Picture) -> "View":
        """The view of a picture; its luminance is freed of alpha, so that a soft outline is no shade."""
        alpha = picture.alpha
        if alpha is None or alpha.min() > 0:
            return cls(picture.luminance)
        shown = alpha > 0
        opaque = np.divide(picture.luminance, alpha, out=np.zeros_like(picture.luminance), where=shown)
        return cls(np.minimum(opaque, 1), shown.astype(np.float32))

    @cached_property
    def inside(self) -> np.ndarray:
        """Bool (H, W): the pixels whose edges are those of the scene."""
        if self.shown is None:
            return np.ones(self.luminance.shape, bool)
        return opencv().GaussianBlur(self.shown, (0, 0), _MARGIN) > _MIN_CONTENT

    def scaled(self, scale: float) -> "View":
        """The view resized by a factor up to 1."""
        if scale == 1:
            return self
        cv2 = opencv()

        def small(values: np.ndarray) -> np.ndarray:
            return cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

        return View(small(self.luminance), None if self.shown is None else small(self.shown))

    def warped(self, matrix: np.ndarray) -> "View":
        """The view with the pixel (x, y) taken from where a (3, 3) matrix maps it; the size is kept."""
        cv2 = opencv()

        def warp(values: np.ndarray) -> np.ndarray:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpPerspective(values, matrix, values.shape[::-1], flags=flags)

        return View(warp(self.luminance), None if self.shown is None else warp(self.shown))

    def blurred(self, sigma: float) -> np.ndarray:
        """Luminance blurred by a Gaussian, float32 (H, W), each pixel from those around it that are shown."""
        return _mean_around(self.luminance, self.shown, sigma)

    def edges(self) -> np.ndarray:
        """Edge strength relative to the surroundings, float32 (H, W) from 0 to 4; outside, their mean."""
        cv2 = opencv()
        logarithm = np.log(self.blurred(1) + 0.04)
        gradient = np.hypot(cv2.Sobel(logarithm, cv2.CV_32F, 1, 0), cv2.Sobel(logarithm, cv2.CV_32F, 0, 1))
        counted = None
        if self.shown is not None:
            counted = self.inside.astype(np.float32)
            gradient *= counted
        around = _mean_around(gradient, counted, max(8, min(gradient.shape) / 16))
        edges = np.minimum(gradient / (around + 0.05), 4).astype(np.float32)
        if counted is not None and self.inside.any():
            edges[~self.inside] = edges[self.inside].mean()
        return edges


def _mean_around(values: np.ndarray, weight: np.ndarray | None, sigma: float) -> np.ndarray:
    """Values blurred by a Gaussian; with a weight, which they are already multiplied by, their weighted mean."""
    cv2 = opencv()
    total = cv2.GaussianBlur(values, (0, 0), sigma)
    return total if weight is None else total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
