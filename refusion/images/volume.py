"""Read and write volumes (NIfTI, NRRD, MetaImage); needs the extra ``volumes`` (SimpleITK)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from refusion.images.failures import missing_file
from refusion.images.grid import Grid
from refusion.images.kinds import START, refuse_as_volume
from refusion.images.nifti_position import by_sform
from refusion.images.picture import PictureError, Scan
from refusion.images.volume_files import SEVERAL, SINGLE_SLICE, SKEWED, DamagedError, check_header, check_values
from refusion.system.advice import Advised
from refusion.system.files import replacing
from refusion.system.output import without_library_errors

MAX_VOXELS = 1 << 29
"""Default maximum number of voxels of a volume, as many as 2048 slices of 512 x 512."""

_READERS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""The readers and writers of ITK by suffix; others could be misled by the content of a file."""

VOLUME_SUFFIXES = tuple(_READERS)
"""Suffixes of volumes that can be read, in lower case."""

OTHER_VOLUMES = (
    f"volumes are read as {', '.join(_READERS)} and folders with one DICOM series; convert others, such as .mgz, .mnc "
    "and .img, to .nii.gz"
)
"""Part of a message on a file that may be a volume of another format."""

_WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Suffixes of volumes that can be written: formats of a single file, which replaces another one at once."""

_TYPES = {
    "UInt8": np.uint8,
    "Int8": np.int8,
    "UInt16": np.uint16,
    "Int16": np.int16,
    "UInt32": np.uint32,
    "Int32": np.int32,
    "UInt64": np.uint64,
    "Int64": np.int64,
    "Float32": np.float32,
    "Float64": np.float64,
}
"""The types of values that are read: one number each."""

_MAX_BYTES_OF_VALUE = 16


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """What the header of a volume says.

    Attributes:
        path: the file.
        name: its name in messages.
        grid: where its voxels lie.
        dtype: type of the values when they are read: rescaled ones are floats.
        notes: notes for the user, as sentences.
        scan: what DICOM says of the scan, or None.
    """

    path: Path
    name: str
    grid: Grid
    dtype: np.dtype[Any]
    notes: tuple[str, ...] = ()
    scan: Scan | None = None

    @property
    def size_in_bytes(self) -> int:
        """Memory that the values need."""
        return prod(self.grid.size) * self.dtype.itemsize

    def read(self) -> "Volume":
        """Read the values.

        Raises:
            PictureError: the file is damaged, or there is not enough memory.
        """
        with _reading(self.path, self.name):
            missing = check_values(self.path, prod(self.grid.size) * _MAX_BYTES_OF_VALUE)
            image = _reader(self.path).Execute()
        if image.GetNumberOfComponentsPerPixel() != 1 or image.GetSize() != self.grid.size:
            raise _damaged(self.name)
        if image.GetPixelIDTypeAsString().startswith("vector"):
            image = import_simpleitk().VectorIndexSelectionCast(image)
        if missing is not None:
            values = values_of(image).copy()
            values.reshape(-1)[missing] = np.nan
            image = image_of(values, self.grid)
        return Volume(self.name, self.grid, _placed(image, self.grid))


@dataclass(frozen=True, eq=False)
class Volume:
    """The values of a volume.

    Attributes:
        name: name in messages.
        grid: where its voxels lie.
        image: the `SimpleITK.Image` that holds its values.
    """

    name: str
    grid: Grid
    image: Any = field(repr=False)

    @property
    def values(self) -> np.ndarray:
        """Stored values, by the last axis of the grid, the second and the first; not writable."""
        return values_of(self.image)


class _Values:
    """The memory of an image; arrays that are made of it keep the image, as views of SimpleITK do not."""

    def __init__(self, image: Any) -> None:
        self.image = image
        self.__array_interface__ = import_simpleitk().GetArrayViewFromImage(image).__array_interface__


def values_of(image: Any) -> np.ndarray:
    """The values of a `SimpleITK.Image`, not copied and not writable."""
    return np.asarray(_Values(image))


def image_of(values: np.ndarray, grid: Grid) -> Any:
    """A `SimpleITK.Image` with a copy of some values."""
    return _placed(import_simpleitk().GetImageFromArray(values), grid)


def _placed(image: Any, grid: Grid) -> Any:
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def import_simpleitk() -> Any:
    """SimpleITK, imported when it is first used.

    Raises:
        PictureError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise PictureError('Volumes need one more package: pip install "refusion[volumes]".') from error
    return SimpleITK


def is_volume(path: str | os.PathLike) -> bool:
    """Whether the suffix is that of a volume that can be read."""
    return os.fsdecode(path).lower().endswith(VOLUME_SUFFIXES)


