"""Read images into luminance and chroma, and write them: the functions and classes for images, in one place.

Reading is in `refusion.images.reading`, bit depth and range in `refusion.images.levels`, luminance and chroma in
`refusion.images.colour`, writing in `refusion.images.writing`.
"""

from refusion.images.colour import fuse_chroma
from refusion.images.picture import MIN_SIDE, NEUTRAL, Picture, PictureError
from refusion.images.reading import MAX_PIXELS, Reading, read_pair, read_picture
from refusion.images.sources import PictureSource
from refusion.images.windows import Window, Windows
from refusion.images.writing import save_image, save_picture, to_array, to_image

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "NEUTRAL",
    "Picture",
    "PictureError",
    "PictureSource",
    "Reading",
    "Window",
    "Windows",
    "fuse_chroma",
    "read_pair",
    "read_picture",
    "save_image",
    "save_picture",
    "to_array",
    "to_image",
]
