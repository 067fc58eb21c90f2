"""An image as luminance and chroma.

Colour is full-range YCbCr with the weights of ITU-R BT.601, as in JFIF: Y = 0.299 R + 0.587 G + 0.114 B,
Cb = 128/255 + (B - Y) / 1.772, Cr = 128/255 + (R - Y) / 1.402, all kept as floats, so that 8-bit and 16-bit images
are converted without loss. Stored values are used unchanged: ICC profiles and gamma are not applied (an RGB profile is
passed on to the fused image, see `Picture`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refusion.system.advice import OWN_RANGE, Advised

MAX_FRAMES = 50
"""Maximum number of images of a stack."""

MIN_SIDE = 8
"""Minimum width and height of an image, in pixels."""

NEUTRAL = 128 / 255
"""Value of Cb and Cr of a grey pixel."""


_MIN_USE = 1 / 4
"""An image of more than 8 bits gets a note if its values use less than this fraction of the scale."""

_MAX_BURNT_OUT = 1 / 2
"""Share above a given window, of what is not black, beyond which the window seems to be that of another image."""

_OUTLIERS, _MIN_OWN_USE = 0.02, 1 / 10
"""An image at its own range gets a note if all its pixels but this fraction at each end use less than this of it."""

_SAMPLE = 1 << 20
"""Maximum number of pixels, about, that this is measured on."""


class PictureError(ValueError):
    """An image cannot be read, paired or written; the message is a sentence for the user."""


@dataclass(frozen=True)
class Levels:
    """The stored values of black and white, and the range of values that the image uses.

    Attributes:
        black: stored value that becomes 0.
        white: stored value that becomes 1.
        darkest: stored value, from black to white, below which lie only 0.5 % of the pixels.
        brightest: stored value, from black to white, above which lie only 0.5 % of the pixels.
        given: whether black and white are a window given by the user, not those of the type or the file.
        burnt_out: share of what is not black that lies beyond the white end of a window given by the user; else 0.
        own: whether black and white are the own range of the image, without regard to others: as the user asked, or
            for temperatures and DICOM files without a window.
    """

    black: float
    white: float
    darkest: float
    brightest: float
    given: bool = False
    burnt_out: float = 0
    own: bool = False

    @property
    def is_narrow(self) -> bool:
        """Whether all but 1 % of the pixels use less than a quarter of the scale of the type or the file."""
        return not self.given and 0 < self.brightest - self.darkest < _MIN_USE * (self.white - self.black)


@dataclass(frozen=True)
class Plane:
    """Where the slice of a DICOM file lies.

    Attributes:
        frame: identifier of the frame of reference; positions are comparable within one.
        centre: x, y and z of its centre in mm.
        directions: x, y and z of the direction along a row, then of that along a column.
        thickness: in mm, or None.
    """

    frame: str
    centre: tuple[float, ...]
    directions: tuple[float, ...]
    thickness: float | None = None


@dataclass(frozen=True)
class Scan:
    """What a DICOM file says of the scan.

    Attributes:
        modality: the modality, such as CT, MR, PT (PET) or NM (SPECT), see PS3.3 C.7.3.1.1.1.
        extent: height and width in mm, or None.
        patient: the ID of the patient, or an empty text; to be compared, never shown.
        plane: where the slice lies, or None.
    """

    modality: str
    extent: tuple[float, float] | None = None
    patient: str = field(default="", repr=False)
    plane: Plane | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as luminance and chroma.

    Attributes:
        luminance: float32 (H, W) in [0, 1], the BT.601 full-range Y, not rounded.
        chroma: float32 (2, H, W), Cb and Cr with the neutral value 128/255, or None for a grey image (one
            channel, or red, green and blue equal in every pixel). In [0, 1] except for pure red and pure blue,
            which reach 255.5/255 as in JFIF before rounding; clipping that would change the colour.
        name: file name without its folder, "PIL image" or "array"; used in messages.
        icc_profile: ICC profile of a coloured RGB image, not applied; to be written with a fused image that takes
            its colour from this one.
        exif: EXIF data of the exposure, without tags that no longer match the pixels (orientation, size, thumbnail,
            maker notes), as Pillow writes them.
        alpha: float32 (H, W) in [0, 1], or None if opaque. Luminance and chroma are already composited over black.
        bits: 16 if the source has more than 8 bits (16-bit, 12-bit, integer and float files, and uint16 arrays),
            else 8.
        notes: notes for the user on how it was read, as sentences.
        levels: stored values of black and white, for an image of more than 8 bits or of floats; None if the file
            itself specifies them.
        geo: tag numbers and values of the GeoTIFF tags, which give the location on Earth.
        used: the options of reading that had an effect, among "window", "temperatures" and "nodata".
        scan: what a DICOM file says of the scan, or None.
    """

    luminance: np.ndarray = field(repr=False)
    chroma: np.ndarray | None = field(repr=False)
    name: str
    icc_profile: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    alpha: np.ndarray | None = field(default=None, repr=False)
    bits: int = 8
    notes: tuple[str, ...] = ()
    levels: Levels | None = None
    geo: tuple[tuple[int, Any], ...] = ()
    used: frozenset[str] = frozenset()
    scan: Scan | None = None

    @property
    def note(self) -> str | None:
        """Notes for the user on how it was read and on its range, as one text; or None."""
        said = (*self.notes, range_note([self]))
        return " ".join(note for note in said if note) or None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.luminance.shape
        return width, height

    def without_pixels(self) -> "Picture":
        """What is known of the image, of the same size but black, without alpha, and hardly any memory."""
        black = np.broadcast_to(np.float32(0), self.luminance.shape)
        grey = None if self.chroma is None else np.broadcast_to(np.float32(NEUTRAL), self.chroma.shape)
        return replace(self, luminance=black, chroma=grey, alpha=None)


