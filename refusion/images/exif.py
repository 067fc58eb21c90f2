"""Select the EXIF data of a source that also hold for the fused image."""

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from refusion.images.failures import DECODING_ERRORS

_KEPT = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)

# The size may be that before rotation; maker notes hold offsets into their original file.
_NO_LONGER_TRUE = (
    ExifTags.Base.MakerNote,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.ExifInteroperabilityOffset,
)

# Programs read the size, type and number of images from such descriptions.
_OF_ONE_FILE = ("ImageJ=", '{"shape":')

NESTED = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""Tags that hold the places of the directories of the exposure and of the place."""


class _Text(str):
    """Text of a tag, most often UTF-8. Pillow decodes it as Latin-1 and encodes it as ASCII; this keeps the bytes."""

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:
        """Return the bytes that were read."""
        return super().encode("latin-1", "replace")


def kept_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF data that also hold for the fused image: exposure, camera, place, author; as Pillow writes them.

    Orientation, size, thumbnail and maker notes are left out. Returns None if there are none that can be read.
    """
    return kept_exif_of(image.getexif)


def kept_exif_of(read: Callable[[], Image.Exif]) -> bytes | None:
    """Like `kept_exif`, for EXIF data returned by a function, whose decoding errors give None too."""
    try:
        given = tags_of(read())
        kept: dict[int, Any] = {tag: given[tag] for tag in _KEPT if tag in given}
        said = str(kept.get(ExifTags.Base.ImageDescription, "")).lstrip()
        if said.startswith(_OF_ONE_FILE) or "<OME" in said:
            del kept[ExifTags.Base.ImageDescription]
        for pointer in NESTED:
            nested = {tag: value for tag, value in given.get(pointer, {}).items() if tag not in _NO_LONGER_TRUE}
            if nested:
                kept[pointer] = nested
        return _written(kept) if kept else None
    except DECODING_ERRORS:
        return None


def bigtiff_exif(file: BinaryIO, order: str, offset: int, nested: Mapping[int, int]) -> Image.Exif:
    """Return the EXIF data of a BigTIFF: Pillow knows neither its big-endian header nor places of the type IFD8.

    Args:
        file: open for reading bytes.
        order: its byte order, ``<`` or ``>``.
        offset: where its first directory lies.
        nested: where those of `NESTED` lie whose places are of the type IFD8.

    Raises:
        Exception: any exception of Pillow on damaged data.
    """

    def directory(offset: int, group: int | None = None) -> dict[int, Any]:
        # The header is always that of a little-endian BigTIFF: the prefix is what counts for the byte order.
        prefix = b"II" if order == "<" else b"MM"
        found = ImageFileDirectory_v2(b"II\x2b\0" + bytes(12), prefix=prefix, group=group)
        file.seek(offset)
        found.load(file)
        return dict(found)

    first = directory(offset)
    tags = {tag: value for tag, value in first.items() if tag in _KEPT}
    places = {int(pointer): first[pointer] for pointer in NESTED if pointer in first} | {**nested}
    tags |= {pointer: directory(place, pointer) for pointer, place in places.items()}
    exif = Image.Exif()
    exif.load(_written(_with_bytes_kept(tags)))
    return exif


def loaded_tags(exif: bytes) -> dict[int, Any]:
    """Return `tags_of` EXIF data as they are in a file.

    Raises:
        Exception: any exception of Pillow on damaged data.
    """
    given = Image.Exif()
    given.load(exif)
    return tags_of(given)


def tags_of(given: Image.Exif) -> dict[int, Any]:
    """Return tags and values; those of the exposure and of the place are dictionaries in it.

    Raises:
        Exception: any exception of Pillow on damaged data.
    """
    tags = _with_bytes_kept({tag: value for tag, value in given.items() if tag not in NESTED})
    return tags | {pointer: _with_bytes_kept(nested) for pointer in NESTED if (nested := given.get_ifd(pointer))}


def shortened_exif(exif: bytes, max_bytes: int) -> tuple[bytes | None, list[str]]:
    """Leave out the largest tags, such as a long comment, until at most `max_bytes` bytes remain.

    Returns:
        The EXIF data, None if they cannot be read; and the names of the tags that were left out.
    """
    left_out: list[str] = []
    try:
        tags = loaded_tags(exif)
        while len(exif) > max_bytes:
            directories = [tags, *(tags[pointer] for pointer in NESTED if pointer in tags)]
            largest, tag = max(((x, tag) for x in directories for tag in x), key=lambda one: _length(one[0][one[1]]))
            left_out.append(ExifTags.TAGS.get(tag, f"tag {tag}"))
            del largest[tag]
            exif = _written(tags)
    except DECODING_ERRORS:
        return None, left_out
    return exif, left_out


def _with_bytes_kept(tags: dict[int, Any]) -> dict[int, Any]:
    return {tag: _Text(value) if isinstance(value, str) else value for tag, value in tags.items()}


def _length(value: Any) -> int:
    # Directories are shortened, not left out.
    return -1 if isinstance(value, dict) else len(value) if isinstance(value, (bytes, str, tuple)) else 1


def _written(tags: dict[int, Any]) -> bytes:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    return exif.tobytes()
