"""Sources of bulk fusion: pairs of undecoded images, in parts that any worker can read."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from refusion.images.picture import PictureError
from refusion.pairs.errors import DataError
from refusion.pairs.images import check_embedded, hub_caches, image_file, lies_within
from refusion.pairs.jobs import match_folders
from refusion.pairs.kinds import METADATA, folders_to_match, parquet_files, source_kind
from refusion.pairs.lists import BY_A_LIST, list_rows, listed_file, names_file, output_name
from refusion.pairs.matching import SUFFIXES, nfc
from refusion.system.files import is_there, printable
from refusion.system.stores import Store, without_secrets
from refusion.tasks import Task

if TYPE_CHECKING:
    import datasets

BATCH_ROWS = 16
"""Number of rows of a Parquet file in memory at a time."""

_CONNECTIONS = 16
"""Number of Parquet footers that are read concurrently."""

Columns: TypeAlias = tuple[str, str] | None
"""The names of the two image columns, or None for the default."""


@dataclass(frozen=True)
class Row:
    """One pair of a source.

    Attributes:
        index: its index in the source, from 0.
        id: its id in the source, or its index.
        sources: both images in the order of the task, for `refusion.images.read_picture`; a missing image raises
            `PictureError` when it is read.
    """

    index: int
    id: str
    sources: "tuple[Path | BinaryIO, Path | BinaryIO]"


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of a place: a row group, a table, or a pair of files."""

    place: Any
    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a source: the index of the first row, their number, and where they are."""

    first: int
    rows: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Source:
    """Pairs in a fixed order.

    Attributes:
        read: yields the rows of a part; raises `DataError` if they cannot be read. It can be pickled.
        places: where the rows are, and the number of rows in each place.
        names: digest of the names and the number of the rows.
        content: digest of file sizes or Parquet footers, which needs no reading of images; or the commit on the Hub.
        left_out: files without a partner, one sentence each.
        notes: other files that were left out, such as hidden ones, as sentences.
    """

    read: Callable[[Part], Iterator[Row]]
    places: Sequence[tuple[Any, int]]
    names: str
    content: str
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of rows."""
        return sum(rows for _, rows in self.places)

    def parts(self, size: int) -> list[Part]:
        """Split all rows into parts of `size` rows, fewer in the last one; the parts are always the same."""
        parts: list[Part] = []
        pieces: list[Piece] = []
        first = held = 0
        for place, rows in self.places:
            start = 0
            while start < rows:
                stop = min(rows, start + size - held)
                pieces.append(Piece(place, start, stop))
                held += stop - start
                start = stop
                if held == size:
                    parts.append(Part(first, held, tuple(pieces)))
                    first, held, pieces = first + held, 0, []
        return [*parts, Part(first, held, tuple(pieces))] if held else parts


