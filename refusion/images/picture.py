"""A picture as luminance and chroma.

Colour is full-range YCbCr with the weights of ITU-R BT.601, as in JFIF: Y = 0.299 R + 0.587 G + 0.114 B,
Cb = 128/255 + (B - Y) / 1.772, Cr = 128/255 + (R - Y) / 1.402, all kept as floats, so that an 8-bit or 16-bit picture
comes back without loss. The numbers are taken as they are stored: ICC profiles and gamma are not applied (an RGB
profile is handed on, see `Picture`).
"""

from dataclasses import dataclass

import numpy as np

MIN_SIDE = 8
"""Shortest side, in pixels, of a picture that is read and fused."""

NEUTRAL = 128 / 255
"""Value of Cb and of Cr where there is no colour."""


class PictureError(ValueError):
    """A picture cannot be read, paired or written; the message is a sentence for people."""


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
        note: what a person should know about how it was read, as a sentence.
    """

    luminance: np.ndarray
    chroma: np.ndarray | None
    name: str
    icc_profile: bytes | None = None
    exif: bytes | None = None
    alpha: np.ndarray | None = None
    bits: int = 8
    note: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.luminance.shape
        return width, height


def by(size: tuple[int, int]) -> str:
    """Width and height for people."""
    return f"{size[0]} x {size[1]}"
