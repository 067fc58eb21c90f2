"""Where on Earth images with GeoTIFF tags lie (OGC GeoTIFF 1.1, section 7)."""

from typing import Any

import numpy as np

from refusion.images.picture import Picture
from refusion.images.tiff import GEO_KEYS

_PIXEL_SCALE, _TIEPOINT, _TRANSFORMATION = 33550, 33922, 34264

_COORDINATE_SYSTEMS = (2048, 3072)
"""Keys of the code of a geodetic and of a projected coordinate system."""

_USER_DEFINED = 32767
"""The code of a coordinate system that other keys describe."""

_SAME_AREA = 0.02
"""Largest distance of two corners, relative to the diagonal, at which two images show the same area: georeferences from
a GPS receiver are off by some pixels."""


def location_note(a: Picture, b: Picture) -> str | None:
    """Return a sentence if two images lie at clearly different places by their GeoTIFF tags, else None.

    Nothing is said where one has no tags, or where they do not name one coordinate system.
    """
    first, second = _corners(a), _corners(b)
    system = _coordinate_systems(a)
    if first is None or second is None or not system or system != _coordinate_systems(b):
        return None
    diagonal = float(np.linalg.norm(first[0] - first[-1]))
    distance = float(np.linalg.norm(first - second, axis=1).max())
    if not diagonal > 0 or distance <= _SAME_AREA * diagonal:
        return None
    apart = f"{100 * distance / diagonal:.0f} % of" if distance < 10 * diagonal else f"{distance / diagonal:,.0f} times"
    return (
        f"By their GeoTIFF tags, {a.name} and {b.name} do not show the same area: their corners lie up to {apart} "
        f"the diagonal of {a.name} apart; check that they belong together."
    )


def _corners(picture: Picture) -> np.ndarray | None:
    """The coordinates of the four corners, (4, 2), or None if the tags do not give them."""
    tags = dict(picture.geo)
    matrix = _matrix(tags)
    if matrix is None:
        return None
    width, height = picture.size
    ends = np.array([(0, 0, 0, 1), (width, 0, 0, 1), (0, height, 0, 1), (width, height, 0, 1)], float)
    corners = (ends @ matrix.T)[:, :2]
    return corners if np.isfinite(corners).all() else None


def _matrix(tags: dict[int, Any]) -> np.ndarray | None:
    """The transformation of raster to model space, (4, 4)."""
    transformation = tags.get(_TRANSFORMATION, ())
    if len(transformation) == 16:
        return np.reshape(np.array(transformation, float), (4, 4))
    scale, tie = tags.get(_PIXEL_SCALE, ()), tags.get(_TIEPOINT, ())
    if len(scale) < 2 or len(tie) != 6:
        return None
    matrix = np.diag([scale[0], -scale[1], 1.0, 1.0])
    matrix[:2, 3] = tie[3] - scale[0] * tie[0], tie[4] + scale[1] * tie[1]
    return matrix


def _coordinate_systems(picture: Picture) -> dict[int, int]:
    keys = dict(picture.geo).get(GEO_KEYS, ())
    entries = zip(keys[4::4], keys[7::4], strict=False)
    codes = {key: code for key, code in entries if key in _COORDINATE_SYSTEMS}
    return {} if _USER_DEFINED in codes.values() else codes
