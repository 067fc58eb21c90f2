"""Load pairs of images as Hugging Face `datasets`."""

import glob
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, unquote_to_bytes

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns
from datasets.distributed import split_dataset_by_node

from refusion.images import Picture, PictureError, Reading
from refusion.images.location import location_note
from refusion.images.naming import with_folders
from refusion.images.reading import check_same_size
from refusion.images.roles import role_notes
from refusion.images.scans import scan_notes
from refusion.pairs.content import Lack, lack_of
from refusion.pairs.errors import DataError
from refusion.pairs.images import check_embedded, hub_caches, image_file, lies_within
from refusion.pairs.kinds import METADATA, folders_to_match, parquet_files, source_kind
from refusion.pairs.lists import BY_A_LIST, list_rows, listed_file, names_file, output_name
from refusion.pairs.matching import files_of_both, match, no_pair, refuse_doubles
from refusion.system.files import printable
from refusion.system.lists import counted
from refusion.system.processes import ALONE, Processes
from refusion.tasks import Task

AS_STORED = Reading()
"""Default options: values are scaled by the range of their type."""

HUB_SECONDS = 20
"""Timeout for asking the Hub whether a data set exists."""

_MATCHED = f"Files are matched by stem{BY_A_LIST}; "

_FILES = "files"
"""Column that says which files the rows may name: ``any``, ``quoted`` (any, in percent encoding), or ``cache``, that of
`datasets`; without it, none."""

_Listed: TypeAlias = tuple[str, Path | None, Path | None]
"""The name of a pair and its two files, of which a row may lack one."""


@dataclass
class Pairs:
    """A data set of registered pairs.

    Attributes:
        dataset: rows with image columns ``a`` and ``b`` and a column ``name``, as `picture_files` accepts them.
        skipped: the pairs and files that were skipped and why, one sentence each (only with `skip_bad`).
        skip_bad: skip pairs that cannot be used instead of raising.
        reading: how the images are read.
        notes: notes for the user on the images, as sentences; of a streamed data set, those that `look` found.
        task: the task, which defines the kind of each source.
        lacking: names of the pairs from which nothing can be learned; of a streamed data set, those that `look` found.
        sides: the shorter side, in pixels, of the images of each pair; empty for a streamed data set.
    """

    dataset: datasets.Dataset | datasets.IterableDataset
    skipped: list[str] = field(default_factory=list)
    skip_bad: bool = False
    reading: Reading = AS_STORED
    notes: list[str] = field(default_factory=list)
    task: Task | None = None
    lacking: dict[Lack, dict[str, None]] = field(default_factory=dict)
    sides: list[int] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set, init=False, repr=False)

    @property
    def streaming(self) -> bool:
        """Whether the rows can only be iterated, without random access."""
        return isinstance(self.dataset, datasets.IterableDataset)

    def look(self, name: str, pictures: tuple[Picture, Picture]) -> None:
        """Add the notes on the sources of a pair, each once, and what the pair lacks."""
        assert self.task is not None
        for note in named_notes(name, pair_notes(pictures, self.reading, self.task)):
            if note not in self._seen:
                self._seen.add(note)
                self.notes.append(note)
        if lack := lack_of(*pictures):
            self.lacking.setdefault(lack, {})[name] = None


