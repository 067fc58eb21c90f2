"""Pictures in, arrays out, and back: everything about pictures under one name.

Reading is in `refusion.decoding`, luminance and chroma in `refusion.colour`, writing in `refusion.encoding`.
"""

from refusion.colour import fuse_chroma
from refusion.decoding import MAX_PIXELS, PictureSource, Window, read_pair, read_picture
from refusion.encoding import save_image, save_picture, to_array, to_image
from refusion.pictures import MIN_SIDE, NEUTRAL, Picture, PictureError

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "NEUTRAL",
    "Picture",
    "PictureError",
    "PictureSource",
    "Window",
    "fuse_chroma",
    "read_pair",
    "read_picture",
    "save_image",
    "save_picture",
    "to_array",
    "to_image",
]
