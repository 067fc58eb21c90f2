"""Develop camera raw files with LibRaw, by rawpy (the extra ``raw``)."""

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import ExifTags, Image

from refusion.images.exif import kept_exif_of
from refusion.images.failures import decoding, reason
from refusion.images.given import Given
from refusion.images.kinds import START
from refusion.images.picture import Picture, PictureError
from refusion.images.pillow import of_array
from refusion.images.tiff import exif_of, holds_raw, is_tiff
from refusion.system.advice import Advised

if TYPE_CHECKING:
    from rawpy import RawPy

_STARTS = (
    *(b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM"),
    b"II\x1a\0\0\0HEAPCCDR",
)
"""How files of Fujifilm, Olympus, Panasonic, Sigma, Minolta and Canon (CRW) start that are not TIFF."""

_CANON_TIFF = b"CR"

_MAX_BYTES = 2**31 - 1
"""LibRaw reads no larger files."""

_SRGB_CURVE = (2.4, 12.92)

_DEVELOPMENT: dict[str, Any] = {
    "use_camera_wb": True,
    "no_auto_bright": True,
    "adjust_maximum_thr": 0.0,
    "output_bps": 16,
    "gamma": _SRGB_CURVE,
}
"""The white balance of the camera, and nothing that depends on the content of one image: the images of a bracket keep
their exposures. Colours are sRGB, highlights are clipped."""

_ZERO_IF_UNKNOWN = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Artist, ExifTags.Base.DateTime),
    *(ExifTags.Base.ExposureTime, ExifTags.Base.FNumber, ExifTags.Base.ISOSpeedRatings, ExifTags.Base.FocalLength),
)


def is_raw_file(file: BinaryIO, start: bytes, name: str) -> bool:
    """Whether a file is a camera raw file; most of them are TIFF files of a kind.

    Args:
        file: open for reading bytes.
        start: its first `refusion.images.kinds.START` bytes.
        name: used in messages.

    Raises:
        PictureError: it is a damaged TIFF.
    """
    if start.startswith(_STARTS) or start[4:12] == b"ftypcrx ":
        return True
    if not is_tiff(start):
        return False
    if start[8:10] == _CANON_TIFF:
        return True
    with decoding(name):
        file.seek(0)
        return holds_raw(file, name)


def raw_picture(file: BinaryIO, given: Given) -> Picture:
    """Develop a camera raw file to 16 bits, upright, with its EXIF data.

    Raises:
        PictureError: rawpy is missing, or the file is too large, damaged, or of a camera that LibRaw does not know.
    """
    name = given.name
    try:
        import rawpy
    except ImportError as error:
        raise PictureError(
            Advised(
                f"{name} is a camera raw file, which needs one more package",
                'install it with pip install "refusion[raw]", or develop the file first, to 16-bit TIFF or PNG',
                "develop it first, to 16-bit TIFF or PNG",
            )
        ) from error
    # rawpy reads the whole file first.
    if file.seek(0, os.SEEK_END) > _MAX_BYTES:
        raise PictureError(
            f"{name} is a camera raw file of more than 2 GB, which LibRaw does not read; develop it with another "
            "program, to 16-bit TIFF or PNG."
        )
    file.seek(0)
    try:
        with decoding(name), rawpy.imread(file) as raw:
            # The size is in the header, so it is checked before anything is decoded.
            given.check_size(_stretched_size(raw))
            exif = _exif(file, raw)
            values = raw.postprocess(**_DEVELOPMENT)
    except rawpy.LibRawError as error:
        # rawpy keeps the messages of LibRaw as bytes.
        said = reason(error).removeprefix("b'").rstrip("'")
        raise PictureError(
            f"{name} is a camera raw file that cannot be developed here ({said}): it is damaged, truncated or of a "
            "kind that LibRaw does not read; copy it again, or develop it with another program, to 16-bit TIFF or PNG."
        ) from error
    grey = values.shape[2] == 1
    return replace(given.scaled(of_array(values[..., 0] if grey else values, True)), exif=exif)


def _stretched_size(raw: "RawPy") -> tuple[int, int]:
    """The size of the sensor; LibRaw makes pixels square that are not."""
    sizes = raw.sizes
    aspect = sizes.pixel_aspect
    return round(sizes.raw_width * max(aspect, 1)), round(sizes.raw_height / min(aspect, 1))


def _exif(file: BinaryIO, raw: "RawPy") -> bytes | None:
    """The EXIF data that also hold for the fused image: of the file if it is TIFF, or else of its preview."""
    import rawpy

    file.seek(0)
    if is_tiff(file.read(START)):
        file.seek(0)
        return exif_of(file)
    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    jpeg = preview.data
    return kept_exif_of(lambda: _known_exif(jpeg)) if isinstance(jpeg, bytes) else None


def _known_exif(jpeg: bytes) -> Image.Exif:
    """The EXIF data of a preview; where it has none, LibRaw has written some, with zeros for what it does not know."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        exif = image.getexif()
    for tags in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
        for tag in [tag for tag in _ZERO_IF_UNKNOWN if tag in tags and (not tags[tag] or "1970:" in str(tags[tag]))]:
            del tags[tag]
    return exif
