"""Files, Pillow images and arrays to luminance and chroma."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from refusion.images.colour import split_colour
from refusion.images.exif import kept_exif
from refusion.images.picture import MIN_SIDE, Picture, PictureError, by
from refusion.images.thermal import is_radiometric, radiometric_note, read_temperatures
from refusion.images.tiff import as_stored, check_interleaved, float_tiff_header, read_float_tiff

PictureSource: TypeAlias = str | os.PathLike | BinaryIO | Image.Image | np.ndarray | Picture
"""What a picture can be read from."""

Window: TypeAlias = tuple[float, float] | Literal["own"]
"""What is black and what is white: two stored values, or the smallest and the largest value of the picture."""

MAX_PIXELS = 100_000_000
"""Largest picture that is read unless the caller says otherwise."""

_READ_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP") + (("AVIF",) if features.check("avif") else ())
_READ_NAMES = "PNG, JPEG, TIFF, BMP or WebP"

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262
_TIFF_PLANES = 284

_NARROW = 1 / 16
"""Share of the type's range below which the values of a deep picture get a note."""


@dataclass(frozen=True)
class _Stored:
    """Values as they are stored.

    Attributes:
        values: (H, W) or (H, W, 3).
        ends: what is black and white by the type.
        deep: more than 8 bits.
        alpha: (H, W) in [0, 1], or None.
        white_is_zero: whether the scale is upside down.
    """

    values: np.ndarray
    ends: tuple[float, float]
    deep: bool = False
    alpha: np.ndarray | None = None
    white_is_zero: bool = False


def read_picture(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    window: Window | None = None,
    temperatures: bool = False,
) -> Picture:
    """Read a file, a Pillow image or an array as luminance and chroma.

    Files, given by path or open for reading bytes, are PNG, JPEG, TIFF, BMP, WebP or AVIF with one picture inside,
    HEIC (with pillow-heif) and DICOM (with pydicom); of a multi-picture JPEG (a phone's photograph with previews or a
    gain map) the first is taken, as viewers do. A Pillow image is taken at its current frame. Files and Pillow images
    are turned upright by their EXIF orientation. All modes of Pillow that convert to RGB are accepted. Files of 16
    bits (grey TIFF also of 12) are read at full depth. Mode I is taken as 16-bit grey, mode F as grey in [0, 1].

    Arrays are (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, of dtype bool, uint8, uint16 (the last two
    scaled by the largest value of the type) or of floats in [0, 1]. They are copied.

    Transparent pixels hold no content: alpha is composited over black, where fusion finds nothing to take.

    A `Picture` is returned as it is.

    Args:
        source: what to read.
        max_pixels: most pixels (width times height) accepted; a file's are known before it is decoded.
        window: what is black and white in a picture of more than 8 bits, and in floats: two stored values (what lies
            beyond is clipped), or ``own`` for its own smallest and largest value. The range of its type if not given:
            0 to 65535, for floats 0 to 1, for DICOM the window that the file names or else its own range. 8-bit
            pictures are not touched.
        temperatures: of a radiometric JPEG (with flyr), take the temperatures in degrees Celsius, scaled by the
            window or else by their own range, and not the picture that it shows. Other sources are read as ever.

    Raises:
        PictureError: the source is missing, damaged, of another kind, has several frames, is larger than
            `max_pixels` or shorter than 8 pixels on a side, or has values out of range.
    """
    _check_window(window)
    if isinstance(source, Picture):
        _check_size(source.name, source.size, max_pixels)
        return source
    if isinstance(source, np.ndarray):
        return _from_array(np.asarray(source), "array", max_pixels, window)
    if isinstance(source, Image.Image):
        _check_size("PIL image", source.size, max_pixels)
        return _from_image(source, "PIL image", window)
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(os.fsdecode(source)), max_pixels, window, temperatures)
    if hasattr(source, "read") and hasattr(source, "seek"):
        given = getattr(source, "name", None)
        name = _name(Path(given)) if isinstance(given, str) else "the open file"
        return _from_open_file(source, name, max_pixels, window, temperatures)
    raise PictureError(
        "A picture is a path, a file open for reading bytes, a Pillow image or a NumPy array, "
        f"but {type(source).__name__} was given."
    )


