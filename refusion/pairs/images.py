"""The images in the rows of data sets: their bytes, or files that the rows may name."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from refusion.images.picture import PictureError
from refusion.pairs.errors import DataError


def hub_caches() -> tuple[Path, ...]:
    """Folders in which `datasets` stores data sets on the Hub: the only ones whose files the rows of these may name."""
    import datasets

    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    return tuple(Path(cache).expanduser().resolve() for cache in caches)


def lies_within(file: Path, folders: Iterable[Path]) -> bool:
    """Whether a file lies in one of these folders, links followed."""
    return any(file.resolve().is_relative_to(folder.resolve()) for folder in folders)


def image_file(
    image: bytes | Mapping[str, Any] | None, what: str, folders: Sequence[Path] | None = ()
) -> Path | io.BytesIO:
    """An image of a row, as a source for `refusion.images.read_picture`.

    Args:
        image: the bytes of an image file, or ``bytes`` and ``path``, as `datasets` has them undecoded.
        what: which image it is, such as ``image a of row 3``.
        folders: those whose files the row may name, since a data set from elsewhere must not be able to open arbitrary
            files of this machine; None for all folders.

    Raises:
        PictureError: the image is missing, or is only the path of a file in none of the folders.
    """
    content, path = (image, None) if isinstance(image, bytes) else map((image or {}).get, ("bytes", "path"))
    if content is not None:
        file = io.BytesIO(content)
        file.name = what
        return file
    if not path:
        raise PictureError(f"The {what} is missing.")
    if folders is not None and not lies_within(Path(path), folders):
        raise PictureError(f"The {what} is only a path; the data set must contain the bytes of its images.")
    return Path(path)


def check_embedded(footers: Sequence[pq.FileMetaData], columns: Sequence[str], what: str) -> None:
    """Refuse Parquet files with an image column of paths only, as `datasets` writes it for images given as paths.

    Args:
        footers: the footers of all files; nothing else is read. Where they hold no statistics, nothing is refused.
        columns: the image columns.
        what: name of the files.

    Raises:
        DataError: no row has the bytes of an image in one of the columns; the message says how to embed them.
    """
    of_text = [column for column in columns if any(_is_text(footer, column) for footer in footers)]
    of_paths = [
        column
        for column in columns
        if column in of_text or (not _has_values(footers, f"{column}.bytes") and _has_values(footers, f"{column}.path"))
    ]
    if not of_paths:
        return
    where = what if len(of_paths) == len(columns) else f"the column {of_paths[0]} of {what}"
    casts = "".join(f'.cast_column("{column}", datasets.Image())' for column in of_text)
    raise DataError(
        f"The images in {where} are only paths; the data set must contain the bytes of its images. Write it again with "
        f'them: dataset{casts}.save_to_disk("folder") of datasets embeds them, then '
        'load_from_disk("folder").to_parquet("pairs.parquet").'
    )


def _is_text(footer: pq.FileMetaData, column: str) -> bool:
    place = _place(footer, column)
    return place is not None and _logical_type(footer, place) == "String"


def _has_values(footers: Iterable[pq.FileMetaData], path: str) -> bool:
    """Whether a column of Parquet, such as ``a.bytes``, has a value in any row; also if there are no statistics."""
    for footer in footers:
        place = _place(footer, path)
        # Without a schema, a column in which all is missing has no type and no statistics.
        if place is None or _logical_type(footer, place) == "Null":
            continue
        for group in range(footer.num_row_groups):
            statistics = footer.row_group(group).column(place).statistics
            if statistics is None or not statistics.has_null_count or statistics.num_values:
                return True
    return False


def _place(footer: pq.FileMetaData, path: str) -> int | None:
    return next((index for index in range(footer.num_columns) if footer.schema.column(index).path == path), None)


def _logical_type(footer: pq.FileMetaData, place: int) -> str:
    return str(footer.schema.column(place).logical_type)
