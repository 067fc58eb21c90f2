"""Read files, Pillow images and arrays as luminance and chroma."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from refusion.images.arrays import of_given_array, of_npy_file
from refusion.images.deep import deep_stored
from refusion.images.dicom import is_dicom, read_dicom
from refusion.images.failures import READ_NAMES, decoding, missing_file
from refusion.images.gif import has_several_frames
from refusion.images.given import Given, image_picture, with_metadata, with_tags
from refusion.images.heic import heic_picture, is_heic
from refusion.images.jpeg import refuse_unusual_jpeg
from refusion.images.jpeg_xl import is_jpeg_xl, read_header, read_jpeg_xl
from refusion.images.kinds import START, refuse_by_name, refuse_named_volume
from refusion.images.levels import Stored, check_nodata
from refusion.images.limited import LimitedFile, check_before_opening, check_exif_of
from refusion.images.naming import name_of, own_name, told_apart
from refusion.images.npy import NPY
from refusion.images.picture import Picture, PictureError, by, range_note
from refusion.images.pillow import mend_transparency, orientation, turned
from refusion.images.profiles import DECLARATIONS, declared_note
from refusion.images.raw import is_raw_file, raw_picture
from refusion.images.sources import PictureSource, TiffImage, as_array, plain_source
from refusion.images.thermal import is_radiometric, radiometric_note, read_temperatures
from refusion.images.tiff import is_tiff, read_tiff
from refusion.images.windows import Window, Windows, check_window, common_window, is_one_window, windows_of
from refusion.images.zeros import refuse_zeros_at_end

MAX_PIXELS = 100_000_000
"""Default maximum number of pixels of an image."""

PILLOW_FORMATS = (
    *("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM"),
    *(("AVIF",) if features.check("avif") else ()),
    *(("JPEG2000",) if features.check("jpg_2000") else ()),
)
"""Formats that are read with Pillow, by Pillow's names."""


