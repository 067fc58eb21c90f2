"""Notes on two sources that are clearly not registered."""

import numpy as np

from refusion.images.picture import Picture
from refusion.inference.alignment import MIN_GAIN, agreements, estimate_alignment
from refusion.inference.edges import View
from refusion.inference.registration import LEVELS, ecc, estimate_matrix, rescaled, scale_to, shift_of
from refusion.system.advice import Advised

CLEAR_SHIFT = 0.015
"""Minimum offset of two sources for a note, as a fraction of the long side."""

CLEAR_TURN, CLEAR_GROWTH = 1.5, 0.03
"""Minimum rotation in degrees and change of scale of two sources for a note."""


def offset_note(a: Picture, b: Picture) -> str | None:
    """A note if two sources are clearly not registered, from a quick estimate on a small copy; else None."""
    view_a, view_b = View.of(a), View.of(b)
    there = estimate_matrix(view_a, view_b, "translation", LEVELS[1])
    if there is None:
        return None
    # Most pairs are registered: these estimates are enough for them.
    if shift_of(there, a.luminance.shape) < CLEAR_SHIFT * max(a.size):
        return _turn_note(a, b, view_a, view_b, there)
    found = estimate_alignment(view_a, view_b, "translation", longest=LEVELS[1])
    if not found.sure:
        return _turn_note(a, b, view_a, view_b, there)
    return Advised(
        f"{b.name} seems to lie about {found.shift:.0f} pixels off {a.name}, which blurs or doubles edges",
        "--align moves it",
        "register the two first",
    )


def _turn_note(a: Picture, b: Picture, view_a: View, view_b: View, there: np.ndarray) -> str | None:
    """A note if B is clearly turned or of another size, starting from a translation."""
    scale = scale_to(LEVELS[1], a.luminance.shape)
    small_a, small_b = view_a.scaled(scale), view_b.scaled(scale)
    insides = small_a.inside, small_b.inside
    start = rescaled(there, scale)
    _, quick = ecc(small_a.edges(), small_b.edges(), insides, start, "similarity", 5, (30, 1e-4))
    if not _turned(quick):
        return None
    found = estimate_alignment(view_a, view_b, "similarity", longest=LEVELS[1])
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
