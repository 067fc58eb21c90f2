"""The pixels of a DICOM file: decoding, modality transform, palette and window."""

import io
from typing import Any

import numpy as np
from PIL import Image

from refusion.images.failures import one_line
from refusion.images.jpeg import frame_header
from refusion.images.levels import Stored
from refusion.images.picture import PictureError

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

_STEP = 1e-3
"""Width of a window that is a threshold."""

_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")

_BY_PILLOW = ("1.2.840.10008.1.2.4.50", *_JPEG_2000)
"""Transfer syntaxes that pydicom decodes with Pillow: JPEG of 8 bits and JPEG 2000."""


def stored_pixels(dataset: Any, name: str, *, windowed: bool) -> Stored:
    """Decode the pixels of a file, and apply its modality transform; see `refusion.images.dicom.read_dicom`.

    Raises:
        PictureError: it has colour of a kind or depth that is not supported.
        ValueError: the pixels are damaged. The decoders raise other errors, too.
    """
    if "TransferSyntaxUID" not in dataset.file_meta:
        _guess_syntax(dataset)
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
    return stored


def _guess_syntax(dataset: Any) -> None:
    """Set the encoding of a file without file meta information, which is not compressed."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    )


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
        # pydicom leaves out what is then above them.
        dataset.PixelData = (values >> above).astype(values.dtype).tobytes()
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
    if dataset.get("VOILUTFunction") != "LINEAR_EXACT" and width >= 1:
        # PS3.3 C.11.2.1.2.1: the ends are pixel values, and lie width - 1 apart around center - 0.5.
        low = center - width / 2
        return low, low + max(width - 1, _STEP)
    return center - width / 2, center + width / 2


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (int, float, str)) else value[0])
