"""What libraries raise on bad pictures, as sentences."""

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from refusion.images.picture import MIN_SIDE, PictureError, by

READ_NAMES = "PNG, JPEG, TIFF, BMP or WebP"
"""The formats that are named where something else was given."""

DECODING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)
"""What the libraries raise on damaged files."""


def check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse what is too large or too small.

    Raises:
        PictureError: it is.
    """
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
def decoding(name: str) -> Iterator[None]:
    """Turn what is raised on a bad picture into a `PictureError`."""
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
            f"{name} is not a picture that can be read, or its beginning is damaged; give {READ_NAMES}."
        ) from error
    except DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise PictureError(f"{name} cannot be read: {error.strerror}.") from error
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PictureError(
            f"{name} cannot be decoded ({reason}): it is damaged, cut off or of an unusual kind; "
            "save it again, best as PNG."
        ) from error
