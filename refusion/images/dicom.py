"""Read the stored values of a single-frame DICOM file; needs the extra ``dicom`` (pydicom)."""

import io
import math
import struct
import zlib
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from refusion.images.failures import DECODING_ERRORS, check_size, missing_package, one_line, reason
from refusion.images.jpeg import frame_header
from refusion.images.levels import Stored
from refusion.images.picture import PictureError, Plane, Scan
from refusion.system.advice import Advised

_SQUARE = 0.02
"""Largest relative difference of the sides of a pixel that counts as square."""

_DECODERS = {
    "1.2.840.10008.1.2.4.51": "jpeg8_decode",
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.201": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.202": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.203": "jpeg2k_decode",
}
"""Decoders of imagecodecs, by transfer syntax (PS3.5 A.4): JPEG of 12 bits, lossless JPEG, JPEG-LS, and
high-throughput JPEG 2000."""

_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")

_BY_PILLOW = ("1.2.840.10008.1.2.4.50", *_JPEG_2000)
"""Transfer syntaxes that pydicom decodes with Pillow: JPEG of 8 bits and JPEG 2000."""


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

_BYTES_PER_PIXEL = 8
_OTHER_BYTES = 1 << 24
"""Of a deflated file: how much its pixels and its other elements may take when inflated."""

_CHUNK = 1 << 24


class Bounded:
    """A deflated DICOM file that is refused if it is too large inside; other files are read as they are.

    pydicom reads the rest of a file at once only in order to inflate it (PS3.5 A.5), which it does without a limit.
    """

    def __init__(self, file: BinaryIO, name: str, max_pixels: int) -> None:
        self._file, self._name = file, name
        self._most = _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        if size < 0 and _inflates_beyond(content, self._most):
            raise PictureError(
                Advised(
                    f"{self._name} is a deflated DICOM file, and inflates to more than the {self._most / 1e6:,.0f} MB "
                    "that are accepted",
                    "export the image alone, or scaled down, or pass a larger max_pixels in Python",
                    "export the image alone, or scaled down",
                )
            )
        return content


def _inflates_beyond(content: bytes, max_bytes: int) -> bool:
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    size = len(inflating.decompress(content, _CHUNK))
    while inflating.unconsumed_tail and size <= max_bytes:
        size += len(inflating.decompress(inflating.unconsumed_tail, _CHUNK))
    return size > max_bytes


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
        PictureError: pydicom is not installed, or the file is damaged, has several frames or a rescale slope of 0, is
            deflated and too large inside, or has a compression that needs more packages.
    """
    pydicom = import_pydicom(name)
    try:
        # Without force, pydicom rejects files that have no preamble.
        dataset = pydicom.dcmread(Bounded(file, name, max_pixels), force=True)
        # If the file ends within compressed pixels, pydicom returns no element at all.
        if not len(dataset):
            raise PictureError(f"{name} is a DICOM file that is truncated; copy or export it again.")
        if not {"Rows", "Columns"} <= set(dataset.dir()):
            raise PictureError(
                f"{name} is a DICOM file without an image{_what_it_is(dataset)}; give one with an image."
            )
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
                f"{name} holds {frames} frames, but a file must hold one; export each frame you need as a file of its "
                "own."
            )
        if "TransferSyntaxUID" not in dataset.file_meta:
            _guess_syntax(dataset)
        _lift_groups(dataset)
        _fill_rescaling(dataset)
        if dataset.get("RescaleSlope") == 0:
            raise PictureError(
                f"{name} has a rescale slope of 0, with which all of its pixels are equal; export it again, or correct "
                "the slope."
            )
        _lower_bits(dataset)
        _unpack(dataset)
        if int(dataset.SamplesPerPixel) > 1:
            stored = _colour(dataset, name)
        elif dataset.PhotometricInterpretation == "PALETTE COLOR":
            stored = _palette(dataset)
        else:
            stored = _grey(dataset, windowed=windowed)
        if stored.values.shape not in (size := (int(dataset.Rows), int(dataset.Columns)), (*size, 3)):
            raise ValueError(f"its pixels have the shape {stored.values.shape}")
        sides = _sides_of_pixels(dataset)
        extent = None if sides is None else (sides[0] * size[0], sides[1] * size[1])
        modality = one_line(str(dataset.get("Modality", "")))
        scan = Scan(modality, extent, identifier(dataset, "PatientID"), _plane(dataset, extent))
        return replace(stored, scan=scan, notes=(*stored.notes, *_shape_note(dataset, sides, name)))
    except PictureError:
        raise
    except ImportError as error:
        raise missing_package(name, error) from error
    except (*DECODING_ERRORS, pydicom.errors.BytesLengthException, pydicom.errors.InvalidDicomError) as error:
        raise PictureError(f"{name} cannot be decoded as DICOM ({reason(error)}).") from error


def _sides_of_pixels(dataset: Any) -> tuple[float, float] | None:
    """Height and width of a pixel in mm (PS3.3 10.7.1.1), or None."""
    return _two_numbers(dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing"))


def identifier(dataset: Any, name: str) -> str:
    """A text to be compared, as it is stored: pydicom warns of some when it decodes them."""
    element = dataset.get_item(name)
    value = None if element is None else element.value
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else str(value or "").strip()


def _plane(dataset: Any, extent: tuple[float, float] | None) -> Plane | None:
    """Where the slice lies (PS3.3 C.7.6.2.1.1), or None."""
    frame = identifier(dataset, "FrameOfReferenceUID")
    corner, directions = numbers(dataset, "ImagePositionPatient", 3), numbers(dataset, "ImageOrientationPatient", 6)
    if not frame or corner is None or directions is None:
        return None
    height, width = extent or (0.0, 0.0)
    rows, columns = np.reshape(directions, (2, 3))
    centre = np.array(corner) + rows * width / 2 + columns * height / 2
    thickness = numbers(dataset, "SliceThickness", 1)
    return Plane(frame, tuple(centre.tolist()), directions, thickness[0] if thickness and thickness[0] > 0 else None)


def numbers(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """The numbers of an element, or None if there are others than `count` finite ones."""
    try:
        numbers = np.ravel(np.array(dataset.get(name), float))
    except (TypeError, ValueError):
        return None
    return tuple(numbers.tolist()) if numbers.size == count and np.isfinite(numbers).all() else None


def _two_numbers(values: Any) -> tuple[float, float] | None:
    try:
        first, second = (float(value) for value in values or ())
    except (TypeError, ValueError):
        return None
    return (first, second) if 0 < first < math.inf and 0 < second < math.inf else None


def _shape_note(dataset: Any, sides: tuple[float, float] | None, name: str) -> list[str]:
    """A note if the pixels are not square, by their sides or else by their aspect ratio (C.7.6.3.1.7)."""
    height, width = sides or _two_numbers(dataset.get("PixelAspectRatio")) or (1.0, 1.0)
    if abs(height / width - 1) < _SQUARE:
        return []
    return [
        f"{name} has pixels that are not square (height to width {height:g} to {width:g}), but the result has square "
        "ones; resample it first."
    ]


def _guess_syntax(dataset: Any) -> None:
    """Set the encoding of a file without file meta information, which is not compressed."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
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
    for group in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for inner in _LIFTED:
            for functional in (dataset.get(group) or ())[:1]:
                for item in (functional.get(inner) or ())[:1]:
                    dataset.update({element.tag: element for element in item})


