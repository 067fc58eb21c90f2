"""Estimate how the second source is offset from the first, and align it.

The grey levels of infrared and visible images, or of two exposures, differ, but their edges agree. So both images are
turned into maps of edge strength relative to the surroundings (gradients of the logarithm), which are matched by ECC
(Evangelidis and Psarakis, TPAMI 2008) from coarse to fine. An estimate is trusted if estimating from B to A gives its
inverse, if the edges match better than at small offsets from it, if they match well, and unless the scene repeats
itself, as bricks and fences do. An image is moved only if that makes its edges agree clearly better with those of the
other image. Pixels without content (transparent, no-data) do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from refusion.images.picture import MIN_SIDE, NEUTRAL, Picture, PictureError
from refusion.inference.edges import View, opencv
from refusion.system.advice import Advised
from refusion.tasks import Motion, check_choice

Border = Literal["fill", "crop"]
"""How to treat pixels that only the first source covers: fill them from it, or crop them."""

SURE = 0.4
"""Minimum confidence for moving an image."""

MIN_GAIN = 0.12
"""Minimum gain for moving an image: the fraction by which the move reduces 1 - correlation of the edges."""

SMALL_SHIFT, MIN_SMALL_SHIFT_GAIN = 0.015, 0.4
"""Shift, as a fraction of the long side, below which parallax or the lens may be the cause; and its minimum gain."""

MIN_LINK_GAIN = 0.1
"""Minimum gain between neighbours in a stack, whose offsets are small."""

CLEAR_SHIFT = 0.015
"""Minimum offset of two sources for a note, as a fraction of the long side."""

CLEAR_TURN, CLEAR_GROWTH = 1.5, 0.03
"""Minimum rotation in degrees and change of scale of two sources for a note."""

_LEVELS = (96, 192, 384, 768)
"""Long sides of the pyramid levels, in pixels."""

_MATCH = 0.3
"""Correlation of the edge maps that gives full confidence: real infrared-visible pairs have 0.2 to 0.6."""


_REPEATS = 0.85
"""Correlation of the edges of an image with its own, moved by some distance, above which the scene repeats itself. Of
207 real pairs, none reaches 0.7 in both images."""

_BETWEEN, _COMPARED = 0.7, 0.6
"""For shorter moves, the correlation of a scene that repeats itself falls below the first, unlike along a line. The
second is the fraction of height and width that is compared."""


_SAMPLED = 2**20
"""About as many pixels are compared to bring one exposure to another."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The estimated alignment of the second source to the first.

    Attributes:
        matrix: float64 (3, 3), maps pixel coordinates (x, y, 1) of the first source to those of the second.
        motion: the motion model.
        shift: largest displacement of the corners and the centre, in pixels of the first source.
        confidence: 0 to 1, see `SURE`.
        gain: fraction by which the move reduces 1 - correlation of the edges; None if nothing is moved.
        repeats: whether the scene repeats itself, so that other moves match nearly as well.
        tried: the motion model that was tried first, and was uncertain; None if that is `motion`.
    """

    matrix: np.ndarray
    motion: Motion
    shift: float
    confidence: float
    gain: float | None = None
    repeats: bool = False
    tried: Motion | None = None

    @property
    def sure(self) -> bool:
        """Whether the estimate is reliable enough to move an image."""
        return self.confidence >= SURE and not self.repeats

    @property
    def moves(self) -> bool:
        """Whether the image is moved."""
        return self.shift > 0

    def note(self, name: str, onto: str) -> str:
        """Describe the result to the user.

        Args:
            name: name of the second source.
            onto: name of the first source.
        """
        if self.moves:
            return f"{name} was moved onto {onto}: {self}."
        cause = f"{name} was left where it is, since no {self.motion} alignment matches {onto} clearly better"
        motions = get_args(Motion)
        richer = motions[motions.index(self.tried or self.motion) + 1 :]
        if not richer:
            return f"{cause}."
        return Advised(cause, f"if it is off, try --motion {' or '.join(richer)} (align={richer[0]!r})")

    def __str__(self) -> str:
        x, y = self.matrix[:2, 2] / self.matrix[2, 2]
        return f"{self.motion}, up to {self.shift:.1f} pixels ({x:+.1f}, {y:+.1f}), confidence {self.confidence:.2f}"


def estimate_alignment(a: View, b: View, motion: Motion = "euclidean", longest: int = 768) -> Alignment:
    """Estimate the alignment of B to A.

    Args:
        a: view of the first source.
        b: view of the second source, of the same shape.
        motion: the motion model.
        longest: long side, in pixels, of the finest pyramid level used.

    Returns:
        The estimate, which may not be `Alignment.sure`.

    Raises:
        ValueError: there is no such motion.
    """
    check_choice("motion", motion, Motion)
    there, back = _estimate(a, b, motion, longest), _estimate(b, a, motion, longest)
    if there is None or back is None:
        return Alignment(np.eye(3), motion, 0, 0)
    shape = a.luminance.shape
    # Both estimates combined should be the identity; the error is in pixels of the finest level.
    error = shift_of(there @ back, shape) * min(1, longest / max(shape))
    match, peak = _match(a, b, there)
    confidence = min(1, max(0, match) / _MATCH) * max(0, 1 - error) if peak else 0
    shift = shift_of(there, shape)
    # A scene that lies where it is has hardly been moved by just one repetition.
    repeats = shift >= SMALL_SHIFT * max(shape) and min(_repetition(a), _repetition(b)) >= _REPEATS
    return Alignment(there, motion, shift, float(confidence), repeats=repeats)


def align(
    a: Picture,
    b: Picture,
    motion: Motion = "euclidean",
    border: Border = "fill",
    *,
    exposures: bool = False,
    simpler: bool = False,
) -> tuple[Picture, Picture, Alignment]:
    """Align B to A, if that clearly improves the match.

    Args:
        a: first source.
        b: second source, of the same size.
        motion: the motion model.
        border: ``fill`` gives B the luminance of A where B has no data, which keeps the size; ``crop`` crops both to a
            large rectangle that both cover.
        exposures: see `move`.
        simpler: whether to try a translation if the motion is uncertain.

    Returns:
        Both sources, and how B was moved.

    Raises:
        PictureError: the confidence is below `SURE`, or the scene repeats itself.
        ValueError: there is no such motion or border.
    """
    check_choice("border", border, Border)
    try:
        found = helpful_alignment(a, b, motion)
    except PictureError as uncertain:
        if not simpler or motion == "translation":
            raise
        try:
            found = replace(helpful_alignment(a, b, "translation"), tried=motion)
        except PictureError:
            raise uncertain from None
    if not found.moves:
        return a, b, found
    moved, shown = move(b, found, a, exposures=exposures)
    if border == "crop":
        rows, columns = shown_part(shown)
        a, moved = cropped(a, rows, columns), cropped(moved, rows, columns)
    return a, moved, found


def helpful_alignment(
    a: Picture, b: Picture, motion: Motion, min_gain: float | None = None, *, alike: bool = False
) -> Alignment:
    """Estimate the alignment of B to A; it is the identity if moving B would gain less than `min_gain`.

    Args:
        a: first source.
        b: second source, of the same size.
        motion: the motion model.
        min_gain: minimum gain; by default `MIN_GAIN`, or `MIN_SMALL_SHIFT_GAIN` for a small shift.
        alike: whether both have the same grey levels, which are then compared instead of the edges.

    Raises:
        PictureError: the confidence is below `SURE`, or the scene repeats itself.
        ValueError: there is no such motion.
    """
    view_a, view_b = View.of(a), View.of(b)
    found = estimate_alignment(view_a, view_b, motion)
    if found.repeats:
        raise PictureError(
            f"{b.name} cannot be aligned to {a.name}, since the scene repeats itself, as bricks or a fence do, and "
            "several moves match nearly as well; register them by hand, or fuse them without aligning."
        )
    if not found.sure:
        raise PictureError(
            f"{b.name} cannot be aligned to {a.name} (confidence {found.confidence:.2f}, needed {SURE}), so "
            "it is not moved; register them by hand, try another motion, or fuse them without aligning."
        )
    before, after = agreements(view_a, view_b, found.matrix, alike=alike)
    gain = (after - before) / max(1 - before, 1e-6)
    if min_gain is None:
        min_gain = MIN_GAIN if found.shift >= SMALL_SHIFT * max(a.size) else MIN_SMALL_SHIFT_GAIN
    if gain < min_gain:
        return Alignment(np.eye(3), motion, 0, found.confidence)
    return replace(found, gain=gain)


def agreements(a: View, b: View, matrix: np.ndarray, *, alike: bool = False) -> tuple[float, float]:
    """Correlation of the edges of A with those of B before and after moving B, over the area that both then cover.

    Args:
        a: view of the first source.
        b: view of the second source, of the same shape.
        matrix: see `Alignment`.
        alike: correlate blurred grey levels instead.
    """
    cv2 = opencv()
    scale = min(1, _LEVELS[-1] / max(a.luminance.shape))
    a, b = a.scaled(scale), b.scaled(scale)
    here = _rescaled(matrix, scale)
    moved = b.warped(here)
    covered = cv2.erode(_covered(here, a.luminance.shape).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    inside = covered & a.inside & b.inside & moved.inside
    edges, still, gone = (
        (x.blurred(2) if alike else cv2.GaussianBlur(x.edges(), (0, 0), 1))[inside] for x in (a, b, moved)
    )
    if min(len(edges), edges.std(), still.std(), gone.std()) == 0:
        return 0, 0
    return float(np.corrcoef(edges, still)[0, 1]), float(np.corrcoef(edges, gone)[0, 1])


def move(b: Picture, alignment: Alignment, a: Picture, *, exposures: bool = False) -> tuple[Picture, np.ndarray]:
    """Warp B by an alignment; pixels that B does not cover get A's luminance and alpha, without colour.

    Args:
        b: second source.
        alignment: its alignment to A.
        a: first source.
        exposures: whether the two are exposures of one scene, so that A's luminance is brought to B's exposure first.

    Returns:
        B aligned to A, and a bool mask (H, W) of the pixels that B covers.
    """
    cv2 = opencv()
    width, height = a.size

    def warp(values: np.ndarray, interpolation: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(values, alignment.matrix, (width, height), flags=flags, borderMode=border)

    shown = warp(np.ones(b.luminance.shape, np.float32), cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) > 0.999
    luminance = np.clip(warp(b.luminance, cv2.INTER_CUBIC), 0, 1)
    ground = _as_exposed(a.luminance, luminance, shown) if exposures else a.luminance
    luminance = np.where(shown, luminance, ground).astype(np.float32)
    chroma = None
    if b.chroma is not None:
        chroma = np.stack([warp(channel, cv2.INTER_LINEAR) for channel in b.chroma])
        chroma[:, ~shown] = NEUTRAL
    alpha = None
    if b.alpha is not None:
        filled = np.ones_like(b.alpha) if a.alpha is None else a.alpha
        alpha = np.where(shown, np.clip(warp(b.alpha, cv2.INTER_LINEAR), 0, 1), filled)
    return replace(b, luminance=luminance, chroma=chroma, alpha=alpha), shown


def _as_exposed(a: np.ndarray, b: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The luminance of A with the histogram that B has where both show the scene."""
    if not shown.any():
        return a
    step = max(1, round((a.size / _SAMPLED) ** 0.5))
    sample = shown[::step, ::step]
    grey, wanted = (np.quantile(x[::step, ::step][sample], np.linspace(0, 1, 129)) for x in (a, b))
    grey, same = np.unique(grey, return_inverse=True)
    return np.interp(a, grey, np.bincount(same, wanted) / np.bincount(same))