def open_volume(path: Path, name: str, max_voxels: int = MAX_VOXELS) -> VolumeFile:
    """Read the header of a volume.

    Args:
        path: a NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage file (.mha, .mhd).
        name: its name in messages.
        max_voxels: maximum number of voxels.

    Raises:
        PictureError: the file is missing, damaged or of another kind; it has more than `max_voxels` voxels, several
            values for each voxel, or not three dimensions.
    """
    sitk = import_simpleitk()
    if not is_volume(path):
        raise PictureError(f"{name} is not a volume that can be read; give {', '.join(VOLUME_SUFFIXES)}.")
    if not path.is_file():
        raise missing_file(path)
    with _reading(path, name):
        check_header(path, name)
        reader = _reader(path)
        reader.ReadImageInformation()
    dimensions, size = reader.GetDimension(), reader.GetSize()
    if dimensions < 3:
        raise PictureError(SINGLE_SLICE.format(name))
    if dimensions > 3:
        raise PictureError(SEVERAL.format(name, dimensions))
    if reader.GetNumberOfComponents() > 1:
        raise PictureError(
            f"{name} has {reader.GetNumberOfComponents()} values for each voxel, as colours and vectors have; save the "
            "one you want as a volume of its own."
        )
    # NRRD may have an axis for a list of one value.
    kinds = ((f"sitk{vector}{kind}", dtype) for kind, dtype in _TYPES.items() for vector in ("", "Vector"))
    types = {getattr(sitk, kind): dtype for kind, dtype in kinds}
    if reader.GetPixelIDValue() not in types:
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
        raise PictureError(f"{name} has values of the type {kind}; save it with integers or floats.")
    check_voxels(name, size, max_voxels)
    grid = Grid(size, reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    numbers = np.array([*grid.spacing, *grid.origin, *grid.direction])
    if prod(size) < 1 or not np.isfinite(numbers).all() or min(grid.spacing) <= 0:
        raise _damaged(name)
    header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    grid, notes = by_sform(grid, header, name) if reader.GetImageIO() == "NiftiImageIO" else (grid, ())
    return VolumeFile(path, name, grid, np.dtype(types[reader.GetPixelIDValue()]), notes)


def check_voxels(name: str, size: tuple[int, ...], max_voxels: int) -> None:
    """Check that a volume is not too large.

    Raises:
        PictureError: it has more than `max_voxels` voxels.
    """
    if prod(size) > max_voxels:
        raise PictureError(
            Advised(
                f"{name} is {voxels(size)} voxels, but at most {max_voxels:,} in total are accepted",
                "crop or resample it, or pass a larger max_voxels in Python",
            )
        )


def voxels(size: tuple[int, ...]) -> str:
    """Format the size of a volume for a message."""
    return " x ".join(map(str, size))


def check_volume_output(path: str | os.PathLike, bits: int | None = None) -> None:
    """Check that a volume of this bit depth can be written under this name.

    Raises:
        PictureError: it has another suffix, or its folder is missing.
        ValueError: `bits` is neither 8 nor 16.
    """
    if bits not in (None, 8, 16):
        raise ValueError(f"A volume is written with 8 or 16 bits, but {bits} were given.")
    name = Path(path).name
    if name.lower().endswith(_WRITTEN_SUFFIXES):
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise PictureError(f"{name} cannot be written: there is no folder {folder.name}; create it first.")
        return
    kind = "is a volume in two files, which cannot be written" if is_volume(path) else "is not the name of a volume"
    raise PictureError(f"{name} {kind}; fused volumes are written as {', '.join(_WRITTEN_SUFFIXES)}.")


def write_volume(path: str | os.PathLike, values: np.ndarray, grid: Grid) -> None:
    """Write a volume atomically, compressed except as .nii.

    Args:
        path: the file; the suffix sets the format.
        values: integers, in the order of `Volume.values`.
        grid: where the voxels lie.

    Raises:
        PictureError: the suffix is unknown, or the file cannot be written; an existing file is then unchanged.
    """
    check_volume_output(path)
    sitk = import_simpleitk()
    target = Path(os.path.realpath(path))
    image = image_of(values, grid)
    try:
        with replacing(target) as temporary:
            with without_library_errors():
                sitk.WriteImage(image, str(temporary), useCompression=True, imageIO=_io_of(target))
            check_values(temporary, values.nbytes)
    except OSError as error:
        raise PictureError(f"{target.name} cannot be written: {error.strerror or error}.") from error
    except (DamagedError, RuntimeError) as error:
        raise PictureError(f"{target.name} cannot be written completely: the disk may be full.") from error


def _io_of(path: Path) -> str:
    return next(io for suffix, io in _READERS.items() if path.name.lower().endswith(suffix))


def _damaged(name: str) -> PictureError:
    return PictureError(f"{name} is damaged, or was not copied completely; copy or export it again.")


def _reader(path: Path) -> Any:
    reader = import_simpleitk().ImageFileReader()
    reader.SetImageIO(_io_of(path))
    reader.SetFileName(str(path))
    return reader


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Turn the exceptions of SimpleITK and of opening a file into a `PictureError`, and keep ITK from printing."""
    try:
        with without_library_errors():
            yield
    except OSError as error:
        raise PictureError(f"{name} cannot be read: {error.strerror or error}.") from error
    except (DamagedError, RuntimeError) as error:
        said = str(error).lower()
        if "alloc" in said:
            raise PictureError(f"{name} needs more memory than there is; crop or resample it.") from error
        if "orthonormal" in said or "direction" in said:
            raise PictureError(SKEWED.format(name)) from error
        with path.open("rb") as file:
            refuse_as_volume(file.read(START), name)
        raise _damaged(name) from error
