"""Select the EXIF data of a source that also hold for the fused image."""

from collections.abc import Callable

from PIL import ExifTags, Image

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


def kept_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF data that also hold for the fused image: exposure, camera, place, author; as Pillow writes them.

    Orientation, size, thumbnail and maker notes are left out. Returns None if there are none that can be read.
    """
    return kept_exif_of(image.getexif)


def kept_exif_of(read: Callable[[], Image.Exif]) -> bytes | None:
    """Like `kept_exif`, for EXIF data returned by a function, whose decoding errors give None too."""
    try:
        given = read()
        kept = Image.Exif()
        for tag in _KEPT:
            if tag in given:
                kept[tag] = given[tag]
        for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            nested = {tag: value for tag, value in given.get_ifd(pointer).items() if tag not in _NO_LONGER_TRUE}
            if nested:
                kept[pointer] = nested
        return kept.tobytes() if len(kept) else None
    except DECODING_ERRORS:
        return None
