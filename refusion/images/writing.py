"""Luminance and chroma to Pillow images and files, 8 or 16 bits deep."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

from refusion.images.colour import join_colour
from refusion.images.picture import Picture, PictureError, by
from refusion.system.files import replacing

_SAVE_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
}

DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of the formats that hold 16 bits."""

_ALPHA_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".avif")

_TIFF_SUFFIXES = (".tif", ".tiff")

_TIFF_MODES = ("L", "LA", "RGB", "RGBA", "I;16")

_MAX_JPEG_EXIF = 65_000


def to_image(
    luminance: np.ndarray,
    chroma: np.ndarray | None,
    icc_profile: bytes | None = None,
    *,
    bits: int = 8,
    exif: bytes | None = None,
    alpha: np.ndarray | None = None,
) -> Image.Image:
    """Return a Pillow image: mode RGB, or L where there is no chroma; I;16 for 16 bits; with alpha RGBA or LA.

    Values are rounded to the nearest level. What lies outside [0, 1] is clipped, in RGB channel by channel.

    Args:
        luminance: floats (H, W), Y in [0, 1].
        chroma: floats (2, H, W), Cb and Cr as in `refusion.images.picture.Picture`, or None.
        icc_profile: profile to hang on an RGB image, where `save_image` finds it.
        bits: 8, or 16 for a grey picture without alpha: Pillow holds no deeper ones; `to_array` does.
        exif: EXIF data to hang on the image.
        alpha: floats (H, W) in [0, 1], or None; luminance and chroma are over black.

    Raises:
        PictureError: the shapes are others than these, a value is not finite, or Pillow holds no such picture.
    """
    values = _channels(luminance, chroma, alpha)
    if bits == 16 and values.ndim == 3:
        what = "colour" if chroma is not None else "alpha"
        raise PictureError(
            f"Pillow has no image with {what} of 16 bits a channel; ask for bits=8, or for an array or a file by "
            "refusion.fuse(...).to_array() or .save(...)."
        )
    image = Image.fromarray(_levels(values, bits))
    if icc_profile is not None and chroma is not None:
        image.info["icc_profile"] = icc_profile
    if exif is not None:
        image.info["exif"] = exif
    return image


def as_image(fused: Picture, bits: int | None) -> Image.Image:
    """A fused picture as Pillow image; of 16 bits by itself only where Pillow has such images."""
    deep = bits or (fused.bits if fused.chroma is None and fused.alpha is None else 8)
    return to_image(fused.luminance, fused.chroma, fused.icc_profile, bits=deep, exif=fused.exif, alpha=fused.alpha)


def to_array(picture: Picture, bits: int = 8) -> np.ndarray:
    """Return whole levels: (H, W) grey, (H, W, 2) with alpha, (H, W, 3) RGB or (H, W, 4) RGBA.

    Args:
        picture: the picture.
        bits: 8 for uint8, 16 for uint16.

    Raises:
        PictureError: a value is not finite.
        ValueError: another number of bits.
    """
    return _levels(_channels(picture.luminance, picture.chroma, picture.alpha), bits)


