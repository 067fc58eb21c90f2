"""The example pairs and stacks: rendered, or freely licensed."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from refusion.system.resources import resource_folders

LIST = "examples.json"
"""File that lists the examples in their folder, with the origin and licence of each."""


@dataclass(frozen=True)
class Example:
    """Images of one scene, with their origin and licence.

    Attributes:
        name: unique name, used in links.
        task: name of its task.
        title: short description of the scene.
        paths: the sources in the order of the task; three or more are a stack.
        origin: where the images come from.
        licence: licence of the images.
        thumbnail: a small version of the images, WebP.
    """

    name: str
    task: str
    title: str
    paths: tuple[Path, ...]
    origin: str
    licence: str
    thumbnail: bytes

    @property
    def tab(self) -> str:
        """Name of the tab that shows it: its task, or ``stack``."""
        return self.task if len(self.paths) == 2 else "stack"


@cache
def all_examples() -> tuple[Example, ...]:
    """All examples of this installation; empty if it has none."""
    folders = resource_folders("space/examples", "examples")
    folder = next((folder for folder in folders if (folder / LIST).is_file()), None)
    if folder is None:
        return ()
    return tuple(
        Example(
            entry["name"],
            entry["task"],
            entry["title"],
            tuple(folder / name for name in entry["files"]),
            entry["origin"],
            entry["licence"],
            (folder / "thumbnails" / f"{entry['name']}.webp").read_bytes(),
        )
        for entry in json.loads((folder / LIST).read_text(encoding="utf-8"))
    )


def example_pairs(task: str) -> list[Example]:
    """The example pairs of a task."""
    return [example for example in all_examples() if example.tab == task]


def example_stacks() -> list[Example]:
    """The examples with three or more images."""
    return [example for example in all_examples() if example.tab == "stack"]


def thumbnail_address(example: Example) -> str:
    """The thumbnail as a data URL."""
    return f"data:image/webp;base64,{base64.b64encode(example.thumbnail).decode()}"


def strip_html(examples: list[Example]) -> str:
    """Thumbnails as buttons with the titles of the examples; ``data-name`` holds the name of each."""
    buttons = "".join(
        f'<button type="button" data-name="{escape(example.name)}" '
        f'title="{escape(f"{example.title}. {example.origin}. {example.licence}.")}">'
        f'<img src="{thumbnail_address(example)}" alt="" '
        f'width="200" height="150"><span>{escape(example.title)}</span></button>'
        for example in examples
    )
    return f'<div class="strip" role="group" aria-label="Examples">{buttons}</div>'


def poster(examples: list[Example]) -> str:
    """The thumbnail of the first example as a data URL; empty if there is none."""
    return thumbnail_address(examples[0]) if examples else ""


STRIP_SCRIPT = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-name]');
  if (button) trigger('click', { name: button.dataset.name });
});
"""
"""Tells the server which thumbnail was pressed."""


def credit_html(example: Example) -> str:
    """Title, origin and licence of an example, as HTML."""
    said = f"Example: {example.title}. {example.origin}. {example.licence}."
    return f'<p class="credit">{escape(said)}</p>'
