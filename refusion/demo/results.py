"""Files that a demo writes for its visitors, and their removal."""

import secrets
import zipfile
from collections.abc import Iterable
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from refusion.images import save_image

PREVIEW_SIDE = 1600
"""Longest side in pixels of a picture that is only looked at."""


class ResultFiles:
    """Writes below the folder for uploads, under names that nobody can guess.

    Gradio removes what is in `written` when it is old and when the demo stops.
    """

    def __init__(self) -> None:
        self.written: set[str] = set()

    def save(self, image: Image.Image, name: str) -> Path:
        """Write a picture without loss, exactly as `refusion fuse` writes it."""
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


def file_address(path: Path) -> str:
    """Address of a file in the folder for uploads, relative to the page."""
    return f"gradio_api/file={path}"


def update_image(path: Path, alt_text: str) -> gr.Image:
    """What an image component becomes."""
    return gr.Image(value=str(path), alt_text=alt_text)