def offset_note(a: Picture, b: Picture) -> str | None:
    """A note if two sources are clearly not registered, from a quick estimate on a small copy; else None."""
    view_a, view_b = View.of(a), View.of(b)
    there = _estimate(view_a, view_b, "translation", _LEVELS[1])
    if there is None:
        return None
    # Most pairs are registered: these estimates are enough for them.
    if shift_of(there, a.luminance.shape) < CLEAR_SHIFT * max(a.size):
        return _turn_note(a, b, view_a, view_b, there)
    found = estimate_alignment(view_a, view_b, "translation", longest=_LEVELS[1])
    if not found.sure:
        return _turn_note(a, b, view_a, view_b, there)
    return Advised(
        f"{b.name} seems to lie about {found.shift:.0f} pixels off {a.name}, which blurs or doubles edges",
        "--align moves it",
        "register the two first",
    )


def _turn_note(a: Picture, b: Picture, view_a: View, view_b: View, there: np.ndarray) -> str | None:
    """A note if B is clearly turned or of another size, starting from a translation."""
    scale = _scale_to(_LEVELS[1], a.luminance.shape)
    small_a, small_b = view_a.scaled(scale), view_b.scaled(scale)
    insides = small_a.inside, small_b.inside
    start = _rescaled(there, scale)
    _, quick = _ecc(small_a.edges(), small_b.edges(), insides, start, "similarity", 5, (30, 1e-4))
    if not _turned(quick):
        return None
    found = estimate_alignment(view_a, view_b, "similarity", longest=_LEVELS[1])
    turned = _turned(found.matrix)
    if not turned or not found.sure:
        return None
    before, after = agreements(view_a, view_b, found.matrix)
    if after - before < MIN_GAIN * (1 - before):
        return None
    return Advised(
        f"{b.name} seems to be {turned}, compared with {a.name}, which blurs or doubles edges",
        "--align --motion similarity (align='similarity') moves it",
        "register the two first",
    )


