"""Inputs for images: files uploaded to this demo, and nothing else."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio_client.utils import is_http_url_like

from refusion.demo import texts
from refusion.pairs.suffixes import SUFFIXES

_HEIC = {".heic", ".heif", ".hif"}
"""Suffixes that need the optional package pillow-heif."""

_DICOM = {".dcm", ".dicom", ".ima"}
"""Suffixes that need the optional package pydicom; gradio's input for a single image refuses them."""

REFUSED_ADDRESS = "Give an image as a file, not as an address: this demo downloads nothing."

Input = TypeVar("Input", gr.Image, gr.File)


def suffixes() -> list[str]:
    """Suffixes of the images that can be read here, the best known first."""
    first = [".png", ".jpg", ".jpeg", ".tif", ".tiff"]
    known = [*first, *sorted(SUFFIXES - set(first))]
    unread = (set() if find_spec("pillow_heif") else _HEIC) | (set() if texts.READS_DICOM else _DICOM)
    return [suffix for suffix in known if suffix not in unread]


def picture_input(**options: Any) -> gr.Image:
    """Return an input for one image; the handlers get the uploaded file unchanged."""
    image = gr.Image(
        type="filepath",
        format="png",
        image_mode=None,
        sources=["upload", "clipboard"],
        interactive=True,
        buttons=["fullscreen"],
        **options,
    )
    return _files_only(image)


def pictures_input(**options: Any) -> gr.File:
    """Return an input for many images."""
    return _files_only(
        gr.File(
            type="filepath",
            file_count="multiple",
            file_types=suffixes(),
            allow_reordering=True,
            interactive=True,
            **options,
        )
    )


def _files_only(component: Input) -> Input:
    """Refuse addresses, which gradio would download before any handler sees them.

    The method is replaced on the instance, because gradio writes a stub file beside every module that derives from a
    component; so nothing may update more of the component than its value.
    """
    move = component.async_move_resource_to_block_cache

    async def move_file(given: str | Path | None) -> str | None:
        if given is not None and is_http_url_like(str(given)):
            raise gr.Error(REFUSED_ADDRESS, print_exception=False)
        return await move(given)

    component.async_move_resource_to_block_cache = move_file  # type: ignore[assignment, method-assign]
    return component
