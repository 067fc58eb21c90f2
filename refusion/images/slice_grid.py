"""The grid of a volume whose slices are in files of their own, which may lack some or be moved."""

from collections.abc import Sequence

import numpy as np

from refusion.images.grid import Grid
from refusion.images.picture import PictureError
from refusion.images.volume_files import SINGLE_SLICE, SKEWED

_SAME_PLACE = 1e-3
"""Distance of two slices at one place, as a fraction of the usual distance."""

_RIGHT_ANGLE = 1e-2
"""Largest cosine of the angle of two axes at right angles."""

_OFF_GRID = 0.1
"""Largest distance of a slice from its place in a regular grid, in voxels."""

_GAP = 1.5
"""Quotient of the largest and the usual distance of slices from which one is missing."""


def stacked(
    size: tuple[int, int],
    spacing: tuple[float, float],
    directions: Sequence[float],
    positions: np.ndarray,
    files: Sequence[str],
    name: str,
) -> tuple[Grid, np.ndarray]:
    """Sort slices by their positions (PS3.3 C.7.6.2.1.1) into a grid.

    Args:
        size: columns and rows of a slice.
        spacing: distance of columns and of rows, in mm.
        directions: x, y and z of the direction along a row, then of that along a column.
        positions: x, y and z of the first voxel of each slice in mm, (slices, 3).
        files: name of the file of each slice.
        name: name of the volume in messages.

    Returns:
        The grid, and the index of each of its slices, (slices,).

    Raises:
        PictureError: they are not the slices of one whole regular grid.
    """
    if len(files) < 2:
        raise PictureError(SINGLE_SLICE.format(name))
    rows, columns = np.reshape(directions, (2, 3))
    across = np.cross(rows, columns)
    axes = np.stack([rows, columns, across], axis=1)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGHT_ANGLE or min(spacing) <= 0:
        raise PictureError(SKEWED.format(name))
    order = np.argsort(positions @ across, kind="stable")
    places = positions[order]
    depths = (places - places[0]) @ across
    steps = np.diff(depths)
    usual = float(np.median(steps))

    def between(step: int) -> str:
        return " and ".join(files[index] for index in order[step : step + 2])

    if steps.min() <= _SAME_PLACE * usual:
        raise PictureError(
            f"{name} has several slices at one place ({between(int(steps.argmin()))}), as of several times, echoes or "
            "reconstructions; put those that belong together into a folder of their own."
        )
    if steps.max() > _GAP * usual:
        raise PictureError(
            f"A slice of {name} is missing: {between(int(steps.argmax()))} lie {steps.max():.3g} mm apart, and the "
            f"others {usual:.3g} mm; copy the whole series."
        )
    if np.abs(depths - np.linspace(0, depths[-1], len(depths))).max() > _OFF_GRID * usual:
        raise PictureError(
            f"The slices of {name} are not equally spaced (by {steps.min():.3g} to {steps.max():.3g} mm); resample "
            "them onto a regular grid."
        )
    if np.abs(places - places[0] - depths[:, None] * across).max() > _OFF_GRID * min(spacing):
        raise PictureError(
            f"The slices of {name} are shifted against each other, as with a tilted gantry; resample them onto a "
            "regular grid."
        )
    depth = float(depths[-1]) / (len(files) - 1)
    return Grid((*size, len(files)), (*spacing, depth), tuple(places[0].tolist()), tuple(axes.ravel().tolist())), order
