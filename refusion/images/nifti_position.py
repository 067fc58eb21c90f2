"""The position of a NIfTI volume by its sform, which SPM, FSL and nibabel prefer to the qform, as ITK does not.

Registration often stores its result in the sform alone. See ``nifti1.h``, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION
IN SPACE" (https://nifti.nimh.nih.gov).
"""

from collections.abc import Mapping

import numpy as np

from refusion.images.grid import Grid, is_same
from refusion.images.picture import PictureError
from refusion.images.volume_files import SKEWED

_MM = {1: 1000.0, 3: 0.001}
"""Millimetres of the units of length that are not mm, by their codes: metre and micron."""

_RIGHT_ANGLE = 1e-3
"""Largest cosine of the angle of two axes at right angles: headers have single precision."""


def by_sform(grid: Grid, header: Mapping[str, str], name: str) -> tuple[Grid, tuple[str, ...]]:
    """The grid of a volume by its sform if that is another one, with a note.

    Args:
        grid: the grid that ITK gives.
        header: the fields of the header, as ITK gives them.
        name: name of the volume in messages.

    Raises:
        PictureError: the axes of the sform are not at right angles.
    """
    rows = np.array([header.get(f"srow_{axis}", "0 0 0 0").split() for axis in "xyz"], float)
    if header.get("sform_code", "0") == "0" or not np.isfinite(rows).all() or not np.linalg.det(rows[:, :3]):
        return grid, ()
    rows *= _MM.get(int(header.get("xyzt_units", "0")) & 7, 1.0)
    rows[:2] *= -1  # To the left and posterior, from the right and anterior.
    spacing = np.linalg.norm(rows[:, :3], axis=0)
    axes = rows[:, :3] / spacing
    sform = Grid(grid.size, tuple(spacing.tolist()), tuple(rows[:, 3].tolist()), tuple(axes.ravel().tolist()))
    if is_same(grid, sform):
        return grid, ()
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGHT_ANGLE:
        raise PictureError(SKEWED.format(name))
    apart = np.linalg.norm(grid.corners() - sform.corners(), axis=1).max()
    note = (
        f"The header of {name} gives two positions, qform and sform, which are up to {apart:.3g} mm apart; the sform "
        "was used, as SPM, FSL and nibabel do."
    )
    return sform, (note,)