class _LazyFile(io.BytesIO):
    """A file whose content is fetched when it is first read."""

    def __init__(self, name: str, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self.name, self._fetch = name, fetch

    def seek(self, *place: Any) -> int:
        if not self.tell() and not self.getbuffer().nbytes:
            self.write(self._fetch())
        return super().seek(*place)


def _unusable(sentence: str) -> _LazyFile:
    def refuse() -> bytes:
        raise PictureError(sentence)

    return _LazyFile("", refuse)


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
            damaged = [_unusable(f"The image {which} of row {index} {row}.") for which in "AB"]
            yield Row(index, str(index), (damaged[0], damaged[1]))
            continue
        given = row[id_column] if id_column else None
        a, b = (_image(row[column], f"image {'AB'[i]} of row {index}", folders) for i, column in enumerate(columns))
        yield Row(index, str(index if given is None else given), (a, b))


def _image(image: Any, what: str, folders: Sequence[Path]) -> "Path | BinaryIO":
    try:
        return image_file(image, what, folders)
    except PictureError as error:
        return _unusable(str(error))


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


def _read_files(part: Part, store: Store | None = None, folder: Path | None = None) -> Iterator[Row]:
    """Yield the rows of a part whose places are an id and two paths, in a store or on this machine.

    With `folder`, files outside of it are rejected.
    """
    for index, piece in enumerate(part.pieces, part.first):
        name, *paths = piece.place
        a, b = (_file(path, f"image {'AB'[i]} of row {index}", store, folder) for i, path in enumerate(paths))
        yield Row(index, printable(name), (a, b))


def _file(path: str | None, what: str, store: Store | None, folder: Path | None) -> "Path | BinaryIO":
    if not path:
        return _unusable(f"The {what} is missing.")
    if store is not None:
        return _LazyFile(PurePosixPath(path).name, partial(store.read, path))
    if folder and not lies_within(Path(path), [folder]):
        return _unusable(f"The {what} lies outside of the folder {folder.name}.")
    return Path(path)


def open_source(
    source: str | Path,
    task: Task,
    columns: Columns = None,
    id_column: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    match: tuple[str, str] | None = None,
) -> Source:
    """Open the pairs to fuse; no image is read.

    Args:
        source: a folder with the task's two subfolders (matched by file stem) or with ``metadata.jsonl``, as for
            training; a Parquet file, a pattern such as ``'part-*.parquet'``, or a folder of them; a CSV or JSONL list
            with the columns ``a`` and ``b``; or OWNER/NAME of a data set on the Hub. Parquet files and the two
            subfolders, at any depth, may also be in an object store that pyarrow supports: ``s3://``, ``gs://``, ``hf://``.
        task: the task.
        columns: the two image columns; by default named like the task's subfolders, or a and b.
        id_column: column of the ids; by default the id is the file stem or the row's index.
        split: split of a data set on the Hub.
        revision: branch, tag or commit on the Hub.
        streaming: read the Parquet files of a data set on the Hub remotely, without storing them.
        match: patterns of the names in a folder, see `refusion.pairs.jobs.match_folders`.

    Raises:
        DataError: there is no such source, it holds no pair, or a column is missing.
        PictureError: the list is damaged.
        ModelError: there is no such data set on the Hub, or the Hub cannot be reached.
    """
    path, here = Path(source), fs.LocalFileSystem()
    folders = folders_to_match(source, task, match)
    if "://" in str(source):
        return _in_store(str(source), task, columns, id_column)
    if has_magic(str(source)) and not path.exists():
        files = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        return _parquet(here, [str(file) for file in files], str(source), task, columns, id_column)
    kind = source_kind(source, task) if match is None else "folders"
    if split != "train" and kind != "hub":
        raise DataError(
            f"{path.name} is not on the Hub, so it has no split {split!r}; a pattern such as 'test-*.parquet' chooses "
            "Parquet files."
        )
    if kind == "hub":
        return _on_hub(str(source), task, columns, id_column, split, revision, streaming)
    if kind == "parquet":
        return _parquet(here, [str(file) for file in parquet_files(path)], path.name, task, columns, id_column)
    if columns or id_column:
        raise DataError(
            f"{path.name} has no columns to choose from: its pairs are named after their files; leave out --columns "
            "and --id-column."
        )
    if kind == "folders":
        jobs = match_folders(*folders, path / "fused", patterns=match or ("*", "*"), advice=BY_A_LIST)
        pairs = [(job.name, str(job.a), str(job.b)) for job in jobs.pairs]
        return _pairs_of_files(pairs, path, _read_files, _size, tuple(jobs.unmatched), tuple(jobs.notes))
    if kind == "imagefolder":
        return _listed(path / METADATA, ("a_file_name", "b_file_name"), partial(_read_files, folder=path))
    return _listed(path, ("a", "b"), _read_files)


def _pairs_of_files(
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


def _size(path: str) -> int | None:
    return Path(path).stat().st_size if is_there(Path(path)) and Path(path).is_file() else None


def _listed(path: Path, keys: tuple[str, str], read: Callable[[Part], Iterator[Row]]) -> Source:
    """Open the rows of a list, including those that name no file."""
    pairs: list[tuple[str, str | None, str | None]] = []
    for _, row in list_rows(path):
        a, b = (str(listed_file(path.parent, str(row[key]))) if names_file(row.get(key)) else None for key in keys)
        name = output_name(row) or Path(a or b or "").stem
        pairs.append((name or str(len(pairs)), a, b))
    if not any(a and b for _, a, b in pairs):
        raise DataError(f"{path.name} lists no pair; the two files of a row are {keys[0]} and {keys[1]}.")
    return _pairs_of_files(pairs, path.parent, read, _size)


def _in_store(source: str, task: Task, columns: Columns, id_column: str | None) -> Source:
    shown = without_secrets(source)
    place, mark, query = source.partition("?")
    parts = place.split("/")
    end = next((i for i, part in enumerate(parts) if has_magic(part)), len(parts))
    store = Store.at("/".join(parts[:end]) + mark + query)
    if end == len(parts) and store.root.lower().endswith(".parquet"):
        return _parquet(store.filesystem, [store.root], shown, task, columns, id_column)
    sizes = store.files()
    pattern = "/".join(parts[end:]) or "*.parquet"
    if parquet := [f"{store.root}/{name}" for name in sizes if fnmatchcase(name, pattern)]:
        return _parquet(store.filesystem, parquet, shown, task, columns, id_column)
    pairs = _pairs_in_folders(sizes, task, shown)
    if not pairs:
        raise DataError(f"{shown} holds neither Parquet files nor pairs in {' and '.join(task.folders)}.")
    used = {path for _, *both in pairs for path in both}
    left_out = tuple(f"{name} has no partner, or is not an image" for name in sizes if name not in used)
    return _pairs_of_files(pairs, None, partial(_read_files, store=store), sizes.get, left_out)


def _pairs_in_folders(files: Iterable[str], task: Task, shown: str) -> list[tuple[str, str, str]]:
    """Pair the images in the task's two subfolders, at any depth, by the rest of their paths.

    Raises:
        DataError: two images of one subfolder have the same name.
    """
    found: dict[str, dict[str, str]] = {folder: {} for folder in task.folders}
    for file in files:
        *above, last = PurePosixPath(file).parts
        folder = next((part for part in above if part in found), None)
        if folder is None or PurePosixPath(last).suffix.lower() not in SUFFIXES:
            continue
        above.remove(folder)
        name = nfc("/".join([*above, PurePosixPath(last).stem]))
        other = found[folder].setdefault(name, file)
        if other != file:
            raise DataError(f"{shown} holds both {other} and {file}; keep only one of them.")
    first, second = found.values()
    return [(name, first[name], second[name]) for name in sorted(first.keys() & second.keys())]


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


def _parquet(
    filesystem: fs.FileSystem, files: Sequence[str], what: str, task: Task, columns: Columns, id_column: str | None
) -> Source:
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


def _on_hub(
    name: str,
    task: Task,
    columns: Columns,
    id_column: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> Source:
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
            opened = _parquet(stores[0].filesystem, files, name, task, columns, id_column)
            return Source(opened.read, opened.places, f"{name} {split}", commit)
    chosen = _choose_columns(loaded.column_names, name, task, columns, id_column)
    for column in chosen:
        if not isinstance(loaded.features[column], datasets.Image):
            raise DataError(f"The column {column} of {name} holds no images; name two image columns with --columns.")
        loaded = loaded.cast_column(column, datasets.Image(decode=False))
    rows = partial(_rows_of_dataset, dataset=loaded)
    read = partial(_read_table, columns=chosen, id_column=id_column, rows=rows, folders=hub_caches())
    return Source(read, [(None, len(loaded))], f"{name} {split}", commit)
