"""Read temperatures from radiometric JPEG files of FLIR cameras; needs the extra ``thermal`` (flyr)."""

import io
import struct
from collections.abc import Callable
from importlib.util import find_spec
from typing import BinaryIO

import numpy as np
from PIL import Image

from refusion.images.failures import reason
from refusion.images.picture import PictureError
from refusion.system.advice import Advised

INSTALL = 'pip install "refusion[thermal]"'

_RAW_DATA = 1
"""Number of the record with the sensor values; its pixels start after 32 bytes."""


def is_radiometric(image: Image.Image) -> bool:
    """Whether an opened JPEG holds temperatures in addition to the image that it shows."""
    segments = getattr(image, "applist", ())
    return any(kind == "APP1" and bytes(data).startswith(b"FLIR\0") for kind, data in segments)


def radiometric_note(name: str) -> str:
    """Note for the user when the image was read and not the temperatures."""
    install = "" if find_spec("flyr") else f" (after {INSTALL})"
    return Advised(
        f"{name} is a radiometric JPEG, and the image that it shows was read, with its palette and overlays",
        f"use --temperatures{install} to read the temperatures",
        "export the temperatures as a 16-bit TIFF or PNG to fuse those",
    )


def read_temperatures(file: BinaryIO, name: str, check_size: Callable[[tuple[int, int]], None]) -> np.ndarray:
    """Read the temperatures of a radiometric JPEG, using the emissivity and distance set in the camera.

    Args:
        file: open for reading bytes, at its start.
        name: used in messages.
        check_size: called with width and height before the values are decoded; raises if the image is too large.

    Returns:
        Degrees Celsius, float64 (H, W); often with fewer pixels than the image that the file shows.

    Raises:
        PictureError: flyr is not installed, or the file is damaged.
    """
    try:
        import flyr
        from flyr.records import extract_flir_app1, parse_flir_records
    except ImportError as error:
        raise PictureError(f"The temperatures in {name} need one more package: {INSTALL}.") from error
    content = io.BytesIO(file.read())
    try:
        records = extract_flir_app1(content)
        _check_directory(records)
        _, _, offset, _ = parse_flir_records(records)[_RAW_DATA]
        for size in _stated_sizes(records, offset):
            check_size(size)
        content.seek(0)
        with np.errstate(all="ignore"):
            return np.asarray(flyr.unpack(content).celsius, np.float64)
    except PictureError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        OSError,
        SyntaxError,
        TypeError,
        ValueError,
        Image.DecompressionBombError,
        struct.error,
    ) as error:
        raise PictureError(
            f"The temperatures in {name} cannot be read ({type(error).__name__}: {reason(error)}); export them as "
            "16-bit TIFF."
        ) from error


def _check_directory(records: BinaryIO) -> None:
    """Check the number of entries in the header: flyr would read up to four billion of them."""
    header = records.read(64)
    (count,) = struct.unpack_from(">I", header, 28)
    if 32 * count > records.seek(0, io.SEEK_END):
        raise ValueError("its directory is longer than the file")
    records.seek(0)


def _stated_sizes(records: BinaryIO, offset: int) -> list[tuple[int, int]]:
    """Width and height in the header of the record, and in that of a PNG file inside it, if any."""
    records.seek(offset)
    head = records.read(32 + 24)
    sizes = [struct.unpack_from("<HH", head, 2)]
    if head[32:36] == b"\x89PNG":
        sizes.append(struct.unpack_from(">II", head, 32 + 16))
    return [(int(width), int(height)) for width, height in sizes]