def load_pairs(
    source: str | Path,
    task: Task,
    *,
    split: str = "train",
    skip_bad: bool = False,
    streaming: bool = False,
    processes: Processes = ALONE,
    reading: Reading | None = None,
    match: tuple[str, str] | None = None,
) -> Pairs:
    """Open a data set of registered pairs.

    Args:
        source: a folder with the task's two subfolders (matched as by `refusion.pairs.jobs.match_folders`); an
            imagefolder with ``metadata.jsonl`` (``a_file_name``, ``b_file_name``); a list, see
            `refusion.pairs.jobs.read_list`; a Parquet file or a folder of them; or the id of a data set on the Hub
            with two image columns, named like the subfolders or ``a`` and ``b``.
        task: the task, which names the two subfolders and columns.
        split: split of a data set on the Hub, or of a folder of Parquet files whose names say which split they are of.
        skip_bad: skip pairs that cannot be used, and list them in ``skipped``, instead of raising.
        streaming: iterate over the rows, for data sets too large for memory or disk. Images are then checked when
            they are read.
        processes: the processes that load it together: each checks its part of the rows, and all get the same pairs.
            Of a streamed data set, each gets its part of the rows.
        reading: how the images are read; by default that of the task.
        match: patterns of the names of the first and of the second sources, see `refusion.pairs.jobs.match_folders`;
            for a folder of images, or one with the task's two subfolders.

    Raises:
        DataError: there is no usable pair or no such split, a file has no partner, sizes differ, a file cannot be
            read, or Parquet files hold no image but only paths.
        PictureError: a list cannot be read as one.
    """
    path = Path(source)
    kind = source_kind(source, task) if match is None else "folders"
    if split != "train" and kind not in ("hub", "parquet"):
        raise DataError(f"{path.name} has no split {split!r}: only data sets on the Hub and Parquet files have splits.")
    if kind == "hub":
        pairs = Pairs(_may_name_cached(_with_names(_from_hub(str(source), split, streaming), task)))
    elif kind == "list":
        pairs = _listed(path, ("a", "b"))
    elif kind == "folders":
        pairs = _in_folders(folders_to_match(path, task, match), match, skip_bad)
    elif kind == "imagefolder":
        pairs = _listed(path / METADATA, ("a_file_name", "b_file_name"), within=path)
    else:
        found, notes = _of_split(path, split)
        footers = [_footer(file) for file in found]
        check_embedded(footers, _image_columns(footers[0].schema.to_arrow_schema().names, task), path.name)
        # `datasets` treats file names as patterns.
        files = [glob.escape(str(file)) for file in found]
        dataset = _load("parquet", path.name, data_files=files, split="train", streaming=streaming)
        pairs = Pairs(_with_names(dataset, task), notes=notes)
    if streaming and not pairs.streaming:
        pairs.dataset = pairs.dataset.to_iterable_dataset()
    pairs.skip_bad, pairs.task = skip_bad, task
    pairs.reading = reading or Reading(alike=task.one_camera)
    if pairs.streaming:
        if processes.count > 1:
            pairs.dataset = split_dataset_by_node(pairs.dataset, processes.rank, processes.count)
    else:
        _check_rows(pairs, task, processes)
        if len(pairs.dataset) == 0:
            raise DataError(f"{path.name} holds no usable pair.")
    return pairs


def _load(kind: str, what: str, **options: Any) -> Any:
    try:
        return datasets.load_dataset(kind, **options)
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise DataError(f"{what} cannot be loaded: {error}") from error


def _of_split(path: Path, split: str) -> tuple[list[Path], list[str]]:
    """The Parquet files of a split, by the rules of `datasets` for file names, with a note; all if there is one split.

    Raises:
        DataError: there are several splits, but not this one.
    """
    found = parquet_files(path)
    if path.is_file():
        return found, []
    folder, by_path = glob.escape(str(path)), {str(file.absolute()): file for file in found}
    try:
        named = DataFilesDict.from_patterns(get_data_patterns(folder), base_path=folder)
    except EmptyDatasetError:  # All are hidden, which `datasets` leaves out.
        return found, []
    splits = {str(name): [by_path[file] for file in sorted(files) if file in by_path] for name, files in named.items()}
    splits = {name: files for name, files in splits.items() if files}
    if len(splits) < 2:
        return found, []
    names = " and ".join(sorted(splits))
    if split not in splits:
        raise DataError(f"{path.name} has no split {split!r}, but {names}; choose one of them.")
    return splits[split], [f"Of {path.name}, which has the splits {names}, only {split} is used."]


def _footer(file: Path) -> pq.FileMetaData:
    """The footer of a Parquet file; `datasets` does not name the file that it cannot read."""
    try:
        return pq.read_metadata(file)
    except pa.ArrowException as error:
        raise DataError(f"{file.name} cannot be read as Parquet: {error}") from error


def _from_hub(name: str, split: str, streaming: bool) -> Any:
    from huggingface_hub import HfApi

    from refusion.hub.client_errors import hub_sentences

    # A single request, since `datasets` would retry many times.
    with hub_sentences(name, what="data set"):
        HfApi().dataset_info(name, timeout=HUB_SECONDS)
    return _load(name, name, split=split, streaming=streaming)


def _may_name_cached(dataset: Any) -> Any:
    """Let the rows of a data set of images on the Hub name the files that `datasets` has stored."""
    if isinstance(dataset, datasets.IterableDataset):
        return dataset
    return dataset.add_column(_FILES, ["cache"] * len(dataset))


