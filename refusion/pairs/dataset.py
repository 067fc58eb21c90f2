"""Pairs as Hugging Face `datasets`."""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.distributed import split_dataset_by_node

from refusion.images import Picture, PictureError, Reading
from refusion.images.reading import check_same_size
from refusion.images.roles import role_notes
from refusion.pairs.files import SUFFIXES, DataError
from refusion.system.processes import ALONE, Processes
from refusion.tasks import Task

AS_STORED = Reading()
"""Images are read by the range of their type."""


@dataclass
class Pairs:
    """A data set of registered pairs.

    Attributes:
        dataset: rows with a picture column ``a``, a picture column ``b`` and a ``name``.
        skipped: what was left out and why, one sentence each (only with `skip_bad`).
        skip_bad: leave out what cannot be used instead of raising.
        reading: how the images are read.
        notes: what a person should know of the images, as sentences; of a streamed set nothing is known.
    """

    dataset: datasets.Dataset | datasets.IterableDataset
    skipped: list[str] = field(default_factory=list)
    skip_bad: bool = False
    reading: Reading = AS_STORED
    notes: list[str] = field(default_factory=list)

    @property
    def streaming(self) -> bool:
        """Whether the rows come one after the other, without random access."""
        return isinstance(self.dataset, datasets.IterableDataset)


def load_pairs(
    source: str | Path,
    task: Task,
    *,
    split: str = "train",
    skip_bad: bool = False,
    streaming: bool = False,
    processes: Processes = ALONE,
    reading: Reading | None = None,
) -> Pairs:
    """Open a data set of registered pairs.

    Args:
        source: a folder with the task's two sub-folders (matched by file stem); an imagefolder with
            ``metadata.jsonl`` (``a_file_name``, ``b_file_name``); a Parquet file or a folder of them; or
            the id of a data set on the Hub with picture columns ``a`` and ``b``.
        task: the task, which names the two sub-folders.
        split: split of a data set on the Hub.
        skip_bad: leave out what does not fit, and list it in ``skipped``, instead of raising.
        streaming: read rows one after the other, for sets too large for memory or disk. Pictures are then
            checked when they are read.
        processes: those that open it together: each checks its part of the rows, and all get the same pairs. Of a
            streamed set, each gets its part of the rows.
        reading: how the images are read; as the task has it if not given.

    Raises:
        DataError: nothing usable there, unmatched names, unequal sizes or unreadable files.
    """
    path = Path(source)
    if not path.exists():
        if path.is_absolute() or str(source).startswith(".") or str(source).count("/") != 1:
            raise DataError(
                f"There is no folder or file {str(source)!r}; give a folder with {' and '.join(task.folders)} "
                "in it, an imagefolder, a Parquet file, or OWNER/NAME of a data set on the Hub."
            )
        pairs = Pairs(_with_names(_load(str(source), split=split, streaming=streaming)))
    elif all((path / folder).is_dir() for folder in task.folders):
        pairs = _two_folders(path, task, skip_bad)
        if streaming:
            pairs.dataset = pairs.dataset.to_iterable_dataset()
    elif (path / "metadata.jsonl").is_file():
        loaded = _load("imagefolder", data_dir=str(path), split="train", streaming=streaming)
        pairs = Pairs(_with_names(loaded))
    elif parquet := sorted(path.glob("**/*.parquet")) if path.is_dir() else [path] * (path.suffix == ".parquet"):
        files = [str(file) for file in parquet]
        loaded = _load("parquet", data_files=files, split="train", streaming=streaming)
        pairs = Pairs(_with_names(loaded))
    else:
        raise DataError(
            f"{path.name} holds neither the folders {' and '.join(task.folders)}, nor metadata.jsonl, "
            "nor Parquet files."
        )
    pairs.skip_bad = skip_bad
    pairs.reading = reading or Reading(alike=task.one_camera)
    if pairs.streaming:
        if processes.count > 1:
            pairs.dataset = split_dataset_by_node(pairs.dataset, processes.rank, processes.count)
    else:
        _check_rows(pairs, task, processes)
        if len(pairs.dataset) == 0:
            raise DataError(f"{path.name} holds no usable pair.")
    return pairs


def _load(kind: str, **options: Any) -> Any:
    try:
        return datasets.load_dataset(kind, **options)
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        what = options.get("data_dir") or options.get("data_files") or kind
        raise DataError(f"{what} cannot be loaded: {error}") from error


