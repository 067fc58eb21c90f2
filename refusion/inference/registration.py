"""Find the matrix that maps one image onto another by their edges.

ECC (Evangelidis and Psarakis, TPAMI 2008) from coarse to fine, on maps of edge strength relative to the surroundings.
Matrices are float64 (3, 3) and map pixel coordinates (x, y, 1) of the first image to those of the second.
"""

from collections.abc import Sequence

import numpy as np

from refusion.images.picture import MIN_SIDE
from refusion.inference.edges import View, opencv
from refusion.tasks import Motion

LEVELS = (96, 192, 384, 768)
"""Long sides of the pyramid levels, in pixels."""

_BETWEEN, _COMPARED = 0.7, 0.6
"""For shorter moves, the correlation of a scene that repeats itself falls below the first, unlike along a line. The
second is the fraction of height and width that is compared."""


def estimate_matrix(a: View, b: View, motion: Motion, longest: int) -> np.ndarray | None:
    """The matrix that maps A onto B, or None if ECC does not converge.

    Args:
        a: view of the first image.
        b: view of the second image, of the same shape.
        motion: the motion model.
        longest: long side, in pixels, of the finest pyramid level used.
    """
    matrix = np.eye(3)
    for step, level in enumerate(side for side in LEVELS if side <= longest):
        scale = scale_to(level, a.luminance.shape)
        small_a, small_b = a.scaled(scale), b.scaled(scale)
        insides = small_a.inside, small_b.inside
        edges_a, edges_b = small_a.edges(), small_b.edges()
        here = rescaled(matrix, scale)
        if step < 2:
            starts = _different([here, np.eye(3), _phase_shift(edges_a, edges_b)])
            found = [ecc(edges_a, edges_b, insides, start, "translation", 7) for start in starts]
            here = max(found, key=lambda estimate: estimate[0])[1]
        if step > 0 or scale == 1:
            # Perspective needs a good initial estimate.
            coarse = "affine" if motion == "homography" and step < 2 and scale < 1 else motion
            correlation, here = ecc(edges_a, edges_b, insides, here, coarse, 5)
            if correlation < 0:
                return None
        if motion == "similarity" and (scale == 1 or 2 * level > longest):
            # Sources of one camera agree in grey levels too, while edges seem to move as they become blurred.
            refined = ecc(small_a.blurred(2), small_b.blurred(2), insides, here, motion, 5, (100, 1e-7))
            here = refined[1] if refined[0] > 0 else here
        matrix = rescaled(here, 1 / scale)
        if scale == 1:
            break
    return matrix / matrix[2, 2]