def save_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Write `image` in the format that the suffix of `path` names, whole or not at all.

    PNG, TIFF (deflate), BMP and WebP are written without loss, JPEG at quality 95 and AVIF at 90, both with full-size
    chroma. The ICC profile and the EXIF data in ``image.info`` are written too (not in BMP). The file is made under a
    temporary name in the same folder and then takes the place of what was there; a link keeps pointing where it did.

    Raises:
        PictureError: the suffix is unknown, the folder is missing, or the picture cannot be written; what was
            there before is untouched and nothing else is left behind.
    """
    path = Path(os.fsdecode(path))
    format_name, options = _format_of(path)
    metadata = {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key) is not None}
    if format_name == "JPEG" and len(metadata.get("exif", b"")) > _MAX_JPEG_EXIF:
        del metadata["exif"]
    target = Path(os.path.realpath(path))
    try:
        with replacing(target) as temporary:
            if format_name == "TIFF" and "exif" in metadata and image.mode in _TIFF_MODES:
                temporary.write_bytes(_tiff(np.asarray(image), metadata.get("icc_profile"), metadata["exif"]))
            else:
                image.save(temporary, format_name, **metadata, **options)
    except (OSError, ValueError, struct.error) as error:
        raise _save_error(
            error,
            path,
            target,
            f"{format_name} may not hold {by(image.size)} pixels in mode {image.mode}; "
            "give the name of a .png or .tif file.",
        ) from error


def save_picture(picture: Picture, path: str | os.PathLike, bits: int | None = None) -> None:
    """Write a picture with its alpha, ICC profile and EXIF data, see `save_image`; a TIFF with its place on Earth.

    Args:
        picture: the picture.
        path: where; the suffix names the format.
        bits: 8 or 16; if not given 16 for a picture of 16 bits where the format holds them (PNG and TIFF), else 8.
            Alpha is left out, so that what is transparent is black, where the format has none (JPEG and BMP).

    Raises:
        PictureError: see `save_image`; or 16 bits are asked for in a format that holds 8.
        ValueError: another number of bits.
    """
    path = Path(os.fsdecode(path))
    check_output(path, bits)
    suffix = path.suffix.lower()
    alpha = picture.alpha if suffix in _ALPHA_SUFFIXES else None
    deep = (bits or picture.bits) == 16 and suffix in DEEP_SUFFIXES
    if (deep and (picture.chroma is not None or alpha is not None)) or (picture.geo and suffix in _TIFF_SUFFIXES):
        _save_channels(picture, path, 16 if deep else 8)
        return
    save_image(
        to_image(
            picture.luminance,
            picture.chroma,
            picture.icc_profile,
            bits=16 if deep else 8,
            exif=picture.exif,
            alpha=alpha,
        ),
        path,
    )


def to_png(picture: Picture, bits: int | None = None) -> bytes:
    """The content of a PNG file, with the pixels and the metadata that `save_picture` writes.

    Args:
        picture: the picture.
        bits: 8 or 16; as deep as the picture if not given.

    Raises:
        PictureError: a value is not finite.
        ValueError: another number of bits.
    """
    deep = (bits or picture.bits) == 16
    if deep and (picture.chroma is not None or picture.alpha is not None):
        profile = picture.icc_profile if picture.chroma is not None else None
        return _png(to_array(picture, 16), profile, picture.exif)
    image = to_image(
        picture.luminance,
        picture.chroma,
        picture.icc_profile,
        bits=16 if deep else bits or 8,
        exif=picture.exif,
        alpha=picture.alpha,
    )
    metadata = {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key) is not None}
    content = io.BytesIO()
    image.save(content, "PNG", **metadata)
    return content.getvalue()


def check_output(path: str | os.PathLike, bits: int | None = None) -> None:
    """Refuse a name that no picture, or none so deep, can be saved under.

    Raises:
        PictureError: the suffix is unknown, or its format does not hold 16 bits.
        ValueError: another number of bits than 8 and 16.
    """
    path = Path(os.fsdecode(path))
    _format_of(path)
    if bits is not None:
        _check_bits(bits)
    if bits == 16 and path.suffix.lower() not in DEEP_SUFFIXES:
        raise PictureError(
            f"{path.name} cannot hold 16 bits; give the name of a {' or '.join(DEEP_SUFFIXES)} file, or ask for 8."
        )


def _format_of(path: Path) -> tuple[str, dict[str, object]]:
    try:
        return _SAVE_FORMATS[path.suffix.lower()]
    except KeyError:
        given = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        name = path.name or str(path)
        raise PictureError(f"{name} {given}; a picture is saved as one of {', '.join(_SAVE_FORMATS)}.") from None


def _save_error(error: Exception, path: Path, target: Path, limits: str) -> PictureError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        folder = target.parent.name or str(target.parent)
        return PictureError(f"{path.name} cannot be saved because there is no folder {folder}; create it first.")
    if isinstance(error, OSError) and error.strerror:
        return PictureError(f"{path.name} cannot be saved: {error.strerror}.")
    return PictureError(f"{path.name} cannot be saved ({error}): {limits}")


def _channels(luminance: np.ndarray, chroma: np.ndarray | None, alpha: np.ndarray | None) -> np.ndarray:
    """Values in [0, 1] as they are written, not clipped: (H, W) or channels last."""
    if luminance.ndim != 2 or (chroma is not None and chroma.shape != (2, *luminance.shape)):
        given = "none" if chroma is None else chroma.shape
        raise PictureError(
            "A picture is made of luminance (H, W) and chroma (2, H, W) or none, "
            f"but luminance {luminance.shape} and chroma {given} were given."
        )
    if alpha is not None and alpha.shape != luminance.shape:
        raise PictureError(f"Alpha has the shape of the luminance, {luminance.shape}, but {alpha.shape} was given.")
    values = luminance if chroma is None else join_colour(luminance, chroma)
    if alpha is None:
        return values
    # What is over black is darkened once by its alpha; a viewer would do it a second time.
    opaque = values.reshape(*luminance.shape, -1) / np.maximum(alpha, 1e-6)[..., None]
    return np.concatenate([opaque, alpha[..., None]], axis=-1)


def _check_bits(bits: int) -> None:
    if bits not in (8, 16):
        raise ValueError(f"A picture is written with 8 or 16 bits, but {bits} were asked for.")


def _levels(channel: np.ndarray, bits: int = 8) -> np.ndarray:
    _check_bits(bits)
    if not np.isfinite(channel).all():
        raise PictureError(
            "The picture to write has values that are not finite (NaN or infinite), so it cannot be shown."
        )
    dtype = np.uint8 if bits == 8 else np.uint16
    # float32 cannot tell 65535 x from its neighbours near a half level.
    scaled = np.clip(channel, 0, 1) * (255 if bits == 8 else np.float64(65535))
    return np.rint(scaled).astype(dtype)


def _save_channels(picture: Picture, path: Path, bits: int) -> None:
    """Write what Pillow does not: colour or alpha of 16 bits in PNG and TIFF, and where a TIFF lies on Earth."""
    array = to_array(picture, bits)
    profile = picture.icc_profile if picture.chroma is not None else None
    if path.suffix.lower() in _TIFF_SUFFIXES:
        content = _tiff(array, profile, picture.exif, picture.geo)
    else:
        content = _png(array, profile, picture.exif)
    target = Path(os.path.realpath(path))
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _save_error(error, path, target, "") from error


def _png(array: np.ndarray, profile: bytes | None, exif: bytes | None) -> bytes:
    """A PNG of uint16 (H, W, channels)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = array.shape
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0))]
    if profile is not None:
        chunks.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if exif is not None:
        chunks.append(chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    # Filter "up": differences from the row above, modulo 256, which compress better.
    rows = array.astype(">u2").view(np.uint8).reshape(height, -1)
    difference = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    filtered = np.insert(difference, 0, 2, axis=1)
    chunks += [chunk(b"IDAT", zlib.compress(filtered.tobytes())), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _tiff(array: np.ndarray, profile: bytes | None, exif: bytes | None, geo: tuple[tuple[int, Any], ...] = ()) -> bytes:
    """A TIFF of uint8 or uint16 (H, W) or (H, W, channels), deflated; Pillow's own cannot hold nested EXIF data."""
    height, width, channels = (*array.shape, 1)[:3]
    data = zlib.compress(array.astype(array.dtype.newbyteorder("<")).tobytes())
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif is not None:
        given = Image.Exif()
        given.load(exif)
        tags.update(given)
        for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if nested := given.get_ifd(pointer):
                tags[pointer] = dict(nested)
    tags[TiffImagePlugin.IMAGEWIDTH] = width
    tags[TiffImagePlugin.IMAGELENGTH] = height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * array.itemsize,) * channels
    tags[TiffImagePlugin.COMPRESSION] = 8
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    # Pillow counts this from the end of what it writes.
    tags[TiffImagePlugin.STRIPOFFSETS] = 0
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(data)
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = 2
    if profile is not None:
        tags[TiffImagePlugin.ICCPROFILE] = profile
    for tag, value in geo:
        whole = np.asarray(value).dtype.kind in "iu"
        tags.tagtype[tag] = TiffTags.ASCII if isinstance(value, str) else TiffTags.SHORT if whole else TiffTags.DOUBLE
        tags[tag] = value
    return b"II*\0" + struct.pack("<I", 8) + tags.tobytes(8) + data
