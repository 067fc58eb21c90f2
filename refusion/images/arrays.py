"""Read arrays, and files that hold one (.npy)."""

from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from refusion.images.failures import decoding
from refusion.images.given import Given
from refusion.images.levels import Stored
from refusion.images.npy import npy_header, read_npy
from refusion.images.picture import PictureError
from refusion.images.pillow import of_array
from refusion.system.advice import OWN_RANGE, Advised


def of_npy_file(file: BinaryIO, given: Given) -> Stored:
    """Read the array of a ``.npy`` file, whose shape and type are checked first.

    Raises:
        PictureError: it is damaged, holds objects, or is no image; see `of_given_array`.
    """
    with decoding(given.name):
        shape, dtype = npy_header(file)
    _check_array(shape, dtype, given.name, given)
    with decoding(given.name):
        array = read_npy(file)
    stored = of_given_array(array, given)
    return replace(stored, deep=stored.deep or array.dtype.kind == "f")


def of_given_array(array: np.ndarray, given: Given) -> Stored:
    """Take an array as an image; see `refusion.images.reading.read_picture` for its shapes and types.

    Raises:
        PictureError: its shape or type is not one of these, or it is too large.
    """
    masked: Any = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    array = np.asarray(array)
    _check_array(array.shape, array.dtype, "An array", given)
    if masked is not None and masked.ndim == 3:
        masked = masked.any(axis=2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    deep = array.dtype.kind in "ui" and array.dtype != np.uint8
    return replace(of_array(array, deep), missing=masked if masked is not None and masked.any() else None)


def _check_array(shape: tuple[int, ...], dtype: np.dtype[Any], what: str, given: Given) -> None:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 2, 3, 4)):
        first = len(shape) in (3, 4) and shape[-3] in (1, 3, 4)
        other = "" if what == given.name else ", or fuse with channels_first=True"
        advice = f"; move the channels to the end{other}" if first else ""
        if len(shape) == 3 and not first:
            advice = "; the slices of a volume are fused one by one, in Python with fuse_many(zip(a, b))"
        raise PictureError(
            f"{what} must have the shape (H, W), or (H, W, 1 to 4), channels last: grey, grey and alpha, RGB or RGBA; "
            f"but {shape} was given{advice}."
        )
    given.check_size((shape[1], shape[0]))
    if dtype.kind in "bf" or (dtype.kind == "u" and dtype.itemsize <= 2):
        return
    if dtype.kind not in "ui" or given.window is None:
        cause = f"{what} must have the type bool, uint8, uint16, or float with values in [0, 1], but {dtype} was given"
        if dtype.kind not in "ui":
            raise PictureError(f"{cause}.")
        raise PictureError(
            Advised(
                cause,
                "other integers need a window (window=(black, white), or window='own')",
                demo=f"for other integers, {OWN_RANGE}",
            )
        )
