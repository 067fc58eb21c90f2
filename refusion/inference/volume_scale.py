"""One scale for all slices of a volume: the window that the user gives, or the volume's own range."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refusion.images.grid import Grid, is_same
from refusion.images.levels import Stored, check_finite, missing_values, scale, to_picture
from refusion.images.picture import Picture, PictureError
from refusion.images.volume import Volume
from refusion.images.windows import Window, common_window, windows_of
from refusion.inference.options import Options
from refusion.inference.volume_grid import resampled
from refusion.system.advice import Advised
from refusion.tasks import Task

_NEARLY_BLACK = 25
"""Largest value of a volume of 8 bits that gets a note."""

_SAMPLED = 1 << 22
"""Maximum number of voxels, about, on which a scale is measured; larger volumes are subsampled."""


@dataclass(frozen=True, eq=False)
class Source:
    """A volume, and how its values become luminance.

    Attributes:
        volume: the volume.
        ends: stored values of black and white.
        bits: 8 or 16.
        nodata: value that means that there are no data, nan for any that is not finite; or None.
    """

    volume: Volume
    ends: tuple[float, float]
    bits: int
    nodata: float | None

    def luminance(self, axis: int, index: int) -> np.ndarray:
        """A slice in [0, 1], float32 (H, W); black where there are no data.

        Args:
            axis: axis of the array of values that the slice is taken across.
            index: number of the slice.
        """
        stored = self.volume.values.take(index, axis)
        if self.nodata is None:
            return scale(stored, self.ends, self.volume.name, clip=True)
        missing = missing_values(stored, self.nodata)
        stored[missing] = 0
        scaled = scale(stored, self.ends, self.volume.name, clip=True)
        scaled[missing] = 0
        return scaled


def scaled_sources(volumes: Sequence[Volume], options: Options, task: Task) -> tuple[list[Source], list[str]]:
    """Find the scale of each volume, and notes for the user on them, as sentences.

    Volumes of more than 8 bits have that of the window, or else their own range, which those of one camera share.

    Args:
        volumes: the volumes.
        options: options of fusing.
        task: the task.

    Raises:
        PictureError: a volume has values that are not finite, no value in its window, or no values at all.
    """
    windows = windows_of(options.window, len(volumes))
    seen = [_seen(volume, window, options.nodata) for volume, window in zip(volumes, windows, strict=True)]
    notes = options.reading(task).notes(seen)
    shares = task.one_camera and set(windows) <= {None, "own"}
    common = common_window(one.levels for one in seen) if shares else "own"
    sources = []
    for place, (volume, window, one) in enumerate(zip(volumes, windows, seen, strict=True)):
        ends = (0.0, 255.0)
        if one.bits == 8 and (brightest := int(volume.values.max())) <= _NEARLY_BLACK:
            notes.append(
                f"The largest value of {volume.name} is {brightest}, and white is 255 in volumes of 8 bits, so it is "
                "nearly black; save a mask or labels with 16 bits, which are scaled by a window or their own range."
            )
        if one.bits > 8 and window is not None and window != "own":
            ends = window
        elif one.bits > 8 and one.levels is not None:
            own = one.levels.black, one.levels.white
            ends = own if common == "own" else common
            notes.append(_own_range_note(volume.name, ends, place, is_shared=common != "own"))
        sources.append(Source(volume, ends, one.bits, options.nodata if one.bits > 8 else None))
    return sources, notes


def moved(source: Source, grid: Grid, other: str) -> tuple[Source, list[str]]:
    """Resample a volume into another grid, with a note; it is returned unchanged if that is its own.

    Args:
        source: the volume.
        grid: the grid of the result.
        other: name of the volume that has this grid.

    Raises:
        PictureError: they do not overlap.
    """
    volume = source.volume
    if is_same(volume.grid, grid):
        return source, []
    missing = None if source.nodata is None else missing_values(volume.values, source.nodata)
    inside = resampled(volume, grid, missing)
    covered = np.count_nonzero(np.isfinite(inside.values)) / inside.values.size
    if not covered:
        raise PictureError(
            f"{volume.name} and {other} do not overlap in space, so they are not registered, or one of them has lost "
            "its position; register them first."
        )
    rest = f"it covers {100 * covered:.3g} % of it, and the rest is black" if covered < 1 else "it covers all of it"
    note = f"{volume.name} was resampled linearly into the grid of {other} by its position in space; {rest}."
    return replace(source, volume=inside, nodata=np.nan), [note]


def _seen(volume: Volume, window: Window | None, nodata: float | None) -> Picture:
    """A sample of the voxels as an image of one row, which has the scale and the notes of all of them."""
    values = volume.values
    deep = values.dtype != np.uint8
    if values.dtype.kind == "f" and (nodata is None or not np.isnan(nodata)):
        check_finite(values, volume.name)
    flat = values.reshape(-1)
    # As for an own range, an odd step meets all columns, unless the width is unusual.
    row = flat[:: flat.size // _SAMPLED | 1][None]
    top = 255 if not deep else 65535 if values.dtype.kind in "ui" else 1
    stored = Stored(row, (0, top), deep, missing_is_black=True, window="own" if deep else None)
    return to_picture(stored, volume.name, window, nodata)


def _own_range_note(name: str, ends: tuple[float, float], place: int, *, is_shared: bool) -> str:
    low, high = (f"{end:g}" for end in ends)
    of_what, whose = ("the range of both volumes", "the") if is_shared else ("its own range", "its")
    window = f"({low}, {high})"
    return Advised(
        f"{name} was scaled by {of_what}, {low} to {high}, that of all but 1 % of {whose} values",
        f"to give other volumes the same scale, use --window-{'ab'[place]} {low} {high} "
        f"(window=[{f'{window}, None' if place == 0 else f'None, {window}'}])",
    )
