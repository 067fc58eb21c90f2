"""Find the zeros with which an interrupted copy ends, in formats whose decoders accept them."""

import struct
from typing import BinaryIO

from refusion.images.jpeg import frame_header
from refusion.images.picture import PictureError
from refusion.images.segments import CODESTREAM

_MAX_ZEROS_READ = 4096
"""Number of zeros at the end of the pixel data that tell of a copy, which stops between blocks of a disk; an encoder
writes a few at most. Of shorter data, half must be zeros."""

_JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", CODESTREAM)
"""Starts of a JPEG 2000 file and of a codestream alone."""

_MIN_ZEROS = 64
"""Number of zeros below which nothing is said."""


def refuse_zeros_at_end(file: BinaryIO, start: bytes, name: str) -> None:
    """Reject a JPEG, JPEG 2000, WebP, AVIF or HEIC file whose compressed pixels end in zeros.

    Zeros after the end of the image are accepted.

    Args:
        file: open for reading bytes; left at its start.
        start: the first bytes of the file, at least 12.
        name: used in the message.

    Raises:
        PictureError: the file ends so.
    """
    size = file.seek(0, 2)
    if start[:2] == b"\xff\xd8":
        zeros = _ends_in_zeros(file, 0, size) and not _has_end_of_image(file)
    elif start.startswith(_JPEG_2000):
        zeros = _ends_in_zeros(file, 0, size) and not _ends_codestream(file)
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        zeros = _ends_in_zeros(file, *_webp_data(file, size))
    else:
        zeros = start[4:8] == b"ftyp" and _ends_in_zeros(file, *_media_data(file, size))
    file.seek(0)
    if zeros:
        raise PictureError(f"{name} ends in zeros: it was not copied or downloaded completely. Copy it again.")


def _ends_in_zeros(file: BinaryIO, begin: int, end: int) -> bool:
    count = min(_MAX_ZEROS_READ, (end - begin) // 2)
    if count < _MIN_ZEROS:
        return False
    file.seek(end - count)
    return not any(file.read(count))


def _has_end_of_image(file: BinaryIO) -> bool:
    """Whether a JPEG file has the marker EOI after its frame header, and not only in a thumbnail before it."""
    file.seek(0)
    frame_header(file)
    return b"\xff\xd9" in file.read()


def _ends_codestream(file: BinaryIO) -> bool:
    """Whether only zeros follow the marker EOC of a JPEG 2000 file."""
    file.seek(0)
    return file.read().rstrip(b"\0").endswith(b"\xff\xd9")


def _webp_data(file: BinaryIO, size: int) -> tuple[int, int]:
    """Begin and end of the chunk with the pixels of a WebP file (RFC 9649); metadata after it may end in zeros."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        end = at + 8 + length + length % 2
        if kind in (b"VP8 ", b"VP8L"):
            return at + 8, min(size, end)
        at = end
    return 0, 0


def _media_data(file: BinaryIO, size: int) -> tuple[int, int]:
    """Begin and end of the last media data box (ISO/IEC 14496-12, 4.2 and 8.1.1), which holds the pixels."""
    at, found = 0, (0, 0)
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        (length,) = struct.unpack_from(">I", header)
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack_from(">Q", header, 8)
        end = size if length == 0 else min(size, at + length)
        if header[4:8] == b"mdat":
            found = (at + 8, end)
        if end < at + 8:
            break
        at = end
    return found
