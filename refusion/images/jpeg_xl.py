"""Read JPEG XL images with imagecodecs, whose header is checked first (ISO/IEC 18181-1; its boxes: 18181-2)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from refusion.images.exif import kept_exif_of
from refusion.images.levels import Stored
from refusion.images.picture import PictureError
from refusion.images.pillow import of_array
from refusion.images.profiles import undeclared_note

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"

_HEADER = 4096
"""Number of bytes at the start of a codestream that hold its header."""

_MAX_EXIF = 1 << 20
"""Number of bytes that compressed EXIF data may have."""

_ALPHA = 0
_GREY, _XYB = 1, 2
_CUSTOM = 2
_BY_PROFILE = "colours by an ICC profile"
_PRIMARIES = {_CUSTOM: "custom", 9: "BT.2020", 11: "P3"}
_TRANSFERS = {8: "linear", 16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Header:
    """The header of a JPEG XL image.

    Attributes:
        size: width and height, before the orientation is applied.
        animated: whether it has several frames.
        bits: bits of a sample, 0 for floats.
        channels: number of channels beside those of the colour.
        alpha: whether the only one is alpha.
        premultiplied: whether the values are already multiplied by it.
        colours: what the colours are declared to be, if they are not sRGB.
        unmanaged: whether the decoder would give linear colours instead, for want of the ICC profile.
    """

    size: tuple[int, int]
    animated: bool = False
    bits: int = 8
    channels: int = 0
    alpha: bool = False
    premultiplied: bool = False
    colours: str = ""
    unmanaged: bool = False


class _Bits:
    """Fields of a header (ISO/IEC 18181-1, B.2)."""

    def __init__(self, content: bytes) -> None:
        self._bits, self._left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("its header is cut off")
        taken = self._bits & (1 << count) - 1
        self._bits, self._left = self._bits >> count, self._left - count
        return taken

    def one_of(self, *choices: tuple[int, int]) -> int:
        """A number that is the sum of the first of a pair and as many bits as the second says."""
        least, count = choices[self.take(2)]
        return least + self.take(count)

    def kind(self) -> int:
        return self.one_of((0, 0), (1, 0), (2, 4), (18, 6))


def is_jpeg_xl(start: bytes) -> bool:
    """Whether a file starts like JPEG XL: a codestream alone, or in a container."""
    return start.startswith((_CODESTREAM, _CONTAINER))


def stated_size(codestream: bytes) -> tuple[int, int]:
    """Return the width and height of a codestream, from its first 16 bytes at least.

    Raises:
        ValueError: the header is cut off.
    """
    return _size(_Bits(codestream[2:_HEADER]))


def read_header(content: bytes) -> Header:
    """Return the header of a JPEG XL file.

    Args:
        content: the content of the file.

    Raises:
        ValueError: it is damaged, or has a preview.
    """
    bits = _Bits(_codestream_start(content)[2:])
    size = _size(bits)
    # All fields have their defaults.
    if bits.take(1):
        return Header(size)
    if bits.take(1):
        bits.take(3)  # The decoder applies the orientation.
        if bits.take(1):
            _size(bits)
        if bits.take(1):
            raise ValueError("it has a preview")
        if bits.take(1):
            return Header(size, animated=True)
    depth = _depth(bits)
    bits.take(1)
    channels = bits.one_of((0, 0), (1, 0), (2, 4), (1, 12))
    header = Header(size, bits=depth, channels=channels)
    if channels > 1:
        return header
    if channels:
        alpha, premultiplied = _extra_channel(bits)
        header = replace(header, alpha=alpha, premultiplied=premultiplied)
        if not alpha:
            return header
    converted = bits.take(1)
    colours = _colours(bits)
    return replace(header, colours=colours, unmanaged=bool(converted) and colours == _BY_PROFILE)


def read_jpeg_xl(content: bytes, header: Header, name: str) -> tuple[Stored, bytes | None]:
    """Return the values, with the orientation applied, and the EXIF data that also hold for the fused image.

    Args:
        content: the content of the file.
        header: its header, whose size has been checked.
        name: used in messages.

    Raises:
        PictureError: it has several frames, channels that are neither colour nor alpha, or a profile that its colours
            need.
        ValueError: the values cannot be read.
        RuntimeError: the file is damaged.
    """
    import imagecodecs

    if header.animated:
        raise PictureError(
            f"{name} holds several frames, but a file must hold one; save each frame you need as a file of its own."
        )
    if header.channels > header.alpha:
        raise PictureError(
            f"{name} is a JPEG XL image with channels that are neither colour nor alpha, such as the black of CMYK or "
            "a depth, which is not supported; save it as PNG or TIFF."
        )
    if header.unmanaged:
        raise PictureError(
            f"{name} is a lossy JPEG XL image with an ICC profile, whose colours cannot be read; save it as PNG or "
            "TIFF."
        )
    values = np.asarray(imagecodecs.jpegxl_decode(content, index=0))
    if sorted(values.shape[:2]) != sorted(header.size):
        raise ValueError("its pixels are not as many as its header says")
    whole = values.dtype.kind == "u"
    stored = of_array(values, not 0 < header.bits <= 8, 2**header.bits - 1 if whole else None)
    declared = (undeclared_note(name, header.colours),) if header.colours and stored.values.ndim == 3 else ()
    return replace(stored, premultiplied=header.premultiplied, notes=declared), kept_exif_of(lambda: _exif(content))


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.one_of((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    across, down = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (height * across // down if ratio else side()), height


def _depth(bits: _Bits) -> int:
    if not bits.take(1):
        return bits.one_of((8, 0), (10, 0), (12, 0), (1, 6))
    bits.one_of((32, 0), (16, 0), (24, 0), (1, 6))
    bits.take(4)
    return 0


def _extra_channel(bits: _Bits) -> tuple[bool, bool]:
    """Whether a channel is alpha, and whether the values are multiplied by it."""
    if bits.take(1):
        return True, False
    kind = bits.kind()
    _depth(bits)
    bits.one_of((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.one_of((0, 0), (0, 4), (16, 5), (48, 10)))
    return kind == _ALPHA, kind == _ALPHA and bool(bits.take(1))


def _colours(bits: _Bits) -> str:
    if bits.take(1):
        return ""
    profile, space = bits.take(1), bits.kind()
    if profile:
        return _BY_PROFILE
    if space == _XYB:
        return ""
    if bits.kind() == _CUSTOM:
        _point(bits)
    primaries = bits.kind() if space != _GREY else 1
    for _ in range(3 * (primaries == _CUSTOM)):
        _point(bits)
    # A gamma takes the place of the transfer function.
    kinds = _PRIMARIES.get(primaries), None if bits.take(1) else _TRANSFERS.get(bits.kind())
    return " and ".join(kind for kind in kinds if kind) + " colours" if any(kinds) else ""


def _point(bits: _Bits) -> None:
    for _ in range(2):
        bits.one_of((0, 19), (1 << 19, 19), (1 << 20, 20), (1 << 21, 21))


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box (ISO/IEC 14496-12, 4.2); the last one may be cut off."""
    at = 0
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        begin = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, begin)
            begin += 8
        end = at + length if length else len(content)
        if end < begin:
            raise ValueError("one of its boxes is damaged")
        yield kind, content[begin:end]
        at = end


def _codestream_start(content: bytes) -> bytes:
    if content.startswith(_CODESTREAM):
        return content[:_HEADER]
    start = b""
    for kind, inner in _boxes(content):
        # Parts are numbered by four bytes.
        start += inner[:_HEADER] if kind == b"jxlc" else inner[4:_HEADER] if kind == b"jxlp" else b""
        if len(start) >= _HEADER:
            break
    if not start.startswith(_CODESTREAM):
        raise ValueError("it holds no codestream")
    return start


def _exif(content: bytes) -> Image.Exif:
    """The EXIF data of a container, which may be compressed with Brotli; the first four bytes say where they begin."""
    import imagecodecs

    exif = Image.Exif()
    for kind, inner in _boxes(content) if content.startswith(_CONTAINER) else ():
        if kind == b"brob" and inner.startswith(b"Exif"):
            kind, inner = b"Exif", bytes(imagecodecs.brotli_decode(inner[4:], out=_MAX_EXIF))
        if kind == b"Exif":
            # Some programs leave the four bytes out.
            begin = 0 if inner.startswith((b"II*\0", b"MM\0*")) else 4 + int.from_bytes(inner[:4], "big")
            exif.load(inner[begin:])
            break
    return exif
