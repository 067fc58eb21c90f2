"""Read TIFF files with tifffile: grey and RGB of any depth, type, byte order and compression, and their metadata."""

import logging
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from refusion.images.exif import NESTED, bigtiff_exif, kept_exif_of
from refusion.images.failures import check_size, one_line
from refusion.images.kinds import refuse_raw
from refusion.images.levels import Stored, missing_values
from refusion.images.picture import MAX_FRAMES, PictureError, by
from refusion.images.pillow import scaled_alpha, stored_pixels, turned
from refusion.images.segments import HEADER, stated_size
from refusion.system.advice import Advised

if TYPE_CHECKING:
    from tifffile import TiffFile

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files in both byte orders."""

GEO_KEYS, _GEO_TEXT = 34735, 34737

GEO_TAGS = (33550, 33922, 34264, GEO_KEYS, 34736, _GEO_TEXT)
"""GeoTIFF tags: scale, tie points, transformation and keys."""

_PHOTOMETRIC = 262
_ORIENTATION = 274
_COLOUR_MAP = 320
_SUB_DIRECTORIES = 330
_PROFILE = 34675
_GDAL_METADATA = 42112
_GDAL_NODATA = 42113
_JPEG_THUMBNAIL = 513
_DNG_VERSION = 50706
_IFD8 = 18
_REDUCED, _MASK = 1, 4
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_OF_RGB = (_RGB, _PALETTE, _YCBCR)
_SENSOR = (32803, 34892)
_SENSOR_COMPRESSIONS = (32767, 32769, 32770, 34713, 65535)
_PILLOWS_COMPRESSIONS = (2, 3, 4, 6)
_PILLOWS_BITS = (1, 2, 4)
_ASSOCIATED, _UNASSOCIATED = 1, 2
_MAX_CHANNELS = 16
_MIN_STRIP_LIMIT = 1 << 20
_BYTES_PER_PIXEL = 16
"""Of an image as large as is accepted: four channels of 32 bits."""

_MAX_DIRECTORIES = 200
_OTHER_AXES = {
    "channels": (r"^channels=(\d+)", r"\bSizeC=\"(\d+)\""),
    "times": (r"^frames=(\d+)", r"\bSizeT=\"(\d+)\""),
}
"""How ImageJ, in a line of its own, and OME describe what the images of a file are."""

MAX_COUNTED_FRAMES = 100
"""Maximum number of images that are counted in a file."""

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


def count_frames(file: BinaryIO, name: str) -> int:
    """Return the number of images of one size in a TIFF, at most `MAX_COUNTED_FRAMES`; see `read_tiff` for what counts.

    Raises:
        PictureError: it is a camera raw file or truncated, or has several images that are channels or times, differ in
            size or type, or are not all listed.
        Exception: any exception of tifffile on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        whole, _ = _wholes_and_mask(opened, name, MAX_COUNTED_FRAMES)
        if (len(whole) > 1 or _said_images(_description(opened)) > 1) and (problem := _why_no_stack(opened, whole)):
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
        PictureError: the file is too large, in pixels or bytes, a camera raw file, has several frames, bands that are
            not colours, or a list of images that points beyond its end.
        Exception: any exception of tifffile on a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        page, mask = _page_and_mask(opened, name) if frame is None else (_frame(opened, name, frame), None)
        size = int(page.imagewidth), int(page.imagelength)
        if not all(size):
            raise ValueError("its header has no size")
        check_size(name, size, max_pixels)
        turn = int(page.tags.valueof(_ORIENTATION, default=1))
        if mask is not None:
            _check_mask(mask, max_pixels)
        if _is_read_here(page, name):
            _check_layout(page, name, max_pixels)
            stored = _stored(page, name, turn)
        else:
            image = _opened_by_pillow(file, opened, page, name)
            # Of a tag that is there twice, Pillow may take the other one.
            check_size(name, image.size, max_pixels)
            stored = _stored_by_pillow(image, page)
        if mask is not None:
            stored = _masked(stored, turned(mask.asarray(maxworkers=1), turn) == 0)
        profile = page.tags.valueof(_PROFILE) if _photometric(page) in _OF_RGB else None
        geo = _geo(page) if turn == 1 else ()
    return Tiff(stored, profile if isinstance(profile, bytes) else None, _exif(file, opened), geo)


def _page_and_mask(opened: "TiffFile", name: str) -> tuple[Any, Any]:
    """Return the directory of the image, and the directory of its mask or None."""
    whole, mask = _wholes_and_mask(opened, name, 2)
    if len(whole) > 1 or _said_images(_description(opened)) > 1:
        raise _several(opened, name)
    page: Any = whole[0] if whole else opened.pages[0]
    fits = mask is not None and (mask.imagewidth, mask.imagelength) == (page.imagewidth, page.imagelength)
    return page, mask if fits and not _kind(mask) & _REDUCED else None


