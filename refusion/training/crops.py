"""Training crops, and batches of them in an order that can be resumed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from refusion.images import PictureError
from refusion.pairs.dataset import Pairs, read_pictures, read_row
from refusion.pairs.errors import DataError
from refusion.system.processes import ALONE, Processes
from refusion.training.augmentation import NO_AUGMENTATION, Augmentation

Luminances = tuple[np.ndarray, np.ndarray]


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
        """Cut a crop and return how many places were tried; see `__call__`."""
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
        """Draw the same random numbers as a crop for which this many places were tried.

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
        self._looked = False

    def __len__(self) -> int:
        return len(self.pairs.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Two float32 arrays (H, W) in [0, 1]."""
        pair = self._cache.get(index)
        if pair is None:
            # 16 bits hold an 8-bit luminance to 1/256 of a grey level at half the memory of float32.
            pair = np.rint(np.stack(read_row(self.pairs.dataset[index], self.pairs.reading)) * 65535).astype(np.uint16)
            if self._cached_bytes + pair.nbytes <= self.cache_bytes:
                self._cache[index] = pair
                self._cached_bytes += pair.nbytes
        a, b = pair.astype(np.float32) / 65535
        return a, b

    def stream(self, seed: int, buffer_size: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One pass over a streamed data set in shuffled order; what cannot be read is handled as asked.

        Until one pass is complete, notes on sources and what is skipped are added to the pairs.
        """
        for row in self.pairs.dataset.shuffle(seed=seed, buffer_size=buffer_size):
            try:
                pictures = read_pictures(row, self.pairs.reading)
            except PictureError as error:
                if not self.pairs.skip_bad:
                    raise
                if not self._looked:
                    self.pairs.skipped.append(str(error))
                continue
            if not self._looked:
                self.pairs.look(str(row["name"]), pictures)
            yield pictures[0].luminance, pictures[1].luminance
        self._looked = True


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
        """The position in the stream.

        A streamed data set has no random access: it resumes with the pass that comes after.
        """
        return {
            "generator": self._generator.get_state(),
            "order": list(self._order),
            "position": self._position,
            "passes": self._passes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
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
