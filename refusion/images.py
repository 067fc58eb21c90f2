"""Pictures in, arrays out, and back: files, Pillow images and arrays to luminance and chroma.

Colour is full-range YCbCr with the weights of ITU-R BT.601, as in JFIF: Y = 0.299 R + 0.587 G + 0.114 B,
Cb = 128/255 + (B - Y) / 1.772, Cr = 128/255 + (R - Y) / 1.402, all kept as floats, so that an 8-bit picture
comes back without loss. The numbers are taken as they are stored: ICC profiles and gamma are not applied (an
RGB profile is handed on, see `Picture`).
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from refusion.files import replacing
from refusion.tasks import ChromaRule

PictureSource: TypeAlias = str | os.PathLike | BinaryIO | Image.Image | np.ndarray
"""What a picture can be read from."""

NEUTRAL = 128 / 255
"""Value of Cb and of Cr where there is no colour."""

MAX_PIXELS = 100_000_000
"""Largest picture that is read unless the caller says otherwise."""

MIN_SIDE = 8
"""Shortest side, in pixels, of a picture that is read."""

_READ_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_READ_NAMES = "PNG, JPEG, TIFF, BMP or WebP"

_SAVE_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True}),
}

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


class PictureError(ValueError):
    """A picture cannot be read, paired or written; the message is a sentence for people."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, as luminance and chroma.

    Attributes:
        luminance: float32 (H, W) in [0, 1], the BT.601 full-range Y, not rounded.
        chroma: float32 (2, H, W), Cb and Cr with the neutral value 128/255, or None for a grey picture (one
            channel, or red, green and blue equal in every pixel). In [0, 1] but for pure red and pure blue,
            which reach 255.5/255 as in JFIF before rounding; cutting that off would change the colour.
        name: file name without its folder, "PIL image" or "array"; for messages.
        icc_profile: the profile that came with a coloured RGB picture, not applied; it belongs on a picture
            that takes its colour from here.
    """

    luminance: np.ndarray
    chroma: np.ndarray | None
    name: str
    icc_profile: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.luminance.shape
        return width, height


def read_picture(source: PictureSource, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a file, a Pillow image or an array as luminance and chroma.

    Files, given by path or open for reading bytes, are PNG, JPEG, TIFF, BMP or WebP with one picture inside; of a
    multi-picture JPEG (a phone's photograph with previews or a gain map) the first is taken, as viewers do. A
    Pillow image is taken at its current frame. Files and Pillow images are turned upright by their EXIF
    orientation. All modes of Pillow that convert to RGB are accepted. Grey of 16 (in TIFF also 12) bits is read at
    full depth; colour of 16 bits a channel is read by Pillow at 8. Mode I is taken as 16-bit grey, mode F as grey
    in [0, 1].

    Arrays are (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, of dtype bool, uint8, uint16 (the last two
    scaled by the largest value of the type) or of floats in [0, 1]. They are copied.

    Transparent pixels hold no content: alpha is composited over black, where fusion finds nothing to take.

    Args:
        source: what to read.
        max_pixels: most pixels (width times height) accepted; a file's are known before it is decoded.

    Raises:
        PictureError: the source is missing, damaged, of another kind, has several frames, is larger than
            `max_pixels` or shorter than 8 pixels on a side, or has values out of range.
    """
    if isinstance(source, np.ndarray):
        return _from_array(np.asarray(source), "array", max_pixels)
    if isinstance(source, Image.Image):
        _check_size("PIL image", source.size, max_pixels)
        return _from_image(source, "PIL image", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(os.fsdecode(source)), max_pixels)
    if hasattr(source, "read") and hasattr(source, "seek"):
        name = getattr(source, "name", None)
        return _from_open_file(source, _name(Path(name)) if isinstance(name, str) else "the open file", max_pixels)
    raise PictureError(
        "A picture is a path, a file open for reading bytes, a Pillow image or a NumPy array, "
        f"but {type(source).__name__} was given."
    )


def read_pair(
    a: PictureSource,
    b: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Picture, Picture]:
    """Read the two sources of one scene, see `read_picture`.

    Raises:
        PictureError: one of them cannot be read, or their sizes differ.
    """
    first = read_picture(a, max_pixels=max_pixels)
    second = read_picture(b, max_pixels=max_pixels)
    if first.size != second.size:
        raise PictureError(
            f"The two sources must show the same scene pixel for pixel, but A ({first.name}) is "
            f"{_by(first.size)} and B ({second.name}) is {_by(second.size)} (width x height): register them, "
            "then crop or scale one to the size of the other."
        )
    return first, second


