"""What the pixels of a TIFF are, and checks of what they would need before they are decoded."""

import re
from typing import Any

from refusion.images.failures import one_line
from refusion.images.picture import PictureError, by
from refusion.images.segments import HEADER, stated_size
from refusion.system.advice import Advised

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
"""Colour spaces (TIFF 6.0, PhotometricInterpretation)."""

ASSOCIATED, UNASSOCIATED = 1, 2
"""Kinds of alpha (TIFF 6.0, ExtraSamples)."""

_PHOTOMETRIC = 262
_GDAL_METADATA = 42112
_PILLOWS_COMPRESSIONS = (2, 3, 4, 6)
_PILLOWS_BITS = (1, 2, 4)
_OFFSETS = (273, 324)
_MAX_CHANNELS = 16
_MAX_PARTS, _PIXELS_PER_PART = 100_000, 64
_MIN_STRIP_LIMIT = 1 << 20
_BYTES_PER_PIXEL = 16
"""Of an image as large as is accepted: four channels of 32 bits."""


def is_read_here(page: Any, name: str) -> bool:
    """Whether tifffile decodes a directory, and not Pillow.

    Raises:
        PictureError: neither can.
    """
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise PictureError(f"{name} has channels of {bits} bits; save it with the same depth in all of them.")
    kind = photometric_of(page)
    plain = kind in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) and page.compression not in _PILLOWS_COMPRESSIONS
    if (plain and bits not in _PILLOWS_BITS) or (kind == CMYK and (bits > 8 or page.samplesperpixel > 4)):
        return True
    if bits > 8 and kind not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        what = getattr(page.photometric, "name", f"kind {kind}")
        raise PictureError(f"{name} is a TIFF of kind {what} with {bits} bits, which is not supported; save it as RGB.")
    return False


def check_parts(page: Any, name: str) -> None:
    """Check that a directory does not divide its pixels into too many strips or tiles, each of which takes time.

    Raises:
        PictureError: so it does.
    """
    # Iterating also finds a tag that is there twice.
    count = max((tag.count for tag in page.tags if tag.code in _OFFSETS), default=0)
    size = int(page.imagewidth), int(page.imagelength)
    most = max(_MAX_PARTS, size[0] * size[1] // _PIXELS_PER_PART)
    if count > most:
        raise PictureError(
            f"{name} has {count:,} strips or tiles, but with its {by(size)} pixels at most {most:,} are accepted; save "
            "it with larger ones."
        )


def check_layout(page: Any, name: str, max_pixels: int) -> None:
    """Reject files that are not one grey or RGB image, or would take more memory than their size suggests.

    Raises:
        PictureError: so it is.
        ValueError: the file is damaged.
    """
    if page.dtype is None or page.dtype.kind not in "uif":
        what = "complex numbers" if page.dtype is not None and page.dtype.kind == "c" else "values of an unknown type"
        raise PictureError(f"{name} holds {what}; save it as integers or floats.")
    if set(page.axes) - set("YXS"):
        raise PictureError(
            f"{name} holds a volume, but a file must hold one slice; save each slice you need as a file of its own."
        )
    colours, extra = colour_count(page), extra_kinds(page)
    bands = colours + len(extra)
    if (colours == 1 and any(kind not in (ASSOCIATED, UNASSOCIATED) for kind in extra)) or bands > _MAX_CHANNELS:
        rgb = ", or three as RGB (gdal_translate -b 3 -b 2 -b 1 -co PHOTOMETRIC=RGB)" if bands > 2 else ""
        raise PictureError(
            f"{name} holds {bands} bands of {page.bitspersample} bits{_band_names(page, bands)}, which are neither "
            f"grey nor red, green and blue; save the band you want alone{rgb}."
        )
    max_bytes = _BYTES_PER_PIXEL * max_pixels
    # Strips and tiles may be left out, so the length of the file says nothing.
    if (size := page.imagewidth * page.imagelength * bands * page.dtype.itemsize) > max_bytes:
        raise PictureError(
            Advised(
                f"{name} has {bands} channels of {page.bitspersample} bits, {size / 1e6:,.0f} MB in all, but at most "
                f"{max_bytes / 1e6:,.0f} MB are accepted",
                "save it with fewer channels or bits, or scaled down, or pass a larger max_pixels in Python",
                "save it with fewer channels or bits, or scaled down",
            )
        )
    _check_tiles(page, max_pixels)
    end = page.parent.filehandle.size
    if any(start + count > end for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise ValueError("its pixel data are incomplete")
    _check_segments(page)


def check_mask(mask: Any, max_pixels: int) -> None:
    """Check that a mask has one channel, and takes no more memory than its size suggests.

    Raises:
        ValueError: so it does not.
    """
    if mask.samplesperpixel != 1 or mask.imagedepth != 1 or mask.dtype is None or mask.dtype.itemsize > 1:
        raise ValueError(f"its mask has {mask.samplesperpixel} channels of {mask.bitspersample} bits")
    _check_tiles(mask, max_pixels)
    _check_segments(mask)


def _check_tiles(page: Any, max_pixels: int) -> None:
    if not page.is_tiled:
        return
    pixels, limit = page.tilewidth * page.tilelength * page.tiledepth, max(max_pixels, 1 << 24)
    each = page.samplesperpixel * page.dtype.itemsize
    if pixels > limit or pixels * each > _BYTES_PER_PIXEL * limit:
        raise ValueError(f"its tiles are {page.tilewidth} x {page.tilelength} pixels of {each} bytes")


def _check_segments(page: Any) -> None:
    """Check the sizes that compressed strips or tiles state, since their decoders allocate memory for them."""
    file = page.parent.filehandle
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    limit = max(4 * width * min(height, page.imagelength if not page.is_tiled else height), _MIN_STRIP_LIMIT)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if not count:
            continue
        file.seek(offset)
        size = stated_size(int(page.compression), file.read(min(count, HEADER)))
        if size is None:
            return
        if size[0] * size[1] > limit:
            raise ValueError(f"a strip or tile of it is {by(size)} pixels")


def photometric_of(page: Any) -> int:
    """The colour space; without the tag, as libtiff and viewers assume it."""
    if _PHOTOMETRIC not in page.tags and page.compression not in _PILLOWS_COMPRESSIONS:
        return RGB if page.samplesperpixel >= 3 else BLACK_IS_ZERO
    return int(page.photometric)


def colour_count(page: Any) -> int:
    """Number of channels of the colour: 1, 3 or 4."""
    return {RGB: 3, CMYK: 4}.get(photometric_of(page), 1)


def extra_kinds(page: Any) -> list[int]:
    """Kinds of the channels after the colours; a single one without a declared kind is alpha, as OpenCV writes it."""
    count = int(page.samplesperpixel) - colour_count(page)
    if count < 0:
        raise ValueError(f"it has only {page.samplesperpixel} channels")
    said = [int(kind) for kind in page.extrasamples][:count]
    if not said and count == 1:
        return [UNASSOCIATED]
    return said + [0] * (count - len(said))


def _band_names(page: Any, bands: int) -> str:
    names = re.findall(r'role="description"[^>]*>([^<]{1,30})<', str(page.tags.valueof(_GDAL_METADATA, default="")))
    return f" ({one_line(', '.join(names))})" if len(names) == bands else ""