def _turned(matrix: np.ndarray) -> str:
    """How a similarity turns and enlarges, in words; empty if by little, or by more than two cameras differ."""
    degrees = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    size = np.hypot(matrix[0, 0], matrix[1, 0])
    if abs(degrees) > 10 or abs(size - 1) > 0.15:
        return ""
    turn = f"turned by about {abs(degrees):.0f} degrees" if abs(degrees) >= CLEAR_TURN else ""
    growth = f"about {100 * abs(size - 1):.0f} % {'larger' if size > 1 else 'smaller'}"
    return " and ".join(filter(None, (turn, growth if abs(size - 1) >= CLEAR_GROWTH else "")))


def _estimate(a: View, b: View, motion: Motion, longest: int) -> np.ndarray | None:
    """The matrix, or None if ECC does not converge."""
    matrix = np.eye(3)
    for step, level in enumerate(side for side in _LEVELS if side <= longest):
        scale = _scale_to(level, a.luminance.shape)
        small_a, small_b = a.scaled(scale), b.scaled(scale)
        insides = small_a.inside, small_b.inside
        edges_a, edges_b = small_a.edges(), small_b.edges()
        here = _rescaled(matrix, scale)
        if step < 2:
            starts = _different([here, np.eye(3), _phase_shift(edges_a, edges_b)])
            found = [_ecc(edges_a, edges_b, insides, start, "translation", 7) for start in starts]
            here = max(found, key=lambda estimate: estimate[0])[1]
        if step > 0 or scale == 1:
            # Perspective needs a good initial estimate.
            coarse = "affine" if motion == "homography" and step < 2 and scale < 1 else motion
            correlation, here = _ecc(edges_a, edges_b, insides, here, coarse, 5)
            if correlation < 0:
                return None
        if motion == "similarity" and (scale == 1 or 2 * level > longest):
            # Sources of one camera agree in grey levels too, while edges seem to move as they become blurred.
            refined = _ecc(small_a.blurred(2), small_b.blurred(2), insides, here, motion, 5, (100, 1e-7))
            here = refined[1] if refined[0] > 0 else here
        matrix = _rescaled(here, 1 / scale)
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


