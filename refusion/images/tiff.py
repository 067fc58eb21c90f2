"""TIFF files that are decoded by OpenCV: colour of 16 bits, and floats in several channels, which Pillow has not."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from refusion.images.picture import PictureError

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = b"+"
_ORIENTATION = 274
_FLOAT = 3
_RGB = 2
_SEPARATE = 2
_INTERLEAVE = "stores its channels one after the other; save it with interleaved channels"


@dataclass(frozen=True)
class FloatTiff:
    """What the header says.

    Attributes:
        size: width and height.
        orientation: as in EXIF.
        problem: why it is not read, as the end of a sentence; or None.
    """

    size: tuple[int, int]
    orientation: int
    problem: str | None


def float_tiff_header(file: BinaryIO) -> FloatTiff | None:
    """The header of a TIFF with floats in several channels or of half precision; None for any other file.

    Raises:
        Exception: what Pillow raises on damaged files.
    """
    file.seek(0)
    start = file.read(16)
    if start[:4] not in _MAGIC:
        return None
    tags = ImageFileDirectory_v2(start if _BIG in start[2:4] else start[:8])
    file.seek(tags.next)
    tags.load(file)
    samples, bits = int(tags.get(277, 1)), tags.get(258, (1,))
    if set(tags.get(339, (1,))) != {_FLOAT} or (samples < 3 and max(bits) >= 32):
        return None
    problem = None
    if max(bits) < 32:
        problem = f"holds floats of {max(bits)} bits; save it with 32"
    elif tags.next:
        problem = "holds several frames, but a picture has one; save the frame you want by itself"
    elif samples > 4 or tags.get(262) != _RGB:
        problem = f"holds {samples} channels of floats that are no RGB; save it as RGB or grey"
    elif tags.get(284, 1) == _SEPARATE:
        problem = _INTERLEAVE
    width, height = tags.get(256), tags.get(257)
    if width is None or height is None:
        raise ValueError("its header names no size")
    return FloatTiff((int(width), int(height)), int(tags.get(_ORIENTATION, 1)), problem)


def read_float_tiff(file: BinaryIO, name: str, header: FloatTiff) -> np.ndarray:
    """The values as they are stored, (H, W, 3) RGB or (H, W, 4) RGBA, before they are turned upright.

    Raises:
        PictureError: the header names a problem, or the pixels cannot be decoded.
    """
    import cv2

    if header.problem is not None:
        raise PictureError(f"{name} {header.problem}.")
    file.seek(0)
    try:
        values = cv2.imdecode(np.frombuffer(as_stored(file.read()), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError("its floats cannot be read") from error
    if values is None or values.dtype.kind != "f" or values.shape[:2] != header.size[::-1] or values.ndim != 3:
        raise ValueError("its floats cannot be read")
    return values[..., [2, 1, 0, 3][: values.shape[2]]]


def check_interleaved(name: str, planar_configuration: int) -> None:
    """Refuse separate planes, which OpenCV reads as if they were interleaved.

    Raises:
        PictureError: the planes are separate.
    """
    if planar_configuration == _SEPARATE:
        raise PictureError(f"{name} {_INTERLEAVE}.")


def as_stored(content: bytes) -> bytes:
    """The file with an orientation of 1, so that OpenCV does not turn it; whoever decodes it does.

    Raises:
        struct.error: the directory is cut off.
    """
    if content[:4] not in _MAGIC:
        return content
    order, big = "<" if content[:2] == b"II" else ">", _BIG in content[2:4]
    start, count, entry, value = ("Q", 8, 20, 12) if big else ("I", 4, 12, 8)
    (directory,) = struct.unpack_from(order + start, content, count)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), content, directory)
    first = directory + (8 if big else 2)
    for place in range(first, min(first + entry * entries, len(content)), entry):
        if struct.unpack_from(order + "H", content, place) == (_ORIENTATION,):
            place += value
            return content[:place] + struct.pack(order + "H", 1) + content[place + 2 :]
    return content