def fuse_chroma(a: Picture, b: Picture, rule: ChromaRule) -> np.ndarray | None:
    """Return the chroma of the fused picture, float32 (2, H, W) on the scale of `Picture`, or None for grey.

    Rule "a" or "b" takes that source's chroma as it is (the array is not copied). Rule "release" is that of
    the authors' release: grey if both sources are grey, the chroma of the coloured one if one is grey, and if
    both are coloured their mean weighted by distance from neutral. The release computes
    (Ca |Ca - n| + Cb |Cb - n|) / (|Ca - n| + |Cb - n| + 1e-4), which is 0, a strong green, where both
    sources are neutral. Here the same mean is taken of the differences from neutral d = C - n, as
    n + (da |da| + db |db|) / (|da| + |db| + eps), which is n there; eps is 1e-4 on the scale 0..255. The two
    differ by about n eps / (|da| + |db| + eps), where eps is the release's: if that stands on the scale
    0..255 too, by 0.013 of an 8-bit level where |da| + |db| is one level and less above; if it stands on
    0..1, by less than a level where |da| + |db| is four levels or more.

    Raises:
        PictureError: the sizes differ.
        ValueError: there is no such rule.
    """
    if a.size != b.size:
        raise PictureError(f"Chroma can be fused only at one size, but A is {_by(a.size)} and B is {_by(b.size)}.")
    if rule == "a":
        return a.chroma
    if rule == "b":
        return b.chroma
    if rule != "release":
        raise ValueError(f"There is no chroma rule {rule!r}; the rules are release, a and b.")
    if a.chroma is None or b.chroma is None:
        return b.chroma if a.chroma is None else a.chroma
    from_neutral_a, from_neutral_b = a.chroma - NEUTRAL, b.chroma - NEUTRAL
    weight_a, weight_b = np.abs(from_neutral_a), np.abs(from_neutral_b)
    weighted = from_neutral_a * weight_a + from_neutral_b * weight_b
    return NEUTRAL + weighted / (weight_a + weight_b + 1e-4 / 255)


def to_image(luminance: np.ndarray, chroma: np.ndarray | None, icc_profile: bytes | None = None) -> Image.Image:
    """Return an 8-bit Pillow image, mode RGB, or L where there is no chroma.

    Values are rounded to the nearest level. What lies outside [0, 1] is clipped, in RGB channel by channel.

    Args:
        luminance: floats (H, W), Y in [0, 1].
        chroma: floats (2, H, W), Cb and Cr as in `Picture`, or None.
        icc_profile: profile to hang on an RGB image, where `save_image` finds it.

    Raises:
        PictureError: the shapes are others than these, or a value is not finite.
    """
    if luminance.ndim != 2 or (chroma is not None and chroma.shape != (2, *luminance.shape)):
        given = "none" if chroma is None else chroma.shape
        raise PictureError(
            "A picture is made of luminance (H, W) and chroma (2, H, W) or none, "
            f"but luminance {luminance.shape} and chroma {given} were given."
        )
    if chroma is None:
        return Image.fromarray(_levels(luminance))
    blue_difference, red_difference = chroma - NEUTRAL
    red = luminance + 1.402 * red_difference
    blue = luminance + 1.772 * blue_difference
    green = (luminance - 0.299 * red - 0.114 * blue) / 0.587
    image = Image.fromarray(np.stack([_levels(red), _levels(green), _levels(blue)], axis=-1))
    if icc_profile is not None:
        image.info["icc_profile"] = icc_profile
    return image


