"""Uploads of visitors: checked before they are decoded, and read; errors are sentences."""

import filecmp
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder
from PIL import Image, UnidentifiedImageError

from refusion.demo.options import DemoOptions
from refusion.images import Picture, PictureError, read_picture
from refusion.images.kinds import START, refuse_by_name
from refusion.images.limited import LimitedFile, check_before_opening
from refusion.images.naming import numbered
from refusion.images.picture import Levels
from refusion.images.raw import is_raw_file
from refusion.images.reading import PILLOW_FORMATS
from refusion.images.tiff import is_tiff
from refusion.images.windows import Window
from refusion.system.advice import in_demo

SHOWN = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".avif")
"""Suffixes of the formats that browsers show."""

KEPT_MEGAPIXELS = 16.0
"""Megapixels of decoded images that are kept in memory; about 12 MB per megapixel in colour."""

KEPT_FACTS = 1000
"""Number of uploads whose size is remembered."""


class SourceError(PictureError):
    """An upload cannot be used."""


@dataclass(frozen=True)
class Facts:
    """Facts about an image, without its pixels.

    Attributes:
        size: width and height in pixels.
        colour: whether it is in colour.
        levels: as in `Picture`.
        gaps: whether values that are not finite were taken as missing.
    """

    size: tuple[int, int]
    colour: bool
    levels: Levels | None = None
    gaps: bool = False

    @property
    def megapixels(self) -> float:
        """Pixels in millions."""
        return self.size[0] * self.size[1] / 1e6


def facts_of(picture: Picture) -> Facts:
    """The facts about a decoded image."""
    return Facts(picture.size, picture.chroma is not None, picture.levels, "nodata" in picture.used)


def stored_path(upload: Any, label: str) -> Path:
    """The path under which the server stored an upload. A path that a client merely names is never opened.

    Args:
        upload: file data as the browser or a client sends it.
        label: label of the image, for the error.

    Raises:
        SourceError: nothing was uploaded, or the path is outside the folder for uploads.
    """
    if not upload:
        raise SourceError(f"The {label} image is missing; a pair needs two images, so add it and fuse again.")
    given = upload.get("path") if isinstance(upload, dict) else None
    if not isinstance(given, str):
        raise SourceError(f"The {label} image did not arrive as an uploaded file; upload it again.")
    try:
        path, folder = Path(given).resolve(), Path(get_upload_folder()).resolve()
        uploaded = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError):
        uploaded = False  # No file can have such a name: it is too long, or cannot be encoded.
    if not uploaded:
        raise SourceError(
            f"The {label} image is not among the files that were uploaded here (they are kept for an hour); "
            "upload it again."
        )
    return path


def names_of(paths: Sequence[Path]) -> list[str]:
    """Names of the sources of one fused image, as messages show them: equal ones are told apart by their places."""
    return numbered([path.name for path in paths])