def read_pair(
    a: PictureSource,
    b: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    window: Window | None = None,
) -> tuple[Picture, Picture]:
    """Read the two sources of one scene, see `read_picture`.

    Raises:
        PictureError: one of them cannot be read, or their sizes differ.
    """
    first = read_picture(a, max_pixels=max_pixels, window=window)
    second = read_picture(b, max_pixels=max_pixels, window=window)
    check_same_size(first, second)
    return first, second


def check_same_size(a: Picture, b: Picture) -> None:
    """Refuse two sources that do not match pixel for pixel.

    Raises:
        PictureError: their sizes differ.
    """
    if a.size != b.size:
        raise PictureError(
            f"The two sources must show the same scene pixel for pixel, but A ({a.name}) is "
            f"{by(a.size)} and B ({b.name}) is {by(b.size)} (width x height): register them, "
            "then crop or scale one to the size of the other."
        )


def _from_file(path: Path, max_pixels: int, window: Window | None, temperatures: bool) -> Picture:
    name = _name(path)
    try:
        size_in_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(f"There is no file {name} where it was looked for; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{name} cannot be opened: {reason}.") from error
    if path.is_dir():
        raise PictureError(f"{name} is a folder; give one picture in it ({_READ_NAMES}).")
    if not path.is_file():
        raise PictureError(f"{name} is not a regular file; give a picture ({_READ_NAMES}).")
    if size_in_bytes == 0:
        raise PictureError(f"{name} is an empty file; give a picture ({_READ_NAMES}).")
    # Given a path, Pillow 11 and 12 map uncompressed TIFF into memory and scramble those stored on their side.
    with _decoding(name):
        file = path.open("rb")
    with file:
        return _from_open_file(file, name, max_pixels, window, temperatures)


def _from_open_file(file: BinaryIO, name: str, max_pixels: int, window: Window | None, temperatures: bool) -> Picture:
    with _decoding(name):
        file.seek(0)
        start = file.read(132)
        file.seek(0)
    if start[128:] == b"DICM":
        return _from_dicom(file, name, max_pixels, window)
    with _decoding(name):
        float_tiff = float_tiff_header(file)
        file.seek(0)
    if float_tiff is not None:
        _check_size(name, float_tiff.size, max_pixels)
        with _decoding(name):
            values = _turned(read_float_tiff(file, name, float_tiff), float_tiff.orientation)
        return _finish(_split_alpha(values, True), name, window)
    with _decoding(name):
        image = _open_heic(file, name, max_pixels) if _is_heic(start) else Image.open(file, formats=_READ_FORMATS)
    _check_size(name, image.size, max_pixels)
    # n_frames would read the directory of every page of a TIFF, in a time that grows with the square of their number.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise PictureError(f"{name} holds several frames, but a picture has one; save the frame you want by itself.")
    radiometric = is_radiometric(image)
    if radiometric and temperatures:
        file.seek(0)
        values = read_temperatures(file, name, lambda size: _check_size(name, size, max_pixels))
        values = _turned(values, _orientation(image))
        return _with_metadata(_finish(_Stored(values, (0, 1), True), name, window or "own"), image)
    if _is_deep_colour(image):
        with _decoding(name):
            check_interleaved(name, getattr(image, "tag_v2", {}).get(_TIFF_PLANES, 1))
            stored = _deep_colour(file, image)
        return _with_metadata(_finish(stored, name, window), image)
    picture = _from_image(image, name, window)
    return replace(picture, note=radiometric_note(name)) if radiometric else picture


def _from_image(image: Image.Image, name: str, window: Window | None) -> Picture:
    with _decoding(name):
        stored = _pixels(_upright(image))
    return _with_metadata(_finish(stored, name, window), image)


