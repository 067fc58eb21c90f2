"""Estimate how the second source is offset from the first, and align it.

The grey levels of infrared and visible images, or of two exposures, differ, but their edges agree. So both images are
turned into maps of edge strength relative to the surroundings (gradients of the logarithm), which are matched by ECC
(Evangelidis and Psarakis, TPAMI 2008) from coarse to fine. An estimate is trusted if estimating from B to A gives its
inverse, if the edges match better than at small offsets from it, if they match well, and unless the scene repeats
itself, as bricks and fences do. An image is moved only if that makes its edges agree clearly better with those of the
other image. Pixels without content (transparent, no-data) do not count.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from refusion.images.picture import Picture, PictureError
from refusion.inference.edges import View, opencv
from refusion.inference.moving import cropped, move, shown_part
from refusion.inference.registration import LEVELS, covered, estimate_matrix, match, repetition, rescaled, shift_of
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

MATCH = 0.3
"""Correlation of the edge maps that gives full confidence: real infrared-visible pairs have 0.2 to 0.6."""

REPEATS = 0.85
"""Correlation of the edges of an image with its own, moved by some distance, above which the scene repeats itself. Of
207 real pairs, none reaches 0.7 in both images."""


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
    there, back = estimate_matrix(a, b, motion, longest), estimate_matrix(b, a, motion, longest)
    if there is None or back is None:
        return Alignment(np.eye(3), motion, 0, 0)
    shape = a.luminance.shape
    # Both estimates combined should be the identity; the error is in pixels of the finest level.
    error = shift_of(there @ back, shape) * min(1, longest / max(shape))
    agreement, peak = match(a, b, there)
    confidence = min(1, max(0, agreement) / MATCH) * max(0, 1 - error) if peak else 0
    shift = shift_of(there, shape)
    # A scene that lies where it is has hardly been moved by just one repetition.
    repeats = shift >= SMALL_SHIFT * max(shape) and min(repetition(a), repetition(b)) >= REPEATS
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
    moved, shown = move(b, found.matrix, a, exposures=exposures)
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
    scale = min(1, LEVELS[-1] / max(a.luminance.shape))
    a, b = a.scaled(scale), b.scaled(scale)
    here = rescaled(matrix, scale)
    moved = b.warped(here)
    shared = cv2.erode(covered(here, a.luminance.shape).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    inside = shared & a.inside & b.inside & moved.inside
    edges, still, gone = (
        (x.blurred(2) if alike else cv2.GaussianBlur(x.edges(), (0, 0), 1))[inside] for x in (a, b, moved)
    )
    if min(len(edges), edges.std(), still.std(), gone.std()) == 0:
        return 0, 0
    return float(np.corrcoef(edges, still)[0, 1]), float(np.corrcoef(edges, gone)[0, 1])
