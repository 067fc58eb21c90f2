"""Move the second source onto the first, and crop both to what they share."""

from dataclasses import replace

import numpy as np

from refusion.images.picture import NEUTRAL, Picture
from refusion.inference.edges import opencv

_SAMPLED = 2**20
"""About as many pixels are compared to bring one exposure to another."""


def move(b: Picture, matrix: np.ndarray, a: Picture, *, exposures: bool = False) -> tuple[Picture, np.ndarray]:
    """Move B onto A; pixels that B does not cover get A's luminance and alpha, without colour.

    Args:
        b: second source.
        matrix: (3, 3), see `refusion.inference.alignment.Alignment`.
        a: first source.
        exposures: whether the two are exposures of one scene, so that A's luminance is brought to B's exposure first.

    Returns:
        B aligned to A, and a bool mask (H, W) of the pixels that B covers.
    """
    cv2 = opencv()
    width, height = a.size

    def warp(values: np.ndarray, interpolation: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(values, matrix, (width, height), flags=flags, borderMode=border)

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