def _two_folders(path: Path, task: Task, skip_bad: bool) -> Pairs:
    by_stem = []
    for folder in task.folders:
        files = [f for f in sorted((path / folder).iterdir()) if f.suffix.lower() in SUFFIXES]
        stems: dict[str, Path] = {}
        for file in files:
            if file.stem in stems:
                raise DataError(f"{folder} holds both {stems[file.stem].name} and {file.name}; keep one of them.")
            stems[file.stem] = file
        by_stem.append(stems)
    first, second = by_stem
    unmatched = [
        f"{folder}/{mine[stem].name} has no partner in {other}"
        for folder, other, mine, theirs in (
            (task.folders[0], task.folders[1], first, second),
            (task.folders[1], task.folders[0], second, first),
        )
        for stem in sorted(mine.keys() - theirs.keys())
    ]
    if unmatched and not skip_bad:
        raise DataError(
            f"{len(unmatched)} file(s) have no partner: {'; '.join(unmatched[:5])}. "
            "Both folders must hold the same file stems; --skip-bad leaves these out."
        )
    names = sorted(first.keys() & second.keys())
    if not names:
        raise DataError(f"{path.name} holds no pair: no file stem is in both {' and '.join(task.folders)}.")
    columns = {"name": names, "a": [str(first[n]) for n in names], "b": [str(second[n]) for n in names]}
    picture = datasets.Image(decode=False)
    features = datasets.Features({"name": datasets.Value("string"), "a": picture, "b": picture})
    return Pairs(datasets.Dataset.from_dict(columns, features=features), unmatched)


def _with_names(dataset: Any) -> Any:
    """Check the columns, keep pictures undecoded, and give every row a name."""
    columns = dataset.column_names or list(dataset.features or {})
    missing = [column for column in ("a", "b") if column not in columns]
    if missing:
        raise DataError(f"The data set has the columns {', '.join(columns)}; it needs the picture columns a and b.")
    for column in ("a", "b"):
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    if "name" not in columns:
        dataset = dataset.map(lambda row, index: {"name": _row_name(row, index)}, with_indices=True)
    return dataset.select_columns(["name", "a", "b"])


def _row_name(row: dict[str, Any], index: int) -> str:
    return Path(row["a"]["path"]).stem if row["a"].get("path") else f"row {index}"


def _check_rows(pairs: Pairs, task: Task, processes: Processes) -> None:
    """Decode every pair once, so that a bad file stops a run before it starts and not in the middle."""
    mine: list[tuple[int, str]] = []
    notes: list[tuple[int, list[str]]] = []
    for index in range(processes.rank, len(pairs.dataset), processes.count):
        try:
            notes.append((index, pair_notes(read_pictures(pairs.dataset[index], pairs.reading), pairs.reading, task)))
        except PictureError as error:
            mine.append((index, str(error)))
    parts = [json.loads(part) for part in processes.gather_bytes(json.dumps([mine, notes]).encode())]
    found = dict(row for part in parts for row in part[0])
    pairs.notes = [note for _, said in sorted(row for part in parts for row in part[1]) for note in said]
    bad = [found[index] for index in sorted(found)]
    good = [index for index in range(len(pairs.dataset)) if index not in found]
    if bad and not pairs.skip_bad:
        raise DataError(f"{len(bad)} pair(s) cannot be used. {' '.join(bad[:5])} --skip-bad leaves these out.")
    pairs.skipped += bad
    if bad:
        pairs.dataset = pairs.dataset.select(good)


def read_pictures(row: dict[str, Any], reading: Reading = AS_STORED) -> tuple[Picture, Picture]:
    """Both images of one row.

    Raises:
        PictureError: a file is unreadable, or the sizes differ.
    """
    first, second = reading.all(picture_files(row))
    check_same_size(first, second)
    return first, second


def read_row(row: dict[str, Any], reading: Reading = AS_STORED) -> tuple[np.ndarray, np.ndarray]:
    """Luminance of one row, two float32 arrays (H, W) in [0, 1].

    Raises:
        PictureError: a file is unreadable, or the sizes differ.
    """
    first, second = read_pictures(row, reading)
    return first.luminance, second.luminance


def pair_notes(pictures: tuple[Picture, Picture], reading: Reading, task: Task) -> list[str]:
    """What a person should know of a pair, as sentences."""
    return [*reading.notes(pictures), *role_notes(*pictures, task)]


def fingerprint(pairs: Pairs, processes: Processes = ALONE) -> str | None:
    """SHA-256 over the names and the files of all pairs, whatever their order and place; None of a streamed set.

    Args:
        pairs: the data set, the same in every process.
        processes: those that read it together, each its part.
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


def picture_files(row: dict[str, Any]) -> tuple[Path | io.BytesIO, Path | io.BytesIO]:
    """Both pictures of one row, as `refusion.images.read_picture` takes them."""
    return _picture_file(row, "a"), _picture_file(row, "b")


def _picture_file(row: dict[str, Any], column: str) -> Path | io.BytesIO:
    picture = row[column]
    if picture["bytes"] is None:
        return Path(picture["path"])
    file = io.BytesIO(picture["bytes"])
    file.name = f"{column} of {row['name']}"
    return file