def range_note(pictures: Sequence[Picture]) -> str | None:
    """Return a sentence if the images use only a small part of their scale, or None.

    Args:
        pictures: one image, or several that share one scale.
    """
    if odd := _of_fewer_bits(pictures):
        return _fewer_bits_note(odd)
    levels = [picture.levels for picture in pictures if picture.levels is not None]
    if not levels or len(levels) < len(pictures):
        return None
    if len(pictures) > 1:
        return _narrow_note(levels, f"{pictures[0].name} and the others together use", "their", "them")
    name = pictures[0].name
    if levels[0].burnt_out > _MAX_BURNT_OUT:
        return _burnt_out_note(levels[0], name)
    if _is_flat_in_own_range(pictures[0]):
        return _flat_note(levels[0], name)
    return _narrow_note(levels, f"{name} uses", "its", "it")


def _fewer_bits_note(odd: Sequence[Picture]) -> str:
    names = " and ".join(picture.name for picture in odd[:2]) + (", and more," if len(odd) > 2 else "")
    return Advised(
        f"Except for 1 % of the pixels, {names} {'uses' if len(odd) == 1 else 'use'} less than 1/16 of the scale, "
        "unlike the others, as 12 bits stored in 16 do",
        "if they are not meant to be so dark, scale their values to the full range, or give them a window "
        "(--window-a or --window-b LOW HIGH, window=[...] with one for each)",
        "if they are not meant to be so dark, scale their values to the full range",
    )


def _burnt_out_note(levels: Levels, name: str) -> str:
    return Advised(
        f"{100 * levels.burnt_out:.0f} % of {name}, without what is black, lies beyond the white end of the window, "
        f"{levels.black:g} to {levels.white:g}, where all values look the same",
        "give each source a window of its own (--window-a and --window-b LOW HIGH, window=[(low, high), (low, "
        "high)]), or use --own-range (window='own')",
    )


def _flat_note(levels: Levels, name: str) -> str:
    return Advised(
        f"Nearly all pixels of {name} (all but {200 * _OUTLIERS:g} %) use less than a tenth of its own range, "
        f"{levels.black:g} to {levels.white:g}, which leaves it with little contrast",
        "give a window of the values that matter (--window LOW HIGH, window=(low, high))",
        "scale the values that matter to the full range first",
    )


def _narrow_note(levels: Sequence[Levels], what: str, whose: str, which: str) -> str | None:
    """A note if the values of all images together use a small part of the scale of all."""
    low, high = min(x.darkest for x in levels), max(x.brightest for x in levels)
    black, white = min(x.black for x in levels), max(x.white for x in levels)
    given = any(x.given for x in levels)
    # A wide window may be on purpose, as an absolute scale such as -20 to 40 degrees.
    if high - low >= (_MIN_USE / 4 if given else _MIN_USE) * (white - black) or (high == low and not given):
        return None
    scale = f"{black:g} to {white:g}" + (" (the window)" if given else "")
    return Advised(
        f"Except for 1 % of the pixels, {what} only {low:g} to {high:g} of {scale}, which leaves {which} with little "
        "contrast",
        f"use --own-range (window='own') for {whose} own range, or give a window (--window LOW HIGH), which keeps the "
        "images of a series alike",
        f"scale {whose} values to the full range first",
        OWN_RANGE,
    )


def _of_fewer_bits(pictures: Sequence[Picture]) -> list[Picture]:
    """The images of one camera that use a small part of their scale, if all others are of 8 bits or use a large part.

    Where others lie between, they are a bracket of exposures.
    """
    uses = [_use(picture.levels) if picture.levels else 0.0 if picture.bits > 8 else 1.0 for picture in pictures]
    odd = [picture for picture, use in zip(pictures, uses, strict=True) if 0 < use < _MIN_USE / 4]
    return odd if max(uses) >= _MIN_USE and not any(_MIN_USE / 4 <= use < _MIN_USE for use in uses) else []


def _use(levels: Levels) -> float:
    return (levels.brightest - levels.darkest) / (levels.white - levels.black)


def _is_flat_in_own_range(picture: Picture) -> bool:
    """Whether a large cloud or flare takes up most of the own range that the user asked for."""
    if picture.levels is None or picture.levels.given or "window" not in picture.used:
        return False
    seen = picture.luminance if picture.alpha is None else picture.luminance[picture.alpha > 0]
    low, high = np.quantile(seen.reshape(-1)[:: seen.size // _SAMPLE + 1], (_OUTLIERS, 1 - _OUTLIERS))
    return bool(0 < high - low < _MIN_OWN_USE)


def by(size: tuple[int, int]) -> str:
    """Format width and height for a message."""
    return f"{size[0]} x {size[1]}"
