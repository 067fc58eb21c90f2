"""Limits on what Pillow reads before it decodes: a header of thousands of parts, and tags that share their bytes.

Pillow goes through headers byte by byte or part by part, joins the parts of a comment again and again, and copies the
bytes of each EXIF or TIFF tag, even where all tags point to the same ones. A forged file of a few megabytes would take
minutes, or gigabytes of memory.
"""

import io
import struct
from itertools import islice
from re import finditer
from typing import Any, BinaryIO

from PIL import Image

from refusion.images.exif import NESTED
from refusion.images.failures import DECODING_ERRORS
from refusion.images.picture import PictureError

_MAX_READS = 5_000
"""Maximum number of times that a header is read from; those of cameras take hundreds."""

PAGES_READS = 50_000
"""Likewise, of all pages of a TIFF before the one that is wanted."""

_MAX_TIMES = 4
"""How often a header may read as many bytes as the file has; Pillow reads some formats twice."""

_MAX_EXIF_STARTS = 16
"""Maximum number of places in an AVIF or HEIC file that look like the start of EXIF data."""

_PNG = b"\x89PNG\r\n\x1a\n"

_BYTES_PER_CHUNK = 256
"""Of a long PNG, at least; libpng writes 8192."""

_RAW_PROFILE = "Raw profile type exif"


class LimitedFile:
    """A file for Pillow to open, which may be read a limited number of times until `release` is called.

    Args:
        file: open for reading bytes.
        name: used in messages.
        reads: how often it may be read.
    """

    def __init__(self, file: BinaryIO, name: str, reads: int = _MAX_READS) -> None:
        self._file, self._name = file, name
        place = file.tell()
        self._reads, self._bytes = reads, _MAX_TIMES * file.seek(0, 2) + (1 << 20)
        self._is_limited = True
        file.seek(place)

    def read(self, size: int = -1) -> bytes:
        """Read bytes.

        Raises:
            PictureError: there were too many reads, or of too many bytes.
        """
        content = self._file.read(size)
        if self._is_limited:
            self._reads, self._bytes = self._reads - 1, self._bytes - len(content)
            if self._reads < 0 or self._bytes < 0:
                raise too_many_parts(self._name)
        return content

    def release(self) -> None:
        """Lift the limits: what follows are the pixels."""
        self._is_limited = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def check_exif(exif: bytes, name: str) -> None:
    """Check that EXIF data take no more memory than their length suggests; damaged ones pass.

    Args:
        exif: with or without the prefix of JPEG.
        name: used in the message.

    Raises:
        PictureError: their tags overlap.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    try:
        limited: Any = LimitedFile(io.BytesIO(exif), name)
        read = Image.Exif()
        read.load_from_fp(limited)
        for pointer in NESTED:
            read.get_ifd(pointer)
    except PictureError:
        raise
    except DECODING_ERRORS:
        return


def check_exif_of(image: Image.Image, name: str) -> None:
    """Check the EXIF data of an opened image, see `check_exif`."""
    exif, profile = image.info.get("exif"), image.info.get(_RAW_PROFILE)
    if isinstance(exif, bytes):
        check_exif(exif, name)
    elif isinstance(profile, str):
        try:
            check_exif(bytes.fromhex("".join(profile.split("\n")[3:])), name)
        except PictureError:
            raise
        except ValueError:
            return


def check_before_opening(file: BinaryIO, start: bytes, name: str) -> None:
    """Check what Pillow goes through without a limit: the chunks of a PNG, and EXIF data that are read on opening.

    Args:
        file: open for reading bytes; left at its start.
        start: the first bytes of the file.
        name: used in the message.

    Raises:
        PictureError: their tags overlap, or a JPEG has too many segments before its pixels, or a PNG too many chunks.
    """
    file.seek(0)
    if start.startswith(_PNG):
        _check_chunks(file, name)
    elif start[:2] == b"\xff\xd8":
        check_exif(_exif_of_jpeg(LimitedFile(file, name)), name)
    elif start[4:8] == b"ftyp":
        content = file.read()
        for place in islice(finditer(rb"II\*\0|MM\0\*", content), _MAX_EXIF_STARTS):
            check_exif(content[place.start() :], name)
    file.seek(0)


def _check_chunks(file: BinaryIO, name: str) -> None:
    """Check the number of chunks; long files may have more of them, as pixels are stored in many small ones."""
    length = file.seek(0, 2)
    place, chunks = len(_PNG), 0
    while place < length:
        chunks += 1
        if chunks > _MAX_READS + length // _BYTES_PER_CHUNK:
            raise too_many_parts(name)
        file.seek(place)
        place += 12 + int.from_bytes(file.read(4), "big")


def _exif_of_jpeg(file: LimitedFile) -> bytes:
    """The EXIF data of all segments in one, as Pillow joins them."""
    exif: list[bytes] = []
    file.read(2)
    while True:
        marker = file.read(1)
        if marker != b"\xff":
            if not marker:
                return b"".join(exif)
            continue
        while marker == b"\xff":
            marker = file.read(1)
        if marker in (b"", b"\xda"):
            return b"".join(exif)
        if b"\xc0" <= marker <= b"\xfe" and not b"\xd0" <= marker <= b"\xd9":
            length = file.read(2)
            if len(length) < 2:
                return b"".join(exif)
            content = file.read(max(0, struct.unpack(">H", length)[0] - 2))
            if marker == b"\xe1" and content.startswith(b"Exif\0\0"):
                exif.append(content[6:])


def too_many_parts(name: str) -> PictureError:
    """The error of a file that is divided into too many parts."""
    return PictureError(
        f"{name} has a header of too many parts, or with parts that share bytes; save it again, preferably as PNG."
    )
