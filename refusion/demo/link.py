"""Links that lead back to a result, and the program or command that computes the same result."""

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from refusion.demo.examples import Example, all_examples
from refusion.demo.service import Settings
from refusion.tasks import TASKS, Task

SETTINGS = {
    "range": "output_range",
    "anchor": "anchor",
    "colour": "chroma",
    "model": "model",
    "revision": "revision",
    "input": "input_range",
    "borders": "borders",
}
"""Keys of the query string, and the settings that they stand for, in the order of `Settings.checked`."""


@dataclass(frozen=True)
class Link:
    """Tab, example and settings in the address of the page.

    Attributes:
        tab: the name of a task, or ``stack``, ``batch`` or ``about``.
        example: the example to show.
        settings: the settings that differ from the defaults of the task, by the names of `Settings.checked`.
    """

    tab: str
    example: Example | None = None
    settings: dict[str, str] = field(default_factory=dict)


def changed_settings(settings: Settings, own_model: str, count: int = 2) -> dict[str, str]:
    """The settings that differ from the defaults for `count` images of the task, by their names in the endpoints."""
    task = settings.task
    given = {
        "output_range": (settings.output_range, task.range_of(count)),
        "anchor": (settings.anchor, task.anchor),
        "chroma": (settings.chroma, task.chroma),
        "model": (settings.model.name, own_model),
        "revision": (settings.model.revision, None),
        "input_range": (settings.input_range, "file"),
        "borders": (settings.borders, "auto"),
    }
    return {name: value for name, (value, own) in given.items() if value is not None and value != own}


def query(tab: str, example: Example | None, settings: Settings, own_model: str, count: int = 2) -> str:
    """The query string of the address for the result of `count` images, with the question mark."""
    changed = changed_settings(settings, own_model, count)
    parts = {"task": tab} | ({"example": example.name} if example else {})
    return "?" + urlencode(parts | {key: changed[name] for key, name in SETTINGS.items() if name in changed})


def read_query(parameters: Mapping[str, str]) -> Link:
    """Read the tab, example and settings in an address; unknown ones are left out."""
    example = next((e for e in all_examples() if e.name == parameters.get("example")), None)
    tab = parameters.get("task", "")
    if not tab and example is not None:
        tab = example.tab
    if tab not in (*TASKS, "stack", "batch", "about"):
        tab = next(iter(TASKS))
    settings = {name: parameters[key][:200] for key, name in SETTINGS.items() if parameters.get(key)}
    return Link(tab, example, settings)


def example_on_arrival(
    tab: str, examples: Mapping[str, Example], parameters: Mapping[str, str]
) -> tuple[Example | None, dict[str, str]]:
    """The example and settings that a tab shows when the page is opened.

    Args:
        tab: name of the tab.
        examples: its examples by name; the first is shown if the address names none of them.
        parameters: the query of the address.

    Returns:
        The example, or None if the page opens with another tab; and the settings in the address.
    """
    asked = read_query(parameters)
    if asked.tab != tab:
        return None, {}
    named = examples.get(asked.example.name) if asked.example else None
    return named or next(iter(examples.values()), None), asked.settings


def example_on_opening(tab: str, examples: Mapping[str, Example], opened_with: Any) -> Example | None:
    """The example that a tab without a result shows when it is opened.

    Args:
        tab: name of the tab.
        examples: its examples by name.
        opened_with: the query string that the page was opened with.

    Returns:
        The first example, or None if the page opened with this tab: that is `example_on_arrival`.
    """
    asked = read_query(dict(parse_qsl(str(opened_with or "").removeprefix("?"))))
    return None if asked.tab == tab else next(iter(examples.values()), None)


def program(url: str, names: tuple[str, str], settings: Settings, own_model: str) -> str:
    """A Python program that computes the same result through the endpoint of the task."""
    options = "".join(
        f"    {name}={json.dumps(value)},\n" for name, value in changed_settings(settings, own_model).items()
    )
    first, second = names
    return (
        "from gradio_client import Client, handle_file\n\n"
        f"client = Client({json.dumps(url)})\n"
        "fused, notes = client.predict(\n"
        f"    handle_file({json.dumps(first)}),\n"
        f"    handle_file({json.dumps(second)}),\n"
        f"{options}"
        f'    api_name="/{endpoint(settings.task)}",\n'
        ")\n"
        'print(*notes, fused, sep="\\n")  # notes for you, and the path of the fused image'
    )


def command(names: Sequence[str], settings: Settings, *, gaps: bool = False) -> str:
    """A command that computes the same result from files with these names.

    Args:
        names: of the files.
        settings: how they were fused.
        gaps: whether values that are not finite were taken as missing.
    """
    # A file may have a name that starts like an option.
    files = [f"./{name}" if name.startswith("-") else name for name in names]
    return shlex.join(["refusion", "fuse", *files, "-o", "fused.png", *_options(settings, gaps)])


def batch_command(pairs: Sequence[tuple[str, tuple[Path, Path]]], settings: Settings, *, gaps: bool = False) -> str:
    """Commands that compute the same results as a batch, from two folders named after the sources of the task.

    Args:
        pairs: name and both files of every pair.
        settings: how they were fused.
        gaps: as for `command`.
    """
    folders = settings.task.folders
    options = ["-o", "fused", *_options(settings, gaps)]
    if all(first.stem == second.stem == name for name, (first, second) in pairs):
        return shlex.join(["refusion", "fuse", *folders, *options])
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(("a", "b", "output"))
    for name, files in pairs:
        sources = (f"{folder}/{file.name}" for folder, file in zip(folders, files, strict=True))
        writer.writerow((*sources, f"{name}.png"))
    return f"cat > pairs.csv <<'END'\n{rows.getvalue()}END\n{shlex.join(['refusion', 'fuse', 'pairs.csv', *options])}"


def _options(settings: Settings, gaps: bool) -> list[str]:
    given = {
        "task": settings.task.name,
        "output-range": settings.output_range,
        "anchor": settings.anchor,
        "chroma": settings.chroma,
        # Not compared with the model of this demo, which may have been started with another one.
        "model": settings.model.name if settings.model.name != settings.task.model else None,
        "revision": settings.model.revision,
    }
    own_range = ["--own-range"] if settings.input_range == "own" else []
    borders = {"auto": [], "fill": ["--fill-borders"], "keep": ["--no-fill-borders"]}[settings.borders]
    nodata = ["--nodata", "nan"] if gaps else []
    named = [word for name, value in given.items() if value for word in (f"--{name}", value)]
    return named + own_range + borders + nodata


def endpoint(task: Task) -> str:
    """Name of the endpoint of a task."""
    return f"fuse_{task.name.replace('-', '_')}"