def _several(opened: "TiffFile", name: str) -> PictureError:
    whole, _ = _wholes_and_mask(opened, name, MAX_FRAMES + 1)
    cause, each = (
        f"{name} holds several frames, but a file must hold one",
        "save each frame you need as a file of its own",
    )
    if len(whole) > MAX_FRAMES or _why_no_stack(opened, whole):
        return PictureError(f"{cause}; {each}.")
    return PictureError(Advised(cause, f"{each}, or give this file alone to fuse its frames as a stack", each))


def _why_no_stack(opened: "TiffFile", whole: Sequence[Any]) -> str | None:
    """Why the images of a file, or the first of very many, cannot be fused as a stack; None if they can."""
    said, samples = _description(opened), max((int(page.samplesperpixel) for page in whole), default=1)
    for kind in _OTHER_AXES:
        if (count := _said_count(kind, said, samples)) > 1:
            return (
                f"holds {count} {kind}, but only images of one kind are fused as a stack; save those you want as a "
                "file of their own"
            )
    if _said_images(said) > len(whole) and len(whole) < MAX_COUNTED_FRAMES:
        return "does not list all of its images; save it again, or save them as files"
    if len({(page.imagewidth, page.imagelength, page.bitspersample, page.samplesperpixel) for page in whole}) > 1:
        return "holds images of different sizes or types; save those you want to fuse as files of their own"
    return None


def _frame(opened: "TiffFile", name: str, index: int) -> Any:
    whole, _ = _wholes_and_mask(opened, name, index + 1)
    if index >= len(whole):
        raise ValueError(f"it has only {len(whole)} images")
    return whole[index]


def _wholes_and_mask(opened: "TiffFile", name: str, count: int) -> tuple[list[Any], Any]:
    """Return the directories of the first `count` images, and that of the first mask or None."""
    if not opened.pages:
        _check_end(opened, name)
    first: Any = opened.pages[0]
    sub = _sub_pages(first, name)
    if any(map(_is_raw, (first, *sub))):
        refuse_raw(name)
    whole: list[Any] = []
    mask: Any = None
    # Some writers do not mark a thumbnail that stands before its image.
    is_thumbnail = bool(_kind(first) & _REDUCED) or any(_is_larger(page, first) for page in sub)
    for page in chain(_pages(opened, name), sub if is_thumbnail else ()):
        if _kind(page) & _MASK:
            mask = mask or page
        elif not _kind(page) & _REDUCED and not (is_thumbnail and page.offset == first.offset):
            whole.append(page)
        if len(whole) == count:
            break
    return whole, mask


def _is_larger(page: Any, other: Any) -> bool:
    is_whole = not _kind(page) & (_REDUCED | _MASK)
    return is_whole and page.imagewidth > other.imagewidth and page.imagelength > other.imagelength


def _description(opened: "TiffFile") -> str:
    return str(getattr(opened.pages[0], "description", ""))


def _said_count(kind: str, description: str, samples: int) -> int:
    """Number of channels or times that ImageJ or OME declare; OME counts red, green and blue as three channels."""
    imagej, ome = (max(map(_number, re.findall(one, description, re.M)), default=1) for one in _OTHER_AXES[kind])
    return max(imagej, math.ceil(ome / samples) if kind == "channels" else ome)


def _number(digits: str) -> int:
    return int(digits[:9])


def _said_images(description: str) -> int:
    """Number of images that ImageJ declares."""
    images = re.match(r"ImageJ=[^\n]*\n(?:.*\n)*?images=(\d+)", description)
    return _number(images[1]) if images else 1


def _pages(opened: "TiffFile", name: str) -> Any:
    """Yield the first pages; some writers chain the last directory to the first one again."""
    seen = set()
    for index in range(_MAX_DIRECTORIES):
        try:
            page: Any = opened.pages[index]
        except IndexError:
            return _check_end(opened, name)
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page


def _check_end(opened: "TiffFile", name: str) -> None:
    """Check that the chain of directories, which tifffile has followed, ends within the file."""
    file, layout = opened.filehandle, opened.tiff
    file.seek(opened.pages.next_page_offset or 0)
    pointer = file.read(layout.offsetsize)
    if len(pointer) < layout.offsetsize or struct.unpack(layout.offsetformat, pointer)[0] >= file.size:
        raise _truncated(name)


def _truncated(name: str) -> PictureError:
    return PictureError(f"{name} is truncated: its list of images points beyond its end; copy it again.")


def _sub_pages(page: Any, name: str) -> list[Any]:
    if _SUB_DIRECTORIES not in page.tags or page.pages is None:
        return []
    if any(offset >= page.parent.filehandle.size for offset in page.subifds):
        raise _truncated(name)
    return [page.pages[index] for index in range(min(len(page.pages), 8))]


def _kind(page: Any) -> int:
    # Cameras store a thumbnail in the second directory (EXIF 4.5.8) without marking it as reduced.
    is_thumbnail = page.index > 0 and _JPEG_THUMBNAIL in page.tags
    return int(page.subfiletype) | (_REDUCED if is_thumbnail else 0)


def _is_raw(page: Any) -> bool:
    return (
        _DNG_VERSION in page.tags or int(page.photometric) in _SENSOR or int(page.compression) in _SENSOR_COMPRESSIONS
    )


