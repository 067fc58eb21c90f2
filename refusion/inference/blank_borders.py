"""Blank borders, which a registration leaves where one of the images does not reach, filled from the other image.

Files rarely declare them. Fused as they are, they end in an outline, and white ones cover the other image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from refusion.images.picture import NEUTRAL, Picture
from refusion.inference.edges import opencv
from refusion.system.advice import FILL_BORDERS, KEEP_BORDERS, Advised

_BLANK, _UNIFORM = 4 / 255, 0.6
"""Largest difference from black or white, for JPEG; and the least share of the border that has one of 256 levels."""

_MIN_SIDE, _MIN_SHARE = 0.02, 0.01
"""A border is at least this share of the sides of the image, and of its pixels."""

_MAX_DENTS = 0.03
"""Largest share of a convex outline around the content that may be blank, too: the content is a warped rectangle."""

_SMOOTHED, _LONG = 0.005, 0.1
"""That outline is smoothed by this share of the diagonal; an edge is longer than this share of the short side."""

_MAX_SKEW = 12
"""Degrees by which the angles between edges differ from right ones. There are two edges or more; a single one could be
the skyline under a burnt-out sky, as could two that meet at another angle."""

_MARGIN, _RAMP = 3, 0.03
"""Pixels along the outline that are interpolated with the border, or blurred by JPEG; and the width of the transition,
as a share of the short side."""

_MOVED = 0.1
"""A frame keeps its border if more than this share of it is not blank."""


@dataclass(frozen=True)
class Border:
    """A blank border of a source that is to be filled.

    Attributes:
        level: its luminance, 0 or 1.
        blank: bool (H, W), its pixels.
        alpha: float32 (H, W) in [0, 1], what is left of the source.
    """

    level: int
    blank: np.ndarray
    alpha: np.ndarray

    def cut(self, picture: Picture) -> Picture:
        """The source without its border, over black; unchanged if it is not blank there, as another frame may be."""
        if np.mean(np.abs(picture.luminance[self.blank] - self.level) > _BLANK) > _MOVED:
            return picture
        chroma = picture.chroma
        return replace(
            picture,
            luminance=picture.luminance * self.alpha,
            chroma=None if chroma is None else NEUTRAL + self.alpha * (chroma - NEUTRAL),
            alpha=self.alpha,
        )


@dataclass(frozen=True)
class Borders:
    """What was found in two sources.

    Attributes:
        a: border of the first source, or None.
        b: border of the second source, or None.
        notes: a note for each border, also for those that are kept, as sentences.
    """

    a: Border | None = None
    b: Border | None = None
    notes: tuple[str, ...] = ()

    def cut(self, a: Picture, b: Picture) -> tuple[Picture, Picture]:
        """Both sources, transparent where they have a border that is to be filled."""
        return (a if self.a is None else self.a.cut(a)), (b if self.b is None else self.b.cut(b))


def find_borders(a: Picture, b: Picture, *, white: bool, ramp: bool) -> Borders:
    """Find blank borders where the other source has content.

    A source with alpha has none, nor a source that shares most of its border with the other, as screenshots and
    letterboxed images do.

    Args:
        a: first source.
        b: second source, of the same size.
        white: whether white borders are filled; if not, they only get a note, since white may mean hot.
        ramp: whether the content fades in along its outline, since the other source may have other grey levels.
    """
    of_a, of_b = (None if picture.alpha is not None else blank_border(picture.luminance) for picture in (a, b))
    shared = 0 if of_a is None or of_b is None else np.count_nonzero(of_a & of_b)
    found: list[Border | None] = []
    notes = []
    for picture, other, blank, of_other in ((a, b, of_a, of_b), (b, a, of_b, of_a)):
        if blank is None or 2 * shared > np.count_nonzero(blank):
            found.append(None)
            continue
        is_white = picture.luminance[blank].mean() > 1 / 2
        kept = is_white and not white
        notes.append(_note(picture, other, blank.mean(), is_white=is_white, kept=kept))
        notes += _note_on_the_rest(picture, blank, of_other, rest=int(not is_white))
        found.append(None if kept else Border(int(is_white), blank, _alpha(~blank, ramp)))
    return Borders(found[0], found[1], tuple(notes))


@dataclass
class KeptBorders:
    """Notes on the blank borders of the images of a stack, which are kept.

    Where the images share most of a border, as screenshots and letterboxed images do, it gets none.
    """

    _found: list[tuple[int, str]] = field(default_factory=list)
    _shared: np.ndarray | None = None

    def look_at(self, picture: Picture) -> None:
        """Look for a border of the next image, of the size of the others."""
        blank = None if picture.alpha is not None else blank_border(picture.luminance)
        if blank is not None:
            is_white = picture.luminance[blank].mean() > 1 / 2
            self._found.append((int(np.count_nonzero(blank)), _cause(picture, blank.mean(), is_white=is_white)))
        blank = np.zeros(picture.luminance.shape, bool) if blank is None else blank
        self._shared = blank if self._shared is None else self._shared & blank

    @property
    def notes(self) -> list[str]:
        """A note on the first border, and one on how many more there are."""
        shared = 0 if self._shared is None else np.count_nonzero(self._shared)
        causes = [cause for count, cause in self._found if 2 * shared <= count]
        if not causes:
            return []
        first, *others = causes
        more = f"{len(others)} more {'image has' if len(others) == 1 else 'images have'} such a border."
        return [f"{first}, and a stack keeps it; make it transparent, or crop all images.", *([more] if others else [])]


def _cause(picture: Picture, share: float, *, is_white: bool) -> str:
    return (
        f"{picture.name} has a {'white' if is_white else 'black'} border of {100 * share:.0f} % of its pixels, as "
        "registration leaves it"
    )


def _note(picture: Picture, other: Picture, share: float, *, is_white: bool, kept: bool) -> str:
    cause = _cause(picture, share, is_white=is_white)
    if kept:
        return Advised(
            cause,
            f"if it means nothing, --fill-borders (fill_borders=True) fills it from {other.name}",
            "if it means nothing, make it transparent, or crop both images",
            f"if it means nothing, {FILL_BORDERS}",
        )
    return Advised(
        f"{cause}, which was filled from {other.name}",
        "--no-fill-borders (fill_borders=False) keeps it",
        demo=f"to keep it, {KEEP_BORDERS}",
    )


def _note_on_the_rest(picture: Picture, blank: np.ndarray, of_other: np.ndarray | None, *, rest: int) -> list[str]:
    """The note if a source with a border also has one of the other level, unless the other source shares it."""
    both = blank_border(np.where(blank, np.float32(rest), picture.luminance), (rest,))
    left = None if both is None else both & ~blank
    if left is None or left.mean() < _MIN_SHARE:
        return []
    if of_other is not None and 2 * np.count_nonzero(left & of_other) > np.count_nonzero(left):
        return []
    return [
        f"{picture.name} also has a {'white' if rest else 'black'} border, of {100 * left.mean():.0f} % of its pixels, "
        "which is kept; if it means nothing, make it transparent, or crop both images."
    ]


def blank_border(luminance: np.ndarray, levels: Sequence[int] = (0, 1)) -> np.ndarray | None:
    """Find a black or white border around content with straight edges.

    Args:
        luminance: float32 (H, W) in [0, 1].
        levels: the levels to look for, 0 for black and 1 for white; the first border is returned.

    Returns:
        Bool (H, W), the pixels of the border; None if there is none.
    """
    sides = np.concatenate([luminance[0], luminance[-1], luminance[:, 0], luminance[:, -1]])
    for level in levels:
        if np.mean(np.abs(sides - level) <= _BLANK) >= _MIN_SIDE:
            content = _convex_content(np.abs(luminance - level) <= _BLANK)
            if content is not None and _is_uniform(luminance[~content]):
                return ~content
    return None


def _is_uniform(values: np.ndarray) -> bool:
    levels = np.bincount(np.rint(values * 255).astype(np.uint8))
    return bool(levels.max() >= _UNIFORM * values.size)


def _convex_content(blank: np.ndarray) -> np.ndarray | None:
    """What is left of an image without the blank pixels around it, bool (H, W), if its outline is one of a warp."""
    cv2 = opencv()
    height, width = blank.shape
    # Specks in the border, from JPEG, are no content.
    content = cv2.morphologyEx((~_from_sides(blank)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(content, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    hull = cv2.convexHull(max(outlines, key=cv2.contourArea))
    inside = cv2.fillConvexPoly(np.zeros_like(content), hull, 1)
    area = np.count_nonzero(inside)
    dents = np.count_nonzero(inside & ~content & 1) / area
    if 1 - area / blank.size < _MIN_SHARE or dents > _MAX_DENTS:
        return None
    tolerance = max(2.5, _SMOOTHED * float(np.hypot(height, width)))
    # Thinner content would fade out as a whole or lose its corners, and a narrow image has none after smoothing.
    thick = cv2.distanceTransform(inside, cv2.DIST_L2, 5).max()
    if tolerance > _LONG * min(height, width) or thick < max(2 * tolerance, _MARGIN + _RAMP * min(height, width)):
        return None
    corners = cv2.approxPolyDP(hull, tolerance, True)[:, 0]
    return inside.astype(bool) if _is_warped(corners, height, width) else None


def _is_warped(corners: np.ndarray, height: int, width: int) -> bool:
    """Whether the corners of a convex outline, (N, 2) of x and y, are those of a rectangle that was moved or turned.

    Only its edges inside the image are compared.
    """
    steps = np.roll(corners, -1, 0) - corners
    low, high = np.minimum(corners, corners + steps), np.maximum(corners, corners + steps)
    along = (high <= _MARGIN).any(1) | (low >= np.array([width, height]) - 1 - _MARGIN).any(1)
    edges = steps[~along & (np.hypot(*steps.T) >= _LONG * min(height, width))]
    angles = np.degrees(np.arctan2(edges[:, 1], edges[:, 0]))
    if len(angles) < 2:
        return False
    turned = (angles - angles[0]) / 90
    skew = np.abs(turned - np.round(turned)) * 90
    return skew.max() <= _MAX_SKEW and len(set(np.round(turned) % 4)) >= 2


def _from_sides(blank: np.ndarray) -> np.ndarray:
    """The blank pixels that are connected with a side of the image, bool (H, W)."""
    cv2 = opencv()
    count, labels = cv2.connectedComponents(blank.astype(np.uint8), connectivity=4)
    at_sides = np.zeros(count, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_sides[side] = True
    at_sides[0] = False
    return at_sides[labels]


def _alpha(content: np.ndarray, ramp: bool) -> np.ndarray:
    """Opacity of the content, float32 (H, W): 0 near its outline, and 1 inside."""
    cv2 = opencv()
    off = cv2.distanceTransform(content.astype(np.uint8), cv2.DIST_L2, 5) - _MARGIN
    return np.clip(off / (_RAMP * min(content.shape)) if ramp else off, 0, 1)