def _in_folders(folders: tuple[Path, Path], patterns: tuple[str, str] | None, skip_bad: bool) -> Pairs:
    try:
        found = files_of_both(folders, patterns or ("*", "*"))
    except ValueError as error:
        raise DataError(str(error)) from error
    if not skip_bad:
        for files in found:
            refuse_doubles(files)
    matched = match(*found)
    if matched.problems and not skip_bad:
        raise DataError(
            f"{counted(len(matched.problems), 'file')} cannot be matched: {'; '.join(matched.problems[:5])}. "
            f"{_MATCHED if patterns is None else ''}--skip-bad leaves these out."
        )
    if not matched.pairs:
        raise DataError(no_pair(*found, matched, BY_A_LIST))
    return Pairs(_of_files(matched.pairs), matched.problems, notes=matched.notes)


def _listed(path: Path, keys: tuple[str, str], within: Path | None = None) -> Pairs:
    """The pairs of a list, one per row; with `within`, files outside of this folder are rejected."""
    rows: list[_Listed] = []
    for line, row in list_rows(path):
        given = [row.get(key) for key in keys]
        first, second = (listed_file(path.parent, str(name)) if names_file(name) else None for name in given)
        for file in (first, second):
            if file is not None and within is not None and not lies_within(file, [within]):
                raise DataError(f"{path.name}, line {line}: {file.name} lies outside of the folder {within.name}.")
        name = output_name(row) or row.get("name") or (first.stem if first else f"line {line}")
        rows.append((str(name), first, second))
    if not any(first and second for _, first, second in rows):
        raise DataError(f"{path.name} lists no pair; the two files of a row are {keys[0]} and {keys[1]}.")
    return Pairs(_of_files(_with_own_names(rows)))


def _with_own_names(rows: list[_Listed]) -> list[_Listed]:
    """Name the pairs that share a name by their first files, with as many folders as tell these apart."""
    alike: dict[str, list[int]] = {}
    for index, (name, first, _) in enumerate(rows):
        if first is not None:
            alike.setdefault(name, []).append(index)
    named = list(rows)
    for places in (places for places in alike.values() if len(places) > 1):
        _, files, others = zip(*(rows[place] for place in places), strict=True)
        for place, shown, file, other in zip(places, with_folders(files), files, others, strict=True):
            named[place] = (Path(shown).with_suffix("").as_posix(), file, other)
    return named


def _of_files(rows: Sequence[_Listed]) -> datasets.Dataset:
    picture = datasets.Image(decode=False)
    text = datasets.Value("string")
    features = datasets.Features({"name": text, "a": picture, "b": picture, _FILES: text})
    columns: dict[str, list[Any]] = {"name": [printable(name) for name, _, _ in rows]}
    # The text of a data set is UTF-8, which names of files need not be.
    quoted = [any(printable(str(file)) != str(file) for file in files) for _, *files in rows]
    columns[_FILES] = ["quoted" if is_quoted else "any" for is_quoted in quoted]
    for column, place in (("a", 1), ("b", 2)):
        given = (None if row[place] is None else str(row[place]) for row in rows)
        columns[column] = [quote(os.fsencode(x)) if x and q else x for x, q in zip(given, quoted, strict=True)]
    return datasets.Dataset.from_dict(columns, features=features)


def _with_names(dataset: Any, task: Task) -> Any:
    """Find the columns, keep images undecoded, and give every row a name."""
    columns = dataset.column_names or list(dataset.features or {})
    chosen = _image_columns(columns, task)
    name = ["name"] if "name" in columns else []
    dataset = dataset.select_columns([*name, *chosen])
    for column in chosen:
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    if chosen != ("a", "b"):
        dataset = dataset.rename_columns(dict(zip(chosen, "ab", strict=True)))
    if not name:
        dataset = dataset.map(lambda row, index: {"name": _row_name(row, index)}, with_indices=True)
    return dataset.select_columns(["name", "a", "b"])


def _image_columns(columns: Sequence[str], task: Task) -> tuple[str, str]:
    chosen = next((pair for pair in (task.folders, ("a", "b")) if {*pair} <= {*columns}), None)
    if chosen is None:
        needed = f"{' and '.join(task.folders)}, or a and b"
        raise DataError(f"The data set has the columns {', '.join(columns)}; it needs the image columns {needed}.")
    return chosen


def _row_name(row: dict[str, Any], index: int) -> str:
    return Path(row["a"]["path"]).stem if row["a"] and row["a"].get("path") else f"row {index}"


