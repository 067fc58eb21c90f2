"""Convert luminance and chroma to Pillow images, arrays and image files of 8 or 16 bits."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags

from refusion.images.colour import join_colour
from refusion.images.exif import loaded_tags, shortened_exif
from refusion.images.picture import Picture, PictureError, by
from refusion.images.profiles import without_profile
from refusion.images.tiff import GEO_KEYS
from refusion.system.files import replacing

PNG_LEVEL = 4
"""Compression level of PNG files; the default of zlib, 6, takes twice as long for 5 % smaller files."""

_SAVE_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {"compress_level": PNG_LEVEL}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
}

DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of the formats that support 16 bits."""

_ALPHA_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".avif")

_NO_PROFILE_SUFFIXES = (".bmp",)

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
    """Return a Pillow image: mode RGB, or L without chroma; I;16 for 16 bits; RGBA or LA with alpha.

    Values are rounded to the nearest level. Values outside [0, 1] are clipped, in RGB per channel.

    Args:
        luminance: floats (H, W), Y in [0, 1].
        chroma: floats (2, H, W), Cb and Cr as in `refusion.images.picture.Picture`, or None.
        icc_profile: ICC profile to attach to an RGB image; `save_image` writes it.
        bits: 8, or 16 for a grey image without alpha: Pillow supports no others; `to_array` does.
        exif: EXIF data to attach to the image.
        alpha: floats (H, W) in [0, 1], or None; luminance and chroma are already composited over black.

    Raises:
        PictureError: a shape does not match, a value is not finite, or Pillow does not support such an image.
    """
    values = _channels(luminance, chroma, alpha)
    if bits == 16 and values.ndim == 3:
        what = "colour" if chroma is not None else "alpha"
        raise PictureError(
            f"Pillow does not support images with {what} of 16 bits per channel; use bits=8, or "
            "refusion.fuse(...).to_array() or .save(...) for an array or a file."
        )
    image = Image.fromarray(_levels(values, bits))
    if icc_profile is not None and chroma is not None:
        image.info["icc_profile"] = icc_profile
    if exif is not None:
        image.info["exif"] = exif
    return image


def as_image(fused: Picture, bits: int | None) -> Image.Image:
    """Convert a fused image to a Pillow image, by default with 16 bits only if it has them and Pillow supports it."""
    deep = bits or (fused.bits if fused.chroma is None and fused.alpha is None else 8)
    return to_image(fused.luminance, fused.chroma, fused.icc_profile, bits=deep, exif=fused.exif, alpha=fused.alpha)


def to_array(picture: Picture, bits: int = 8) -> np.ndarray:
    """Return an integer array: (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGBA.

    Args:
        picture: the image.
        bits: 8 for uint8, 16 for uint16.

    Raises:
        PictureError: a value is not finite.
        ValueError: `bits` is neither 8 nor 16.
    """
    return _levels(_channels(picture.luminance, picture.chroma, picture.alpha), bits)


def save_image(image: Image.Image, path: str | os.PathLike) -> str | None:
    """Write `image` atomically, in the format given by the suffix of `path`.

    PNG, TIFF (deflate), BMP and WebP are lossless, JPEG is written at quality 95 and AVIF at 90, both with 4:4:4
    chroma. The ICC profile and the EXIF data in ``image.info`` are written too (not in BMP). The file is written under
    a temporary name in the same folder and then replaces an existing file; a symbolic link is followed and kept.

    Returns:
        A note for the user, as a sentence, if a JPEG cannot hold all of the EXIF data: the largest tags are left out.

    Raises:
        PictureError: the suffix is unknown, the folder is missing, or the image cannot be written; an existing file
            is then unchanged, and no temporary file is left.
    """
    path = Path(os.fsdecode(path))
    format_name, options = _format_of(path)
    metadata = {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key) is not None}
    note = _fit_into_jpeg(metadata, path.name) if format_name == "JPEG" else None
    target = Path(os.path.realpath(path))
    try:
        with replacing(target) as temporary:
            if format_name == "TIFF" and "exif" in metadata and image.mode in _TIFF_MODES:
                temporary.write_bytes(_tiff(np.asarray(image), metadata.get("icc_profile"), metadata["exif"]))
            elif format_name == "TIFF":
                # libtiff would write to the file itself, and not say why that fails.
                content = io.BytesIO()
                image.save(content, format_name, **metadata, **options)
                temporary.write_bytes(content.getvalue())
            else:
                image.save(temporary, format_name, **metadata, **options)
    except (OSError, ValueError, struct.error) as error:
        raise _save_error(
            error,
            path,
            target,
            f"{format_name} may not support {by(image.size)} pixels in mode {image.mode}; "
            "save it as a .png or .tif file.",
        ) from error
    return note


