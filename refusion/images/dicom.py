"""Read the stored values of a single-frame DICOM file; needs the extra ``dicom`` (pydicom)."""

import struct
from dataclasses import replace
from typing import Any, BinaryIO

from refusion.images.dicom_limits import check_sequences, read_elements
from refusion.images.dicom_pixels import stored_pixels
from refusion.images.dicom_scan import scan_of, shape_note
from refusion.images.failures import DECODING_ERRORS, check_size, missing_package, one_line, reason
from refusion.images.levels import Stored
from refusion.images.picture import PictureError
from refusion.system.advice import Advised

_LIFTED = (
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
    *("PlanePositionSequence", "PlaneOrientationSequence"),
)
"""Groups of an enhanced file: rescaling, window, spacing and where the slice lies."""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Elements that hold the pixels; a file has one of them."""

_NEEDED = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
_NEEDED_FOR_INTEGERS = ("BitsStored", "PixelRepresentation")
"""Elements that say how the pixels are stored (PS3.3 C.7.6.3); pixels in colour also need their order."""

_SEQUENCES = (
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ModalityLUTSequence", "VOILUTSequence"),
)
"""Groups of an enhanced file, and tables of values."""


def is_dicom(start: bytes) -> bool:
    """Whether a file starts like DICOM: with a preamble, or directly with a data element of group 2 or 8."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 16 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3:4] != b"\0":
        return False
    explicit = start[4:6] in (b"UL", b"UI", b"CS", b"SH", b"LO", b"DA", b"TM", b"OB", b"AE")
    (length,) = struct.unpack_from("<I", start, 4)
    return explicit or (length <= 64 and length % 2 == 0)


def import_pydicom(name: str) -> Any:
    """pydicom, imported when it is first used.

    Args:
        name: a DICOM file, in the message.

    Raises:
        PictureError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise PictureError(
            Advised(
                f"{name} is a DICOM file, which needs one more package",
                'install it with pip install "refusion[dicom]"',
                "export it as 16-bit PNG",
            )
        ) from error
    return pydicom


def read_dicom(file: BinaryIO, name: str, max_pixels: int, *, windowed: bool = False) -> Stored:
    """Read the pixels of a DICOM file with its modality transform (Hounsfield units of a CT); low values are black.

    Palettes become RGB (PS3.3 C.7.6.3.1.5). The window is the first one in the file (C.11.2.1.2); a VOI lookup table or
    a sigmoid is applied. Padding (C.7.5.1.1.2) is black and does not count in the image's own range.

    Args:
        file: open for reading bytes.
        name: used in messages.
        max_pixels: maximum number of pixels; checked before anything is decoded.
        windowed: whether the caller applies a window; the file's own lookup table is then not applied.

    Raises:
        PictureError: pydicom is not installed, or the file is damaged, has several frames or a rescale slope of 0, has
            too many elements, is deflated and too large inside, or has a compression that needs more packages.
    """
    pydicom = import_pydicom(name)
    try:
        dataset = read_elements(pydicom, file, name, max_pixels)
        _check_image(dataset, name, max_pixels)
        check_sequences(pydicom, dataset, _SEQUENCES, name)
        _lift_groups(dataset)
        _fill_rescaling(dataset)
        if dataset.get("RescaleSlope") == 0:
            raise PictureError(
                f"{name} has a rescale slope of 0, with which all of its pixels are equal; export it again, or correct "
                "the slope."
            )
        stored = stored_pixels(dataset, name, windowed=windowed)
        notes = (*stored.notes, *shape_note(dataset, name))
        return replace(stored, scan=scan_of(dataset), notes=notes)
    except PictureError:
        raise
    except ImportError as error:
        raise missing_package(name, error) from error
    except (*DECODING_ERRORS, pydicom.errors.BytesLengthException, pydicom.errors.InvalidDicomError) as error:
        raise PictureError(f"{name} cannot be decoded as DICOM ({reason(error)}).") from error


def _check_image(dataset: Any, name: str, max_pixels: int) -> None:
    """Check that a file holds one image of an accepted size, and says how its pixels are stored.

    Raises:
        PictureError: it does not.
    """
    # If the file ends within compressed pixels, pydicom returns no element at all.
    if not len(dataset):
        raise PictureError(f"{name} is a DICOM file that is truncated; copy or export it again.")
    if not {"Rows", "Columns"} <= set(dataset.dir()):
        raise PictureError(f"{name} is a DICOM file without an image{_what_it_is(dataset)}; give one with an image.")
    if not any(dataset.get(element) for element in _PIXELS):
        raise PictureError(
            f"{name} is a DICOM file with the header of an image but without its pixels; copy or export it again."
        )
    if lacking := _lacking(dataset):
        raise PictureError(
            f"{name} is a DICOM file that does not say how its pixels are stored: it has no "
            f"{' and no '.join(lacking)}; export it again."
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    check_size(name, (int(dataset.Columns), int(dataset.Rows)), max_pixels)
    if frames > 1:
        raise PictureError(
            f"{name} holds {frames} frames, but a file must hold one; export each frame you need as a file of its own."
        )


def _what_it_is(dataset: Any) -> str:
    kind = getattr(dataset.get("SOPClassUID"), "name", "")
    # An unknown one is its own name.
    return f" ({one_line(kind)})" if kind[:1].isalpha() else ""


def _lacking(dataset: Any) -> list[str]:
    """The elements that are needed and missing or empty."""
    needed = [*_NEEDED, *(_NEEDED_FOR_INTEGERS if "PixelData" in dataset else ())]
    if dataset.get("SamplesPerPixel") not in (None, "", 1):
        needed.append("PlanarConfiguration")
    return [element for element in needed if dataset.get(element) in (None, "")]


def _lift_groups(dataset: Any) -> None:
    """Copy what an enhanced file says of its frame (PS3.3 C.7.6.16) to where classic files have it."""
    for group in _SEQUENCES[:2]:
        for inner in _LIFTED:
            for functional in (dataset.get(group) or ())[:1]:
                for item in (functional.get(inner) or ())[:1]:
                    dataset.update({element.tag: element for element in item})


def _fill_rescaling(dataset: Any) -> None:
    """Replace an empty slope or intercept, which pydicom would multiply with or add, by one that changes nothing."""
    for name, neutral in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if name in dataset and dataset.get(name) in (None, ""):
            setattr(dataset, name, neutral)
