"""The example pairs, which this project renders itself."""

from dataclasses import dataclass
from pathlib import Path

from refusion.system.resources import resource_folders
from refusion.tasks import Task

_TITLES = {
    "ir-vis": "A street at dusk",
    "medical": "A head phantom",
    "multi-focus": "A cup before a shelf",
    "multi-exposure": "A room with a window",
}


@dataclass(frozen=True)
class ExamplePair:
    """Two files, A first, and what they show."""

    title: str
    paths: tuple[Path, Path]


@dataclass(frozen=True)
class ExampleStack:
    """Files of a stack, the name of its task, and what it shows."""

    title: str
    task: str
    paths: tuple[Path, ...]


def examples_folder() -> Path | None:
    """The folder of the examples, or None where this installation has none."""
    return next((f for f in resource_folders("space/examples", "examples") if any(f.glob("*.png"))), None)


def example_pairs(task: Task) -> list[ExamplePair]:
    """All example pairs of a task: files NAME_A.png and NAME_B.png whose NAME begins with that of the task."""
    folder = examples_folder()
    if folder is None:
        return []
    first, second = task.folders
    pairs = []
    for path in sorted(folder.glob(f"{task.name}*_{first}.png")):
        name = path.name.removesuffix(f"_{first}.png")
        other = path.with_name(f"{name}_{second}.png")
        if other.is_file():
            pairs.append(ExamplePair(_TITLES.get(name, name), (path, other)))
    return pairs


def example_stack() -> ExampleStack | None:
    """The example for the tab for stacks, or None where this installation has none."""
    folder = examples_folder()
    paths = tuple(folder / f"multi-exposure_{name}.png" for name in ("under", "middle", "over")) if folder else ()
    if not paths or not all(path.is_file() for path in paths):
        return None
    return ExampleStack("A room in three exposures", "multi-exposure", paths)