def _fill_rescaling(dataset: Any) -> None:
    """Replace an empty slope or intercept, which pydicom would multiply with or add, by one that changes nothing."""
    for name, neutral in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if name in dataset and dataset.get(name) in (None, ""):
            setattr(dataset, name, neutral)


def _lower_bits(dataset: Any) -> None:
    """Shift pixel values that are stored in the upper bits (PS3.5 8.1.1) down, which pydicom does not do."""
    syntax, allocated = dataset.file_meta.TransferSyntaxUID, int(dataset.get("BitsAllocated") or 0)
    stored = int(dataset.get("BitsStored") or allocated)
    above = int(dataset.get("HighBit") or stored - 1) + 1 - stored
    if syntax.is_compressed or "PixelData" not in dataset or not 0 < above <= allocated - stored:
        return
    values = np.frombuffer(dataset.PixelData, f"{'<' if syntax.is_little_endian else '>'}u{allocated // 8}")
    # Where the values use the lowest bits only, the header is wrong.
    if (values >> stored).any() or not (values & (1 << above) - 1).any():
        dataset.PixelData = (values >> above & (1 << stored) - 1).astype(values.dtype).tobytes()
        dataset.HighBit = stored - 1


def _unpack(dataset: Any) -> None:
    """Decode what Pillow and pydicom cannot, such as lossless JPEG, the most common compression."""
    from pydicom.encaps import get_frame
    from pydicom.uid import ExplicitVRLittleEndian

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (*_DECODERS, *_BY_PILLOW) or "PixelData" not in dataset:
        return
    import imagecodecs

    content = get_frame(dataset.PixelData, 0, number_of_frames=1)
    size = int(dataset.Columns), int(dataset.Rows)
    # The decoders allocate memory as the header says.
    decoder = _DECODERS.get(syntax)
    if decoder in (None, "jpeg2k_decode"):
        if _size_by_pillow(content) != size:
            raise ValueError("its compressed image is of another size")
    else:
        header = frame_header(io.BytesIO(content))
        if header is None or header.size != size:
            raise ValueError("its compressed image is damaged or of another size")
        if header.bits == 8 and decoder == "jpeg8_decode":
            return
    if decoder is None:
        return
    values = np.asarray(getattr(imagecodecs, decoder)(content))
    shape = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    if values.size != np.prod(shape) or values.dtype.itemsize > int(dataset.BitsAllocated) // 8:
        raise ValueError(f"its pixels are {values.shape} of {values.dtype}")
    dataset.PixelData = values.astype(f"<u{int(dataset.BitsAllocated) // 8}").tobytes()
    dataset.PlanarConfiguration = 0
    if values.dtype.kind == "i":
        dataset.PixelRepresentation = 1
    if dataset.PhotometricInterpretation in ("YBR_RCT", "YBR_ICT"):
        dataset.PhotometricInterpretation = "RGB"
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _size_by_pillow(content: bytes) -> tuple[int, int] | None:
    try:
        return Image.open(io.BytesIO(content), formats=("JPEG", "JPEG2000")).size
    except Image.DecompressionBombError:
        return None


