"""The size that the image inside of a compressed strip or tile of a TIFF states of itself."""

import io
import struct

from refusion.images.jpeg import frame_header
from refusion.images.jpeg_xl import stated_size as size_of_jpeg_xl

HEADER = 4096
"""Number of bytes at the start of a strip or tile that hold its size."""

CODESTREAM = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream: the markers SOC and SIZ (ISO/IEC 15444-1, A.4 and A.5)."""


def stated_size(compression: int, start: bytes) -> tuple[int, int] | None:
    """Return width and height, or None for compressions that state none, such as deflate.

    Args:
        compression: the number of the compression in TIFF.
        start: the first `HEADER` bytes of the strip or tile, or all if there are fewer.

    Raises:
        ValueError: the header is damaged.
    """
    read = _READERS.get(compression)
    if read is None:
        return None
    try:
        return read(start)
    except (IndexError, struct.error) as error:
        raise ValueError("the header of a strip or tile is damaged") from error


def _jpeg(start: bytes) -> tuple[int, int]:
    header = frame_header(io.BytesIO(start))
    if header is None:
        raise ValueError("a strip or tile holds no JPEG")
    return header.size


def _jpeg_2000(start: bytes) -> tuple[int, int]:
    right, bottom, left, top = struct.unpack_from(">4I", start, max(0, start.find(CODESTREAM)) + 8)
    return right - left, bottom - top


def _png(start: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", start, 16)
    return width, height


def _webp(start: bytes) -> tuple[int, int]:
    kind = start[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", start, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", start, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_xl(start: bytes) -> tuple[int, int]:
    at = start.find(b"\xff\x0a")
    if at < 0:
        raise ValueError("a strip or tile holds no JPEG XL")
    return size_of_jpeg_xl(start[at:])


def _lerc(start: bytes) -> tuple[int, int] | None:
    if not start.startswith(b"Lerc2 "):
        return None
    (version,) = struct.unpack_from("<i", start, 6)
    rows, columns = struct.unpack_from("<ii", start, 14 if version >= 3 else 10)
    return columns, rows


_READERS = {
    7: _jpeg,
    33003: _jpeg_2000,
    33004: _jpeg_2000,
    33005: _jpeg_2000,
    33007: _jpeg,
    34712: _jpeg_2000,
    34887: _lerc,
    34927: _webp,
    34933: _png,
    50001: _webp,
    50002: _jpeg_xl,
    52546: _jpeg_xl,
}
