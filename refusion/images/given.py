"""What is given with a source to read it, and the metadata of what was read."""

from dataclasses import dataclass, replace

from PIL import Image

from refusion.images.exif import kept_exif
from refusion.images.failures import check_size, decoding
from refusion.images.levels import Stored, to_picture
from refusion.images.picture import Picture
from refusion.images.pillow import stored_pixels
from refusion.images.profiles import png_profile
from refusion.images.tiff import Tiff
from refusion.images.windows import Window


@dataclass(frozen=True)
class Given:
    """A source's name in messages, and the options that it is read with; see `refusion.images.reading.read_picture`."""

    name: str
    max_pixels: int
    window: Window | None
    temperatures: bool
    nodata: float | None

    def check_size(self, size: tuple[int, int]) -> None:
        """See `refusion.images.failures.check_size`."""
        check_size(self.name, size, self.max_pixels)

    def scaled(self, stored: Stored) -> Picture:
        """See `refusion.images.levels.to_picture`."""
        return to_picture(stored, self.name, self.window, self.nodata)


def image_picture(image: Image.Image, given: Given) -> Picture:
    """Decode an image that Pillow has opened.

    Raises:
        PictureError: it is damaged, or its values are refused.
    """
    with decoding(given.name):
        stored = stored_pixels(image)
    return with_metadata(given.scaled(stored), image)


def with_tags(picture: Picture, tiff: Tiff) -> Picture:
    """Add the profile, EXIF data and place of a TIFF."""
    profile = tiff.icc_profile if picture.chroma is not None and _is_rgb(tiff.icc_profile) else None
    return replace(picture, icc_profile=profile, exif=tiff.exif, geo=tiff.geo)


def with_metadata(picture: Picture, image: Image.Image) -> Picture:
    """Add the profile and EXIF data of an image that Pillow has opened."""
    profile = image.info.get("icc_profile") or (png_profile(image.info) if image.format == "PNG" else None)
    if picture.chroma is None or not _is_rgb(profile) or image.mode not in ("RGB", "RGBA", "P"):
        profile = None
    return replace(picture, icc_profile=profile, exif=kept_exif(image))


def _is_rgb(profile: object) -> bool:
    return isinstance(profile, bytes) and profile[16:20] == b"RGB "