def _ecc(
    a: np.ndarray,
    b: np.ndarray,
    insides: tuple[np.ndarray, np.ndarray],
    start: np.ndarray,
    motion: Motion,
    blur: int,
    until: tuple[int, float] = (60, 1e-5),
) -> tuple[float, np.ndarray]:
    """Correlation and matrix found by ECC from an initial matrix, over what is inside both; -1 if ECC fails."""
    if motion == "similarity":
        correlation, matrix = _ecc(a, b, insides, start, "affine", blur, until)
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


def _match(a: View, b: View, matrix: np.ndarray) -> tuple[float, bool]:
    """Correlation of the edges of A and the moved B, and whether it is higher than at small offsets."""
    cv2 = opencv()
    scale = _scale_to(256, a.luminance.shape)
    a, b = a.scaled(scale), b.scaled(scale)
    here = _rescaled(matrix, scale)
    shape = a.luminance.shape
    edges = cv2.GaussianBlur(a.edges(), (0, 0), 1)

    def correlation(x: float, y: float) -> float:
        off = here @ np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        moved = b.warped(off)
        inside = _covered(off, shape) & a.inside & moved.inside
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


def _repetition(view: View) -> float:
    """Highest correlation of the edges in the middle with edges elsewhere, beyond where they correlate less."""
    cv2 = opencv()
    small = view.scaled(_scale_to(256, view.luminance.shape))
    edges = cv2.GaussianBlur(small.edges(), (0, 0), 1)
    height, width = edges.shape
    top, left = (round(side * (1 - _COMPARED) / 2) for side in (height, width))
    middle = np.ascontiguousarray(edges[top : height - top, left : width - left])
    if middle.std() == 0:
        return 0
    found = cv2.matchTemplate(edges, middle, cv2.TM_CCOEFF_NORMED)
    _, parts = cv2.connectedComponents((found >= _BETWEEN).astype(np.uint8))
    return float(found[parts != parts[top, left]].max(initial=0))


