"""Read files of more than 8 bits that Pillow would reduce to 8, with the EXIF orientation applied."""

import math
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile

from refusion.images.levels import Stored
from refusion.images.pillow import of_array, orientation, turned
from refusion.images.segments import CODESTREAM

_HEADER = 1 << 16
"""Number of bytes at the start of an AVIF file in which its bit depth is looked for."""

_PNG_BITS = 24
"""Where the bit depth of a PNG is, followed by the kind of its colours."""


def deep_stored(file: BinaryIO, image: Image.Image) -> Stored | None:
    """Return the values of a PNG, AVIF, JPEG 2000 or Netpbm file of more than 8 bits, or None if Pillow has all bits.

    Args:
        file: open for reading bytes.
        image: the file as opened by Pillow; its size has been checked.

    Raises:
        ValueError: the values cannot be read.
        Exception: any exception of Pillow or imagecodecs on a damaged file.
    """
    if _is_deep_png(file, image):
        return _deep_png(file, image)
    if image.format == "AVIF" and (bits := _avif_bits(file)) > 8:
        return _deep_avif(file, image, bits)
    if image.format == "JPEG2000" and (bits := _jpeg_2000_bits(file)) > 8:
        return _deep_jpeg_2000(file, image, bits)
    if image.format == "PPM":
        return _deep_netpbm(file, image)
    return None


def _is_deep_png(file: BinaryIO, image: Image.Image) -> bool:
    """Whether a PNG has several channels of 16 bits (PNG 3, 11.2.1), which Pillow would reduce to 8."""
    file.seek(_PNG_BITS)
    return image.format == "PNG" and file.read(2) in (b"\x10\x02", b"\x10\x04", b"\x10\x06")


def _deep_png(file: BinaryIO, image: Image.Image) -> Stored:
    """Return the values of such a PNG with the EXIF orientation applied.

    Raises:
        ValueError: they cannot be read.
        Exception: any exception of Pillow on a damaged file.
    """
    import cv2

    turn = orientation(image)
    # Checksums and length come first, since libpng prints its errors.
    file.seek(0)
    Image.open(file, formats=("PNG",)).verify()
    file.seek(0)
    try:
        values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError("its 16-bit channels cannot be read") from error
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[1::-1] != image.size:
        raise ValueError("its 16-bit channels cannot be read")
    order = {2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    return of_array(turned(values[..., order], turn), True)


def _avif_bits(file: BinaryIO) -> int:
    """Return the bit depth in the header of an AVIF file (AV1-ISOBMFF 2.3.3), or 8 if it is not found."""
    file.seek(0)
    start = file.read(_HEADER)
    at = start.find(b"av1C")
    flags = start[at + 6 : at + 7]
    if at < 0 or not flags or not flags[0] & 0x40:
        return 8
    return 12 if flags[0] & 0x20 else 10


def _deep_avif(file: BinaryIO, image: Image.Image, bits: int) -> Stored:
    """Return the values of an AVIF of more than 8 bits, which Pillow reduces to 8, with the EXIF orientation applied.

    Raises:
        ValueError: they cannot be read.
        RuntimeError: the file is damaged.
    """
    import imagecodecs

    turn = orientation(image)
    file.seek(0)
    values = np.asarray(imagecodecs.avif_decode(file.read()))
    if values.dtype != np.uint16 or values.shape[1::-1] != image.size:
        raise ValueError(f"its {bits} bits cannot be read")
    if values.ndim == 3 and values.shape[2] < 3:
        values = values[..., [0, 0, 0, 1]] if values.shape[2] == 2 else values[..., 0]
    return of_array(turned(values, turn), True, 2**bits - 1)


def _jpeg_2000_bits(file: BinaryIO) -> int:
    """Return the bit depth of the first component (ISO/IEC 15444-1, A.5.1)."""
    file.seek(0)
    content = file.read()
    at = content.find(CODESTREAM)
    if at < 0 or len(content) < at + 43:
        raise ValueError("its codestream is missing")
    depth = content[at + 42]
    if depth & 0x80:
        raise ValueError("its values are signed")
    return depth + 1


def _deep_jpeg_2000(file: BinaryIO, image: Image.Image, bits: int) -> Stored:
    import imagecodecs

    turn = orientation(image)
    file.seek(0)
    values = np.asarray(imagecodecs.jpeg2k_decode(file.read()))
    if values.dtype != np.uint16 or values.shape[1::-1] != image.size:
        raise ValueError(f"its {bits} bits cannot be read")
    return of_array(turned(values, turn), True, 2**bits - 1)


def _deep_netpbm(file: BinaryIO, image: Image.Image) -> Stored | None:
    """Return the values of a binary PGM or PPM of 16 bits, or None for all others."""
    tile = cast(ImageFile.ImageFile, image).tile[0]
    arguments: Any = tile.args
    if (tile.codec_name, arguments) == ("raw", "I;16B"):
        highest = 65535
    elif tile.codec_name == "ppm" and arguments[1] > 255:
        highest = arguments[1]
    else:
        return None
    colours = 3 if image.mode == "RGB" else 1
    shape = (image.height, image.width, colours)
    file.seek(tile.offset)
    content = file.read(2 * math.prod(shape))
    if len(content) < 2 * math.prod(shape):
        raise ValueError("its pixels end too early")
    values = np.frombuffer(content, ">u2").reshape(shape).astype(np.uint16)
    return of_array(values if colours == 3 else values[..., 0], True, highest)