def save_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Write `image` in the format that the suffix of `path` names, whole or not at all.

    PNG, TIFF (deflate), BMP and WebP are written without loss, JPEG at quality 95 with full-size chroma. An
    ICC profile in ``image.info`` is written too (not in BMP). The file is made under a temporary name in the
    same folder and then takes the place of what was there; a link keeps pointing where it did.

    Raises:
        PictureError: the suffix is unknown, the folder is missing, or the picture cannot be written; what was
            there before is untouched and nothing else is left behind.
    """
    path = Path(os.fsdecode(path))
    name = _name(path)
    try:
        format_name, options = _SAVE_FORMATS[path.suffix.lower()]
    except KeyError:
        given = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise PictureError(f"{name} {given}; a picture is saved as one of {', '.join(_SAVE_FORMATS)}.") from None
    target = Path(os.path.realpath(path))
    try:
        with replacing(target) as temporary:
            image.save(temporary, format_name, icc_profile=image.info.get("icc_profile"), **options)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError(
            f"{name} cannot be saved because there is no folder {_name(target.parent)}; create it first."
        ) from error
    except (OSError, ValueError, struct.error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise PictureError(f"{name} cannot be saved: {error.strerror}.") from error
        raise PictureError(
            f"{name} cannot be saved ({error}): {format_name} may not hold {_by(image.size)} pixels in mode "
            f"{image.mode}; give the name of a .png or .tif file."
        ) from error


def _from_file(path: Path, max_pixels: int) -> Picture:
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
        return _from_open_file(file, name, max_pixels)


def _from_open_file(file: BinaryIO, name: str, max_pixels: int) -> Picture:
    with _decoding(name):
        image = Image.open(file, formats=_READ_FORMATS)
    _check_size(name, image.size, max_pixels)
    with _decoding(name):
        frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise PictureError(f"{name} holds {frames} frames, but a picture has one; save the frame you want by itself.")
    return _from_image(image, name, max_pixels)


def _from_image(image: Image.Image, name: str, max_pixels: int) -> Picture:
    with _decoding(name):
        array = _pixels(_upright(image), name)
    picture = _from_array(array, name, max_pixels)
    profile = image.info.get("icc_profile")
    is_rgb_profile = isinstance(profile, bytes) and profile[16:20] == b"RGB "
    if picture.chroma is None or not is_rgb_profile or image.mode not in ("RGB", "RGBA", "P"):
        return picture
    return Picture(picture.luminance, picture.chroma, name, profile)


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also rewrites the EXIF data, and fails on the odd ones that cameras write.
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, struct.error):
        orientation = None
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """Return the pixels as an array of one of the kinds that `read_picture` accepts."""
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return np.asarray(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image, name)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _deep_grey(image: Image.Image, name: str) -> np.ndarray:
    values = np.asarray(image)
    # Pillow unpacks 12-bit TIFF without scaling it, and inverts white-is-zero TIFF only up to 8 bits.
    tags = getattr(image, "tag_v2", {})
    full_scale = 4095 if tags.get(_TIFF_BITS_PER_SAMPLE) == (12,) else 65535
    if image.mode != "F":
        if values.min() < 0 or values.max() > full_scale:
            raise PictureError(
                f"{name} has values from {values.min()} to {values.max()}, but grey of 16 bits lies in "
                f"0 to {full_scale}; scale it to that range."
            )
        transparent = values == image.info.get("transparency", -1)
        values = values.astype(np.float32) / full_scale
        values[transparent] = 0
    return 1 - values if tags.get(_TIFF_PHOTOMETRIC) == 0 else values


def _from_array(array: np.ndarray, name: str, max_pixels: int) -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"An array is a picture in the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), channels last, "
            f"but {array.shape} was given."
        )
    _check_size(name, (array.shape[1], array.shape[0]), max_pixels)
    values = _unit_range(array, name)
    if values.ndim == 3 and values.shape[2] == 4:
        values = values[..., :3] * values[..., 3:]
    if values.ndim == 2 or values.shape[2] == 1:
        return Picture(values.reshape(values.shape[:2]), None, name)
    red, green, blue = np.moveaxis(values, 2, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return Picture(red.copy(), None, name)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = np.stack([(blue - luminance) / 1.772, (red - luminance) / 1.402])
    chroma += NEUTRAL
    return Picture(luminance, chroma, name)


def _unit_range(array: np.ndarray, name: str) -> np.ndarray:
    """Return a float32 copy in [0, 1]."""
    if array.dtype == np.bool_:
        return array.astype(np.float32, order="C")
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(np.float32, order="C") / np.iinfo(array.dtype).max
    if array.dtype.kind != "f":
        raise PictureError(
            f"An array is a picture in the type bool, uint8, uint16 or float with values in [0, 1], "
            f"but {array.dtype} was given."
        )
    lowest, highest = array.min(), array.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise PictureError(f"{name} has values that are not finite (NaN or infinite); floats must lie in 0 to 1.")
    if lowest < 0 or highest > 1:
        raise PictureError(
            f"{name} has values from {lowest:.9g} to {highest:.9g}, but floats must lie in 0 to 1; scale or clip them."
        )
    return array.astype(np.float32, order="C")


def _levels(channel: np.ndarray) -> np.ndarray:
    if not np.isfinite(channel).all():
        raise PictureError(
            "The picture to write has values that are not finite (NaN or infinite), so it cannot be shown."
        )
    return np.rint(np.clip(channel, 0, 1) * 255).astype(np.uint8)


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise PictureError(
            f"{name} is {_by(size)} pixels, but at most {max_pixels:,} in all are accepted; "
            "scale it down, or raise max_pixels if you trust it."
        )
    if min(size) < MIN_SIDE:
        raise PictureError(
            f"{name} is {_by(size)} pixels; a picture is at least {MIN_SIDE} x {MIN_SIDE} (width x height)."
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
    except (OSError, SyntaxError, ValueError, TypeError, AssertionError, struct.error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise PictureError(f"{name} cannot be read: {error.strerror}.") from error
        raise PictureError(
            f"{name} cannot be decoded ({error}): it is damaged, cut off or of an unusual kind; "
            "save it again, best as PNG."
        ) from error


def _name(path: Path) -> str:
    return path.name or str(path)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
