"""Pairs on Hugging Face `datasets`, and the training crops cut from them."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import torch
from datasets.distributed import split_dataset_by_node
from torch import Tensor

from refusion.images import PictureError, read_pair
from refusion.system.processes import ALONE, Processes
from refusion.tasks import Task
from refusion.training.augmentation import NO_AUGMENTATION, Augmentation

Luminances = tuple[np.ndarray, np.ndarray]

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


class DataError(ValueError):
    """The data set cannot be used; the message names the files and what to do."""


@dataclass
class Pairs:
    """A data set of registered pairs.

    Attributes:
        dataset: rows with a picture column ``a``, a picture column ``b`` and a ``name``.
        skipped: what was left out and why, one sentence each (only with `skip_bad`).
        skip_bad: leave out what cannot be used instead of raising.
    """

    dataset: datasets.Dataset | datasets.IterableDataset
    skipped: list[str] = field(default_factory=list)
    skip_bad: bool = False

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
    if pairs.streaming:
        if processes.count > 1:
            pairs.dataset = split_dataset_by_node(pairs.dataset, processes.rank, processes.count)
    else:
        _check_rows(pairs, processes)
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
        files = [f for f in sorted((path / folder).iterdir()) if f.suffix.lower() in PICTURE_SUFFIXES]
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


def _check_rows(pairs: Pairs, processes: Processes) -> None:
    """Decode every pair once, so that a bad file stops a run before it starts and not in the middle."""
    mine = []
    for index in range(processes.rank, len(pairs.dataset), processes.count):
        try:
            read_row(pairs.dataset[index])
        except PictureError as error:
            mine.append((index, str(error)))
    found = dict(row for part in processes.gather_bytes(json.dumps(mine).encode()) for row in json.loads(part))
    bad = [found[index] for index in sorted(found)]
    good = [index for index in range(len(pairs.dataset)) if index not in found]
    if bad and not pairs.skip_bad:
        raise DataError(f"{len(bad)} pair(s) cannot be used. {' '.join(bad[:5])} --skip-bad leaves these out.")
    pairs.skipped += bad
    if bad:
        pairs.dataset = pairs.dataset.select(good)


def read_row(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Luminance of one row, two float32 arrays (H, W) in [0, 1].

    Raises:
        PictureError: a file is unreadable, or the sizes differ.
    """
    first, second = read_pair(*picture_files(row))
    return first.luminance, second.luminance


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


