"""Frames of videos, and how their colours are coded; shared by reading and writing."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from refusion.images.picture import Picture, PictureError

UNKNOWN = 2
"""Number of an unknown matrix, primaries or transfer in ITU-T H.273."""

WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, by the matrix number of ITU-T H.273, table 4."""

LIMITED, FULL = 1, 2
"""Numbers of FFmpeg for the range of the samples; see `Coding.full`."""


@dataclass(frozen=True)
class Coding:
    """Colour coding of a video (ITU-T H.273).

    Attributes:
        matrix: number of the matrix coefficients.
        primaries: number of the colour primaries.
        transfer: number of the transfer characteristics, such as 16 for PQ and 18 for HLG.
        full: whether samples use the full range, and not 16 to 235 (for 8 bits).
        bits: bits of a sample, 8 or 10.
        aspect: pixel aspect ratio, width by height.
    """

    matrix: int
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    full: bool = False
    bits: int = 8
    aspect: Fraction = Fraction(1)


@dataclass(frozen=True)
class Frame:
    """A video frame with the rotation and mirroring applied.

    Attributes:
        picture: the image.
        time: seconds since the first frame.
    """

    picture: Picture
    time: Fraction


def import_av() -> Any:
    """PyAV, imported when it is first used.

    Raises:
        PictureError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise PictureError('Videos need one more package: pip install "refusion[video]".') from error
    return av
