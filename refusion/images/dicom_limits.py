"""Read the elements of a DICOM file, with limits on what pydicom reads, inflates and divides into values."""

import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from refusion.images.limited import too_many_parts
from refusion.images.picture import PictureError
from refusion.system.advice import Advised

_BYTES_PER_PIXEL = 8
_OTHER_BYTES = 1 << 24
"""Of a deflated file: how much its pixels and its other elements may take when inflated."""

_MAX_READS = 200_000
"""Maximum number of times that a file is read from: two or three for each element and item of a sequence."""

_MAX_LIST = 1 << 16
"""Maximum number of bytes of a list of values; with explicit types, none can be longer (PS3.5, 7.1.2)."""

_WHOLE = ("LT", "OB", "OD", "OF", "OL", "OV", "OW", "ST", "UN", "UR", "UT")
"""Types that are not divided into values or items."""

_MAX_SEQUENCES = 1 << 20
"""Maximum number of bytes of the sequences that are used, whose items pydicom reads from memory."""

_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"

_CHUNK = 1 << 24


def read_elements(pydicom: Any, file: BinaryIO, name: str, max_pixels: int, **options: Any) -> Any:
    """Read the elements of a DICOM file, deflated (PS3.5 A.5) or not; one without a preamble is read too.

    Args:
        pydicom: the package.
        file: open for reading bytes, at its start.
        name: used in messages.
        max_pixels: how many pixels a deflated file may have.
        options: for `pydicom.dcmread`.

    Returns:
        The data set of pydicom.

    Raises:
        PictureError: it has too many elements, a list of too many values, or is too large inside.
        Exception: any exception of pydicom on a damaged file.
    """
    try:
        dataset = pydicom.dcmread(_Bounded(file, name), force=True, **options)
    except _DeflatedError as deflated:
        plain = _inflated(file, deflated.place, name, _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES)
        dataset = pydicom.dcmread(_Bounded(plain, name), force=True, **options)
    _check_lists(pydicom, dataset, name)
    return dataset


def check_sequences(pydicom: Any, dataset: Any, keywords: tuple[str, ...], name: str) -> None:
    """Check that the sequences that will be used are not too long.

    Raises:
        PictureError: they are.
    """
    elements = (dataset.get_item(keyword) for keyword in keywords if keyword in dataset)
    if sum(_undivided_bytes(pydicom, element) for element in elements) > _MAX_SEQUENCES:
        raise too_many_parts(name)


class _DeflatedError(ValueError):
    """The rest of a file, from a place on, is deflated; pydicom would inflate it without a limit."""

    def __init__(self, place: int) -> None:
        super().__init__("its transfer syntax is contradictory")
        self.place = place


class _Bounded:
    """A DICOM file that may be read a limited number of times.

    pydicom reads the rest of a file at once only in order to inflate it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self._reads = file, name, _MAX_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise too_many_parts(self._name)
        if size < 0:
            raise _DeflatedError(self.tell())
        return self._file.read(size)


def _inflated(file: BinaryIO, place: int, name: str, most: int) -> BinaryIO:
    """The same file, not deflated."""
    file.seek(0)
    start = file.read(place).replace(_DEFLATED, _PLAIN)
    inflating, parts, size = zlib.decompressobj(-zlib.MAX_WBITS), [start], 0
    rest = file.read()
    while rest:
        parts.append(inflating.decompress(rest, _CHUNK))
        size += len(parts[-1])
        if size > most:
            raise PictureError(
                Advised(
                    f"{name} is a deflated DICOM file, and inflates to more than the {most / 1e6:,.0f} MB that are "
                    "accepted",
                    "export the image alone, or scaled down, or pass a larger max_pixels in Python",
                    "export the image alone, or scaled down",
                )
            )
        rest = inflating.unconsumed_tail
    if not inflating.eof:
        raise ValueError("its deflated part ends early")
    return io.BytesIO(b"".join(parts))


def _check_lists(pydicom: Any, dataset: Any, name: str) -> None:
    for element in _elements(dataset):
        is_list = not element.tag.is_private and _kind(pydicom, element) not in (*_WHOLE, "SQ")
        if is_list and _undivided_bytes(pydicom, element) > _MAX_LIST:
            raise too_many_parts(name)


def _elements(dataset: Any) -> Iterator[Any]:
    """The elements as they were read; iterating over a data set divides them into values."""
    return (dataset.get_item(tag) for tag in list(dataset.keys()))


def _kind(pydicom: Any, element: Any) -> str:
    if element.VR is None and pydicom.datadict.dictionary_has_tag(element.tag):
        # Of several types, such as "OB or OW", the last one is a list only if all are.
        return str(pydicom.datadict.dictionary_VR(element.tag))[-2:]
    return element.VR or "UN"


def _undivided_bytes(pydicom: Any, element: Any) -> int:
    """The number of bytes of an element, or of those in it, that pydicom will divide into values or items."""
    if isinstance(element, pydicom.dataelem.RawDataElement):
        return 0 if _kind(pydicom, element) in _WHOLE else len(element.value or b"")
    if element.VR != "SQ":
        return 0
    return sum(_undivided_bytes(pydicom, inner) for item in element.value for inner in _elements(item))