def _colour(dataset: Any, name: str) -> Stored:
    from pydicom.pixels import pixel_array

    kind, bits = dataset.PhotometricInterpretation, int(dataset.BitsAllocated)
    if bits > 16 or (bits > 8 and kind != "RGB"):
        raise PictureError(
            f"{name} has {one_line(str(kind))} colour with {bits} bits, which is not supported; export it as 16-bit "
            "PNG."
        )
    values = pixel_array(dataset)
    if values.dtype == np.uint8:
        return Stored(values, (0, 255))
    return Stored(values, (0, 65535), True, window=(0, 2 ** int(dataset.BitsStored) - 1))


def _palette(dataset: Any) -> Stored:
    from pydicom.pixels import apply_color_lut, pixel_array

    values = apply_color_lut(pixel_array(dataset), dataset)
    # An 8-bit palette may be stored in 16 bits, in the low or in the high byte.
    stated = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    if stated == 8 or values.dtype == np.uint8:
        return Stored(values.astype(np.uint8), (0, 255))
    if not (values & 255).any():
        return Stored((values >> 8).astype(np.uint8), (0, 255))
    return Stored(values, (0, 65535), True)


def _grey(dataset: Any, *, windowed: bool) -> Stored:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array

    raw = _with_sign(dataset, pixel_array(dataset))
    padding = _padding(dataset, raw)
    values = apply_modality_lut(raw, dataset)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    window: Any = None
    table = dataset.get("VOILUTSequence")
    if not windowed and table:
        values = np.asarray(apply_voi_lut(values, dataset), np.float64)
        window = (0.0, 2.0 ** int(table[0].LUTDescriptor[2]) - 1)
    elif not windowed and (curve := _sigmoid(dataset)):
        # pydicom scales the curve to the range of the stored values, which depends on the rescale slope and intercept.
        center, width = curve
        values = 1 / (1 + np.exp(-4 * (np.asarray(values, np.float64) - center) / width))
        window = (0.0, 1.0)
    else:
        window = _window(dataset)
    plain = raw.dtype == np.uint8 and window is None and np.array_equal(values, raw)
    if plain:
        top = 2 ** int(dataset.BitsStored) - 1
        return Stored(raw, (0, top), white_is_zero=inverted, missing=padding, missing_is_black=True)
    return Stored(
        np.asarray(values, np.float64),
        (0, 65535),
        True,
        white_is_zero=inverted,
        missing=padding,
        missing_is_black=True,
        window=window or "own",
    )


def _with_sign(dataset: Any, raw: np.ndarray) -> np.ndarray:
    """Give values of JPEG 2000 the sign that either the header or the compressed image states.

    Of the compressed image without a sign, pydicom takes the highest bit for it, which may have more bits than are
    stored. Of one with a sign that the header does not state, Pillow raises the values by half of their range.
    """
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_j2k_parameters

    if raw.dtype.kind not in "iu" or dataset.file_meta.TransferSyntaxUID not in _JPEG_2000:
        return raw
    packed = get_j2k_parameters(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if raw.dtype.kind == "u":
        lowered = raw.astype(np.int32) - (1 << packed.get("precision", 1) - 1)
        return lowered.astype(f"i{raw.dtype.itemsize}") if packed.get("is_signed") else raw
    unused = 8 * raw.dtype.itemsize - int(dataset.BitsStored)
    return raw if packed.get("is_signed", True) else raw << unused >> unused


def _padding(dataset: Any, raw: np.ndarray) -> np.ndarray | None:
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((_as_stored(value, raw), _as_stored(value if limit is None else limit, raw)))
    padding = (raw >= low) & (raw <= high)
    # If every pixel is padding, the tag is wrong.
    return padding if padding.any() and not padding.all() else None


def _as_stored(value: Any, raw: np.ndarray) -> int:
    """Convert a value that may be written with the wrong sign (US for SS) to the type of the pixels."""
    number = int(value)
    span = 1 << 8 * raw.dtype.itemsize
    if raw.dtype.kind == "i" and number >= span // 2:
        return number - span
    return number + span if raw.dtype.kind == "u" and number < 0 else number


def _sigmoid(dataset: Any) -> tuple[float, float] | None:
    """Center and width, if the window of the file is a sigmoid (PS3.3 C.11.2.1.3.1)."""
    if dataset.get("VOILUTFunction") != "SIGMOID":
        return None
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    return None if center is None or not width or width <= 0 else (center, width)


def _window(dataset: Any) -> tuple[float, float] | None:
    """The lower and upper end of the first window in the file."""
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    if dataset.get("VOILUTFunction") != "LINEAR_EXACT" and width > 1:
        # PS3.3 C.11.2.1.2.1: the ends are pixel values, and lie width - 1 apart around center - 0.5.
        center, width = center - 0.5, width - 1
    return center - width / 2, center + width / 2


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (int, float, str)) else value[0])
