"""Names of sources in messages."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from refusion.images.picture import Picture
from refusion.images.sources import PictureSource, TiffImage
from refusion.system.files import nfc, printable

_MAX_FOLDERS = 3
"""Maximum number of folders before a file name in a message."""


def told_apart(sources: Sequence[PictureSource]) -> list[str]:
    """Return the names of the sources in messages, all of them different.

    The two files of a pair often have one name, in two folders; arrays, images and files in memory have none.
    """
    of_paths = iter(with_folders([Path(os.fsdecode(one)) for one in sources if isinstance(one, str | os.PathLike)]))
    return numbered([next(of_paths) if isinstance(one, str | os.PathLike) else own_name(one) for one in sources])


def with_folders(paths: Sequence[Path]) -> list[str]:
    """The names of files, all after as many folders as it takes to tell them apart; without folders if none do."""
    different = len({*paths})
    for depth in range(1, _MAX_FOLDERS + 2):
        names = [printable("/".join(path.parts[-depth:])) for path in paths]
        if len({nfc(name) for name in names}) == different:
            return names
    return [printable(path.name) for path in paths]


def numbered(names: Sequence[str]) -> list[str]:
    """Tell equal names apart by their places: the first and the second of two, and numbers among more."""
    counts = Counter(map(nfc, names))
    places = ("first", "second") if len(names) == 2 else [str(number + 1) for number in range(len(names))]
    return [name if counts[nfc(name)] == 1 else f"{name} ({place})" for name, place in zip(names, places, strict=True)]


def own_name(source: PictureSource) -> str:
    """The name of a source in messages, but for a path."""
    if isinstance(source, Picture | TiffImage):
        return source.name
    if isinstance(source, Image.Image):
        return "PIL image"
    if hasattr(source, "__array__"):
        return "array"
    path_or_number = getattr(source, "name", None)
    return name_of(Path(path_or_number)) if isinstance(path_or_number, str) else "the open file"


def name_of(path: Path) -> str:
    return printable(path.name or str(path))
