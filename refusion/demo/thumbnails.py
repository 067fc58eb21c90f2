"""Thumbnails of many uploads, which can be reordered and removed by mouse, touch or keyboard."""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from refusion.demo.events import told
from refusion.demo.service import shown_image
from refusion.demo.theme import asset
from refusion.demo.uploads import SHOWN, SourceError, Uploads, stored_path
from refusion.images.windows import Window

SIDE = 120
"""Longest side of a thumbnail in pixels."""

PREVIEW = 480
"""Longest side in pixels of the preview of an upload; see `preview_html`."""

MAX_SHOWN = 24
"""How many thumbnails are shown; more would take long to decode."""


def thumbnails_input() -> gr.HTML:
    """Return a row of thumbnails; its event ``move`` has ``order``, old indices in the new order, and ``removed``."""
    return gr.HTML("", js_on_load=asset("thumbnails.js"), elem_classes="thumbnails-box")


def thumbnails_html(paths: list[Path], uploads: Uploads, window: Window | None = None) -> str:
    """The thumbnails as HTML, read with a window; a file that cannot be read is marked as such."""
    if not paths:
        return ""
    items = "".join(_item(index, path, len(paths), uploads, window) for index, path in enumerate(paths[:MAX_SHOWN]))
    more = f'<li class="more">and {len(paths) - MAX_SHOWN} more</li>' if len(paths) > MAX_SHOWN else ""
    return f'<ol class="thumbnails" data-count="{len(paths)}">{items}{more}</ol>'


def moved(uploads: Any, order: Any, removed: Any = None) -> list[str]:
    """The paths of uploads in a new order.

    Args:
        uploads: the files as the browser sends them.
        order: the old indices in the new order; invalid ones are ignored, and files that it omits stay at the end.
        removed: the old index of a file to remove.

    Raises:
        SourceError: one of them is not an upload.
    """
    files = [str(stored_path(upload, "uploaded")) for upload in uploads or []]
    wanted = [i for i in order if isinstance(i, int) and 0 <= i < len(files)] if isinstance(order, list) else []
    indices = list(dict.fromkeys(wanted))
    indices += [i for i in range(len(files)) if i not in indices]
    return [files[i] for i in indices if i != removed]


def move(uploads: Any, event: gr.EventData) -> Any:
    """Handle the event ``move``: return the paths of the uploads in the order that the visitor gave them."""
    try:
        return moved(uploads, told(event, "order"), told(event, "removed"))
    except SourceError:
        return gr.skip()  # The note says which file is missing.


def without_example(uploads: Any, shown: Sequence[Sequence[Path]]) -> Any:
    """Handle an upload: return the paths without the example that the visitor's own images were added to.

    Args:
        uploads: the files as the browser sends them, the new ones last.
        shown: the files that each example puts there.
    """
    try:
        files = [stored_path(upload, "uploaded") for upload in uploads or []]
    except SourceError:
        return gr.skip()  # The note says which file is missing.
    for example in shown:
        if 0 < len(example) < len(files) and files[: len(example)] == list(example):
            return [str(path) for path in files[len(example) :]]
    return gr.skip()


def preview_html(side: int, path: Path, uploads: Uploads, window: Window | None = None) -> str:
    """A preview as HTML for an upload that browsers cannot show as it is read; assets/previews.js puts it in the input.

    The upload is read with a window; browsers show 16 bits, but always from the black to the white of the file.

    Raises:
        SourceError: the upload cannot be read.
    """
    if path.suffix.lower() in SHOWN and uploads.facts(path, window).levels is None:
        return ""
    file = escape(f"{path.parent.name}/{path.name}")
    return f'<img hidden alt="" data-side="{side}" data-file="{file}" src="{_address(path, uploads, window, PREVIEW)}">'


def _item(index: int, path: Path, count: int, uploads: Uploads, window: Window | None) -> str:
    try:
        picture = f'<img src="{_address(path, uploads, window)}" alt="" draggable="false">'
    except SourceError:
        picture = '<span class="broken">cannot be read</span>'
    name = escape(path.name)
    back, on = (
        f'<button type="button" data-move="{step}" aria-label="Move {name} {where}"{" disabled" if stop else ""}>{sign}'
        "</button>"
        for step, where, sign, stop in (
            (-1, "back", "&lsaquo;", index == 0),
            (1, "forward", "&rsaquo;", index == count - 1),
        )
    )
    remove = f'<button type="button" data-remove aria-label="Remove {name}">&times;</button>'
    return (
        f'<li draggable="true" data-index="{index}">{picture}<span class="name" title="{name}">{index + 1}. {name}'
        f'</span><span class="moves">{back}{remove}{on}</span></li>'
    )


@lru_cache(maxsize=512)
def _address(path: Path, uploads: Uploads, window: Window | None, side: int = SIDE) -> str:
    image = shown_image(uploads.read(path, window)).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=75)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
