"""Read a folder that holds one DICOM series as a volume; needs the extras ``volumes`` and ``dicom``."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from refusion.images.dicom import import_pydicom, is_dicom, read_dicom
from refusion.images.dicom_limits import read_elements
from refusion.images.dicom_scan import identifier, numbers
from refusion.images.failures import DECODING_ERRORS, one_line, reason
from refusion.images.kinds import START
from refusion.images.picture import PictureError, Plane, Scan
from refusion.images.slice_grid import stacked
from refusion.images.volume import Volume, VolumeFile, check_voxels, image_of
from refusion.system.extras import is_installed

_MAX_FILES = 10_000
"""Maximum number of files in the folder of a series."""

_MAX_PIXELS = 1 << 24
"""Maximum number of pixels of a slice."""

_SHOWN = 5
"""Number of series of a folder that a message lists."""

_GEOMETRY = {"Rows": 1, "Columns": 1, "PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}
"""Elements that say where a slice lies (PS3.3 C.7.6.2), and how many numbers each has; the last differs by slice."""

_USED = [*_GEOMETRY, "ImageType", "Modality", "PatientID", "FrameOfReferenceUID", "SeriesInstanceUID"]
_USED += ["SeriesDescription", "NumberOfFrames", "PhotometricInterpretation"]

_ROUNDING = 1e-3
"""Largest difference of directions, and relative one of spacings, that counts as rounding."""


@dataclass(frozen=True)
class _Slice:
    """What is used of the header of a file."""

    path: Path
    geometry: dict[str, tuple[float, ...] | None]
    is_localizer: bool
    frames: float
    kind: str
    series: str
    description: str
    scan: Scan


@dataclass(frozen=True, eq=False)
class Series(VolumeFile):
    """What the headers of a series say; `path` is the folder.

    Attributes:
        files: one for each slice, in the order of their positions.
    """

    files: tuple[Path, ...] = ()

    def read(self) -> Volume:
        """Read the values, each slice with its own rescale slope and intercept; padding becomes the smallest value.

        Raises:
            PictureError: a file is damaged, or has a compression that is not read.
        """
        columns, rows, count = self.grid.size
        values = np.empty((count, rows, columns), np.float32)
        padding = np.zeros(values.shape, bool)
        for index, path in enumerate(self.files):
            name = f"{path.name} in {self.name}"
            try:
                with path.open("rb") as file:
                    stored = read_dicom(file, name, _MAX_PIXELS, windowed=True)
            except OSError as error:
                raise PictureError(f"{name} cannot be read: {error.strerror or error}.") from error
            if stored.values.shape != (rows, columns):
                raise PictureError(f"{name} was changed while it was read; try again.")
            values[index] = stored.values
            if stored.missing is not None:
                padding[index] = stored.missing
        if padding.any():
            values[padding] = values[~padding].min()
        return Volume(self.name, self.grid, image_of(values, self.grid))


def open_series(folder: Path, name: str, max_voxels: int) -> Series:
    """Read the headers of the DICOM files in a folder; files of other kinds and localizers are left out, with a note.

    Args:
        folder: the folder, without those below it.
        name: its name in messages.
        max_voxels: maximum number of voxels.

    Raises:
        PictureError: an extra is not installed; a file is damaged or has several frames; there are several series, no
            slices, or slices that are not the whole of a regular grid.
    """
    if not (is_installed("pydicom") and is_installed("SimpleITK")):
        raise PictureError(
            f"The folder {name} is read as a DICOM series, which needs two extras: pip install "
            '"refusion[dicom,volumes]".'
        )
    slices, others = _slices(folder, name)
    kept = [one for one in slices if not one.is_localizer] or slices
    if not kept:
        raise PictureError(f"There is no DICOM image in the folder {name}; give the folder that holds one series.")
    _check_one_series(kept, name)
    _check_kind(kept, name)
    rows, columns, (height, width), directions, _ = (kept[0].geometry[element] or () for element in _GEOMETRY)
    size = int(*columns), int(*rows)
    check_voxels(name, (*size, len(kept)), max_voxels)
    positions = np.array([one.geometry["ImagePositionPatient"] for one in kept])
    grid, order = stacked(size, (width, height), directions, positions, [one.path.name for one in kept], name)
    counts = ((others, "without an image"), (len(slices) - len(kept), "marked as LOCALIZER"))
    left_out = " and ".join(f"{count} {what}" for count, what in counts if count)
    notes = (f"Files of {name} that were left out: {left_out}.",) if left_out else ()
    files = tuple(kept[index].path for index in order)
    return Series(folder, name, grid, np.dtype(np.float32), notes, kept[0].scan, files)


def _slices(folder: Path, name: str) -> tuple[list[_Slice], int]:
    """The headers of all images in a folder, and how many other files there are."""
    try:
        paths = list(islice(folder.iterdir(), _MAX_FILES + 1))
        if len(paths) > _MAX_FILES:
            raise PictureError(f"{name} has more than {_MAX_FILES:,} files; give the folder that holds one series.")
        files = sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
        found = [_slice(file, f"{file.name} in {name}") for file in files]
    except OSError as error:
        raise PictureError(f"{name} cannot be read: {error.strerror or error}.") from error
    slices = [one for one in found if one is not None]
    return slices, len(found) - len(slices)


def _slice(path: Path, name: str) -> _Slice | None:
    """The header of a DICOM image; None for another file."""
    with path.open("rb") as file:
        if not is_dicom(file.read(START)):
            return None
        pydicom = import_pydicom(name)
        try:
            file.seek(0)
            header = read_elements(pydicom, file, name, _MAX_PIXELS, stop_before_pixels=True, specific_tags=_USED)
            return _used(header, path) if "Rows" in header else None
        except PictureError:
            raise
        except (*DECODING_ERRORS, pydicom.errors.BytesLengthException, pydicom.errors.InvalidDicomError) as error:
            raise PictureError(f"{name} cannot be decoded as DICOM ({reason(error)}).") from error


def _used(header: Any, path: Path) -> _Slice:
    geometry = {element: numbers(header, element, count) for element, count in _GEOMETRY.items()}
    plane = Plane(identifier(header, "FrameOfReferenceUID"), (), ())
    scan = Scan(one_line(str(header.get("Modality", ""))), None, identifier(header, "PatientID"), plane)
    return _Slice(
        path,
        geometry,
        "LOCALIZER" in (header.get("ImageType") or ()),
        (numbers(header, "NumberOfFrames", 1) or (1,))[0],
        one_line(str(header.get("PhotometricInterpretation"))),
        identifier(header, "SeriesInstanceUID"),
        one_line(str(header.get("SeriesDescription") or "without a description")),
        scan,
    )


def _check_one_series(slices: list[_Slice], name: str) -> None:
    series: dict[str, list[_Slice]] = {}
    for one in slices:
        series.setdefault(one.series, []).append(one)
    if len(series) < 2:
        return
    listed = [
        f"{group[0].description} ({len(group)} slice{'s' if len(group) > 1 else ''})" for group in series.values()
    ]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    raise PictureError(
        f"{name} holds {len(series)} series: {', '.join(listed[:_SHOWN])}{more}; put the files of one into a folder of "
        "its own."
    )


def _check_kind(slices: list[_Slice], name: str) -> None:
    """Check that all slices are single grey images of one size, spacing and direction, with a position."""
    first = slices[0]
    for one in slices:
        file = f"{one.path.name} in {name}"
        if one.frames > 1:
            raise PictureError(f"{file} holds several frames; convert it to .nii.gz, as with dcm2niix, and give that.")
        if one.kind != "MONOCHROME2":
            raise PictureError(
                f"{file} is no slice of a CT, MRI or PET as acquired, but in colour or inverted ({one.kind}); leave it "
                "out."
            )
        if lacking := [element for element, given in one.geometry.items() if given is None]:
            raise PictureError(
                f"{file} does not say where it lies: it has no valid {' and no '.join(lacking)}; leave it out, or "
                "export the series again."
            )
        for element in list(_GEOMETRY)[:-1]:
            given, wanted = (np.array(each.geometry[element]) for each in (one, first))
            if not np.allclose(given, wanted, rtol=_ROUNDING, atol=_ROUNDING):
                raise PictureError(
                    f"{first.path.name} and {one.path.name} in {name} differ in {element}, so they are no slices of "
                    "one volume; put those that belong together into a folder of their own."
                )
