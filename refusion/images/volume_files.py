"""Checks of the files of volumes, before SimpleITK reads their values and after it wrote them.

ITK reads a NIfTI file that was cut off, and writes one to a full disk, without an error, and it reads NaN as 0 there.
It does not check what is compressed in MetaImage and NRRD, and it crashes on a MetaImage header with a wrong number of
dimensions. NRRD and MetaImage headers may name any other file as the one that holds the values.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from refusion.images.picture import PictureError

_MAX_HEADER = 1 << 20
"""Maximum number of bytes before the values of a file."""

_MAX_FIELD = 1000
"""Maximum number of characters of a field of an NRRD header; ITK crashes when it reports a longer line as wrong."""

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"

SINGLE_SLICE = (
    "{} is a single slice, but a volume has three dimensions; save it as 16-bit PNG or TIFF, and fuse images."
)
SKEWED = "The axes of {} are not at right angles, as after an affine registration; resample it onto a regular grid."
SEVERAL = "{} has {} dimensions: it holds several volumes, as of several times; extract one, and fuse that."


class DamagedError(Exception):
    """A file is damaged or was cut off; the message is for the traceback only."""


def check_header(path: Path, name: str) -> None:
    """Check what SimpleITK does not when it reads a header.

    Args:
        path: a file with a suffix of a volume.
        name: its name in messages.

    Raises:
        DamagedError: the header is damaged.
        PictureError: there are not three dimensions, the values are in a file in another folder, or in several, or the
            file is NIfTI-2.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".nii", ".gz"):
        _check_version(path, name)
    elif suffix in (".mha", ".mhd"):
        fields, _ = _meta_header(path)
        dimensions = fields.get("NDims", "")
        if dimensions == "2":
            raise PictureError(SINGLE_SLICE.format(name))
        if dimensions in ("4", "5"):
            raise PictureError(SEVERAL.format(name, dimensions))
        if dimensions != "3":
            raise DamagedError(f"the number of dimensions is {dimensions!r}")
        _check_data_file(path, name, fields.get("ElementDataFile", ""))
    elif suffix in (".nrrd", ".nhdr"):
        for line, _ in _lines(path):
            if len(line) > _MAX_FIELD and ":=" not in line and not line.startswith("#"):
                raise DamagedError("a line is too long")
            key, _, value = line.partition(":")
            if key.strip().lower().replace(" ", "") == "datafile":
                _check_data_file(path, name, value.strip())


def _check_version(path: Path, name: str) -> None:
    """Refuse NIfTI-2, whose header ITK takes for a damaged one."""
    try:
        with path.open("rb") as plain:
            start = _unpacked(plain).read(8)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedError("the header cannot be decoded") from error
    if start[4:] == b"n+2\0":
        raise PictureError(f"{name} is a NIfTI-2 file, but only NIfTI-1 is read; convert it to NIfTI-1, or to .nrrd.")


