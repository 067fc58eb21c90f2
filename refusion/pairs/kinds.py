"""What a data set is: folders, a list, an imagefolder, Parquet files, or a name on the Hub."""

from pathlib import Path
from typing import Literal, TypeAlias

from refusion.hub.names import is_path
from refusion.pairs.errors import DataError
from refusion.pairs.lists import LISTS
from refusion.pairs.suffixes import SUFFIXES
from refusion.tasks import TASKS, Task

METADATA = "metadata.jsonl"
"""Name of the list in an imagefolder."""

SourceKind: TypeAlias = Literal["hub", "list", "folders", "imagefolder", "parquet"]
"""What a data set is: on the Hub, a list, the two folders of a task, an imagefolder, or Parquet files."""


def check_source(source: str | Path, task: Task) -> None:
    """Check that a data set exists, or may be the name of one on the Hub.

    Args:
        source: a path, or OWNER/NAME.
        task: the task, which names the two folders.

    Raises:
        DataError: there is no such folder or file.
    """
    named = is_path(str(source)) or Path(source).suffix.lower() in (".parquet", *LISTS)
    if not Path(source).exists() and named:
        raise DataError(
            f"There is no folder or file {str(source)!r}; give a folder with {' and '.join(task.folders)} in it, an "
            "imagefolder, a list, Parquet, or OWNER/NAME of a data set on the Hub."
        )


def folders_to_match(source: str | Path, task: Task, match: tuple[str, str] | None) -> tuple[Path, Path]:
    """The folders of the first and of the second sources: the task's two, or one folder that is matched by patterns.

    Raises:
        DataError: there are patterns, but no folder.
    """
    path = Path(source)
    if match is None or _has_folders(path, task):
        return path / task.folders[0], path / task.folders[1]
    if not path.is_dir():
        raise DataError(f"--match is for the pairs in a folder, but {source} is none; leave it out.")
    return path, path


def check_apart(out: Path, source: str | Path, task: Task) -> None:
    """Check that a folder to write to does not lie among the images of a data set, where its images would be sources.

    Args:
        out: the folder; it need not exist.
        source: see `check_source`.
        task: see `check_source`.

    Raises:
        DataError: it is one of the two folders of the task, or lies within one.
    """
    for folder in (Path(source) / name for name in task.folders):
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"The output {out.name} lies within the source {folder.name}; choose another folder.")


def source_kind(source: str | Path, task: Task) -> SourceKind:
    """What a data set on this machine or on the Hub is.

    Args:
        source: see `check_source`.
        task: see `check_source`.

    Raises:
        DataError: there is no such folder or file, or it is none of these.
    """
    check_source(source, task)
    path = Path(source)
    if not path.exists():
        return "hub"
    if path.is_file() and path.suffix.lower() in LISTS:
        return "list"
    if _has_folders(path, task):
        return "folders"
    if (path / METADATA).is_file():
        return "imagefolder"
    if parquet_files(path):
        return "parquet"
    advice = _layout_advice(path, task)
    raise DataError(
        f"{path.name or path.resolve()} holds neither the folders {' and '.join(task.folders)}, nor {METADATA}, nor "
        f"Parquet files, and is neither a Parquet file nor a list ({' or '.join(sorted(LISTS))}).{advice}"
    )


def _layout_advice(path: Path, task: Task) -> str:
    """What to do about a folder in another layout, as a sentence after a space; empty if there is no advice."""
    if any((folder / "state.json").is_file() for folder in (path, *path.glob("*/"))):
        return " It was written by save_to_disk of datasets: load it with load_from_disk, and save it with to_parquet."
    return _elsewhere(path, task) or _other_names(path, task)


def _elsewhere(path: Path, task: Task) -> str:
    """Which other folder or task to give, where the pairs are in folders with the right names."""
    if splits := sorted(file.parent.name for file in path.glob(f"*/{METADATA}")):
        return f" {METADATA} is in {' and in '.join(splits)}: give that folder."
    if path.name in task.folders and _has_folders(path.parent, task):
        return f" The folder above it holds {' and '.join(task.folders)}: give that folder."
    for each in (task, *TASKS.values()):
        if within := sorted(folder.name for folder in path.glob("*/") if _has_folders(folder, each)):
            one = "that folder" if len(within) == 1 else "one of them"
            named = "" if each == task else f", and choose the task {each.name}"
            return f" {' and '.join(each.folders)} are in {' and in '.join(within)}: give {one}{named}."
    if other := next((each for each in TASKS.values() if _has_folders(path, each)), None):
        return f" It holds {' and '.join(other.folders)}, the folders of the task {other.name}: choose that task."
    return ""


def _other_names(path: Path, task: Task) -> str:
    """How to name the folders or the images, where there are two folders, or images."""
    found = sorted(folder.name for folder in path.glob("*/") if folder.is_dir() and not folder.name.startswith("."))
    if len(found) == 2:
        names = " and ".join(f"{folder} ({label})" for folder, label in zip(task.folders, task.labels, strict=True))
        return f" It holds the folders {' and '.join(found)}: they must be called {names}."
    if any(file.suffix.lower() in SUFFIXES for file in path.glob("*")):
        first, second = task.folders
        return (
            f' It holds images itself: give the patterns of their names, such as --match "*_{first}.*" '
            f'"*_{second}.*" for {task.labels[0]} and {task.labels[1]}, or a list (.csv) with the columns a and b.'
        )
    return ""


def _has_folders(path: Path, task: Task) -> bool:
    return all((path / folder).is_dir() for folder in task.folders)


def parquet_files(path: Path) -> list[Path]:
    """A Parquet file alone, or all of those in a folder and its subfolders, sorted, but for hidden files."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    files = (file for file in path.rglob("*") if not file.name.startswith("."))
    return sorted(file for file in files if file.suffix.lower() == ".parquet" and file.is_file())