def save_picture(picture: Picture, path: str | os.PathLike, bits: int | None = None) -> str | None:
    """Write an image with its alpha, ICC profile and EXIF data, and GeoTIFF tags in a TIFF; see `save_image`.

    In formats without alpha (JPEG and BMP), transparent pixels are black; in those without an ICC profile (BMP),
    colours are converted to sRGB.

    Args:
        picture: the image.
        path: path of the file; the suffix sets the format.
        bits: 8 or 16; by default 16 for an image of 16 bits if the format supports it (PNG and TIFF), else 8.

    Returns:
        A note for the user if colours were converted, see `refusion.images.profiles.without_profile`, or if EXIF data
        are left out, see `save_image`; else None.

    Raises:
        PictureError: see `save_image`; or `bits` is 16 and the format supports only 8.
        ValueError: `bits` is neither 8 nor 16.
    """
    path = Path(os.fsdecode(path))
    check_output(path, bits)
    suffix = path.suffix.lower()
    picture, note = without_profile(picture, path.name) if suffix in _NO_PROFILE_SUFFIXES else (picture, None)
    alpha = picture.alpha if suffix in _ALPHA_SUFFIXES else None
    deep = (bits or picture.bits) == 16 and suffix in DEEP_SUFFIXES
    if (deep and (picture.chroma is not None or alpha is not None)) or (picture.geo and suffix in _TIFF_SUFFIXES):
        _save_channels(picture, path, 16 if deep else 8)
        return None
    left_out = save_image(
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
    return note or left_out


def to_png(picture: Picture, bits: int | None = None) -> bytes:
    """Return the content of a PNG file, with the pixels and metadata that `save_picture` writes.

    Args:
        picture: the image.
        bits: 8 or 16; by default those of the image.

    Raises:
        PictureError: a value is not finite.
        ValueError: `bits` is neither 8 nor 16.
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
    image.save(content, "PNG", compress_level=PNG_LEVEL, **metadata)
    return content.getvalue()


def check_output(path: str | os.PathLike, bits: int | None = None) -> None:
    """Check that an image of this bit depth can be saved under this name.

    Raises:
        PictureError: the suffix is unknown, or its format does not support 16 bits.
        ValueError: `bits` is neither 8 nor 16.
    """
    path = Path(os.fsdecode(path))
    _format_of(path)
    if bits is not None:
        _check_bits(bits)
    if bits == 16 and path.suffix.lower() not in DEEP_SUFFIXES:
        raise PictureError(
            f"{path.name} cannot hold 16 bits; save it as a {' or '.join(DEEP_SUFFIXES)} file, or with 8 bits."
        )


def check_suffix(suffix: str) -> None:
    """Check that images can be saved with this suffix.

    Raises:
        PictureError: it is unknown.
    """
    if suffix.lower() not in _SAVE_FORMATS:
        raise PictureError(f"Results cannot have the suffix {suffix}; it must be one of {', '.join(_SAVE_FORMATS)}.")


def _format_of(path: Path) -> tuple[str, dict[str, object]]:
    try:
        return _SAVE_FORMATS[path.suffix.lower()]
    except KeyError:
        name = path.name or str(path)
        if path.is_dir():
            raise PictureError(f"{name} is a folder; give the name of a file in it, such as fused.png.") from None
        given = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise PictureError(f"{name} {given}; the suffix must be one of {', '.join(_SAVE_FORMATS)}.") from None


def _fit_into_jpeg(metadata: dict[str, bytes], name: str) -> str | None:
    """Shorten the EXIF data to what a JPEG can hold; return a note if there was more."""
    exif = metadata.pop("exif", None)
    if exif is None:
        return None
    kept, left_out = shortened_exif(exif, _MAX_JPEG_EXIF)
    if kept is not None:
        metadata["exif"] = kept
    if kept == exif:
        return None
    what = " and ".join(left_out) if kept is not None else "they"
    return (
        f"The EXIF data have {len(exif):,} bytes, but a JPEG holds at most {_MAX_JPEG_EXIF:,}, so in {name} {what} "
        f"{'is' if len(left_out) == 1 and kept is not None else 'are'} left out; a .png or .tif file has all of them."
    )


def _save_error(error: Exception, path: Path, target: Path, limits: str) -> PictureError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        folder = target.parent.name or str(target.parent)
        return PictureError(f"{path.name} cannot be saved because there is no folder {folder}; create it first.")
    if isinstance(error, IsADirectoryError):
        return PictureError(f"{path.name} cannot be saved, since a folder has this name; rename one of them.")
    if isinstance(error, OSError) and error.strerror:
        return PictureError(f"{path.name} cannot be saved: {error.strerror}.")
    return PictureError(f"{path.name} cannot be saved ({error}): {limits}")


def _channels(luminance: np.ndarray, chroma: np.ndarray | None, alpha: np.ndarray | None) -> np.ndarray:
    """Return the channels to write, (H, W) or channels last, scaled to [0, 1] but not clipped."""
    if luminance.ndim != 2 or (chroma is not None and chroma.shape != (2, *luminance.shape)):
        given = "none" if chroma is None else chroma.shape
        raise PictureError(
            "Luminance must have the shape (H, W) and chroma (2, H, W), or there is none, "
            f"but luminance {luminance.shape} and chroma {given} were given."
        )
    if alpha is not None and alpha.shape != luminance.shape:
        raise PictureError(f"Alpha must have the shape of luminance, {luminance.shape}, but {alpha.shape} was given.")
    values = luminance if chroma is None else join_colour(luminance, chroma)
    if alpha is None:
        return values
    # Values over black are already multiplied by alpha; a viewer would multiply them a second time.
    opaque = values.reshape(*luminance.shape, -1) / np.maximum(alpha, 1e-6)[..., None]
    return np.concatenate([opaque, alpha[..., None]], axis=-1)


def _check_bits(bits: int) -> None:
    if bits not in (8, 16):
        raise ValueError(f"An image is written with 8 or 16 bits, but {bits} were given.")


def _levels(channel: np.ndarray, bits: int = 8) -> np.ndarray:
    _check_bits(bits)
    if not np.isfinite(channel).all():
        raise PictureError(
            "The image has values that are not finite (NaN or infinite), so it cannot be written; replace them first."
        )
    dtype = np.uint8 if bits == 8 else np.uint16
    # float32 is too coarse to round 65535 x correctly near half levels.
    scaled = np.clip(channel, 0, 1) * (255 if bits == 8 else np.float64(65535))
    return np.rint(scaled).astype(dtype)


def _save_channels(picture: Picture, path: Path, bits: int) -> None:
    """Write what Pillow cannot: 16-bit colour or alpha in PNG and TIFF, and GeoTIFF tags."""
    array = to_array(picture, bits)
    profile = picture.icc_profile if picture.chroma is not None else None
    target = Path(os.path.realpath(path))
    try:
        if path.suffix.lower() in _TIFF_SUFFIXES:
            content = _tiff(array, profile, picture.exif, picture.geo)
        else:
            content = _png(array, profile, picture.exif)
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except (OSError, struct.error) as error:
        raise _save_error(error, path, target, "its metadata may not fit into such a file.") from error


def _png(array: np.ndarray, profile: bytes | None, exif: bytes | None) -> bytes:
    """Encode uint16 (H, W, channels) as PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = array.shape
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0))]
    if profile is not None:
        chunks.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if exif is not None:
        chunks.append(chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    # PNG filter "up": differences from the row above, modulo 256, compress better.
    rows = array.astype(">u2").view(np.uint8).reshape(height, -1)
    difference = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    filtered = np.insert(difference, 0, 2, axis=1)
    chunks += [chunk(b"IDAT", zlib.compress(filtered.tobytes(), PNG_LEVEL)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _tiff(array: np.ndarray, profile: bytes | None, exif: bytes | None, geo: tuple[tuple[int, Any], ...] = ()) -> bytes:
    """Encode uint8 or uint16 (H, W) or (H, W, channels) as deflated TIFF with nested EXIF data, which Pillow cannot."""
    height, width, channels = (*array.shape, 1)[:3]
    data = zlib.compress(array.astype(array.dtype.newbyteorder("<")).tobytes())
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif is not None:
        tags.update(loaded_tags(exif))
    tags[TiffImagePlugin.IMAGEWIDTH] = width
    tags[TiffImagePlugin.IMAGELENGTH] = height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * array.itemsize,) * channels
    tags[TiffImagePlugin.COMPRESSION] = 8
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    # Pillow counts this offset from the end of what it writes.
    tags[TiffImagePlugin.STRIPOFFSETS] = 0
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(data)
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = 2
    if profile is not None:
        tags[TiffImagePlugin.ICCPROFILE] = profile
    for tag, value in geo:
        kind = TiffTags.SHORT if tag == GEO_KEYS else TiffTags.DOUBLE
        tags.tagtype[tag] = TiffTags.ASCII if isinstance(value, str) else kind
        tags[tag] = value
    return b"II*\0" + struct.pack("<I", 8) + tags.tobytes(8) + data
