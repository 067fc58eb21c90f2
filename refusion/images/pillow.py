"""Read the stored values of Pillow images."""

import numpy as np
from PIL import ExifTags, Image

from refusion.images.failures import DECODING_ERRORS
from refusion.images.levels import Stored
from refusion.images.picture import PictureError

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262


def stored_pixels(image: Image.Image) -> Stored:
    """Return the values of an image at its current frame, with the EXIF orientation applied.

    Raises:
        Exception: any exception of Pillow on a damaged file.
    """
    mend_transparency(image)
    image = _upright(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return of_array(np.asarray(image), False)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    return of_array(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), False)


def of_array(array: np.ndarray, deep: bool, top: float | None = None) -> Stored:
    """Return the stored values of an array (H, W), (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGBA.

    Args:
        array: bool, unsigned integers or floats.
        deep: whether they have more than 8 bits.
        top: value of white and of opaque alpha; by default the largest value of the type, 1 for floats.
    """
    top = top or {"b": 1, "f": 1}.get(array.dtype.kind) or np.iinfo(array.dtype).max
    if array.ndim == 2 or array.shape[2] == 3:
        return Stored(array, (0, top), deep)
    values = array[..., 0] if array.shape[2] == 2 else array[..., :3]
    return Stored(values, (0, top), deep, scaled_alpha(array[..., -1], (0, top)))


def scaled_alpha(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray | None:
    """Return alpha in [0, 1], float32, or None if every pixel is opaque.

    Args:
        values: (H, W).
        ends: values of transparent and opaque pixels.

    Raises:
        PictureError: a value is NaN or outside of `ends`.
    """
    low, high = ends
    if not (values.min() >= low and values.max() <= high):
        raise PictureError(
            f"Alpha has values from {values.min():.9g} to {values.max():.9g}, but they must be in {low:g} to {high:g}; "
            "scale them."
        )
    alpha = ((values.astype(np.float32) - np.float32(low)) / np.float32(high - low)).astype(np.float32)
    return alpha if alpha.min() < 1 else None


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 if there is none that can be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODING_ERRORS:
        return 1


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to an array with channels last."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def mend_transparency(image: Image.Image) -> None:
    """Scale the transparent level of a PNG of 2 or 4 bits to 8 bits, as Pillow scales its pixels when it loads them.

    It has no effect once they are loaded.
    """
    level, tiles = image.info.get("transparency"), getattr(image, "tile", ())
    bits = {"L;2": 2, "L;4": 4}.get(tiles[0].args) if tiles and isinstance(tiles[0].args, str) else None
    if bits is not None and isinstance(level, int):
        image.info["transparency"] = level * 255 // (2**bits - 1)


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also rewrites the EXIF data, and fails on the invalid data of some cameras.
    image.load()
    turn = orientation(image)
    return image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image


def _deep_grey(image: Image.Image) -> Stored:
    values = np.asarray(image)
    # Pillow does not scale 12-bit TIFF, and inverts white-is-zero TIFF only up to 8 bits.
    tags = getattr(image, "tag_v2", {})
    white_is_zero = tags.get(_TIFF_PHOTOMETRIC) == 0
    if image.mode == "F":
        return Stored(values, (0, 1), True, white_is_zero=white_is_zero)
    ends = (0, 4095) if tags.get(_TIFF_BITS_PER_SAMPLE) == (12,) else (0, 65535)
    transparent = values == image.info.get("transparency", -1)
    alpha = 1 - transparent.astype(np.float32) if transparent.any() else None
    return Stored(values, ends, True, alpha, white_is_zero=white_is_zero)
