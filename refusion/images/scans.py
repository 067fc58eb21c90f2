"""Whether two DICOM files show the same patient and slice (PS3.3 C.7.1.1, C.7.4.1 and C.7.6.2)."""

import numpy as np

from refusion.images.picture import Picture, Plane

_SAME_DIRECTION = 10.0
"""Largest angle of two slices, in degrees, that counts as the same."""

_USUAL_THICKNESS = 5.0
"""Thickness in mm of slices whose files do not say it."""

_ROUNDING = 1.01
"""Quotient of distances that may be only rounding."""


def scan_notes(a: Picture, b: Picture) -> list[str]:
    """Return sentences if two DICOM files are of different patients or slices; patient IDs are not quoted.

    Slices are compared within one frame of reference only, in which positions can be compared.
    """
    if a.scan is None or b.scan is None:
        return []
    notes = []
    if a.scan.patient and b.scan.patient and a.scan.patient != b.scan.patient:
        notes.append(
            f"{a.name} and {b.name} have different patient IDs, so they do not seem to show the same patient; check "
            "that they belong together."
        )
    first, second = a.scan.plane, b.scan.plane
    if first is None or second is None or first.frame != second.frame:
        return notes
    apart = _difference(first, second)
    if apart is not None:
        notes.append(
            f"By their headers, {a.name} and {b.name} do not show the same slice: they {apart}; check that they belong "
            "together."
        )
    return notes


def _difference(a: Plane, b: Plane) -> str | None:
    of_a, of_b = _directions(a), _directions(b)
    if of_a is None or of_b is None:
        return None
    angle = np.degrees(np.arccos(np.clip((of_a * of_b).sum(axis=1), -1, 1))).max()
    if angle > _SAME_DIRECTION:
        return f"are turned by {angle:.0f} degrees against each other"
    distance = abs(float(of_a[2] @ np.subtract(b.centre, a.centre)))
    thickness = max((plane.thickness for plane in (a, b) if plane.thickness is not None), default=_USUAL_THICKNESS)
    if distance > _ROUNDING * thickness:
        return f"lie {distance:.3g} mm apart"
    return None


def _directions(plane: Plane) -> np.ndarray | None:
    """Unit vectors along a row, along a column and across the slice, (3, 3), or None if there are none."""
    along = np.reshape(plane.directions, (2, 3))
    lengths = np.linalg.norm(along, axis=1, keepdims=True)
    if not lengths.all():
        return None
    rows, columns = along / lengths
    across = np.cross(rows, columns)
    return np.stack([rows, columns, across]) if np.linalg.norm(across) > 1 / 2 else None
