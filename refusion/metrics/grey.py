"""Grey levels of Pillow images, and the check that values are grey levels."""

import numpy as np
from PIL import Image

from refusion.images.colour import LUMINANCE

GREY_LEVELS = 255.0
"""The largest grey level."""

UNIT_RANGE = 2.0
"""Values below it that are not whole are of 0 to 1: a result that was not clipped exceeds 1 a little."""


def grey_levels(image: Image.Image, name: str) -> np.ndarray:
    """Convert a Pillow image to an array (H, W): grey levels as stored, or the BT.601 luminance of colour, uint8.

    Raises:
        ValueError: it has transparent pixels, whose luminance depends on the background.
    """
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    colour = np.asarray(to_rgb(image, name), dtype=np.float64)
    return np.rint(colour @ LUMINANCE).astype(np.uint8)


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a Pillow image to RGB.

    Raises:
        ValueError: it has transparent pixels.
    """
    if image.has_transparency_data:
        if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise ValueError(f"{name} has transparent pixels; metrics take opaque images, so flatten it first.")
        image = image.convert("RGBA")
    return image.convert("RGB")


def range_problem(low: float, high: float, whole: bool, data_range: float | None = GREY_LEVELS) -> str | None:
    """Describe what is wrong with values from `low` to `high`, as the end of a sentence; None if they are valid.

    Args:
        low: the smallest value.
        high: the largest value.
        whole: whether all values are whole numbers.
        data_range: the value of white; None if it is 255 and the caller has no such argument.
    """
    white, told = data_range or GREY_LEVELS, data_range is not None
    reach = f"reaches from {low:g} to {high:g}"
    if not (low >= 0 and high <= white):
        advice = "; pass data_range=, the value of white, to have them scaled" if data_range == GREY_LEVELS else ""
        return f"{reach}; values must be finite, in 0 to {white:g}{advice}."
    if white >= GREY_LEVELS and 0 < high < UNIT_RANGE and not whole:
        clipped = "clip them to 0 to 1, then " if high > 1 else ""
        advice = "pass data_range=1 to have values of 0 to 1 scaled, or " if told else ""
        return f"{reach}, but metrics take grey levels 0 to {white:g}; {clipped}{advice}multiply them by {white:g}."
    return None