def _different(starts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The matrices without those that differ by less than a tenth of a pixel from one before them."""
    kept: list[np.ndarray] = []
    for start in starts:
        if all(np.abs(start - other).max() >= 0.1 for other in kept):
            kept.append(start)
    return kept


def ecc(
    a: np.ndarray,
    b: np.ndarray,
    insides: tuple[np.ndarray, np.ndarray],
    start: np.ndarray,
    motion: Motion,
    blur: int,
    until: tuple[int, float] = (60, 1e-5),
) -> tuple[float, np.ndarray]:
    """Correlation and matrix found by ECC from an initial matrix; -1 and that matrix if ECC fails.

    Args:
        a: map of the first image, float32 (H, W).
        b: map of the second image, of the same shape.
        insides: bool (H, W), the pixels of each that count.
        start: the initial matrix.
        motion: the motion model.
        blur: side of the Gaussian that both are blurred with, in pixels.
        until: maximum number of iterations, and the gain in correlation at which they end.
    """
    if motion == "similarity":
        correlation, matrix = ecc(a, b, insides, start, "affine", blur, until)
        return correlation, _nearest_similarity(matrix, a.shape)
    cv2 = opencv()
    rows = 3 if motion == "homography" else 2
    kind = {
        "translation": cv2.MOTION_TRANSLATION,
        "euclidean": cv2.MOTION_EUCLIDEAN,
        "affine": cv2.MOTION_AFFINE,
        "homography": cv2.MOTION_HOMOGRAPHY,
    }
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, *until)
    initial = (start / start[2, 2])[:rows].astype(np.float32)
    try:
        correlation, found = cv2.findTransformECC(a, b, initial, kind[motion], criteria, _mask(*insides, start), blur)
    except cv2.error:
        # ECC raises if the images have nothing in common.
        return -1, start
    matrix = np.eye(3)
    matrix[:rows] = found
    return float(correlation), matrix


def _mask(inside_a: np.ndarray, inside_b: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
    """The pixels of B inside both images, as ECC takes no mask of the first; None if all are."""
    if inside_a.all() and inside_b.all():
        return None
    cv2 = opencv()
    # What the first image does not cover yet may still come to lie on it.
    options = {"flags": cv2.INTER_NEAREST, "borderValue": 1}
    return cv2.warpPerspective(inside_a.astype(np.uint8), matrix, inside_a.shape[::-1], **options) & inside_b


def _nearest_similarity(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The similarity nearest to an affine map over an image, equal to it at the centre."""
    along = (matrix[0, 0] + matrix[1, 1]) / 2
    across = (matrix[1, 0] - matrix[0, 1]) / 2
    nearest = np.array([[along, -across, 0], [across, along, 0], [0, 0, 1]])
    middle = np.array([shape[1] / 2, shape[0] / 2, 1])
    nearest[:2, 2] = (matrix @ middle - nearest @ middle)[:2]
    return nearest


def _phase_shift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    window = cv2.createHanningWindow(a.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(a, b, window)
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix


def match(a: View, b: View, matrix: np.ndarray) -> tuple[float, bool]:
    """Correlation of the edges of A and the moved B, and whether it is higher than at small offsets."""
    cv2 = opencv()
    scale = scale_to(256, a.luminance.shape)
    a, b = a.scaled(scale), b.scaled(scale)
    here = rescaled(matrix, scale)
    shape = a.luminance.shape
    edges = cv2.GaussianBlur(a.edges(), (0, 0), 1)

    def correlation(x: float, y: float) -> float:
        off = here @ np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        moved = b.warped(off)
        inside = covered(off, shape) & a.inside & moved.inside
        if inside.sum() < 0.3 * a.inside.sum():
            return -1
        others = cv2.GaussianBlur(moved.edges(), (0, 0), 1)[inside]
        mine = edges[inside]
        if min(len(mine), mine.std(), others.std()) == 0:
            return -1
        return float(np.corrcoef(mine, others)[0, 1])

    middle = correlation(0, 0)
    around = [
        correlation(radius * max(shape) * np.cos(angle), radius * max(shape) * np.sin(angle))
        for radius in (0.015, 0.04)
        for angle in np.arange(8) * np.pi / 4
    ]
    return middle, bool(np.mean([middle > other for other in around]) > 0.9)


def repetition(view: View) -> float:
    """Highest correlation of the edges in the middle with edges elsewhere, beyond where they correlate less."""
    cv2 = opencv()
    small = view.scaled(scale_to(256, view.luminance.shape))
    edges = cv2.GaussianBlur(small.edges(), (0, 0), 1)
    height, width = edges.shape
    top, left = (round(side * (1 - _COMPARED) / 2) for side in (height, width))
    middle = np.ascontiguousarray(edges[top : height - top, left : width - left])
    if middle.std() == 0:
        return 0
    found = cv2.matchTemplate(edges, middle, cv2.TM_CCOEFF_NORMED)
    _, parts = cv2.connectedComponents((found >= _BETWEEN).astype(np.uint8))
    return float(found[parts != parts[top, left]].max(initial=0))


def covered(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bool (H, W): the pixels that a matrix maps into the image."""
    return View(np.ones(shape, np.float32)).warped(matrix).luminance > 0.99


def scale_to(longest: int, shape: tuple[int, ...]) -> float:
    """The scale to this longest side, but of a narrow image only as far as its short side can be seen."""
    return min(1, max(longest / max(shape), MIN_SIDE / min(shape)))


def rescaled(matrix: np.ndarray, scale: float) -> np.ndarray:
    zoom = np.diag([scale, scale, 1])
    return zoom @ matrix @ np.linalg.inv(zoom)


def shift_of(matrix: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest displacement of the corners and the centre of an image, in pixels.

    Args:
        matrix: (3, 3), maps coordinates to coordinates.
        shape: height and width.
    """
    height, width = shape[:2]
    places = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1], [width / 2, height / 2, 1]]).T
    moved = matrix @ places
    return float(np.linalg.norm(moved[:2] / moved[2] - places[:2], axis=0).max())
