"""The inputs for pictures: files that were uploaded here, and nothing else."""

from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio_client.utils import is_http_url_like

REFUSED_ADDRESS = "Give a picture as a file, not as an address: this demo downloads nothing."

SUFFIXES = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"]
"""What the page lets a visitor choose many of."""

Input = TypeVar("Input", gr.Image, gr.File)


def picture_input(**options: Any) -> gr.Image:
    """An input for a picture; the file reaches the handlers as it was uploaded, all bits of it."""
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
    """An input for many pictures."""
    return _files_only(gr.File(type="filepath", file_count="multiple", interactive=True, **options))


def _files_only(component: Input) -> Input:
    """Refuse addresses, which gradio would download before any handler sees them.

    It is done on the instance, because gradio writes a stub file beside every module that derives from a component;
    so nothing may update more of the component than its value.
    """
    move = component.async_move_resource_to_block_cache

    async def move_file(given: str | Path | None) -> str | None:
        if given is not None and is_http_url_like(str(given)):
            raise gr.Error(REFUSED_ADDRESS, print_exception=False)
        return await move(given)

    component.async_move_resource_to_block_cache = move_file  # type: ignore[assignment, method-assign]
    return component
