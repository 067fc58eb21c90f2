"""Read TIFF files with tifffile: grey and RGB of any depth, type, byte order and compression, and their metadata."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from refusion.images.exif import NESTED, bigtiff_exif, kept_exif_of
from refusion.images.failures import check_size
from refusion.images.levels import Stored
from refusion.images.limited import LimitedFile
from refusion.images.picture import PictureError
from refusion.images.pillow import turned
from refusion.images.tiff_layout import (
    PALETTE,
    RGB,
    YCBCR,
    check_layout,
    check_mask,
    check_parts,
    is_read_here,
    photometric_of,
)
from refusion.images.tiff_pages import (
    MAX_COUNTED_FRAMES,
    description_of,
    frame_of,
    is_raw,
    page_and_mask,
    said_images,
    wholes_and_mask,
    why_no_stack,
)
from refusion.images.tiff_values import opened_by_pillow, stored_by_pillow, stored_values, with_missing

if TYPE_CHECKING:
    from tifffile import TiffFile

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files in both byte orders."""

GEO_KEYS, _GEO_TEXT = 34735, 34737

GEO_TAGS = (33550, 33922, 34264, GEO_KEYS, 34736, _GEO_TEXT)
"""GeoTIFF tags: scale, tie points, transformation and keys."""

_ORIENTATION = 274
_PROFILE = 34675
_IFD8 = 18
_OF_RGB = (RGB, PALETTE, YCBCR)

logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class Tiff:
    """The values and metadata of a TIFF file.

    Attributes:
        stored: the values, with the orientation applied.
        icc_profile: the ICC profile as stored.
        exif: as in `Picture`.
        geo: as in `Picture`.
    """

    stored: Stored
    icc_profile: bytes | None
    exif: bytes | None
    geo: tuple[tuple[int, Any], ...]


def is_tiff(start: bytes) -> bool:
    """Whether a file starts like TIFF, and not like DICOM with TIFF tags in its preamble (PS3.10, 7.1)."""
    return start[:4] in _MAGIC and start[128:132] != b"DICM"


def holds_raw(file: BinaryIO, name: str) -> bool:
    """Whether a TIFF is a camera raw file.

    Raises:
        PictureError: it is truncated.
        Exception: any exception of tifffile on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        return is_raw(opened, name)


def exif_of(file: BinaryIO) -> bytes | None:
    """The EXIF data of a TIFF that also hold for the fused image.

    Raises:
        Exception: any exception of tifffile on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        return _exif(file, opened)


def count_frames(file: BinaryIO, name: str) -> int:
    """Return the number of images of one size in a TIFF, at most `MAX_COUNTED_FRAMES`; see `read_tiff` for what counts.

    Raises:
        PictureError: it is truncated, or has several images that are channels or times, differ in
            size or type, or are not all listed.
        Exception: any exception of tifffile on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        if is_raw(opened, name):
            return 1
        whole, _ = wholes_and_mask(opened, name, MAX_COUNTED_FRAMES)
        if (len(whole) > 1 or said_images(description_of(opened)) > 1) and (problem := why_no_stack(opened, whole)):
            raise PictureError(f"{name} {problem}.")
        return len(whole)


def read_tiff(file: BinaryIO, name: str, max_pixels: int, frame: int | None = None) -> Tiff:
    """Read a TIFF that holds one image; overviews, thumbnails and masks in the file do not count as images.

    A fourth channel is alpha if the file declares it, or declares nothing; otherwise it is left out, with a note.
    Pixels marked by GDAL's no-data tag or mask are missing.

    Args:
        file: open for reading bytes, at its start.
        name: used in messages.
        max_pixels: maximum number of pixels, at 16 bytes for each; checked before anything is decoded.
        frame: which image of several is read, from 0; None if there must be only one.

    Returns:
        The values and metadata, CMYK as RGB. Palettes, CMYK of 8 bits without alpha, YCbCr, LAB and 1, 2 or 4 bits are
        decoded by Pillow, with 8 bits.

    Raises:
        PictureError: the file is too large, in pixels, bytes or parts, has several frames, bands that
            are not colours, or a list of images that points beyond its end.
        Exception: any exception of tifffile on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        page, mask = page_and_mask(opened, name) if frame is None else (frame_of(opened, name, frame), None)
        size = int(page.imagewidth), int(page.imagelength)
        if not all(size):
            raise ValueError("its header has no size")
        check_size(name, size, max_pixels)
        # Pillow goes through the parts of the first directory even to reach another.
        for checked in (opened.pages.first, page, mask):
            if checked is not None:
                check_parts(checked, name)
        turn = int(page.tags.valueof(_ORIENTATION, default=1))
        if mask is not None:
            check_mask(mask, max_pixels)
        if is_read_here(page, name):
            check_layout(page, name, max_pixels)
            stored = stored_values(page, name, turn)
        else:
            image = opened_by_pillow(file, opened, page, name)
            # Of a tag that is there twice, Pillow may take the other one.
            check_size(name, image.size, max_pixels)
            stored = stored_by_pillow(image, page)
        if mask is not None:
            stored = with_missing(stored, turned(mask.asarray(maxworkers=1), turn) == 0)
        profile = page.tags.valueof(_PROFILE) if photometric_of(page) in _OF_RGB else None
        geo = _geo(page) if turn == 1 else ()
    return Tiff(stored, profile if isinstance(profile, bytes) else None, _exif(file, opened), geo)


def _geo(page: Any) -> tuple[tuple[int, Any], ...]:
    """The GeoTIFF tags, without those of a wrong type."""
    found = ((tag, page.tags.valueof(tag)) for tag in GEO_TAGS)
    return tuple((tag, value) for tag, value in found if _is_geo(tag, value))


def _is_geo(tag: int, value: Any) -> bool:
    if tag == _GEO_TEXT:
        return isinstance(value, str)
    if not isinstance(value, tuple) or not value:
        return False
    if tag == GEO_KEYS:
        return all(isinstance(number, int) and 0 <= number <= 0xFFFF for number in value)
    return all(isinstance(number, (int, float)) for number in value)


def _exif(file: BinaryIO, opened: "TiffFile") -> bytes | None:
    first, order = opened.pages.first, opened.tiff.byteorder
    limited: Any = LimitedFile(file, "")

    def read() -> Image.Exif:
        if opened.tiff.is_bigtiff:
            tags = (first.tags.get(pointer) for pointer in NESTED)
            places = {tag.code: tag.valueoffset for tag in tags if tag is not None and tag.dtype == _IFD8}
            return bigtiff_exif(limited, order, first.offset, places)
        exif = Image.Exif()
        exif.endian = order
        exif.load_from_fp(limited, first.offset)
        return exif

    return kept_exif_of(read)
