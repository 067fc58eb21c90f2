"""Look at the frame header of a JPEG file, before it is decoded."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from refusion.images.picture import PictureError

_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_LS = 0xF7
_START_OF_SCAN = 0xDA
_MAX_SEGMENTS = 1000


@dataclass(frozen=True)
class FrameHeader:
    """The frame header of a JPEG file (ITU-T T.81, B.2.2; JPEG-LS: T.87, C.2.2).

    Attributes:
        marker: second byte of its marker.
        bits: bits of a sample.
        size: width and height.
    """

    marker: int
    bits: int
    size: tuple[int, int]


def frame_header(file: BinaryIO) -> FrameHeader | None:
    """Return the frame header, or None if there is none before the pixel data.

    Args:
        file: open for reading bytes, at the start of a JPEG file.
    """
    if file.read(2) != b"\xff\xd8":
        return None
    for _ in range(_MAX_SEGMENTS):
        start = file.read(4)
        if len(start) < 4 or start[0] != 0xFF or start[1] == _START_OF_SCAN:
            return None
        if start[1] in _FRAME_HEADERS:
            found = file.read(5)
            if len(found) < 5:
                return None
            bits, height, width = struct.unpack(">BHH", found)
            return FrameHeader(start[1], bits, (width, height))
        file.seek(max(0, int.from_bytes(start[2:], "big") - 2), 1)
    return None


def refuse_unusual_jpeg(file: BinaryIO, name: str) -> None:
    """Reject a JPEG that Pillow cannot read: lossless, JPEG-LS, or of more than 8 bits.

    Args:
        file: open for reading bytes, at the start of a JPEG file; left there.
        name: used in the message.

    Raises:
        PictureError: the file is of such a kind.
    """
    header = frame_header(file)
    file.seek(0)
    if header is None:
        return
    kind = ""
    if header.marker == _LS:
        kind = "a JPEG-LS image"
    elif header.marker in _LOSSLESS:
        kind = "a lossless JPEG"
    elif header.bits != 8:
        kind = f"a JPEG of {header.bits} bits"
    if kind:
        raise PictureError(f"{name} is {kind}, which is not supported; save it as PNG or TIFF.")