class Uploads:
    """Reads stored uploads; the last ones are kept decoded, so that showing and fusing one decodes it once.

    Args:
        options: the limits.
    """

    def __init__(self, options: DemoOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        # The folder of a file is named by its content, so a path always stands for the same image.
        self._pictures: OrderedDict[tuple[Path, Window | None], Picture] = OrderedDict()
        self._facts: OrderedDict[tuple[Path, Window | None], Facts] = OrderedDict()

    def read(self, path: Path, window: Window | None = None) -> Picture:
        """Read a stored upload; its size in bytes and pixels is checked before it is decoded.

        Args:
            path: of the upload.
            window: see `refusion.images.read_picture`; with one, values that are not finite are missing.

        Raises:
            SourceError: it is too large, a camera raw file, or not an image that can be read.
            FileNotFoundError: it has been removed.
        """
        key = path, window
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
            picture = _decode(path, window, self.options)
            self._pictures[key] = picture
            self._facts[key] = facts_of(picture)
            while len(self._pictures) > 1 and self._kept_megapixels() > KEPT_MEGAPIXELS:
                self._pictures.popitem(last=False)
            while len(self._facts) > KEPT_FACTS:
                self._facts.popitem(last=False)
            return picture

    def _kept_megapixels(self) -> float:
        return sum(facts_of(picture).megapixels for picture in self._pictures.values())

    def read_pair(
        self, paths: tuple[Path, Path], windows: Sequence[Window | None] = (None, None)
    ) -> tuple[Picture, Picture]:
        """Read a pair, each with its window, and check that its images belong together.

        Raises:
            SourceError: an image cannot be read, the sizes differ, or both are the same file.
        """
        first, second = self.read_named(paths, windows)
        check_together(paths, (first.size, second.size))
        return first, second

    def read_named(self, paths: Sequence[Path], windows: Sequence[Window | None]) -> Iterator[Picture]:
        """Read the sources of one fused image in turn, with the names of `names_of`; errors as in `read`."""
        for path, window, name in zip(paths, windows, names_of(paths), strict=True):
            yield replace(self.read(path, window), name=name)

    def facts(self, path: Path, window: Window | None = None) -> Facts:
        """The facts about a stored upload, read with a window.

        Raises:
            SourceError: it is too large, or not an image that can be read.
        """
        with self._lock:
            found = self._facts.get((path, window))
        return found or facts_of(self.read(path, window))

    def check_stack(self, paths: tuple[Path, ...], window: Window | None = None) -> Facts:
        """Check that all images of a stack can be read and have the same size, and return the facts of the first.

        Raises:
            SourceError: an image cannot be read, or its size differs from that of the first.
        """
        first, names = self.facts(paths[0], window), names_of(paths)
        for path, name in zip(paths[1:], names[1:], strict=True):
            if (size := self.facts(path, window).size) != first.size:
                raise SourceError(
                    f"The images of a stack must match pixel for pixel, but {names[0]} is {first.size[0]} x "
                    f"{first.size[1]} and {name} is {size[0]} x {size[1]} (width x height)."
                )
        return first


def _decode(path: Path, window: Window | None, options: DemoOptions) -> Picture:
    if path.stat().st_size > options.max_file_mb * 1_000_000:
        raise SourceError(
            f"{path.name} has {path.stat().st_size / 1e6:.0f} MB, but this demo takes at most {options.max_file_mb} "
            f"MB; save it smaller, or {_ELSEWHERE}."
        )
    _check_header(path, options)
    try:
        _refuse_raw(path)
        nodata = None if window is None else math.nan
        return read_picture(path, max_pixels=int(options.max_megapixels * 1e6), window=window, nodata=nodata)
    except PictureError as error:
        raise SourceError(in_demo(error)) from error


def check_together(paths: tuple[Path, Path], sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Check that two readable images belong together.

    Raises:
        SourceError: the sizes differ, or both are the same file.
    """
    if sizes[0] != sizes[1]:
        (width_a, height_a), (width_b, height_b) = sizes
        first, second = names_of(paths)
        raise SourceError(
            f"The two images must match pixel for pixel, but {first} is {width_a} x {height_a} and "
            f"{second} is {width_b} x {height_b} (width x height): register them, then crop or scale one to "
            "the size of the other."
        )
    if paths[0] == paths[1] or filecmp.cmp(*paths, shallow=False):
        raise SourceError(
            f"Both images are the same file ({paths[0].name}), so there is nothing to fuse; replace one of them with "
            "the other image of the scene."
        )


def describe(path: Path, facts: Facts) -> str:
    """Description of an upload, in a sentence or two."""
    width, height = facts.size
    return f"{path.name}: {width} x {height} pixels, {'colour' if facts.colour else 'grey'}."


_ELSEWHERE = "use `refusion fuse` on a machine of your own"


def _refuse_raw(path: Path) -> None:
    # LibRaw runs in this process, and a forged file must not be able to end it.
    with path.open("rb") as file:
        if is_raw_file(file, file.read(START), path.name):
            raise SourceError(
                f"{path.name} is a camera raw file, which this demo does not develop; develop it first, to 16-bit TIFF "
                f"or PNG, or {_ELSEWHERE}."
            )


def _check_header(path: Path, options: DemoOptions) -> None:
    limit = f"this demo takes at most {options.max_megapixels:g} megapixels: scale it down, or {_ELSEWHERE}"
    try:
        with path.open("rb") as file:
            start = file.read(START)
            refuse_by_name(start, path.name)
            if is_tiff(start):
                return  # `read_picture` checks its size, and the number of its parts, which Pillow does not limit.
            check_before_opening(file, start, path.name)
            limited: Any = LimitedFile(file, path.name)
            with Image.open(limited, formats=PILLOW_FORMATS) as image:
                width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise SourceError(f"{path.name} has far too many pixels; {limit}.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, EOFError):
        return  # `read_picture` has a message for each of these.
    if width * height > options.max_megapixels * 1e6:
        raise SourceError(
            f"{path.name} is {width} x {height} pixels ({width * height / 1e6:.3g} megapixels), but {limit}."
        )
