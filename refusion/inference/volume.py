"""Fuse two registered volumes slice by slice, with one output range for all slices."""

import os
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np

from refusion.images.dicom_series import open_series
from refusion.images.grid import Grid
from refusion.images.naming import told_apart
from refusion.images.picture import Picture, PictureError
from refusion.images.volume import MAX_VOXELS, VolumeFile, check_volume_output, open_volume, write_volume
from refusion.images.writing import to_array
from refusion.inference.finishing import anchored
from refusion.inference.network import Network, fuse_luminance
from refusion.inference.options import FinishOptions, Options
from refusion.inference.output_range import Range, ends_of, find_range
from refusion.inference.volume_grid import reference_of, slice_axis
from refusion.inference.volume_notes import header_notes
from refusion.inference.volume_scale import Source, moved, scaled_sources
from refusion.system.lists import were_given
from refusion.system.memory import free_for_process
from refusion.tasks import Task

_SAMPLED = 32
"""Number of slices, evenly spaced among those with content, whose output range is that of all."""

_CONTENT = 0.1
"""A slice has content if its brightest values are at least this fraction of those of the brightest slice."""

_FOR_IMAGES = {
    "align": ("--align, --motion", "register the volumes first, and leave it out"),
    "align_border": ("--crop", "crop the volumes first, and leave it out"),
    "chroma": ("--chroma", "volumes have no colour; leave it out"),
    "temperatures": ("--temperatures", "volumes hold no temperatures; leave it out"),
}
"""Options for images only: how a command names them, and what to do."""


def check_options(options: Options) -> None:
    """Refuse options that are for images only.

    Raises:
        ValueError: one of them is given.
    """
    for name, (flags, instead) in _FOR_IMAGES.items():
        if getattr(options, name) not in (None, False, "fill"):
            raise ValueError(f"Volumes were given with {name} ({flags}), which is for images only: {instead}.")


def open_source(path: Path, name: str, max_voxels: int = MAX_VOXELS) -> VolumeFile:
    """Read the header of a volume in a file, or those of a DICOM series in a folder.

    Args:
        path: the file or folder.
        name: its name in messages.
        max_voxels: maximum number of voxels.

    Raises:
        PictureError: it is no volume that can be read.
    """
    return open_series(path, name, max_voxels) if path.is_dir() else open_volume(path, name, max_voxels)


