"""Rows of Parquet files and of data sets on the Hub, with the bytes of both images."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from refusion.images.picture import PictureError
from refusion.pairs.errors import DataError
from refusion.pairs.images import check_embedded, hub_caches, image_file
from refusion.pairs.rows import Part, Piece, Row, Source, unusable
from refusion.system.stores import Store
from refusion.tasks import Task

if TYPE_CHECKING:
    import datasets

BATCH_ROWS = 16
"""Number of rows of a Parquet file in memory at a time."""

_CONNECTIONS = 16
"""Number of Parquet footers that are read concurrently."""

Columns: TypeAlias = tuple[str, str] | None
"""The names of the two image columns, or None for the default."""


def _read_table(
    part: Part,
    columns: tuple[str, str],
    id_column: str | None,
    rows: Callable[[Piece], Iterable[dict[str, Any] | str]],
    folders: Sequence[Path] = (),
) -> Iterator[Row]:
    """Yield the rows of a part of a table.

    A string in place of a row is the reason why it cannot be read. Paths in rows are accepted only inside `folders`.
    """
    for index, row in enumerate((row for piece in part.pieces for row in rows(piece)), part.first):
        if isinstance(row, str):
            damaged = [unusable(f"The image {which} of row {index} {row}.") for which in "AB"]
            yield Row(index, str(index), (damaged[0], damaged[1]))
            continue
        given = row[id_column] if id_column else None
        a, b = (_image(row[column], f"image {'AB'[i]} of row {index}", folders) for i, column in enumerate(columns))
        yield Row(index, str(index if given is None else given), (a, b))


def _image(image: Any, what: str, folders: Sequence[Path]) -> "Path | BinaryIO":
    try:
        return image_file(image, what, folders)
    except PictureError as error:
        return unusable(str(error))


def _rows_of_dataset(piece: Piece, dataset: "datasets.Dataset") -> Iterator[dict[str, Any]]:
    yield from (dataset[index] for index in range(piece.start, piece.stop))


def _rows_of_group(piece: Piece, filesystem: fs.FileSystem, columns: Sequence[str]) -> Iterator[dict[str, Any] | str]:
    path, group = piece.place
    index = 0
    try:
        with _opened(filesystem, path) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
                start, stop = (min(max(0, end - index), len(batch)) for end in (piece.start, piece.stop))
                yield from batch.slice(start, stop - start).to_pylist()
                index += len(batch)
                if index >= piece.stop:
                    return
    except (pa.ArrowException, OSError) as error:
        # This raises if the whole file cannot be read; otherwise only these rows are damaged.
        _look(filesystem, path)
        yield from [f"cannot be read ({error})"] * (piece.stop - max(index, piece.start))


def _opened(filesystem: fs.FileSystem, path: str) -> pq.ParquetFile:
    return pq.ParquetFile(path, filesystem=filesystem, buffer_size=1 << 20, pre_buffer=False)


def _look(filesystem: fs.FileSystem, path: str) -> tuple[pq.FileMetaData, bytes]:
    """The footer of a Parquet file, which has the place and size of every chunk, and its bytes."""
    try:
        with _opened(filesystem, path) as parquet, filesystem.open_input_file(path) as file:
            metadata = parquet.metadata
            file.seek(file.size() - 8 - metadata.serialized_size)
            return metadata, file.read() + str(file.size()).encode()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{PurePosixPath(path).name} cannot be read as Parquet: {error}") from error


def parquet_source(
    filesystem: fs.FileSystem, files: Sequence[str], what: str, task: Task, columns: Columns, id_column: str | None
) -> Source:
    """Open Parquet files; only their footers are read.

    Args:
        filesystem: where they are.
        files: their paths, in order.
        what: how messages name them.
        task: the task.
        columns: the two image columns; by default named like the task's subfolders, or a and b.
        id_column: column of the ids, or None.

    Raises:
        DataError: there are no files or no rows, a file cannot be read, or a column is missing or holds no images.
    """
    if not files:
        raise DataError(f"No file matches {what!r}; give Parquet files.")
    places: list[tuple[Any, int]] = []
    names, content = hashlib.sha256(), hashlib.sha256()
    footers: list[pq.FileMetaData] = []
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for file, (footer, stored) in zip(files, pool.map(partial(_look, filesystem), files), strict=True):
            name = PurePosixPath(file).name
            columns = _choose_columns(footer.schema.to_arrow_schema().names, name, task, columns, id_column)
            groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
            places += [((file, number), rows) for number, rows in enumerate(groups)]
            names.update(f"{name} {sum(groups)}\n".encode())
            content.update(stored)
            footers.append(footer)
    assert columns is not None
    check_embedded(footers, columns, what)
    for file, footer in zip(files, footers, strict=True):
        for column in columns:
            kind = footer.schema.to_arrow_schema().field(column).type
            _check_image_type(kind, column, PurePosixPath(file).name)
    wanted = [*dict.fromkeys([*columns, *([id_column] if id_column else [])])]
    rows = partial(_rows_of_group, filesystem=filesystem, columns=wanted)
    read = partial(_read_table, columns=columns, id_column=id_column, rows=rows)
    opened = Source(read, places, names.hexdigest(), content.hexdigest())
    if opened.total == 0:
        raise DataError(f"{what} holds no rows, so there is nothing to fuse.")
    return opened


def _choose_columns(
    names: Sequence[str], what: str, task: Task, columns: Columns, id_column: str | None
) -> tuple[str, str]:
    """Return the names of the two image columns.

    Raises:
        DataError: one of them, or the id column, is missing.
    """
    choices = [columns] if columns else [task.folders, ("a", "b")]
    chosen = next((choice for choice in choices if all(column in names for column in choice)), None)
    if chosen is None:
        has = f"{what} has the columns {', '.join(names)}"
        if columns:
            missing = " and ".join(column for column in columns if column not in names)
            inside = "for images inside other columns, save the data set with flatten() of datasets first"
            raise DataError(f"{has}, but not {missing}; {inside if '.' in missing else 'check --columns'}.")
        needed = ", or ".join(" and ".join(choice) for choice in choices)
        raise DataError(f"{has}; the two image columns must be {needed}, or be given with --columns.")
    if id_column and id_column not in names:
        raise DataError(f"{what} has the columns {', '.join(names)}, but no column {id_column} for the ids.")
    return chosen


def _check_image_type(kind: pa.DataType, column: str, what: str) -> None:
    is_image = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not (is_image or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"The column {column} of {what} holds {kind}; an image column must hold the bytes of image files, "
            "as images of `datasets` or as binary."
        )


def hub_source(
    name: str,
    task: Task,
    columns: Columns,
    id_column: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> Source:
    """Open a data set on the Hub at its commit of now; see `refusion.pairs.sources.open_source` for the arguments.

    Raises:
        DataError: it cannot be loaded or streamed, or a column is missing or holds no images.
        ModelError: there is no such data set, or the Hub cannot be reached.
    """
    import datasets
    from huggingface_hub import HfApi

    from refusion.hub.client_errors import hub_sentences

    with hub_sentences(name, revision, what="data set"):
        commit = str(HfApi().dataset_info(name, revision=revision).sha)
        try:
            if streaming:
                known = datasets.load_dataset_builder(name, revision=commit).config.data_files or {}
            else:
                loaded = datasets.load_dataset(name, split=split, revision=commit)
        except (datasets.exceptions.DatasetsError, ValueError) as error:
            raise DataError(f"The data set {name} cannot be loaded: {str(error).strip()}") from error
        if streaming:
            stores = [Store.at(file) for file in known.get(split, [])]
            if not stores or not all(store.name.endswith(".parquet") for store in stores):
                raise DataError(
                    f"The split {split} of {name} is not in Parquet files, and only these can be streamed; "
                    "leave out --streaming and --ray, or save it as Parquet files."
                )
            files = [store.root for store in stores]
            opened = parquet_source(stores[0].filesystem, files, name, task, columns, id_column)
            return Source(opened.read, opened.places, f"{name} {split}", commit)
    chosen = _choose_columns(loaded.column_names, name, task, columns, id_column)
    for column in chosen:
        if not isinstance(loaded.features[column], datasets.Image):
            raise DataError(f"The column {column} of {name} holds no images; name two image columns with --columns.")
        loaded = loaded.cast_column(column, datasets.Image(decode=False))
    rows = partial(_rows_of_dataset, dataset=loaded)
    read = partial(_read_table, columns=chosen, id_column=id_column, rows=rows, folders=hub_caches())
    return Source(read, [(None, len(loaded))], f"{name} {split}", commit)
