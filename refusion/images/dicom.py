"""One frame of a DICOM file as an array; needs the extra ``dicom`` (pydicom)."""

import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from refusion.images.picture import PictureError


def read_dicom(
    file: BinaryIO, name: str, check_size: Callable[[tuple[int, int]], None]
) -> tuple[np.ndarray, bool, tuple[float, float] | None]:
    """Read the pixels of a DICOM file, with its modality transform (Hounsfield units of a CT), black being low.

    Args:
        file: open for reading bytes.
        name: for messages.
        check_size: raises if a width and height are too much, before anything is decoded.

    Returns:
        Values (H, W), or (H, W, 3) RGB; whether they are deeper than 8 bits; and the window that the file names, for
        deep colour the range of its bits.

    Raises:
        PictureError: pydicom is not there, or the file is damaged, has several frames, or is compressed in a way that
            needs more packages.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, pixel_array
    except ImportError as error:
        raise PictureError(
            f"{name} is a DICOM file, which needs one more package: pip install 'refusion[dicom]'."
        ) from error
    try:
        dataset = pydicom.dcmread(file)
        frames = int(dataset.get("NumberOfFrames") or 1)
        size = int(dataset.Columns), int(dataset.Rows)
        check_size(size)
        if frames > 1:
            raise PictureError(f"{name} holds {frames} frames, but a picture has one; export the one you want.")
        kind, bits = dataset.PhotometricInterpretation, int(dataset.BitsAllocated)
        if int(dataset.SamplesPerPixel) > 1 and (bits > 16 or (bits > 8 and kind != "RGB")):
            raise PictureError(
                f"{name} has colour of the kind {kind} in {bits} bits, which is not read; export it as 16-bit PNG."
            )
        values = pixel_array(dataset)
        if values.ndim == 3:
            deep = values.dtype != np.uint8
            return values, deep, (0, 2 ** int(dataset.BitsStored) - 1) if deep else None
        values = np.asarray(apply_modality_lut(values, dataset), np.float64)
        window = _window(dataset.get("WindowCenter"), dataset.get("WindowWidth"))
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            values = -values
            window = None if window is None else (-window[1], -window[0])
        return values, True, window
    except PictureError:
        raise
    except (
        pydicom.errors.InvalidDicomError,
        AttributeError,
        EOFError,
        KeyError,
        NotImplementedError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise PictureError(f"{name} cannot be decoded as DICOM ({reason}).") from error


def _window(centers: object, widths: object) -> tuple[float, float] | None:
    """The first window of a file, as its ends."""

    def first(value: object) -> float | None:
        if value is None or value == "":
            return None
        return float(value if isinstance(value, (int, float, str)) else value[0])  # type: ignore[index]

    center, width = first(centers), first(widths)
    if center is None or width is None or width <= 0:
        return None
    return center - width / 2, center + width / 2
