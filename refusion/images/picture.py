"""A picture as luminance and chroma.

Colour is full-range YCbCr with the weights of ITU-R BT.601, as in JFIF: Y = 0.299 R + 0.587 G + 0.114 B,
Cb = 128/255 + (B - Y) / 1.772, Cr = 128/255 + (R - Y) / 1.402, all kept as floats, so that an 8-bit or 16-bit picture
comes back without loss. The numbers are taken as they are stored: ICC profiles and gamma are not applied (an RGB
profile is handed on, see `Picture`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_SIDE = 8
"""Shortest side, in pixels, of a picture that is read and fused."""

NEUTRAL = 128 / 255
"""Value of Cb and of Cr where there is no colour."""


_FEW = 1 / 4
"""Share of the scale below which the values of a deep picture get a note."""


class PictureError(ValueError):
    """A picture cannot be read, paired or written; the message is a sentence for people."""


@dataclass(frozen=True)
class Levels:
    """Which stored values became black and white, and which of them the picture uses.

    Attributes:
        black: the stored value that is 0.
        white: the stored value that is 1.
        darkest: all but 0.05 % of the pixels are at least this, in stored values from black to white.
        brightest: all but 0.05 % of the pixels are at most this, likewise.
        given: whether black and white are a window that somebody gave, and not those of the type or the file.
    """

    black: float
    white: float
    darkest: float
    brightest: float
    given: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, as luminance and chroma.

    Attributes:
        luminance: float32 (H, W) in [0, 1], the BT.601 full-range Y, not rounded.
        chroma: float32 (2, H, W), Cb and Cr with the neutral value 128/255, or None for a grey picture (one
            channel, or red, green and blue equal in every pixel). In [0, 1] but for pure red and pure blue,
            which reach 255.5/255 as in JFIF before rounding; cutting that off would change the colour.
        name: file name without its folder, "PIL image" or "array"; for messages.
        icc_profile: the profile that came with a coloured RGB picture, not applied; it belongs on a picture
            that takes its colour from here.
        exif: what the EXIF data say of the shot, without what is no longer true of the pixels (orientation, size,
            thumbnail, maker notes), as Pillow writes it.
        alpha: float32 (H, W) in [0, 1] if not everything is opaque. Luminance and chroma are already over black.
        bits: 16 if the values came deeper than 8 bits (16-bit, 12-bit, integer and float files, and uint16 arrays),
            else 8.
        notes: what a person should know about how it was read, as sentences.
        levels: which stored values are black and white, of a picture of more than 8 bits or of floats; None where
            the file itself names them.
        geo: TIFF tags that say where on Earth the picture lies (GeoTIFF), by their numbers.
        used: which options of reading had an effect: of "window", "temperatures", "nodata".
    """

    luminance: np.ndarray
    chroma: np.ndarray | None
    name: str
    icc_profile: bytes | None = None
    exif: bytes | None = None
    alpha: np.ndarray | None = None
    bits: int = 8
    notes: tuple[str, ...] = ()
    levels: Levels | None = None
    geo: tuple[tuple[int, Any], ...] = ()
    used: frozenset[str] = frozenset()

    @property
    def note(self) -> str | None:
        """What a person should know about how it was read, and about its range; or None."""
        said = (*self.notes, range_note([self]))
        return " ".join(note for note in said if note) or None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.luminance.shape
        return width, height


def range_note(pictures: Sequence[Picture]) -> str | None:
    """A sentence if pictures use little of their scale, or None.

    Args:
        pictures: one, or several that are to have one scale.
    """
    levels = [picture.levels for picture in pictures if picture.levels is not None]
    if not levels or len(levels) < len(pictures):
        return None
    low, high = min(x.darkest for x in levels), max(x.brightest for x in levels)
    black, white = min(x.black for x in levels), max(x.white for x in levels)
    given = any(x.given for x in levels)
    # A window may be an absolute scale, such as -20 to 40 degrees, on purpose.
    if high - low >= (_FEW / 4 if given else _FEW) * (white - black) or (high == low and not given):
        return None
    several = len(pictures) > 1
    what = f"{pictures[0].name} and the others together use" if several else f"{pictures[0].name} uses"
    scale = f"{black:g} to {white:g}" + (" (the window)" if given else "")
    whose, which = ("their", "them") if several else ("its", "it")
    return (
        f"But for 0.1 % of the pixels, {what} only {low:g} to {high:g} of {scale}, which leaves {which} nearly without "
        f"contrast; --own-range (window='own') takes {whose} own range, a window yours."
    )


def by(size: tuple[int, int]) -> str:
    """Width and height for people."""
    return f"{size[0]} x {size[1]}"
