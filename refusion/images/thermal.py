"""Temperatures in the JPEG files of FLIR's thermal cameras; needs the extra ``thermal`` (flyr)."""

import io
import struct
from collections.abc import Callable
from importlib.util import find_spec
from typing import BinaryIO

import numpy as np
from PIL import Image

from refusion.images.picture import PictureError

INSTALL = "pip install 'refusion[thermal]'"

_RAW_DATA = 1
"""Number of the record with the sensor's values; its pixels begin after 32 bytes."""


def is_radiometric(image: Image.Image) -> bool:
    """Whether an opened JPEG holds temperatures beside the picture that it shows."""
    segments = getattr(image, "applist", ())
    return any(kind == "APP1" and bytes(data).startswith(b"FLIR\0") for kind, data in segments)


def radiometric_note(name: str) -> str:
    """What to say where the picture is taken and not the temperatures."""
    install = "" if find_spec("flyr") else f" (after {INSTALL})"
    return (
        f"{name} is a radiometric JPEG; the picture that it shows was taken, with its palette and overlays. "
        f"--temperatures{install} takes the temperatures."
    )


def read_temperatures(file: BinaryIO, name: str, check_size: Callable[[tuple[int, int]], None]) -> np.ndarray:
    """Read the temperatures of a radiometric JPEG, with the emissivity and distance that the camera was set to.

    Args:
        file: open for reading bytes, at its beginning.
        name: for messages.
        check_size: raises if a width and height are too much, before the values are decoded.

    Returns:
        Degrees Celsius, float64 (H, W); often fewer pixels than the picture that the file shows.

    Raises:
        PictureError: flyr is not there, or the file is damaged.
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
        reason = " ".join(str(error).split()).rstrip(".")
        raise PictureError(
            f"The temperatures in {name} cannot be read ({type(error).__name__}: {reason}); export them as 16-bit TIFF."
        ) from error


def _check_directory(records: BinaryIO) -> None:
    """flyr looks up as many entries as the header states, up to four billion."""
    header = records.read(64)
    (count,) = struct.unpack_from(">I", header, 28)
    if 32 * count > records.seek(0, io.SEEK_END):
        raise ValueError("its directory is longer than the file")
    records.seek(0)


def _stated_sizes(records: BinaryIO, offset: int) -> list[tuple[int, int]]:
    """Width and height as the record states them, and as a PNG file inside it does."""
    records.seek(offset)
    head = records.read(32 + 24)
    sizes = [struct.unpack_from("<HH", head, 2)]
    if head[32:36] == b"\x89PNG":
        sizes.append(struct.unpack_from(">II", head, 32 + 16))
    return [(int(width), int(height)) for width, height in sizes]
