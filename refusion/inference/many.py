"""Many pairs, one after the other or several at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from refusion.images.picture import PictureError
from refusion.images.reading import PictureSource
from refusion.inference.finishing import Fused, finish_pair
from refusion.inference.network import Network
from refusion.inference.options import FinishOptions, Options
from refusion.inference.preparation import Prepared, prepare
from refusion.tasks import Task

AHEAD = 2
"""Batches that are read while one is fused."""

READERS = 8
"""Threads that read, at most."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one pair of many.

    Attributes:
        index: its place, from 0.
        fused: the fused picture, or None if it failed.
        error: why it failed, or None.
    """

    index: int
    fused: Fused | None = None
    error: ValueError | OSError | None = None


@dataclass(frozen=True, eq=False)
class _Read:
    """A pair that was made ready, or why it was not."""

    index: int
    pair: Prepared | None = None
    error: ValueError | OSError | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        return None if self.pair is None else self.pair.a.size


def fuse_pairs(
    network: Network, pairs: Iterable[Sequence[PictureSource]], options: Options, task: Task, batch_size: int = 1
) -> Iterator[Outcome]:
    """Fuse pairs one after the other; the next ones are read meanwhile.

    Args:
        network: a loaded model.
        pairs: two sources each; taken one by one as they are needed.
        options: what is asked for.
        task: the task whose defaults count.
        batch_size: pairs that go through the network at once where as many in a row have one size: for a GPU, which
            one small pair does not keep busy. The results are the same but for rounding.

    Yields:
        What became of each pair, in their order; a pair that cannot be fused does not stop the others.

    Raises:
        ValueError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"A batch has {batch_size} pairs; it must have at least 1.")
    ahead = AHEAD * batch_size
    with ThreadPoolExecutor(min(ahead, READERS), thread_name_prefix="refusion-read") as pool:
        reading = _read_ahead(pool, partial(prepare, options=options, task=task), pairs, ahead)
        try:
            for batch in _batches(reading, batch_size):
                yield from _fuse_batch(pool, network, batch, options, task)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[Sequence[PictureSource]], Prepared],
    pairs: Iterable[Sequence[PictureSource]],
    ahead: int,
) -> Iterator[_Read]:
    """The pairs made ready, in their order; some more than are asked for are being read."""
    waiting: deque[tuple[int, Future[Prepared]]] = deque()
    numbered = enumerate(pairs)
    while True:
        while len(waiting) < ahead and (coming := next(numbered, None)) is not None:
            waiting.append((coming[0], pool.submit(prepare, coming[1])))
        if not waiting:
            return
        index, future = waiting.popleft()
        try:
            read = _Read(index, future.result())
        except (ValueError, OSError) as error:
            read = _Read(index, error=error)
        except MemoryError:
            read = _Read(index, error=PictureError("Memory ran out while the pair was read; make the images smaller."))
        yield read


def _batches(reading: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    """Pairs of one size that follow each other, as many as are wanted at most; what could not be read stands alone."""
    batch: list[_Read] = []
    for read in reading:
        if batch and read.size != batch[0].size:
            yield batch
            batch = []
        batch.append(read)
        if len(batch) == size or read.pair is None:
            yield batch
            batch = []
    if batch:
        yield batch


def _fuse_batch(
    pool: ThreadPoolExecutor, network: Network, batch: Sequence[_Read], options: Options, task: Task
) -> list[Outcome]:
    pairs = [read.pair for read in batch if read.pair is not None]
    if not pairs:
        return [Outcome(read.index, error=read.error) for read in batch]
    try:
        luminances = network.fuse_luminances(
            [pair.a.luminance for pair in pairs], [pair.b.luminance for pair in pairs], engine=options.engine
        )
    except (ValueError, OSError) as error:
        return [Outcome(read.index, error=error) for read in batch]
    finish = partial(_finish, options=options.for_task(task))
    indices = [read.index for read in batch]
    # A single one does not wait for the readers.
    map_ = pool.map if len(batch) > 1 else map
    return list(map_(finish, indices, luminances, pairs))


def _finish(index: int, luminance: np.ndarray, pair: Prepared, options: FinishOptions) -> Outcome:
    try:
        return Outcome(index, finish_pair(luminance, pair, options))
    except (ValueError, OSError) as error:
        return Outcome(index, error=error)
    except MemoryError:
        return Outcome(index, error=PictureError("Memory ran out after fusing; make the images smaller."))
