"""Where the rows of a bulk fusion come from: pairs of undecoded pictures, one after the other, split by process."""

import glob
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.distributed import split_dataset_by_node

from refusion.hub.client_errors import hub_sentences
from refusion.images.picture import PictureError
from refusion.pairs.dataset import load_pairs
from refusion.pairs.files import LISTS, DataError, read_list
from refusion.tasks import Task

BATCH_ROWS = 16
"""Rows of a Parquet file that are in memory at a time."""

_MANY = 4
"""Row groups for each process from which on whole row groups are dealt out instead of rows."""

_PICTURE = datasets.Image(decode=False)
_FEATURES = datasets.Features(
    {"row": datasets.Value("int64"), "id": datasets.Value("string"), "a": _PICTURE, "b": _PICTURE}
)


@dataclass(frozen=True)
class Row:
    """One pair of a source.

    Attributes:
        index: its place in the source, from 0.
        id: what the source calls it, or its index.
        pictures: the two pictures in the order of the task, as `datasets` keeps them undecoded: ``bytes``, or a
            ``path``; None if there is none.
        folders: folders that paths may lead into; None for all.
    """

    index: int
    id: str
    pictures: tuple[dict[str, Any] | None, dict[str, Any] | None]
    folders: tuple[Path, ...] | None = ()

    def sources(self) -> "tuple[Path | BinaryIO, Path | BinaryIO]":
        """Both pictures, as `refusion.images.reading.read_picture` takes them; what is missing says so when it is
        read."""
        first, second = (self._source(picture, which) for picture, which in zip(self.pictures, "AB", strict=True))
        return first, second

    def _source(self, picture: dict[str, Any] | None, which: str) -> "Path | BinaryIO":
        name = f"picture {which} of row {self.index}"
        if picture and picture["bytes"] is not None:
            file = io.BytesIO(picture["bytes"])
            file.name = name
            return file
        if not picture or not picture["path"]:
            return _Missing(f"The {name} is missing.")
        path = Path(picture["path"])
        # A data set from elsewhere must not make this program open any file of this machine.
        if self.folders is not None and not any(path.resolve().is_relative_to(folder) for folder in self.folders):
            return _Missing(f"The {name} is only a path; the data set must hold the bytes of its pictures.")
        return path