def _covered(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bool (H, W): the pixels that a matrix maps into the image."""
    return View(np.ones(shape, np.float32)).warped(matrix).luminance > 0.99


def _scale_to(longest: int, shape: tuple[int, ...]) -> float:
    """The scale to this longest side, but of a narrow image only as far as its short side can be seen."""
    return min(1, max(longest / max(shape), MIN_SIDE / min(shape)))


def _rescaled(matrix: np.ndarray, scale: float) -> np.ndarray:
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


def shown_part(shown: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a large rectangle without hidden pixels, found by cropping the worst side repeatedly."""
    top, bottom, left, right = 0, shown.shape[0], 0, shown.shape[1]
    while bottom - top > 1 and right - left > 1:
        part = shown[top:bottom, left:right]
        hidden = [1 - side.mean() for side in (part[0], part[-1], part[:, 0], part[:, -1])]
        worst = int(np.argmax(hidden))
        if hidden[worst] == 0:
            break
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return slice(top, bottom), slice(left, right)


def cropped(picture: Picture, rows: slice, columns: slice) -> Picture:
    return replace(
        picture,
        luminance=np.ascontiguousarray(picture.luminance[rows, columns]),
        chroma=None if picture.chroma is None else np.ascontiguousarray(picture.chroma[:, rows, columns]),
        alpha=None if picture.alpha is None else np.ascontiguousarray(picture.alpha[rows, columns]),
    )
