"""Convert images with different ICC profiles to one profile."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from refusion.images.colour import join_colour, split_colour
from refusion.images.picture import Picture


def share_profile(picture: Picture, other: Picture) -> tuple[Picture, str | None]:
    """Convert an image to the ICC profile of another, if both are coloured and their profiles differ.

    An image without a profile is assumed to be sRGB. The conversion is relative colorimetric, in 8 bits.

    Args:
        picture: the image to convert.
        other: the image with the target profile.

    Returns:
        The image, and a note for the user if it was converted or the conversion failed, else None.
    """
    mine, theirs = picture.icc_profile, other.icc_profile
    if picture.chroma is None or other.chroma is None or mine == theirs:
        return picture, None
    try:
        given, wanted = _profile(mine), _profile(theirs)
        if _description(given) == _description(wanted):
            return picture, None
        rgb = np.clip(join_colour(picture.luminance, picture.chroma), 0, 1)
        image = Image.fromarray(np.rint(rgb * 255).astype(np.uint8))
        converted = ImageCms.profileToProfile(image, given, wanted, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        return picture, (
            f"The colour profiles of {picture.name} and {other.name} differ and cannot be converted "
            f"({str(error).rstrip('.')}), so colours may be wrong."
        )
    assert converted is not None
    luminance, chroma = split_colour(np.asarray(converted, np.float32) / 255)
    note = f"The colours of {picture.name} were converted to the colour profile of {other.name}."
    return replace(picture, luminance=luminance, chroma=chroma, icc_profile=theirs), note


def _profile(content: bytes | None) -> ImageCms.ImageCmsProfile:
    if content is None:
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsProfile(io.BytesIO(content))


def _description(profile: ImageCms.ImageCmsProfile) -> str:
    text = ImageCms.getProfileDescription(profile).strip().lower()
    return "srgb" if "srgb" in text else text