class _Missing(io.BytesIO):
    """Stands for a picture that is not there, up to the moment it is read."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem

    def seek(self, *_: Any) -> int:
        raise PictureError(self.problem)


class Source(ABC):
    """Rows in an order that is always the same.

    Attributes:
        fingerprint: changes when the rows do: made of names, sizes and Parquet footers, without reading a picture; or
            of the commit on the Hub.
        total: number of rows, or None if it is not known before they are read.
        left_out: what has no partner, a sentence each.
        revision: commit on the Hub.
    """

    def __init__(
        self, fingerprint: str, total: int | None, left_out: Sequence[str] = (), revision: str | None = None
    ) -> None:
        self.fingerprint, self.total, self.left_out, self.revision = fingerprint, total, tuple(left_out), revision
        self.folders: tuple[Path, ...] | None = ()

    def rows(self, done: np.ndarray, rank: int = 0, world_size: int = 1) -> Iterator[Row]:
        """The rows of one process that are not done; those of all processes together are all that are not done.

        Args:
            done: bool by row index, the same in all processes; shorter if no later row is done.
            rank: the process.
            world_size: number of processes.

        Raises:
            DataError: the source cannot be read on.
        """
        for row in split_dataset_by_node(self._dataset(done, world_size), rank=rank, world_size=world_size):
            index, given = row["row"], row.get("id")
            if index >= len(done) or not done[index]:
                name = str(index if given is None else given)
                yield Row(index, name, (row["a"], row["b"]), self.folders)

    @abstractmethod
    def _dataset(self, done: np.ndarray, world_size: int) -> datasets.IterableDataset:
        """Rows with ``row``, ``a``, ``b`` and perhaps ``id``, in order, at least those that are not done."""


@dataclass(frozen=True)
class _RowGroup:
    """A piece of a Parquet file that is read by itself."""

    path: str
    number: int
    first: int
    rows: int


class _ParquetFiles(Source):
    """Local Parquet files; only the row groups that a process needs are read, if there are enough of them."""

    def __init__(self, files: list[Path], columns: tuple[str, str], id_column: str | None) -> None:
        self.columns, self.id_column = columns, id_column
        self.groups: list[_RowGroup] = []
        digest, total = hashlib.sha256(), 0
        for file in files:
            with _opened(file) as parquet:
                for number in range(parquet.num_row_groups):
                    rows = parquet.metadata.row_group(number).num_rows
                    self.groups.append(_RowGroup(str(file), number, total, rows))
                    total += rows
            digest.update(f"{file.name} {file.stat().st_size} ".encode() + _footer(file))
        super().__init__(digest.hexdigest(), total)

    def _dataset(self, done: np.ndarray, world_size: int) -> datasets.IterableDataset:
        def finished(group: _RowGroup) -> bool:
            end = group.first + group.rows
            return end <= len(done) and bool(done[group.first : end].all())

        groups = [group for group in self.groups if not finished(group)] or self.groups[:1]
        if len(groups) >= _MANY * world_size:
            # `split_dataset_by_node` deals out whole shards only if their number is a multiple of the processes.
            groups += [_RowGroup("", 0, 0, 0)] * (-len(groups) % world_size)
        options = {"groups": groups, "columns": self.columns, "id_column": self.id_column}
        return datasets.IterableDataset.from_generator(_parquet_rows, features=_FEATURES, gen_kwargs=options)


def _parquet_rows(groups: list[_RowGroup], columns: tuple[str, str], id_column: str | None) -> Iterator[dict[str, Any]]:
    wanted = [*dict.fromkeys([*columns, *([id_column] if id_column else [])])]
    for group in groups:
        if not group.rows:
            continue
        with _opened(Path(group.path)) as parquet:
            index = group.first
            batches = parquet.iter_batches(BATCH_ROWS, row_groups=[group.number], columns=wanted, use_threads=False)
            while (batch := _next_batch(batches, group, index)) is not None:
                for row in batch.to_pylist():
                    first, second = (_picture(row[column]) for column in columns)
                    given = row[id_column] if id_column else None
                    yield {"row": index, "id": None if given is None else str(given), "a": first, "b": second}
                    index += 1


def _next_batch(batches: Iterator[pa.RecordBatch], group: _RowGroup, index: int) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{Path(group.path).name} cannot be read on at row {index}: {error}") from error


def _picture(value: Any) -> dict[str, Any] | None:
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    return None if value is None else {"bytes": value.get("bytes"), "path": value.get("path")}


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.name} cannot be read as Parquet: {error}") from error


def _footer(file: Path) -> bytes:
    """The end of a Parquet file: where its column chunks are, how large, and their statistics."""
    with file.open("rb") as opened:
        opened.seek(-8, os.SEEK_END)
        length = int.from_bytes(opened.read(4), "little")
        opened.seek(-8 - length, os.SEEK_END)
        return opened.read(length)


class _Table(Source):
    """A data set with random access."""

    def __init__(self, dataset: datasets.Dataset, fingerprint: str, **known: Any) -> None:
        super().__init__(fingerprint, len(dataset), **known)
        self.dataset = dataset.add_column("row", np.arange(len(dataset)))

    def _dataset(self, done: np.ndarray, world_size: int) -> datasets.IterableDataset:
        left = np.flatnonzero(~done[: len(self.dataset)])
        dataset = self.dataset
        if len(done) >= len(dataset) > len(left) > 0:
            dataset = dataset.select(left)
        pieces = world_size if len(dataset) >= world_size else 1
        return dataset.to_iterable_dataset(num_shards=pieces)


class _Stream(Source):
    """A data set that comes one row after the other; every process reads all of it and keeps its own rows."""

    def __init__(self, dataset: datasets.IterableDataset, fingerprint: str, **known: Any) -> None:
        super().__init__(fingerprint, None, **known)
        self.dataset = dataset

    def _dataset(self, done: np.ndarray, world_size: int) -> datasets.IterableDataset:
        # A generator is one shard, so that rows are dealt out, not shards: only so is a row's place known.
        return datasets.IterableDataset.from_generator(
            _numbered, features=_FEATURES, gen_kwargs={"dataset": self.dataset}
        )


def _numbered(dataset: datasets.IterableDataset) -> Iterator[dict[str, Any]]:
    for index, row in enumerate(dataset):
        given = row.get("id")
        yield {"row": index, "id": None if given is None else str(given), "a": row["a"], "b": row["b"]}


def open_source(
    source: str | Path,
    task: Task,
    *,
    columns: tuple[str, str] | None = None,
    id_column: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
) -> Source:
    """Open the pairs that are to be fused; no picture is read.

    Args:
        source: a folder with the task's two sub-folders (matched by file stem) or with ``metadata.jsonl``, as training
            takes it; a Parquet file, a pattern such as ``'part-*.parquet'``, or a folder of them; a CSV or JSONL list
            as `refusion.pairs.files.read_list` takes it; or OWNER/NAME of a data set on the Hub.
        task: the task.
        columns: the two picture columns; named as the task's sub-folders, or a and b, if not given.
        id_column: column of the ids; the file stem, or the row's index, if not given.
        split: split of a data set on the Hub.
        revision: branch, tag or commit on the Hub.
        streaming: read a data set on the Hub without keeping it.

    Raises:
        DataError: there is no such source, it holds no pair, or a column is missing.
        PictureError: the list is damaged.
        ModelError: there is no such data set on the Hub, or it cannot be reached.
    """
    path = Path(source)
    if glob.has_magic(str(source)) and not path.exists():
        anchor = path.anchor or "."
        files = sorted(Path(anchor).glob(str(path.relative_to(path.anchor))))
        return _parquet(files, str(source), task, columns, id_column)
    if not path.exists():
        if path.is_absolute() or str(source).startswith(".") or str(source).count("/") != 1 or path.suffix in _FILES:
            raise DataError(
                f"There is no folder or file {str(source)!r}; give a folder with {' and '.join(task.folders)} in it, "
                "Parquet files, a CSV or JSONL list of pairs, or OWNER/NAME of a data set on the Hub."
            )
        return _hub(str(source), task, columns, id_column, split, revision, streaming)
    if path.is_file() and path.suffix.lower() == ".parquet":
        return _parquet([path], path.name, task, columns, id_column)
    if path.is_file() and path.suffix.lower() in LISTS:
        _refuse_columns("A list", columns, id_column)
        jobs = read_list(path, Path()).pairs
        return _files([Path(job.name).with_suffix("").as_posix() for job in jobs], [(job.a, job.b) for job in jobs])
    if path.is_dir() and not _is_pair_folder(path, task) and (parquet := sorted(path.glob("**/*.parquet"))):
        return _parquet(parquet, path.name, task, columns, id_column)
    _refuse_columns("A folder of pictures", columns, id_column)
    pairs = load_pairs(path, task, skip_bad=True, streaming=True)
    rows = list(pairs.dataset)
    paths = [(Path(row["a"]["path"]), Path(row["b"]["path"])) for row in rows]
    return _files([row["name"] for row in rows], paths, pairs.skipped)


_FILES = frozenset({".parquet", *LISTS})


def _is_pair_folder(path: Path, task: Task) -> bool:
    return all((path / folder).is_dir() for folder in task.folders) or (path / "metadata.jsonl").is_file()


def _refuse_columns(what: str, columns: tuple[str, str] | None, id_column: str | None) -> None:
    if columns or id_column:
        raise DataError(f"{what} has no columns to choose: its pairs are called after their files; leave that out.")


def _files(names: list[str], paths: list[tuple[Path, Path]], left_out: Sequence[str] = ()) -> Source:
    digest = hashlib.sha256()
    for name, pair in zip(names, paths, strict=True):
        sizes = [path.stat().st_size if path.is_file() else None for path in pair]
        digest.update(f"{name} {pair[0].name} {pair[1].name} {sizes}\n".encode())
    columns = {"id": names, "a": [str(a) for a, _ in paths], "b": [str(b) for _, b in paths]}
    features = datasets.Features({"id": datasets.Value("string"), "a": _PICTURE, "b": _PICTURE})
    table = _Table(datasets.Dataset.from_dict(columns, features=features), digest.hexdigest(), left_out=left_out)
    table.folders = None
    return table


def _parquet(
    files: list[Path], what: str, task: Task, columns: tuple[str, str] | None, id_column: str | None
) -> Source:
    if not files:
        raise DataError(f"No file fits {what!r}; give Parquet files.")
    chosen = columns
    for file in files:
        with _opened(file) as parquet:
            schema = parquet.schema_arrow
        chosen = _choose_columns(schema.names, file.name, task, chosen, id_column)
        for column in chosen:
            _check_picture_type(schema.field(column).type, column, file.name)
    assert chosen is not None
    opened = _ParquetFiles(files, chosen, id_column)
    if opened.total == 0:
        raise DataError(f"{what} holds no row.")
    return opened


def _choose_columns(
    names: Sequence[str], what: str, task: Task, columns: tuple[str, str] | None, id_column: str | None
) -> tuple[str, str]:
    """The two picture columns.

    Raises:
        DataError: one of them, or the id column, is missing.
    """
    choices = [columns] if columns else [task.folders, ("a", "b")]
    chosen = next((choice for choice in choices if all(column in names for column in choice)), None)
    if chosen is None:
        needed = ", or ".join(" and ".join(choice) for choice in choices)
        raise DataError(
            f"{what} has the columns {', '.join(names)}; the two picture columns are {needed}, "
            "or those that --columns names."
        )
    if id_column and id_column not in names:
        raise DataError(f"{what} has the columns {', '.join(names)}; there is no {id_column} to take the ids from.")
    return chosen


def _check_picture_type(kind: pa.DataType, column: str, what: str) -> None:
    is_image = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not (is_image or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"The column {column} of {what} holds {kind}; a picture column holds the bytes of picture files, "
            "as images of `datasets` or as binary."
        )


def _hub(
    name: str,
    task: Task,
    columns: tuple[str, str] | None,
    id_column: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> Source:
    from huggingface_hub import HfApi

    with hub_sentences(name, revision):
        commit = HfApi().dataset_info(name, revision=revision).sha
        try:
            loaded = datasets.load_dataset(name, split=split, revision=commit, streaming=streaming)
        except (datasets.exceptions.DatasetsError, ValueError) as error:
            raise DataError(f"The data set {name} cannot be loaded: {str(error).strip()}") from error
    names = loaded.column_names or list(loaded.features or {})
    chosen = _choose_columns(names, name, task, columns, id_column)
    for column in chosen:
        if loaded.features is not None and not isinstance(loaded.features[column], datasets.Image):
            raise DataError(f"The column {column} of {name} holds no images; name two image columns with --columns.")
        loaded = loaded.cast_column(column, _PICTURE)
    renamed = {chosen[0]: "a", chosen[1]: "b", **({id_column: "id"} if id_column else {})}
    loaded = loaded.select_columns(list(renamed)).rename_columns({k: v for k, v in renamed.items() if k != v})
    fingerprint = f"{name} {split} {commit}"
    if streaming:
        return _Stream(loaded, fingerprint, revision=commit)
    table = _Table(loaded, fingerprint, revision=commit)
    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    table.folders = tuple(Path(cache).expanduser().resolve() for cache in caches)
    return table
