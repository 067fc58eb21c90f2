"""Results of visitors, the files that a demo writes for them, and their removal."""

import os
import secrets
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder
from PIL import Image

from refusion.demo.service import Settings, shown_image
from refusion.demo.viewer import opening, viewer_html
from refusion.images import Picture, save_image
from refusion.inference.finishing import Fused

PREVIEW_SIDE = 1600
"""Longest side in pixels of an image that is only for viewing; of one that opens enlarged, it is longer."""

SHOWN = 6
"""How many sources of a stack can be compared with the result."""


@dataclass(frozen=True)
class Result:
    """Inputs and outputs of a visitor's last fusion in a tab.

    Attributes:
        paths: the sources, a pair or a stack.
        fused: the file of the fused image.
        settings: how it was fused.
        token: unique token of this result.
        notes: remarks on the result, as sentences.
    """

    paths: tuple[Path, ...]
    fused: Path
    settings: Settings
    token: str
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for results with the same sources and settings."""
        return (self.paths, self.settings.key(len(self.paths)))


class FileNames(set[str]):
    """Names of files that one thread can go through while others add to them."""

    def __iter__(self) -> Iterator[str]:
        return set.__iter__(self.copy())


class CopiedNames:
    """What Gradio's clean-up needs of a set of names of its own, to which requests add meanwhile: see `FileNames`."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.copy())

    def __isub__(self, gone: set[str]) -> "CopiedNames":
        self._names -= gone
        return self


class BrokenOffUploads:
    """What is left of uploads that broke off, for Gradio's clean-up: Gradio itself forgets these files.

    Newer files may be uploads that arrive now, perhaps at another program that shares the folder.

    Args:
        seconds: how long nothing was written to them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __iter__(self) -> Iterator[str]:
        for path in Path(get_upload_folder()).glob("tmp*"):
            with suppress(FileNotFoundError):  # It has arrived meanwhile.
                if path.is_file() and time.time() - path.lstat().st_mtime > self._seconds:
                    yield str(path)

    def __isub__(self, gone: set[str]) -> "BrokenOffUploads":
        return self


class ResultFiles:
    """Writes files below the folder for uploads, in folders with unguessable names.

    Gradio removes the files in `written` when they are old and when the demo stops.
    """

    def __init__(self) -> None:
        self.written = FileNames()

    def save_fused(self, fused: Fused, name: str) -> Path:
        """Write a fused image exactly as `refusion fuse` does: all bits, colour profile and EXIF data."""
        path = self._new(name)
        fused.save(path)
        return path

    def save(self, image: Image.Image, name: str) -> Path:
        """Write another image, without loss."""
        path = self._new(name)
        save_image(image, path)
        return path

    def preview(self, image: Image.Image, name: str, side: int = PREVIEW_SIDE) -> Path:
        """Write a PNG file for viewing: scaled down to this longest side if the image is larger."""
        if max(image.size) > side:
            image = image.copy()
            image.thumbnail((side, side))
        path = self._new(name)
        image.save(path, compress_level=1)  # Fast, and lossless all the same.
        return path

    def new_archive(self, name: str) -> Path:
        """Write an empty zip archive."""
        path = self._new(name)
        zipfile.ZipFile(path, "w").close()
        return path

    def keep(self, path: Path) -> bool:
        """Make a file count as new, so that Gradio does not remove it yet; returns whether it is there."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def remove(self, path: Path) -> None:
        """Remove a file that is no longer needed."""
        path.unlink(missing_ok=True)
        self.written.discard(str(path))

    def _new(self, name: str) -> Path:
        folder = Path(get_upload_folder()) / secrets.token_hex(20)
        folder.mkdir(parents=True)
        path = folder / name
        self.written.add(str(path))
        return path


def comparison(
    group: str, labelled: Sequence[tuple[str, Picture]], fused: Fused, saved: Path, files: ResultFiles
) -> str:
    """The viewer of a fused image and its sources; see `refusion.demo.viewer.viewer_html`.

    Args:
        group: name of the radio group that selects the source, unique on the page.
        labelled: label and image of each source.
        fused: the fused image.
        saved: its file.
        files: where the images for viewing are written.
    """
    side = int(PREVIEW_SIDE * opening(fused.size)[1] ** 0.5)
    shown = saved if max(fused.size) <= side else files.preview(fused.to_image(8), "fused.png", side)
    previews = [files.preview(shown_image(picture), "source.png", side) for _, picture in labelled]
    sources = [(label, file_address(path)) for (label, _), path in zip(labelled, previews, strict=True)]
    return viewer_html(group, sources, file_address(shown), fused.size)


def file_address(path: Path) -> str:
    """Address of a file in the folder for uploads, relative to the page."""
    return f"gradio_api/file={path}"
