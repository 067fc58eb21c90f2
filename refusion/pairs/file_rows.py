"""Pairs of files as the rows of a source: in two folders, in a list, or in an object store."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from refusion.pairs.errors import DataError
from refusion.pairs.images import lies_within
from refusion.pairs.lists import list_rows, listed_file, names_file, output_name
from refusion.pairs.matching import nfc
from refusion.pairs.rows import LazyFile, Part, Row, Source, unusable
from refusion.pairs.suffixes import SUFFIXES
from refusion.system.files import is_there, printable
from refusion.system.stores import Store
from refusion.tasks import Task


def read_files(part: Part, store: Store | None = None, folder: Path | None = None) -> Iterator[Row]:
    """Yield the rows of a part whose places are an id and two paths, in a store or on this machine.

    With `folder`, files outside of it are rejected.
    """
    for index, piece in enumerate(part.pieces, part.first):
        name, *paths = piece.place
        a, b = (_file(path, f"image {'AB'[i]} of row {index}", store, folder) for i, path in enumerate(paths))
        yield Row(index, printable(name), (a, b))


def _file(path: str | None, what: str, store: Store | None, folder: Path | None) -> "Path | BinaryIO":
    if not path:
        return unusable(f"The {what} is missing.")
    if store is not None:
        return LazyFile(PurePosixPath(path).name, partial(store.read, path))
    if folder and not lies_within(Path(path), [folder]):
        return unusable(f"The {what} lies outside of the folder {folder.name}.")
    return Path(path)


def pairs_of_files(
    pairs: Sequence[tuple[str, str | None, str | None]],
    folder: Path | None,
    read: Callable[[Part], Iterator[Row]],
    size: Callable[[str], int | None],
    left_out: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Source:
    """Return the pairs as a source that is the same wherever `folder` lies."""
    names, content = hashlib.sha256(), hashlib.sha256()
    for name, *paths in pairs:
        names.update(f"{printable(name)} {[path and _within(folder, path) for path in paths]}\n".encode())
        content.update(f"{[path and size(path) for path in paths]}\n".encode())
    return Source(read, [(pair, 1) for pair in pairs], names.hexdigest(), content.hexdigest(), left_out, notes)


def _within(folder: Path | None, path: str) -> str:
    """A path relative to a folder if it is below it, else unchanged."""
    if folder is None or not Path(path).absolute().is_relative_to(folder.absolute()):
        return path
    return Path(path).absolute().relative_to(folder.absolute()).as_posix()


def size_of(path: str) -> int | None:
    """Size of a file in bytes; None if there is none."""
    return Path(path).stat().st_size if is_there(Path(path)) and Path(path).is_file() else None


def listed_pairs(path: Path, keys: tuple[str, str], read: Callable[[Part], Iterator[Row]]) -> Source:
    """Open the rows of a list, including those that name no file."""
    pairs: list[tuple[str, str | None, str | None]] = []
    for _, row in list_rows(path):
        a, b = (str(listed_file(path.parent, str(row[key]))) if names_file(row.get(key)) else None for key in keys)
        name = output_name(row) or Path(a or b or "").stem
        pairs.append((name or str(len(pairs)), a, b))
    if not any(a and b for _, a, b in pairs):
        raise DataError(f"{path.name} lists no pair; the two files of a row are {keys[0]} and {keys[1]}.")
    return pairs_of_files(pairs, path.parent, read, size_of)


def pairs_in_folders(files: Iterable[str], task: Task, shown: str) -> list[tuple[str, str, str]]:
    """Pair the images in the task's two subfolders, at any depth, by the rest of their paths.

    Raises:
        DataError: two images of one subfolder have the same name.
    """
    found: dict[str, dict[str, str]] = {folder: {} for folder in task.folders}
    for file in files:
        *above, last = PurePosixPath(file).parts
        folder = next((part for part in above if part in found), None)
        if folder is None or last.startswith(".") or PurePosixPath(last).suffix.lower() not in SUFFIXES:
            continue
        above.remove(folder)
        name = nfc("/".join([*above, PurePosixPath(last).stem]))
        other = found[folder].setdefault(name, file)
        if other != file:
            raise DataError(f"{shown} holds both {other} and {file}; keep only one of them.")
    first, second = found.values()
    return [(name, first[name], second[name]) for name in sorted(first.keys() & second.keys())]