def _from_array(array: np.ndarray, name: str, max_pixels: int, window: Window | None) -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"An array is a picture in the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), channels last, "
            f"but {array.shape} was given."
        )
    _check_size(name, (array.shape[1], array.shape[0]), max_pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    deep = array.dtype.kind == "u" and array.dtype.itemsize == 2
    if array.dtype != np.bool_ and array.dtype != np.uint8 and not deep and array.dtype.kind != "f":
        raise PictureError(
            f"An array is a picture in the type bool, uint8, uint16 or float with values in [0, 1], "
            f"but {array.dtype} was given."
        )
    return _finish(_split_alpha(array, deep), name, window)


def _from_dicom(file: BinaryIO, name: str, max_pixels: int, window: Window | None) -> Picture:
    from refusion.images.dicom import read_dicom

    values, deep, own_window = read_dicom(file, name, lambda size: _check_size(name, size, max_pixels))
    if not deep:
        return _finish(_Stored(values, (0, 255)), name, None)
    return _finish(_Stored(values, (0, 65535), True), name, window or own_window or "own")


def _with_metadata(picture: Picture, image: Image.Image) -> Picture:
    profile = image.info.get("icc_profile")
    is_rgb_profile = isinstance(profile, bytes) and profile[16:20] == b"RGB "
    if picture.chroma is None or not is_rgb_profile or image.mode not in ("RGB", "RGBA", "P"):
        profile = None
    return replace(picture, icc_profile=profile, exif=kept_exif(image))


def _is_heic(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def _open_heic(file: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError(
            f"{name} is a HEIC picture, which needs one more package: pip install 'refusion[heic]'."
        ) from error
    heif = pillow_heif.open_heif(file)
    # The size stands in the header; nothing is decoded before it is known to be small enough.
    _check_size(name, heif.size, max_pixels)
    return heif.to_pillow()


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether a file has 16 bits in each of several channels, of which Pillow would drop 8."""
    if image.mode in ("1", "L", "P", "F") or image.mode.startswith("I"):
        return False
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, ())
        return image.mode in ("LA", "RGB", "RGBA", "RGBX") and max(bits, default=8) == 16
    return image.format == "PNG" and any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _deep_colour(file: BinaryIO, image: Image.Image) -> _Stored:
    import cv2

    orientation = _orientation(image)
    file.seek(0)
    try:
        values = cv2.imdecode(np.frombuffer(as_stored(file.read()), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError("its 16-bit channels cannot be read") from error
    # Pillow has the sides of a TIFF as it is shown, those of a PNG as it is stored.
    if values is None or values.dtype != np.uint16 or sorted(values.shape[:2]) != sorted(image.size):
        raise ValueError("its 16-bit channels cannot be read")
    order = {2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    return _split_alpha(_turned(values[..., order], orientation), True)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, struct.error):
        return 1


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also rewrites the EXIF data, and fails on the odd ones that cameras write.
    image.load()
    orientation = _orientation(image)
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """`_upright` for arrays, channels last."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _pixels(image: Image.Image) -> _Stored:
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return _split_alpha(np.asarray(image), False)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    return _split_alpha(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), False)


def _deep_grey(image: Image.Image) -> _Stored:
    values = np.asarray(image)
    # Pillow unpacks 12-bit TIFF without scaling it, and inverts white-is-zero TIFF only up to 8 bits.
    tags = getattr(image, "tag_v2", {})
    white_is_zero = tags.get(_TIFF_PHOTOMETRIC) == 0
    if image.mode == "F":
        return _Stored(values, (0, 1), True, None, white_is_zero)
    ends = (0, 4095) if tags.get(_TIFF_BITS_PER_SAMPLE) == (12,) else (0, 65535)
    transparent = values == image.info.get("transparency", -1)
    alpha = 1 - transparent.astype(np.float32) if transparent.any() else None
    return _Stored(values, ends, True, alpha, white_is_zero)


def _split_alpha(array: np.ndarray, deep: bool) -> _Stored:
    top = {"b": 1, "f": 1}.get(array.dtype.kind) or np.iinfo(array.dtype).max
    if array.ndim == 2 or array.shape[2] == 3:
        return _Stored(array, (0, top), deep)
    alpha = _scaled(array[..., 3], (0, top), "alpha", clip=False)
    return _Stored(array[..., :3], (0, top), deep, alpha if alpha.min() < 1 else None)


def _finish(stored: _Stored, name: str, window: Window | None) -> Picture:
    values = stored.values
    wanted = window if stored.deep or values.dtype.kind == "f" else None
    _check_finite(values, name)
    if wanted == "own":
        ends = (float(values.min()), float(values.max()))
        ends = ends if ends[0] < ends[1] else stored.ends
    else:
        ends = wanted or stored.ends
    scaled = _scaled(values, ends, name, clip=wanted is not None)
    if stored.white_is_zero:
        scaled = 1 - scaled
    if stored.alpha is not None:
        scaled = scaled * (stored.alpha if scaled.ndim == 2 else stored.alpha[..., None])
    luminance, chroma = (scaled, None) if scaled.ndim == 2 else split_colour(scaled)
    note = _note(values, ends, name) if stored.deep and window is None else None
    return Picture(luminance, chroma, name, alpha=stored.alpha, bits=16 if stored.deep else 8, note=note)


def _note(values: np.ndarray, ends: tuple[float, float], name: str) -> str | None:
    low, high = values.min(), values.max()
    if not 0 < high - low < _NARROW * (ends[1] - ends[0]):
        return None
    return (
        f"{name} uses only {low:g} to {high:g} of {ends[0]:g} to {ends[1]:g}, so it is nearly without contrast; "
        "--own-range scales it by its own range, --window LOW HIGH by yours."
    )


def _check_finite(values: np.ndarray, name: str) -> None:
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise PictureError(f"{name} has values that are not finite (NaN or infinite); floats must lie in 0 to 1.")


def _scaled(values: np.ndarray, ends: tuple[float, float], name: str, *, clip: bool) -> np.ndarray:
    """A float32 copy in [0, 1].

    Raises:
        PictureError: values are not finite, or lie outside of the ends and are not to be clipped.
    """
    _check_finite(values, name)
    lowest, highest = values.min(), values.max()
    low, high = ends
    if not clip and (lowest < low or highest > high):
        if values.dtype.kind == "f":
            raise PictureError(
                f"{name} has values from {lowest:.9g} to {highest:.9g}, but floats must lie in 0 to 1; "
                "scale or clip them, or give a window."
            )
        raise PictureError(
            f"{name} has values from {lowest} to {highest}, but grey of 16 bits lies in "
            f"{low} to {high}; scale it to that range, or give a window."
        )
    # float32 holds the levels of the types up to 16 bits exactly.
    exact = values.dtype.itemsize <= 2 or (values.dtype.kind == "f" and not clip)
    copied: np.ndarray = values.astype(np.float32 if exact else np.float64, order="C")
    if not clip and low == 0:
        return (copied / high).astype(np.float32)
    return np.clip((copied - low) / (high - low), 0, 1).astype(np.float32)


def _check_window(window: Window | None) -> None:
    if window is None or window == "own":
        return
    if isinstance(window, str) or len(window) != 2 or not np.isfinite(window).all() or not window[0] < window[1]:
        raise PictureError(f"A window is two numbers, the smaller first, or own; {window} was given.")


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise PictureError(
            f"{name} is {by(size)} pixels, but at most {max_pixels:,} in all are accepted; "
            "scale it down, or raise max_pixels if you trust it."
        )
    if min(size) < MIN_SIDE:
        raise PictureError(
            f"{name} is {by(size)} pixels; a picture is at least {MIN_SIDE} x {MIN_SIDE} (width x height)."
        )


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn what Pillow raises on a bad picture into a sentence."""
    try:
        yield
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(
            f"{name} is refused by Pillow ({str(error).rstrip('.')}); scale it down, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is not a picture that can be read, or its beginning is damaged; give {_READ_NAMES}."
        ) from error
    except (
        ArithmeticError,
        AssertionError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        if isinstance(error, OSError) and error.strerror:
            raise PictureError(f"{name} cannot be read: {error.strerror}.") from error
        raise PictureError(
            f"{name} cannot be decoded ({error}): it is damaged, cut off or of an unusual kind; "
            "save it again, best as PNG."
        ) from error


def _name(path: Path) -> str:
    return path.name or str(path)