def _is_read_here(page: Any, name: str) -> bool:
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise PictureError(f"{name} has channels of {bits} bits; save it with the same depth in all of them.")
    kind = _photometric(page)
    plain = kind in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and page.compression not in _PILLOWS_COMPRESSIONS
    if (plain and bits not in _PILLOWS_BITS) or (kind == _CMYK and (bits > 8 or page.samplesperpixel > 4)):
        return True
    if bits > 8 and kind not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        what = getattr(page.photometric, "name", f"kind {kind}")
        raise PictureError(f"{name} is a TIFF of kind {what} with {bits} bits, which is not supported; save it as RGB.")
    return False


def _check_layout(page: Any, name: str, max_pixels: int) -> None:
    """Reject files that are not one grey or RGB image, or would take more memory than their size suggests."""
    if page.dtype is None or page.dtype.kind not in "uif":
        what = "complex numbers" if page.dtype is not None and page.dtype.kind == "c" else "values of an unknown type"
        raise PictureError(f"{name} holds {what}; save it as integers or floats.")
    if set(page.axes) - set("YXS"):
        raise PictureError(
            f"{name} holds a volume, but a file must hold one slice; save each slice you need as a file of its own."
        )
    colours, extra = _colours(page), _extra(page)
    bands = colours + len(extra)
    if (colours == 1 and any(kind not in (_ASSOCIATED, _UNASSOCIATED) for kind in extra)) or bands > _MAX_CHANNELS:
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


def _check_mask(mask: Any, max_pixels: int) -> None:
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


def _photometric(page: Any) -> int:
    """The colour space; without the tag, as libtiff and viewers assume it."""
    if _PHOTOMETRIC not in page.tags and page.compression not in _PILLOWS_COMPRESSIONS:
        return _RGB if page.samplesperpixel >= 3 else _BLACK_IS_ZERO
    return int(page.photometric)


def _colours(page: Any) -> int:
    return {_RGB: 3, _CMYK: 4}.get(_photometric(page), 1)


def _extra(page: Any) -> list[int]:
    """Kinds of the channels after the colours; a single one without a declared kind is alpha, as OpenCV writes it."""
    count = int(page.samplesperpixel) - _colours(page)
    if count < 0:
        raise ValueError(f"it has only {page.samplesperpixel} channels")
    said = [int(kind) for kind in page.extrasamples][:count]
    if not said and count == 1:
        return [_UNASSOCIATED]
    return said + [0] * (count - len(said))


def _band_names(page: Any, bands: int) -> str:
    names = re.findall(r'role="description"[^>]*>([^<]{1,30})<', str(page.tags.valueof(_GDAL_METADATA, default="")))
    return f" ({one_line(', '.join(names))})" if len(names) == bands else ""


def _opened_by_pillow(file: BinaryIO, opened: "TiffFile", page: Any, name: str) -> Image.Image:
    place = next((index for index, other in enumerate(_pages(opened, name)) if other.offset == page.offset), None)
    if place is None:
        raise ValueError("its image is in a directory below that of a thumbnail")
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    image.seek(place)
    return image


def _stored_by_pillow(image: Image.Image, page: Any) -> Stored:
    # This also turns it upright.
    image.load()
    _mend_palette(image, page)
    nodata = _nodata(page)
    missing = None if nodata is None else _is_nodata(image, page, nodata)
    stored = stored_pixels(image)
    return stored if missing is None else _masked(stored, missing)


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


def _masked(stored: Stored, hidden: np.ndarray) -> Stored:
    if hidden.shape != stored.values.shape[:2]:
        raise ValueError(f"its mask has the shape {hidden.shape}")
    if not hidden.any():
        return stored
    return replace(stored, missing=hidden if stored.missing is None else stored.missing | hidden)


def _stored(page: Any, name: str, turn: int) -> Stored:
    values = _values(page, name)
    if page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    values = turned(values.astype(values.dtype.newbyteorder("="), copy=False), turn)
    ends = _ends(values.dtype, page.bitspersample)
    colours, extra = _colours(page), _extra(page)
    alpha, premultiplied, notes = None, False, []
    if values.ndim == 3:
        channels, values = values[..., colours:], values[..., 0] if colours == 1 else values[..., :colours]
        is_alpha = [kind in (_ASSOCIATED, _UNASSOCIATED) for kind in extra]
        if any(is_alpha):
            place = is_alpha.index(True)
            alpha, premultiplied = scaled_alpha(channels[..., place], ends), extra[place] == _ASSOCIATED
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
    white_is_zero = _photometric(page) == _WHITE_IS_ZERO
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

    def read() -> Image.Exif:
        if opened.tiff.is_bigtiff:
            tags = (first.tags.get(pointer) for pointer in NESTED)
            places = {tag.code: tag.valueoffset for tag in tags if tag is not None and tag.dtype == _IFD8}
            return bigtiff_exif(file, order, first.offset, places)
        exif = Image.Exif()
        exif.endian = order
        exif.load_from_fp(file, first.offset)
        return exif

    return kept_exif_of(read)
