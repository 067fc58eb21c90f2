"""Convert images with different ICC profiles to one profile."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from refusion.images.colour import join_colour, split_colour
from refusion.images.failures import reason
from refusion.images.picture import Picture

DECLARATIONS = 1 << 16
"""Number of bytes at the start of a file in which its colour is declared."""

_ALIKE = 2 / 255
"""Largest difference of colours, in [0, 1], under two profiles that count as one: there are many of sRGB."""

_SRGB_POINTS = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue of sRGB (IEC 61966-2-1)."""

_SRGB_GAMMA = 1 / 2.2
"""The gAMA that stands for sRGB (PNG specification, 11.3.2.5)."""

_GAMMAS = (0.2, 2.0)
"""Smallest and largest gAMA that is plausible: 1 is linear, 1 / 2.6 that of cinemas."""

_ROUNDING = 0.006
"""Difference of such values that is only rounding."""

_HDR = {16: "PQ", 18: "HLG"}
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}


def declared_note(start: bytes, name: str) -> str | None:
    """A note on HDR or wide-gamut colours that a PNG, HEIC or AVIF declares by numbers (ITU-T H.273), or None.

    Args:
        start: the first `DECLARATIONS` bytes of the file, or all if there are fewer.
        name: used in the note.
    """
    if start.startswith(b"\x89PNG") and (at := start.find(b"cICP")) > 0:
        numbers = tuple(start[at + 4 : at + 6])
    elif start[4:8] == b"ftyp" and (at := start.find(b"colrnclx")) > 0 and len(start) >= at + 12:
        numbers = struct.unpack_from(">HH", start, at + 8)
    else:
        return None
    if len(numbers) < 2:
        return None
    kinds = [kind for kind in (_WIDE.get(numbers[0]), _HDR.get(numbers[1])) if kind]
    return undeclared_note(name, f"{' and '.join(kinds)} colours") if kinds else None


def undeclared_note(name: str, colours: str) -> str:
    """A note on an image that declares these colours, which are used as stored."""
    return (
        f"{name} declares {colours}: the values are used as stored, and the result does not declare them, so it may "
        "look dull; convert the image to sRGB first."
    )


def png_profile(info: Mapping[Any, Any]) -> bytes | None:
    """Return the ICC profile of what the chunks gAMA and cHRM of a PNG declare.

    Args:
        info: ``Image.info`` of Pillow.

    Returns:
        The profile, or None for sRGB and for values that no display or camera has.
    """
    gamma, points = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not (gamma or points):
        return None
    points = [float(value) for value in points or _SRGB_POINTS]
    gamma = float(gamma or _SRGB_GAMMA)
    as_srgb = np.allclose(points, _SRGB_POINTS, atol=_ROUNDING) and abs(gamma - _SRGB_GAMMA) < _ROUNDING
    if as_srgb or not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None
    import imagecodecs

    white, *primaries = ((x, y, 1.0) for x, y in zip(points[::2], points[1::2], strict=True))
    try:
        made = imagecodecs.cms_profile("rgb", whitepoint=white, primaries=sum(primaries, ()), gamma=1 / gamma)
    except imagecodecs.CmsError:
        return None
    return bytes(made)


def share_profile(picture: Picture, other: Picture) -> tuple[Picture, str | None]:
    """Convert an image to the ICC profile of another, if both are coloured and their profiles differ.

    An image without a profile is assumed to be sRGB. The conversion is relative colorimetric, in float32; colours that
    the other profile does not have are clipped.

    Args:
        picture: the image to convert.
        other: the image with the target profile.

    Returns:
        The image, and a note for the user if it was converted or the conversion failed, else None.
    """
    if other.chroma is None or picture.icc_profile == other.icc_profile:
        return picture, None
    return _with_profile(
        picture,
        other.icc_profile,
        f"The colours of {picture.name} were converted to the colour profile of {other.name}.",
        lambda why: (
            f"The colour profiles of {picture.name} and {other.name} differ and cannot be converted ({why}), so "
            "colours may be wrong."
        ),
    )


def without_profile(picture: Picture, file_name: str) -> tuple[Picture, str | None]:
    """Convert an image to sRGB, for a file whose format has no place for an ICC profile; see `share_profile`.

    Args:
        picture: the image.
        file_name: name of the file, for the note.

    Returns:
        The image, and a note for the user if it was converted or the conversion failed, else None.
    """
    if picture.icc_profile is None:
        return picture, None
    return _with_profile(
        picture,
        None,
        f"{file_name} cannot hold the colour profile, so the colours in it were converted to sRGB; a .png or .tif "
        "file has the profile.",
        lambda why: (
            f"{file_name} cannot hold the colour profile, and the colours cannot be converted to sRGB ({why}), so "
            "they may be wrong in it; a .png or .tif file has the profile."
        ),
    )


def _with_profile(
    picture: Picture, profile: bytes | None, done: str, failed: Callable[[str], str]
) -> tuple[Picture, str | None]:
    """Convert an image to another profile, where None stands for sRGB, if it is coloured and the two differ.

    Args:
        picture: the image.
        profile: the profile.
        done: the note if it was converted.
        failed: the note if one of the profiles cannot be used, from the reason.
    """
    if picture.chroma is None:
        return picture, None
    import imagecodecs

    try:
        srgb = imagecodecs.cms_profile("srgb")
        given, wanted = picture.icc_profile or srgb, profile or srgb
        if _same(given, wanted):
            return picture, None
        rgb = np.clip(join_colour(picture.luminance, picture.chroma), 0, 1)
        luminance, chroma = split_colour(_converted(rgb, given, wanted))
    except (imagecodecs.CmsError, ValueError) as error:
        return picture, failed(reason(error))
    return replace(picture, luminance=luminance, chroma=chroma, icc_profile=profile), done


def _same(given: bytes, wanted: bytes) -> bool:
    """Whether the profiles show colours alike, whatever their names."""
    steps = np.linspace(0, 1, 6, dtype=np.float32)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
    return bool(np.abs(_converted(colours, given, wanted) - colours).max() <= _ALIKE)


def _converted(rgb: np.ndarray, given: bytes, wanted: bytes) -> np.ndarray:
    import imagecodecs

    values = imagecodecs.cms_transform(
        np.ascontiguousarray(rgb, np.float32),
        given,
        wanted,
        colorspace="rgb",
        outcolorspace="rgb",
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
    )
    return np.clip(values, 0, 1)
