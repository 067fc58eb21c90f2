"""What a DICOM file says of its scan: modality, patient, extent of the pixels, and where the slice lies."""

import math
from typing import Any

import numpy as np

from refusion.images.failures import one_line
from refusion.images.picture import Plane, Scan

_SQUARE = 0.02
"""Largest relative difference of the sides of a pixel that counts as square."""


def scan_of(dataset: Any) -> Scan:
    """What the file says of the scan."""
    sides = _sides_of_pixels(dataset)
    extent = None if sides is None else (sides[0] * int(dataset.Rows), sides[1] * int(dataset.Columns))
    modality = one_line(str(dataset.get("Modality", "")))
    return Scan(modality, extent, identifier(dataset, "PatientID"), _plane(dataset, extent))


def shape_note(dataset: Any, name: str) -> list[str]:
    """A note if the pixels are not square, by their sides or else by their aspect ratio (C.7.6.3.1.7)."""
    height, width = _sides_of_pixels(dataset) or _two_numbers(dataset.get("PixelAspectRatio")) or (1.0, 1.0)
    if abs(height / width - 1) < _SQUARE:
        return []
    return [
        f"{name} has pixels that are not square (height to width {height:g} to {width:g}), but the result has square "
        "ones; resample it first."
    ]


def identifier(dataset: Any, name: str) -> str:
    """A text to be compared, as it is stored: pydicom warns of some when it decodes them."""
    element = dataset.get_item(name)
    value = None if element is None else element.value
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else str(value or "").strip()


def numbers(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """The numbers of an element, or None if there are others than `count` finite ones."""
    try:
        numbers = np.ravel(np.array(dataset.get(name), float))
    except (TypeError, ValueError):
        return None
    return tuple(numbers.tolist()) if numbers.size == count and np.isfinite(numbers).all() else None


def _plane(dataset: Any, extent: tuple[float, float] | None) -> Plane | None:
    """Where the slice lies (PS3.3 C.7.6.2.1.1), or None."""
    frame = identifier(dataset, "FrameOfReferenceUID")
    corner, directions = numbers(dataset, "ImagePositionPatient", 3), numbers(dataset, "ImageOrientationPatient", 6)
    if not frame or corner is None or directions is None:
        return None
    height, width = extent or (0.0, 0.0)
    rows, columns = np.reshape(directions, (2, 3))
    centre = np.array(corner) + rows * width / 2 + columns * height / 2
    thickness = numbers(dataset, "SliceThickness", 1)
    return Plane(frame, tuple(centre.tolist()), directions, thickness[0] if thickness and thickness[0] > 0 else None)


def _sides_of_pixels(dataset: Any) -> tuple[float, float] | None:
    """Height and width of a pixel in mm (PS3.3 10.7.1.1), or None."""
    return _two_numbers(dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing"))


def _two_numbers(values: Any) -> tuple[float, float] | None:
    try:
        first, second = (float(value) for value in values or ())
    except (TypeError, ValueError):
        return None
    return (first, second) if 0 < first < math.inf and 0 < second < math.inf else None
