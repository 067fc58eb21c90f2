"""Files that a demo writes for its visitors, and their removal."""

import secrets
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from refusion.demo.compare import compare_html
from refusion.demo.options import DemoOptions
from refusion.demo.service import source_picture
from refusion.images import save_image
from refusion.inference.finishing import Fused

PREVIEW_SIDE = 1600
"""Longest side in pixels of a picture that is only looked at."""


class ResultFiles:
    """Writes below the folder for uploads, under names that nobody can guess.

    Gradio removes what is in `written` when it is old and when the demo stops.
    """

    def __init__(self) -> None:
        self.written: set[str] = set()

    def save_fused(self, fused: Fused, name: str) -> Path:
        """Write a fused picture exactly as `refusion fuse` writes it: all bits, profile, EXIF data."""
        path = self._new(name)
        fused.save(path)
        return path

    def save(self, image: Image.Image, name: str) -> Path:
        """Write another picture, without loss."""
        path = self._new(name)
        save_image(image, path)
        return path

    def preview(self, image: Image.Image, name: str) -> Path:
        """Write a picture that is only looked at: shrunk to `PREVIEW_SIDE` if it is larger."""
        if max(image.size) > PREVIEW_SIDE:
            image = image.copy()
            image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        return self.save(image, name)

    def zip(self, files: Iterable[tuple[str, Path]], texts: Iterable[tuple[str, str]], name: str) -> Path:
        """Write an archive of files and texts, given by their names in it."""
        path = self._new(name)
        with zipfile.ZipFile(path, "w") as archive:
            for inside, file in files:
                archive.write(file, inside)
            for inside, text in texts:
                archive.writestr(inside, text)
        return path

    def remove(self, path: Path) -> None:
        """Remove a file that is not needed any more."""
        path.unlink(missing_ok=True)
        self.written.discard(str(path))

    def _new(self, name: str) -> Path:
        folder = Path(get_upload_folder()) / secrets.token_hex(20)
        folder.mkdir(parents=True)
        path = folder / name
        self.written.add(str(path))
        return path


def comparison(
    group: str, labelled: Sequence[tuple[str, Path]], fused: Fused, files: ResultFiles, options: DemoOptions
) -> str:
    """The fused picture and its sources, one over the other, as HTML; see `refusion.demo.compare.compare_html`."""
    shown = files.preview(fused.to_image(8), "fused.png")
    sources = [
        (label, file_address(files.preview(source_picture(path, options), "source.png"))) for label, path in labelled
    ]
    return compare_html(group, sources, file_address(shown), fused.size)


def file_address(path: Path) -> str:
    """Address of a file in the folder for uploads, relative to the page."""
    return f"gradio_api/file={path}"


def update_image(path: Path, alt_text: str) -> gr.Image:
    """What an image component becomes."""
    return gr.Image(value=str(path), alt_text=alt_text)