@dataclass(frozen=True)
class CropTransform:
    """Cuts one training crop out of a pair: random place, flips and quarter turns, the same for both sources.

    Attributes:
        size: side of the crop in pixels; smaller pictures are mirrored up to it.
        min_deviation: a crop in which neither source has at least this standard deviation (of luminance in
            [0, 1]) is empty; another place is tried, `tries` times in all, and the last one is taken.
        tries: places tried.
        zoom: largest binary logarithm of the factor by which what is cut is resized, either way; 0 for none.
        augmentation: what is done to both sources after that.
    """

    size: int
    min_deviation: float = 0.02
    tries: int = 8
    zoom: float = 0.0
    augmentation: Augmentation = NO_AUGMENTATION

    @property
    def _varied(self) -> bool:
        return self.zoom > 0 or self.augmentation != NO_AUGMENTATION

    def __call__(self, a: np.ndarray, b: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut a crop.

        Args:
            a: luminance of the first source, float32 (H, W) in [0, 1].
            b: luminance of the second source, the same shape.
            generator: where the random numbers come from.

        Returns:
            Two tensors (1, size, size).
        """
        first, second, _ = self.cut(a, b, generator)
        return first, second

    def cut(self, a: np.ndarray, b: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
        """Cut a crop, and say how many places were tried; see `__call__`."""
        pair = np.stack((a, b))
        seed = _below(2**31, generator) if self._varied else 0
        side_cut = round(self.size * 2 ** np.random.default_rng(seed).uniform(-self.zoom, self.zoom))
        short = [max(0, side_cut - side) for side in pair.shape[1:]]
        if any(short):
            pair = np.pad(pair, ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
        tried = 0
        for tried in range(1, self.tries + 1):  # noqa: B007
            top, left = (_below(side - side_cut + 1, generator) for side in pair.shape[1:])
            crop = pair[:, top : top + side_cut, left : left + side_cut]
            if crop.std(axis=(1, 2)).max() >= self.min_deviation:
                break
        crop = np.rot90(crop, _below(4, generator), axes=(1, 2))
        if _below(2, generator):
            crop = crop[:, :, ::-1]
        if side_cut != self.size:
            how = cv2.INTER_AREA if side_cut > self.size else cv2.INTER_CUBIC
            resized = [cv2.resize(np.ascontiguousarray(x), (self.size, self.size), interpolation=how) for x in crop]
            crop = np.clip(resized, 0, 1)
        if self.augmentation != NO_AUGMENTATION:
            crop = self.augmentation(crop, seed + 1)
        first, second = torch.from_numpy(np.ascontiguousarray(crop, dtype=np.float32)).unsqueeze(1)
        return first, second, tried

    def skip(self, tried: int, generator: torch.Generator) -> None:
        """Draw what a crop draws for which so many places were tried.

        Two numbers a place, a turn and a flip, and before them a seed where crops are resized or augmented.
        """
        if self._varied:
            _below(2**31, generator)
        for _ in range(2 * tried + 2):
            _below(2, generator)


def exchange(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The input exchange: the batch, followed by the same batch with the sources exchanged.

    Args:
        a: first sources, (N, 1, H, W).
        b: second sources, the same shape.

    Returns:
        Two tensors (2 N, 1, H, W).
    """
    return torch.cat((a, b)), torch.cat((b, a))


class PairReader:
    """Luminance of the pairs of a data set, by index.

    Decoded luminance is kept in memory up to `cache_bytes`, because decoding would otherwise cost more than
    training on a small crop.
    """

    def __init__(self, pairs: Pairs, cache_bytes: int = 2 * 1024**3) -> None:
        self.pairs = pairs
        self.cache_bytes = cache_bytes
        self._cache: dict[int, np.ndarray] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.pairs.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Two float32 arrays (H, W) in [0, 1]."""
        pair = self._cache.get(index)
        if pair is None:
            # 16 bits hold an 8-bit luminance to 1/256 of a grey level at half the memory of float32.
            pair = np.rint(np.stack(read_row(self.pairs.dataset[index])) * 65535).astype(np.uint16)
            if self._cached_bytes + pair.nbytes <= self.cache_bytes:
                self._cache[index] = pair
                self._cached_bytes += pair.nbytes
        a, b = pair.astype(np.float32) / 65535
        return a, b

    def stream(self, seed: int, buffer_size: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One pass over a streamed data set in shuffled order; what cannot be read is handled as asked."""
        for row in self.pairs.dataset.shuffle(seed=seed, buffer_size=buffer_size):
            try:
                yield read_row(row)
            except PictureError as error:
                if not self.pairs.skip_bad:
                    raise
                self.pairs.skipped.append(str(error))


class CropBatches:
    """An endless stream of batches of crops; the same seed gives the same stream.

    Every pass goes over the whole data set in a new order.

    Args:
        reader: the pairs.
        transform: how a crop is cut.
        batch_size: pairs in a batch.
        seed: seed of the order and of the crops.
        processes: those that share each batch; it then holds this process's part of it. The stream is the same however
            many they are, and so is its state.
    """

    def __init__(
        self,
        reader: PairReader,
        transform: CropTransform,
        batch_size: int,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        self.reader = reader
        self.transform = transform
        self.batch_size = batch_size
        self.processes = processes
        self._generator = torch.Generator().manual_seed(seed)
        self._order: list[int] = []
        self._position = 0
        self._passes = seed
        self._stream: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())

    def __iter__(self) -> "CropBatches":
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """One batch: two tensors (batch_size / processes, 1, size, size), luminance in [0, 1]."""
        if self.processes.count == 1:
            crops = [self.transform(*self._next_pair(), self._generator) for _ in range(self.batch_size)]
        else:
            crops = self._own_crops()
        first, second = zip(*crops, strict=True)
        return torch.stack(first), torch.stack(second)

    def _own_crops(self) -> list[tuple[Tensor, Tensor]]:
        """This process's part of the batch that one process would draw, decoding no other pair.

        What a crop draws depends on its picture: empty places are tried again. So all begin with the guess that none
        is, tell each other what they found, and draw again with that until nothing changes. The first crop is right
        at once, and with each round at least one more.
        """
        generator, order, position = self._generator.get_state(), self._order, self._position
        tried = [1] * self.batch_size
        pictures: dict[int, Luminances] = {}
        while True:
            crops, mine = self._draw(tried, pictures)
            found = self.processes.gather(mine)
            if found == tried:
                return crops
            tried = found
            self._generator.set_state(generator)
            self._order, self._position = order, position

    def _draw(self, tried: list[int], pictures: dict[int, Luminances]) -> tuple[list[tuple[Tensor, Tensor]], list[int]]:
        crops, mine = [], []
        streaming = self.reader.pairs.streaming
        own = self.processes.part(self.batch_size)
        for place in range(self.batch_size):
            key = place if streaming else self._next_index()
            if place not in own:
                self.transform.skip(tried[place], self._generator)
                continue
            if key not in pictures:
                pictures[key] = self._next_streamed() if streaming else self.reader[key]
            first, second, count = self.transform.cut(*pictures[key], self._generator)
            crops.append((first, second))
            mine.append(count)
        return crops, mine

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands.

        A streamed data set has no random access: it resumes with the pass that comes after.
        """
        return {
            "generator": self._generator.get_state(),
            "order": list(self._order),
            "position": self._position,
            "passes": self._passes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self._generator.set_state(state["generator"])
        self._order = list(state["order"])
        self._position = state["position"]
        self._passes = state["passes"]

    def _next_pair(self) -> tuple[np.ndarray, np.ndarray]:
        if self.reader.pairs.streaming:
            return self._next_streamed()
        return self.reader[self._next_index()]

    def _next_index(self) -> int:
        if self._position == len(self._order):
            self._order = torch.randperm(len(self.reader), generator=self._generator).tolist()
            self._position = 0
        self._position += 1
        return self._order[self._position - 1]

    def _next_streamed(self) -> tuple[np.ndarray, np.ndarray]:
        pair = next(self._stream, None)
        if pair is None:
            self._stream = self.reader.stream(seed=self._passes)
            self._passes += 1
            pair = next(self._stream, None)
        if pair is None:
            raise DataError("The streamed data set has no usable pair.")
        return pair


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
