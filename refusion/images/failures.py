"""Turn the exceptions of image libraries into error messages."""

import lzma
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

from refusion.images.picture import MIN_SIDE, PictureError, by
from refusion.system.advice import Advised
from refusion.system.files import broken_link, printable

READ_FORMATS = (
    *("PNG", "JPEG", "TIFF", "BMP", "WebP", "GIF"),
    *(("AVIF",) if features.check("avif") else ()),
    "JPEG XL",
    *(("HEIC",) if find_spec("pillow_heif") else ()),
)
"""Names of the formats of photographs that can be read here."""

READ_NAMES = f"{', '.join(READ_FORMATS[:-1])} or {READ_FORMATS[-1]}"
"""The same, for messages about other files."""

READ_LIST = f"{', '.join(READ_FORMATS[:-1])} and {READ_FORMATS[-1]}"
"""The same, for texts that list them all."""

DECODING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
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
"""Exceptions that the libraries raise on damaged files."""


_INSTALLED_AS = {"cv2": "opencv-python-headless"}
"""Names of packages that are not those that are imported."""

_MAX_NAMES = 100_000
"""Maximum number of names of a folder that are compared with that of a missing file."""

_MAX_MESSAGE = 200
"""Maximum number of characters of a library's own message that are shown."""


def reason(error: Exception) -> str:
    """Return the message of a library's exception as one printable line, or the name of its type if there is none.

    Such messages may quote the file at length, with control characters.
    """
    return one_line(re.sub(r" ?<[^>]* object at [^>]*>", "", str(error))).rstrip(".") or type(error).__name__


def one_line(text: str) -> str:
    """Return text from a file for a message: one printable line that is not too long."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= _MAX_MESSAGE else f"{line[: _MAX_MESSAGE - 3]}..."


def check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Check that an image is neither too large nor too small.

    Raises:
        PictureError: it has more than `max_pixels` pixels, or a side shorter than `MIN_SIDE`.
    """
    if size[0] * size[1] > max_pixels:
        raise PictureError(
            Advised(
                f"{name} is {by(size)} pixels, but at most {max_pixels:,} in total are accepted",
                "scale it down, or pass a larger max_pixels in Python",
                "scale it down",
            )
        )
    if min(size) < MIN_SIDE:
        raise PictureError(
            f"{name} is {by(size)} pixels; an image is at least {MIN_SIDE} x {MIN_SIDE} (width x height)."
        )


def missing_file(path: Path) -> PictureError:
    """The error for a file that does not exist; it has the whole path, since the path may come from a list."""
    if broken := broken_link(path):
        return PictureError(printable(f"{path.name} {broken}."))
    whole = printable(f" {path}") if str(path) != path.name else ""
    what = printable(f"There is no file {path.name}{_near(path)}")
    return PictureError(Advised(what, f"check the path{whole}", "check the path"))


def _near(path: Path) -> str:
    """Say which file in the same folder has the same name but for case or the encoding of accents."""
    try:
        near = _names(path.parent, path.parent.stat().st_mtime_ns).get(_folded(path.name))
    except (OSError, ValueError):
        return ""
    if near is None:
        return ""
    if unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path.name):
        return ", but one whose accents are encoded differently"
    return f", but {near}, which differs in upper and lower case"


@lru_cache(maxsize=4)
def _names(folder: Path, changed: int) -> dict[str, str]:
    """The names in a folder, kept until it changes: a list may name many files that are not there."""
    return {_folded(name): name for name in sorted(file.name for file in islice(folder.iterdir(), _MAX_NAMES))}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def missing_package(name: str, error: ImportError) -> PictureError:
    """The error for a file whose reader is not installed, or cannot be imported."""
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package:
        return PictureError(f"{name} cannot be read, since a package cannot be imported ({reason(error)}).")
    package = _INSTALLED_AS.get(package, package)
    return PictureError(
        Advised(
            f"{name} needs {package}, which is not installed",
            f"install it with pip install {package}",
            "save it in another format",
        )
    )


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn the exceptions raised on a bad image into a `PictureError`."""
    try:
        yield
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(
            Advised(
                f"Pillow refuses to open {name} ({reason(error)})",
                "scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it",
                "scale it down",
            )
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is not an image that can be read, or its header is damaged; give {READ_NAMES}."
        ) from error
    except ImportError as error:
        raise missing_package(name, error) from error
    except DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise PictureError(f"{name} cannot be read: {error.strerror}.") from error
        if "MAX_TEXT" in str(error):
            raise PictureError(
                f"{name} has more text in its metadata than Pillow reads (1 MB); save it again without the text."
            ) from error
        raise PictureError(
            f"{name} cannot be decoded ({reason(error)}): it is damaged, truncated or of an unusual kind; "
            "save it again, preferably as PNG."
        ) from error