def fuse_volumes(
    network: Network,
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: Options,
    task: Task,
    bits: int | None = None,
    max_voxels: int = MAX_VOXELS,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Fuse two registered volumes slice by slice.

    The slices are those across the axis with the largest spacing, see `refusion.inference.volume_grid.slice_axis`. Each
    is fused as an image is, but all of them have one scale (see `refusion.inference.volume_scale`) and one output
    range, that of 32 slices together, so that the brightness does not change from slice to slice. Volumes on different
    grids are resampled if `options.resize` is given. The result has the grid of the first volume, or of the one that
    `options.resize` names, and is written atomically.

    Args:
        network: a loaded model.
        sources: two volumes in the order of the task: NIfTI, NRRD, MetaImage, or a folder with one DICOM series.
        output: path of the result: .nii.gz, .nii, .nrrd or .mha.
        options: options of fusing.
        task: the task whose defaults apply.
        bits: 8 or 16; by default 16 if a volume has more than 8.
        max_voxels: maximum number of voxels of a volume.
        progress: called with the number of slices done and of all slices.

    Returns:
        Notes for the user, as sentences.

    Raises:
        PictureError: a volume cannot be read or written, or the grids differ or do not overlap.
        ValueError: an option is for images only, or `bits` is neither 8 nor 16.
    """
    check_options(options)
    check_volume_output(output, bits)
    paths = [Path(os.fsdecode(source)) for source in sources]
    if len(paths) != 2:
        raise ValueError(f"Volumes are fused in pairs, but {were_given(len(paths))}; give two.")
    # The folder "." has no name.
    names = told_apart([path if path.name else path.resolve() for path in paths])
    files = [open_source(path, name, max_voxels) for path, name in zip(paths, names, strict=True)]
    reference = reference_of(files[0], files[1], options.resize)
    grid, axis = reference.grid, 2 - slice_axis(reference.grid)
    _check_memory(files, grid)
    scaled, notes = scaled_sources([file.read() for file in files], options, task)
    notes = [*header_notes(files[0], files[1], task), *notes]
    for place, source in enumerate(scaled):
        scaled[place], said = moved(source, grid, reference.name)
        notes += said
    if np.array_equal(scaled[0].volume.values, scaled[1].volume.values):
        notes.append(f"{files[0].name} and {files[1].name} are the same volume, so there is nothing to fuse.")
    depth = bits or max(source.bits for source in scaled)
    result = np.zeros(grid.size[::-1], np.uint8 if depth == 8 else np.uint16)
    slices = np.moveaxis(result, axis, 0)
    fused = _fused_slices(network, scaled, axis, options, options.for_task(task), progress)
    for into, luminance in zip(slices, fused, strict=True):
        into[:] = to_array(Picture(luminance, None, "fused"), depth)
    write_volume(output, result, grid)
    return notes


def _check_memory(files: Sequence[VolumeFile], grid: Grid) -> None:
    # Both volumes, one of them resampled, and the result, which SimpleITK copies.
    needed, free = sum(file.size_in_bytes for file in files) + 12 * prod(grid.size), free_for_process()
    if needed > free:
        raise PictureError(
            f"{files[0].name} and {files[1].name} need {needed / 1e9:.1f} GB of memory to be fused, but only "
            f"{free / 1e9:.1f} GB are free for this process; crop or resample them."
        )


def _fused_slices(
    network: Network,
    sources: Sequence[Source],
    axis: int,
    options: Options,
    finish: FinishOptions,
    progress: Callable[[int, int], None] | None,
) -> Iterator[np.ndarray]:
    """Yield the fused luminance of each slice, float32 (H, W)."""
    count = sources[0].volume.values.shape[axis]
    report = progress or (lambda done, total: None)

    def both(index: int) -> list[np.ndarray]:
        return [source.luminance(axis, index) for source in sources]

    def fuse(index: int) -> np.ndarray:
        a, b = (Picture(luminance, None, "slice") for luminance in both(index))
        luminance = fuse_luminance(network, a.luminance, b.luminance, engine=options.engine)
        return anchored(luminance, a, b, finish)[0]

    peaks, blank = [], set()
    for index in range(count):
        pair = both(index)
        peaks.append(max(ends_of(luminance)[1] for luminance in pair))
        if not any(luminance.any() for luminance in pair):
            blank.add(index)
    sample = _spaced([index for index, peak in enumerate(peaks) if peak > 0 and peak >= _CONTENT * max(peaks)])
    kept = {}
    for index in sample:
        kept[index] = fuse(index)
        report(len(kept), count)
    mapping = _common_range(list(kept.values()), [both(index) for index in sample], finish)
    done, black = len(kept), None
    for index in range(count):
        luminance = kept.pop(index, None)
        if luminance is None:
            luminance = black if index in blank and black is not None else fuse(index)
            done += 1
            report(done, count)
        if index in blank:
            black = luminance
        yield luminance if mapping is None else mapping.apply(luminance)


def _spaced(indices: list[int]) -> list[int]:
    """At most `_SAMPLED` of them, evenly spaced."""
    places = np.linspace(0, len(indices) - 1, min(len(indices), _SAMPLED))
    return [indices[round(place)] for place in places]


def _common_range(fused: list[np.ndarray], pairs: list[list[np.ndarray]], finish: FinishOptions) -> Range | None:
    """The output range of several slices as if they were one image; None if it changes nothing."""
    if not fused:
        return None
    ends = (ends_of(np.stack(slices)) for slices in zip(*pairs, strict=True))
    return find_range(np.concatenate(fused), ends, finish.output_range)
