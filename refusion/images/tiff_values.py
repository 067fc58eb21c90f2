"""The values of the pixels of a TIFF, decoded by tifffile or Pillow."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from refusion.images.levels import Stored, missing_values
from refusion.images.limited import PAGES_READS, LimitedFile
from refusion.images.picture import PictureError
from refusion.images.pillow import scaled_alpha, stored_pixels, turned
from refusion.images.tiff_layout import (
    ASSOCIATED,
    UNASSOCIATED,
    WHITE_IS_ZERO,
    colour_count,
    extra_kinds,
    photometric_of,
)
from refusion.images.tiff_pages import directories
from refusion.system.advice import Advised

if TYPE_CHECKING:
    from tifffile import TiffFile

_COLOUR_MAP = 320
_GDAL_NODATA = 42113


def opened_by_pillow(file: BinaryIO, opened: "TiffFile", page: Any, name: str) -> Image.Image:
    """Open a directory with Pillow, without decoding it.

    Raises:
        ValueError: Pillow cannot reach it.
    """
    place = next((index for index, other in enumerate(directories(opened, name)) if other.offset == page.offset), None)
    if place is None:
        raise ValueError("its image is in a directory below that of a thumbnail")
    file.seek(0)
    limited: Any = LimitedFile(file, name, PAGES_READS)
    image = Image.open(limited, formats=("TIFF",))
    image.seek(place)
    limited.release()
    return image


def stored_by_pillow(image: Image.Image, page: Any) -> Stored:
    """Decode an opened image, turned upright, with GDAL's no-data value missing."""
    # This also turns it upright.
    image.load()
    _mend_palette(image, page)
    nodata = _nodata(page)
    missing = None if nodata is None else _is_nodata(image, page, nodata)
    stored = stored_pixels(image)
    return stored if missing is None else with_missing(stored, missing)


def _mend_palette(image: Image.Image, page: Any) -> None:
    """Use a palette without an entry above 255 as one of 8 bits, as libtiff does: some writers do not scale to 16."""
    entries = np.ravel(page.tags.valueof(_COLOUR_MAP, default=()))
    if image.mode in ("P", "PA") and entries.size and entries.max() < 256:
        image.putpalette(entries.reshape(3, -1).T.astype(np.uint8).tobytes())


def _is_nodata(image: Image.Image, page: Any, nodata: float) -> np.ndarray | None:
    if image.mode not in ("1", "L", "P", "RGB"):
        return None
    # Pillow spreads 2 and 4 bits over 0 to 255.
    spread = 255 / (2**page.bitspersample - 1) if image.mode == "L" else 1
    return missing_values(np.asarray(image).astype(np.float32), nodata * spread)


def with_missing(stored: Stored, hidden: np.ndarray) -> Stored:
    """Mark pixels as missing, in addition to those that are.

    Args:
        stored: the values.
        hidden: bool (H, W), the pixels.

    Raises:
        ValueError: the shapes differ.
    """
    if hidden.shape != stored.values.shape[:2]:
        raise ValueError(f"its mask has the shape {hidden.shape}")
    if not hidden.any():
        return stored
    return replace(stored, missing=hidden if stored.missing is None else stored.missing | hidden)


def stored_values(page: Any, name: str, turn: int) -> Stored:
    """Decode a directory with tifffile.

    Args:
        page: the directory, which `check_layout` has passed.
        name: used in messages.
        turn: EXIF orientation that is applied, 1 to 8.

    Raises:
        PictureError: imagecodecs is missing for its compression.
        Exception: any exception of tifffile on a damaged file.
    """
    values = _values(page, name)
    if page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    values = turned(values.astype(values.dtype.newbyteorder("="), copy=False), turn)
    ends = _ends(values.dtype, page.bitspersample)
    colours, extra = colour_count(page), extra_kinds(page)
    alpha, premultiplied, notes = None, False, []
    if values.ndim == 3:
        channels, values = values[..., colours:], values[..., 0] if colours == 1 else values[..., :colours]
        is_alpha = [kind in (ASSOCIATED, UNASSOCIATED) for kind in extra]
        if any(is_alpha):
            place = is_alpha.index(True)
            alpha, premultiplied = scaled_alpha(channels[..., place], ends), extra[place] == ASSOCIATED
        if left_out := len(extra) - any(is_alpha):
            what = "an extra channel" if left_out == 1 else f"{left_out} extra channels"
            inks = "red, green and blue" if colours == 3 else "cyan, magenta, yellow and black"
            notes.append(
                f"{name} has {what} after {inks}, which the file does not declare as alpha; "
                f"{'it was' if left_out == 1 else 'they were'} left out."
            )
    missing = _missing(page, values)
    if colours == 4:
        values = _of_inks(values, ends[1])
    white_is_zero = photometric_of(page) == WHITE_IS_ZERO
    return Stored(
        values,
        ends,
        values.dtype.itemsize > 1,
        alpha,
        premultiplied=premultiplied,
        white_is_zero=white_is_zero,
        missing=missing,
        notes=tuple(notes),
    )


def _of_inks(values: np.ndarray, top: float) -> np.ndarray:
    """Return RGB of the same type for cyan, magenta, yellow and black, converted as Pillow converts 8 bits."""
    light = np.float32(top) - values.astype(np.float32)
    rgb = light[..., :3] * light[..., 3:] / np.float32(top)
    return (rgb if values.dtype.kind == "f" else np.rint(rgb)).astype(values.dtype)


def _values(page: Any, name: str) -> np.ndarray:
    try:
        return page.asarray(maxworkers=1)
    except ValueError as error:
        if "requires the 'imagecodecs' package" not in str(error):
            raise
        kind = getattr(page.compression, "name", page.compression)
        raise PictureError(
            Advised(
                f"{name} is compressed as {kind}, which needs the package imagecodecs",
                "install it with pip install imagecodecs",
                "save it without compression",
            )
        ) from error


def _ends(dtype: np.dtype, bits: int) -> tuple[float, float]:
    """Values of black and white; 0 to 65535 for signed integers of more than 8 bits and for more than 16 bits."""
    if dtype.kind == "f":
        return 0, 1
    if bits == 8:
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return 0, 2 ** min(bits, 16) - 1 if dtype.kind == "u" else 65535


def _missing(page: Any, values: np.ndarray) -> np.ndarray | None:
    nodata = _nodata(page)
    if nodata is None:
        return None
    missing = missing_values(values, nodata)
    return missing if missing.any() else None


def _nodata(page: Any) -> float | None:
    try:
        return float(str(page.tags.valueof(_GDAL_NODATA, default="")).strip("\0 "))
    except ValueError:
        return None