def _check_rows(pairs: Pairs, task: Task, processes: Processes) -> None:
    """Decode every pair once, so that a bad file is found before a run starts."""
    mine: list[tuple[int, str]] = []
    looks: list[tuple[int, list[str], Lack | None, int]] = []
    for index in range(processes.rank, len(pairs.dataset), processes.count):
        try:
            row = pairs.dataset[index]
            pictures = read_pictures(row, pairs.reading)
            notes = named_notes(str(row["name"]), pair_notes(pictures, pairs.reading, task))
            looks.append((index, notes, lack_of(*pictures), min(pictures[0].size)))
        except PictureError as error:
            mine.append((index, str(error)))
    parts = [json.loads(part) for part in processes.gather_bytes(json.dumps([mine, looks]).encode())]
    found = dict(row for part in parts for row in part[0])
    for index, said, lack, side in sorted((row for part in parts for row in part[1]), key=lambda row: row[0]):
        pairs.notes += said
        pairs.sides.append(side)
        if lack is not None:
            pairs.lacking.setdefault(lack, {})[str(pairs.dataset[index]["name"])] = None
    bad = [found[index] for index in sorted(found)]
    good = [index for index in range(len(pairs.dataset)) if index not in found]
    if bad and not pairs.skip_bad:
        raise DataError(f"{counted(len(bad), 'pair')} cannot be used. {' '.join(bad[:5])} --skip-bad skips these.")
    pairs.skipped += bad
    if bad:
        pairs.dataset = pairs.dataset.select(good)


def read_pictures(row: dict[str, Any], reading: Reading = AS_STORED) -> tuple[Picture, Picture]:
    """Read both images of a row.

    Raises:
        PictureError: a file cannot be read, or the sizes differ.
    """
    first, second = reading.all(picture_files(row))
    check_same_size(first, second)
    return first, second


def read_row(row: dict[str, Any], reading: Reading = AS_STORED) -> tuple[np.ndarray, np.ndarray]:
    """Read the luminance of both images of a row, two float32 arrays (H, W) in [0, 1].

    Raises:
        PictureError: a file cannot be read, or the sizes differ.
    """
    first, second = read_pictures(row, reading)
    return first.luminance, second.luminance


def pair_notes(pictures: tuple[Picture, Picture], reading: Reading, task: Task) -> list[str]:
    """Notes for the user on a pair, as sentences."""
    where = location_note(*pictures)
    return [*reading.notes(pictures), *role_notes(*pictures, task), *([where] if where else []), *scan_notes(*pictures)]


def named_notes(name: str, notes: Iterable[str]) -> list[str]:
    """Notes on a pair of many, with its name: its files may be called as those of another pair."""
    return [f"{name}: {note}" for note in notes]


def fingerprint(pairs: Pairs, processes: Processes = ALONE) -> str | None:
    """SHA-256 of the names and files of all pairs, independent of order and location; None for a streamed data set.

    Args:
        pairs: the data set, the same in every process.
        processes: the processes that compute it together; each reads its part.
    """
    if pairs.streaming:
        return None
    lines = []
    for index in range(processes.rank, len(pairs.dataset), processes.count):
        row = pairs.dataset[index]
        contents = (f.getvalue() if isinstance(f, io.BytesIO) else f.read_bytes() for f in picture_files(row))
        lines.append(" ".join((*(hashlib.sha256(content).hexdigest() for content in contents), str(row["name"]))))
    parts = processes.gather_bytes(json.dumps(lines).encode())
    together = sorted(line for part in parts for line in json.loads(part))
    return hashlib.sha256("\n".join(together).encode()).hexdigest()


def source_files(source: Path, pairs: Pairs) -> Iterator[Path]:
    """Yield the files of a data set on disk: its list, its Parquet files or the images of its pairs.

    Args:
        source: the path that it was loaded from.
        pairs: the data set.
    """
    if not source.exists():
        return
    yield from (source, source / METADATA, *parquet_files(source))
    for row in pairs.dataset:
        images = [image for image in (row["a"], row["b"]) if image]
        if any(image["bytes"] is not None for image in images):
            return  # Parquet holds the images themselves.
        yield from (_path(row, image["path"]) for image in images if image["path"])


def picture_files(row: dict[str, Any]) -> tuple[Path | io.BytesIO, Path | io.BytesIO]:
    """Both images of a row, as sources for `refusion.images.read_picture`.

    Raises:
        PictureError: an image is missing, or is only the path of a file that this data set may not name.
    """
    return _picture_file(row, "a"), _picture_file(row, "b")


def _picture_file(row: dict[str, Any], column: str) -> Path | io.BytesIO:
    image, may_name = row[column], row.get(_FILES)
    if image and image["path"]:
        image = {**image, "path": _path(row, image["path"])}
    folders = None if may_name in ("any", "quoted") else hub_caches() if may_name == "cache" else ()
    return image_file(image, f"image {column} of {row['name']}", folders)


def _path(row: dict[str, Any], given: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(given)) if row.get(_FILES) == "quoted" else given)