@dataclass(frozen=True)
class Reading:
    """Options for reading sources, shared by all commands.

    Attributes:
        window: black and white of sources with more than 8 bits, one window for all or one for each; see
            `read_picture`.
        temperatures: read the temperatures of radiometric JPEGs; see `read_picture`.
        nodata: no-data value; see `read_picture`.
        max_pixels: maximum number of pixels of an image.
        alike: whether the sources come from one camera, as in focus stacks and exposure brackets: they then share
            one own range.

    Raises:
        PictureError: a window is invalid, or the no-data value is not a number.
    """

    window: Windows | None = None
    temperatures: bool = False
    nodata: float | None = None
    max_pixels: int = MAX_PIXELS
    alike: bool = False

    def __post_init__(self) -> None:
        windows_of(self.window, 1 if is_one_window(self.window) else len(self.window or ()))
        if self.nodata is not None:
            check_nodata(self.nodata)

    def windows(self, sources: Sequence[PictureSource]) -> list[Window | None]:
        """Return the window of each source.

        Raises:
            PictureError: there are more or fewer windows than sources, or a source cannot be read.
        """
        windows = windows_of(self.window, len(sources))
        if not self.alike or self.window != "own":
            return windows
        read = (self.one(source, "own", name) for source, name in zip(sources, told_apart(sources), strict=True))
        return [common_window(picture.levels for picture in read)] * len(sources)

    def one(self, source: PictureSource, window: Window | None = None, name: str | None = None) -> Picture:
        """Read one source with its window; `name` as for `read_picture`."""
        return read_picture(
            source,
            name=name,
            max_pixels=self.max_pixels,
            window=window,
            temperatures=self.temperatures,
            nodata=self.nodata,
        )

    def all(self, sources: Sequence[PictureSource]) -> list[Picture]:
        """Read all sources of one fused image; see `read_picture`."""
        given = zip(sources, self.windows(sources), told_apart(sources), strict=True)
        return [self.one(source, window, name) for source, window, name in given]

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Notes for the user on how the sources of one fused image were read, as sentences."""
        notes = [note for picture in pictures for note in picture.notes]
        groups = [list(pictures)] if self.alike else [[picture] for picture in pictures]
        notes += [note for group in groups if (note := range_note(group))]
        used = frozenset().union(*(picture.used for picture in pictures))
        names = " and ".join(picture.name for picture in pictures[:2]) + (" and the others" * (len(pictures) > 2))
        notes += self._unused_windows(pictures)
        if self.temperatures and "temperatures" not in used:
            notes.append(
                f"--temperatures has no effect: no temperatures can be read from {names}; only radiometric JPEGs of "
                "FLIR cameras are supported."
            )
        if self.nodata is not None and "nodata" not in used:
            notes.append(
                f"--nodata {self.nodata:g} has no effect: no pixel of more than 8 bits in {names} has that value."
            )
        return notes

    def _unused_windows(self, pictures: Sequence[Picture]) -> list[str]:
        """Notes on windows without effect; one window for all sources is used if at least one source uses it."""
        each = windows_of(self.window, len(pictures))
        given = [picture for picture, window in zip(pictures, each, strict=True) if window is not None]
        idle = [picture.name for picture in given if "window" not in picture.used]
        if not idle or (is_one_window(self.window) and len(idle) < len(pictures)):
            return []
        return [
            f"A window or own range has no effect on {' and '.join(idle[:2])}: images of 8 bits are left unchanged."
        ]


def read_picture(
    source: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    window: Window | None = None,
    temperatures: bool = False,
    nodata: float | None = None,
    name: str | None = None,
) -> Picture:
    """Read a file, a Pillow image or an array as luminance and chroma.

    Files, given by path or open for reading bytes, are PNG, JPEG, TIFF, BMP, WebP, AVIF, JPEG XL, JPEG 2000, GIF or
    Netpbm with a single frame, arrays of NumPy (.npy), HEIC (with pillow-heif), DICOM (with pydicom) and camera raw
    files (with rawpy; developed with the white balance of the camera, see `refusion.images.raw`); of a
    multi-picture JPEG (a phone's photo with previews or a gain map) the first image is read, as in image viewers. A
    Pillow image is read at its current frame. The EXIF orientation of files and Pillow images is applied. All modes of
    Pillow that convert to RGB are accepted. Files of more than 8 bits are read at full bit depth, TIFF of any type,
    byte order and compression (see `refusion.images.tiff.read_tiff`). Mode I is read as 16-bit grey, mode F as grey in
    [0, 1].

    Arrays are (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, of dtype bool, uint8, uint16 (the last two
    scaled by the largest value of the type), of floats in [0, 1], or of other integers with a window. They are
    copied. Masked pixels of a masked array are transparent. Objects with ``__array__`` are converted to arrays.
    Tensors of torch have channels first: (H, W), (C, H, W) or (1, C, H, W). Bytes are the content of a file.

    Alpha is composited over black, so that transparent pixels contribute nothing to the fused image.

    A `Picture` is returned unchanged.

    Args:
        source: the image to read.
        max_pixels: maximum number of pixels (width times height); for a file, checked before it is decoded.
        window: black and white of an image of more than 8 bits, floats or signed bytes: two stored values (values
            outside are clipped), or ``own`` for the range of all but 1 % of its values. By default the range of its
            type: 0 to 65535, for floats 0 to 1, for signed bytes -128 to 127, for DICOM the window in the file or else
            its own range. Images of unsigned bytes are unchanged.
        temperatures: of a radiometric JPEG (with flyr), read the temperatures in degrees Celsius, scaled by the
            window or else by their own range, instead of the image that it shows. Other sources are not affected.
        nodata: no-data value, which unsigned bytes do not have, in addition to what the file itself declares; nan for
            NaN and infinite values. Such pixels are transparent.
        name: name in messages; by default its file name, or its type.

    Raises:
        PictureError: the source is missing, damaged, of an unsupported kind, has several frames, more than `max_pixels`
            pixels or a side shorter than 8 pixels, has values out of range or none in the window, or is transparent
            everywhere.
    """
    check_window(window)
    source = plain_source(source)
    named = partial(Given, max_pixels=max_pixels, window=window, temperatures=temperatures, nodata=nodata)
    if isinstance(source, Picture):
        named(source.name).check_size(source.size)
        return source
    if isinstance(source, Image.Image):
        given = named(name or own_name(source))
        given.check_size(source.size)
        return image_picture(source, given)
    if hasattr(source, "__array__"):
        given = named(name or own_name(source))
        array = source if isinstance(source, np.ndarray) else as_array(source)
        return given.scaled(of_given_array(array, given))
    if isinstance(source, TiffImage):
        given = named(name or own_name(source))
        with decoding(given.name), source.path.open("rb") as file:
            tiff = read_tiff(file, given.name, max_pixels, source.index)
        return with_tags(given.scaled(tiff.stored), tiff)
    if isinstance(source, (str, os.PathLike)):
        if not os.fsdecode(source):
            raise PictureError("The path of an image is empty; give the path of a file.")
        path = Path(os.fsdecode(source))
        return _from_file(path, named(name or name_of(path)))
    if hasattr(source, "read") and hasattr(source, "seek"):
        source = cast(BinaryIO, source)
        given = named(name or own_name(source))
        _check_open(source, given.name)
        return _from_open_file(source, given)
    raise PictureError(
        "An image must be a path, a file open for reading bytes, bytes, a Pillow image, a NumPy array or a tensor, "
        f"but {type(source).__name__} was given."
    )


def read_pair(
    a: PictureSource,
    b: PictureSource,
    *,
    max_pixels: int = MAX_PIXELS,
    window: Windows | None = None,
) -> tuple[Picture, Picture]:
    """Read the two sources of one scene; see `read_picture`.

    Args:
        a: first source.
        b: second source.
        max_pixels: maximum number of pixels of an image.
        window: one window for both, or one for each.

    Raises:
        PictureError: one of them cannot be read, or their sizes differ.
    """
    first, second = Reading(window, max_pixels=max_pixels).all((a, b))
    check_same_size(first, second)
    return first, second


def check_same_size(a: Picture, b: Picture) -> None:
    """Check that two sources have the same size.

    Raises:
        PictureError: their sizes differ.
    """
    if a.size != b.size:
        raise PictureError(f"{different_sizes(a, b)}: register them, then crop or scale one to the size of the other.")


def different_sizes(a: Picture, b: Picture) -> str:
    """Say that the sizes of two sources differ, without a full stop."""
    return (
        f"The two sources must show the same scene pixel for pixel, but A ({a.name}) is {by(a.size)} and B ({b.name}) "
        f"is {by(b.size)} (width x height)"
    )


def _from_file(path: Path, given: Given) -> Picture:
    name = given.name
    try:
        size_in_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise missing_file(path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{name} cannot be opened: {reason}.") from error
    if path.is_dir():
        raise PictureError(f"{name} is a folder; give one image in it ({READ_NAMES}).")
    if not path.is_file():
        raise PictureError(f"{name} is not a regular file; give an image ({READ_NAMES}).")
    if size_in_bytes == 0:
        raise PictureError(f"{name} is an empty file; give an image ({READ_NAMES}).")
    # Given a path, Pillow 11 and 12 memory-map uncompressed TIFF, and scramble those with a rotated orientation.
    with decoding(name):
        file = path.open("rb")
    with file:
        return _from_open_file(file, given)


def _check_open(file: BinaryIO, name: str) -> None:
    """Reject a file object that is closed, or not open for reading bytes."""
    if getattr(file, "closed", False):
        raise PictureError(f"{name} is a closed file; open it again, or give its path.")
    if isinstance(file, io.TextIOBase) or (hasattr(file, "readable") and not file.readable()):
        raise PictureError(f"{name} is not open for reading bytes; open it with mode 'rb', or give its path.")


def _from_open_file(file: BinaryIO, given: Given) -> Picture:
    picture = _decoded(file, given)
    file.seek(0)
    note = declared_note(file.read(DECLARATIONS), given.name) if picture.chroma is not None else None
    return replace(picture, notes=(*picture.notes, note)) if note else picture


def _decoded(file: BinaryIO, given: Given) -> Picture:
    name = given.name
    with decoding(name):
        file.seek(0)
        start = file.read(START)
        file.seek(0)
    if not start:
        raise PictureError(f"{name} is empty; give an image ({READ_NAMES}).")
    refuse_by_name(start, name)
    with decoding(name):
        refuse_zeros_at_end(file, start, name)
    if is_raw_file(file, start, name):
        return raw_picture(file, given)
    if is_tiff(start):
        with decoding(name):
            file.seek(0)
            tiff = read_tiff(file, name, given.max_pixels)
        return with_tags(given.scaled(tiff.stored), tiff)
    with decoding(name):
        check_before_opening(file, start, name)
    if is_heic(start):
        return heic_picture(file, given)
    if is_dicom(start):
        return given.scaled(read_dicom(file, name, given.max_pixels, windowed=given.window is not None))
    if start.startswith(NPY):
        return given.scaled(of_npy_file(file, given))
    if is_jpeg_xl(start):
        return _from_jpeg_xl(file, given)
    if start[:2] == b"\xff\xd8":
        with decoding(name):
            refuse_unusual_jpeg(file, name)
    limited = LimitedFile(file, name)
    with decoding(name):
        try:
            image = Image.open(cast(BinaryIO, limited), formats=PILLOW_FORMATS)
        except UnidentifiedImageError:
            refuse_named_volume(name)
            raise
    given.check_size(image.size)
    with decoding(name):
        # n_frames would read every page of a TIFF, which takes time quadratic in their number.
        several = image.format not in ("GIF", "TIFF", "MPO") and getattr(image, "is_animated", False)
        check_exif_of(image, name)
    limited.release()
    if image.format == "GIF":
        several = has_several_frames(file, name)
    if several:
        raise PictureError(
            f"{name} holds several frames, but a file must hold one; save each frame you need as a file of its own."
        )
    radiometric = is_radiometric(image)
    if radiometric and given.temperatures:
        return with_metadata(given.scaled(_temperatures(file, image, given)), image)
    with decoding(name):
        if image.format == "PNG":
            # EXIF data may follow the pixels.
            mend_transparency(image)
            image.load()
            check_exif_of(image, name)
        deep = deep_stored(file, image)
    if deep is not None:
        return with_metadata(given.scaled(deep), image)
    picture = image_picture(image, given)
    return replace(picture, notes=(*picture.notes, radiometric_note(name))) if radiometric else picture


def _temperatures(file: BinaryIO, image: Image.Image, given: Given) -> Stored:
    file.seek(0)
    values = read_temperatures(file, given.name, given.check_size)
    values = turned(values, orientation(image))
    return Stored(values, (0, 1), True, window="own", used=frozenset({"temperatures"}))


def _from_jpeg_xl(file: BinaryIO, given: Given) -> Picture:
    with decoding(given.name):
        file.seek(0)
        content = file.read()
        header = read_header(content)
        given.check_size(header.size)
        stored, exif = read_jpeg_xl(content, header, given.name)
    return replace(given.scaled(stored), exif=exif)
