"""Where the voxels of a volume lie in space."""

from dataclasses import dataclass
from itertools import product

import numpy as np

_SAME_PLACE = 0.1
"""Two grids of one size are the same if no corner of one lies further from that of the other, in voxels."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie in space, in the coordinates of ITK and DICOM (left, posterior, superior).

    Attributes:
        size: number of voxels along each of the three axes.
        spacing: distance of voxels along each axis, in mm.
        origin: position of the first voxel, in mm.
        direction: the directions of the axes, the columns of a 3 x 3 matrix, row by row.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def steps(self) -> np.ndarray:
        """The steps from one voxel to the next in mm, the columns of a (3, 3) matrix."""
        return np.reshape(self.direction, (3, 3)) * self.spacing

    def corners(self) -> np.ndarray:
        """The centres of the voxels at the corners, in mm, (8, 3)."""
        last = np.array(list(product(*((0, side - 1) for side in self.size))))
        corners: np.ndarray = self.origin + last @ self.steps().T
        return corners


def is_same(a: Grid, b: Grid) -> bool:
    """Whether the voxels of two grids lie at the same places, within a tenth of a voxel."""
    if a.size != b.size:
        return False
    apart = np.linalg.solve(a.steps(), (a.corners() - b.corners()).T)
    return bool(np.abs(apart).max() <= _SAME_PLACE)