def check_values(path: Path, most: int) -> np.ndarray | None:
    """Check that the values of a file are all there, and undamaged if they are compressed.

    SimpleITK checks those of NRRD and MetaImage that are not compressed.

    Args:
        path: a file that passed `check_header`.
        most: maximum number of bytes that the values may have.

    Returns:
        Which values of a NIfTI file are not finite, bool in the order of the file, since ITK reads 0 there; None if all
        are finite, and for other files.

    Raises:
        DamagedError: they are not.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".nii", ".gz"):
            return _check_nifti(path, most)
        if suffix in (".mha", ".mhd"):
            _check_meta(path, most)
        if suffix in (".nrrd", ".nhdr"):
            _check_nrrd(path, most)
    except (EOFError, LookupError, OverflowError, ValueError, gzip.BadGzipFile, struct.error, zlib.error) as error:
        raise DamagedError("the values cannot be decoded") from error
    return None


def _check_data_file(path: Path, name: str, given: str) -> None:
    """Check that the file of the values is the one of the header, or one beside it."""
    if given.upper() == "LOCAL":
        return
    if not given or given != Path(given).name or given.upper().startswith("LIST") or "%" in given or "\\" in given:
        raise PictureError(
            f"{name} says that its values are in several files or in another folder; save it as one file, such as "
            ".nii.gz, .nrrd or .mha."
        )
    if not (path.parent / given).is_file():
        raise PictureError(f"The values of {name} are in a file of its own, which is not beside it; copy it, too.")


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Lines of a header, up to an empty one or where the caller stops, and how many bytes of the file end with each."""
    with path.open("rb") as file:
        while line := file.readline(_MAX_HEADER):
            if file.tell() > _MAX_HEADER:
                raise DamagedError("the header is too long")
            yield line.decode("latin-1").strip(), file.tell()
            if not line.strip():
                return


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a MetaImage header, and the number of its bytes."""
    fields = {}
    for line, length in _lines(path):
        # MetaIO also accepts a colon.
        key, *rest = (part.strip() for part in re.split("[=:]", line, maxsplit=1))
        value = "".join(rest)
        if key in fields:
            raise DamagedError(f"{key} is given twice")
        fields[key] = value
        if key == "ElementDataFile":
            return fields, length
    raise DamagedError("the header has no end")


def _check_meta(path: Path, most: int) -> None:
    fields, start = _meta_header(path)
    if fields.get("CompressedData", "").lower() in ("true", "1"):
        with _data(path, fields["ElementDataFile"], start) as file:
            # With its checksum: a zlib stream, or that of gzip.
            _check_packed(file, most)


def _check_nrrd(path: Path, most: int) -> None:
    data, encoding, length = "LOCAL", "", 0
    for line, length in _lines(path):  # noqa: B007 - its last value is that of the empty line.
        key, _, value = (part.strip().lower() for part in line.partition(":"))
        encoding = value if key == "encoding" else encoding
        data = line.partition(":")[2].strip() if key.replace(" ", "") == "datafile" else data
    if encoding in ("gz", "gzip"):
        with _data(path, data, length) as file:
            _check_packed(file, most)


@contextmanager
def _data(path: Path, given: str, start: int) -> Iterator[BinaryIO]:
    """The file of the values, open where they begin."""
    is_local = given.upper() == "LOCAL"
    with (path if is_local else path.parent / given).open("rb") as file:
        file.seek(start if is_local else 0)
        yield file


def _check_packed(file: BinaryIO, most: int) -> None:
    """Check a stream of zlib or gzip up to its checksum."""
    unpacked, count = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32), 0
    while not unpacked.eof:
        packed = unpacked.unconsumed_tail or file.read(_BLOCK)
        if not packed:
            raise DamagedError("the compressed values end early")
        count += len(unpacked.decompress(packed, _BLOCK))
        if count > most:
            raise DamagedError("there are more values than the header says")


def _check_nifti(path: Path, most: int) -> np.ndarray | None:
    with path.open("rb") as plain:
        file = _unpacked(plain)
        offset, count, dtype = _nifti_header(file.read(348))
        size = count * dtype.itemsize
        if not 0 <= offset <= _MAX_HEADER or not 0 < size <= most:
            raise DamagedError("the header is damaged")
        if dtype.kind == "V" and file is plain:
            if path.stat().st_size < offset + size:
                raise DamagedError("the file ends early")
            return None
        file.seek(offset)
        odd = []
        for start in range(0, size, _BLOCK):
            block = file.read(min(_BLOCK, size - start))
            if len(block) < min(_BLOCK, size - start):
                raise DamagedError("the file ends early")
            if dtype.kind == "f":
                odd.append(~np.isfinite(np.frombuffer(block, dtype)))
        # The checksum is at the end, but little may follow the values.
        file.read(_BLOCK)
    return np.concatenate(odd) if any(block.any() for block in odd) else None


def _unpacked(plain: BinaryIO) -> BinaryIO:
    """The content of a file, unpacked if it is packed with gzip."""
    is_packed = plain.read(2) == _GZIP
    plain.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=plain)) if is_packed else plain


def _nifti_header(start: bytes) -> tuple[int, int, np.dtype[Any]]:
    """Where the values begin, their number, and their type, void if not a float (https://nifti.nimh.nih.gov)."""
    order = next((mark for mark in "<>" if struct.unpack_from(f"{mark}i", start)[0] == 348), None)
    if order is None:
        raise DamagedError("the header has no valid length")
    sides = struct.unpack_from(f"{order}8h", start, 40)
    kind, bits = struct.unpack_from(f"{order}2h", start, 70)
    offset = int(struct.unpack_from(f"{order}f", start, 108)[0])
    if bits < 8:
        raise DamagedError(f"a value has {bits} bits")
    floats = {16: "f4", 64: "f8"}
    dtype = np.dtype(f"{order}{floats[kind]}" if kind in floats else f"V{bits // 8}")
    return offset, prod(max(1, side) for side in sides[1 : 1 + sides[0]]), dtype
