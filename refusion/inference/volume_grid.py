"""Compare the grids of two volumes, and resample one into that of the other."""

import numpy as np

from refusion.images.grid import Grid, is_same
from refusion.images.picture import MIN_SIDE, PictureError
from refusion.images.volume import Volume, VolumeFile, image_of, import_simpleitk, voxels
from refusion.system.advice import Advised
from refusion.tasks import Resize, check_choice

_ROUNDING = 1e-5
"""Relative difference that headers of single precision may have."""

_EQUAL_SPACING = 1.1
"""Ratio up to which two spacings count as equal when the slices of a volume are found."""


def slice_axis(grid: Grid) -> int:
    """The axis across which a volume was acquired in slices, 0 to 2.

    It is the one with the largest spacing. Among axes whose spacings are equal within 10 %, it is the one nearest to
    the axis of the body (inferior to superior), so that the slices are axial.
    """
    largest = max(grid.spacing)
    wide = [axis for axis in range(3) if grid.spacing[axis] * _EQUAL_SPACING >= largest]
    return max(wide, key=lambda axis: abs(grid.direction[6 + axis]))


def reference_of(a: VolumeFile, b: VolumeFile, resize: Resize | None) -> VolumeFile:
    """The volume that gives the grid of the result: the first one if both have one grid.

    Args:
        a: first volume.
        b: second volume.
        resize: which of two grids to use: that of ``a``, of ``b``, or of the one with fewer or more voxels.

    Raises:
        PictureError: the grids differ and `resize` is not given, or a slice has a side shorter than 8 voxels.
        ValueError: there is no such rule.
    """
    chosen = a
    if resize is not None:
        check_choice("resize rule", resize, Resize)
        smaller, larger = sorted((a, b), key=lambda file: int(np.prod(file.grid.size, dtype=np.int64)))
        chosen = {"a": a, "b": b, "smaller": smaller, "larger": larger}[resize]
    if is_same(a.grid, b.grid):
        chosen = a
    elif resize is None:
        raise PictureError(
            Advised(
                f"The two volumes must have one grid, but A ({a.name}) and B ({b.name}) differ in "
                f"{' and '.join(_differences(a.grid, b.grid))}",
                "if they are registered, resample one of them by its position (--resize a, b, smaller or larger; "
                "resize='a')",
                "resample one of them into the grid of the other",
            )
        )
    sides = [side for axis, side in enumerate(chosen.grid.size) if axis != slice_axis(chosen.grid)]
    if min(sides) < MIN_SIDE:
        raise PictureError(
            f"The slices of {chosen.name} are {voxels(tuple(sides))} voxels; they must be at least {MIN_SIDE} x "
            f"{MIN_SIDE}."
        )
    return chosen


def _differences(a: Grid, b: Grid) -> list[str]:
    """What differs between two grids, as parts of a sentence."""
    found = []
    if a.size != b.size:
        found.append(f"size ({voxels(a.size)} and {voxels(b.size)} voxels)")
    if not np.allclose(a.spacing, b.spacing, rtol=_ROUNDING, atol=0):
        found.append(f"spacing ({_numbers(a.spacing, ' x ')} and {_numbers(b.spacing, ' x ')} mm)")
    if not np.allclose(a.origin, b.origin, rtol=0, atol=_ROUNDING * min(a.spacing)):
        found.append(f"origin ({_numbers(a.origin)} and {_numbers(b.origin)} mm)")
    if not np.allclose(a.direction, b.direction, rtol=0, atol=_ROUNDING):
        found.append(f"direction ({_turn(a, b)})")
    return found


def _numbers(values: tuple[float, ...], between: str = ", ") -> str:
    # Adding 0 to -0 gives 0.
    return between.join(f"{round(value, 9) + 0.0:.4g}" for value in values)


def _turn(a: Grid, b: Grid) -> str:
    of_a, of_b = _orientation(a), _orientation(b)
    if of_a != of_b:
        return f"axes to {of_a} and {of_b}"
    cosines = (np.reshape(a.direction, (3, 3)) * np.reshape(b.direction, (3, 3))).sum(axis=0)
    return f"axes to {of_a}, turned by {np.degrees(np.arccos(cosines.clip(-1, 1))).max():.2g} degrees"


def _orientation(grid: Grid) -> str:
    """The anatomical directions that the axes are nearest to, such as LPS: left, posterior, superior."""
    matrix = np.reshape(grid.direction, (3, 3))
    nearest = [int(np.abs(axis).argmax()) for axis in matrix.T]
    return "".join(("RL", "AP", "IS")[to][int(axis[to] > 0)] for axis, to in zip(matrix.T, nearest, strict=True))


def resampled(volume: Volume, grid: Grid, missing: np.ndarray | None) -> Volume:
    """Resample a volume linearly into another grid by its position in space.

    Args:
        volume: the volume.
        grid: the grid to resample into.
        missing: bool, of the shape of its values: those that mean that there are no data; or None.

    Returns:
        A volume of floats, NaN outside of the given one and where data are missing.

    Raises:
        PictureError: the volume and the grid do not overlap.
    """
    sitk = import_simpleitk()
    precise = volume.values.dtype.itemsize > 2 and volume.values.dtype != np.float32
    kind = sitk.sitkFloat64 if precise else sitk.sitkFloat32
    image = volume.image
    if missing is not None and missing.any():
        values = volume.values.astype(np.float64 if precise else np.float32)
        values[missing] = np.nan
        image = image_of(values, volume.grid)
    image = sitk.Resample(
        image, grid.size, sitk.Transform(), sitk.sitkLinear, grid.origin, grid.spacing, grid.direction, np.nan, kind
    )
    return Volume(volume.name, grid, image)
