"""Fuse many pairs, one by one or in batches."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from refusion.images.picture import Levels, PictureError
from refusion.images.sources import PictureSource
from refusion.inference.finishing import Fused, finish_pair
from refusion.inference.network import Network
from refusion.inference.options import FinishOptions, Options
from refusion.inference.preparation import Prepared, prepare
from refusion.system.errors import sentence_of
from refusion.tasks import Task

AHEAD = 2
"""Number of batches read ahead while one is fused."""

READERS = 8
"""Maximum number of reading threads."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of fusing one pair of many.

    Attributes:
        index: index of the pair, from 0.
        fused: the fused image, or None if fusing failed.
        error: the error, or None.
        levels: those of the first source and of the second, see `refusion.images.Picture`.
    """

    index: int
    fused: Fused | None = None
    error: ValueError | OSError | None = None
    levels: tuple[Levels | None, Levels | None] = (None, None)

    @property
    def reason(self) -> str:
        """The error as a sentence; empty if there is none."""
        return "" if self.error is None else sentence_of(self.error)


@dataclass(frozen=True, eq=False)
class _Read:
    """A prepared pair, or the error."""

    index: int
    pair: Prepared | None = None
    error: ValueError | OSError | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        return None if self.pair is None else self.pair.a.size


@dataclass
class _Given:
    """Pairs up to an error of their iterable, which is kept until those before it are fused."""

    pairs: Iterable[Sequence[PictureSource]]
    error: Exception | None = None

    def __iter__(self) -> Iterator[Sequence[PictureSource]]:
        try:
            yield from self.pairs
        except Exception as error:  # noqa: BLE001 - raised by fuse_with_sources
            self.error = error


def fuse_pairs(
    network: Network, pairs: Iterable[Sequence[PictureSource]], options: Options, task: Task, batch_size: int = 1
) -> Iterator[Outcome]:
    """Fuse pairs in order, reading the next ones in the background.

    Args:
        network: a loaded model.
        pairs: two sources each; consumed lazily. Arrays, images and open files are read when the iterable yields them,
            so that it may reuse them; paths and bytes are read in the background.
        options: options of fusing.
        task: the task whose defaults apply.
        batch_size: maximum number of consecutive pairs of one size that go through the network together, for GPUs,
            which a single small pair does not keep busy. The results are the same except for rounding.

    Returns:
        An iterator of the outcome of each pair, in their order; a pair that cannot be fused does not stop the others.

    Raises:
        ValueError: `batch_size` is less than 1.
        Exception: an error of the iterable, after the pairs before it.
    """
    if batch_size < 1:
        raise ValueError(f"A batch has {batch_size} pairs; it must have at least 1.")
    return (outcome for outcome, _ in fuse_with_sources(network, pairs, options, task, batch_size))


def fuse_with_sources(
    network: Network,
    pairs: Iterable[Sequence[PictureSource]],
    options: Options,
    task: Task,
    batch_size: int,
    *,
    constant: bool = False,
) -> Iterator[tuple[Outcome, Prepared | None]]:
    """Yield what `fuse_pairs` does, each with the sources as they were fused; None if they could not be prepared.

    With `constant`, no array, image or open file changes or belongs to two pairs, so all are read in the background.
    """
    ahead = AHEAD * batch_size
    given = _Given(pairs)
    with ThreadPoolExecutor(min(ahead, READERS), thread_name_prefix="refusion-read") as pool:
        reading = _read_ahead(pool, partial(prepare, options=options, task=task), given, ahead, constant)
        try:
            for batch in _batches(reading, batch_size):
                outcomes = _fuse_batch(pool, network, batch, options, task)
                yield from zip(outcomes, [read.pair for read in batch], strict=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if given.error is not None:
        raise given.error


def _read_ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[Sequence[PictureSource]], Prepared],
    pairs: Iterable[Sequence[PictureSource]],
    ahead: int,
    constant: bool,
) -> Iterator[_Read]:
    """Yield the prepared pairs in their order, reading `ahead` of the consumer."""
    waiting: deque[tuple[int, Future[Prepared]]] = deque()
    numbered = enumerate(pairs)
    while True:
        while len(waiting) < ahead and (coming := next(numbered, None)) is not None:
            index, pair = coming
            later = constant or _is_constant(pair)
            waiting.append((index, pool.submit(prepare, pair) if later else _done(prepare, pair)))
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


def _is_constant(pair: Sequence[PictureSource]) -> bool:
    return isinstance(pair, tuple | list) and all(isinstance(source, str | bytes | os.PathLike) for source in pair)


def _done(prepare: Callable[[Sequence[PictureSource]], Prepared], pair: Sequence[PictureSource]) -> Future[Prepared]:
    done: Future[Prepared] = Future()
    try:
        done.set_result(prepare(pair))
    except (ValueError, OSError, MemoryError) as error:
        done.set_exception(error)
    return done


def _batches(reading: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    """Yield batches of up to `size` consecutive pairs of equal shape; an unreadable pair is a batch of its own."""
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
    # A single pair should not wait for the reading threads.
    map_ = pool.map if len(batch) > 1 else map
    return list(map_(finish, indices, luminances, pairs))


def _finish(index: int, luminance: np.ndarray, pair: Prepared, options: FinishOptions) -> Outcome:
    try:
        return Outcome(index, finish_pair(luminance, pair, options), levels=(pair.a.levels, pair.b.levels))
    except (ValueError, OSError) as error:
        return Outcome(index, error=error)
    except MemoryError:
        return Outcome(index, error=PictureError("Memory ran out after fusing; make the images smaller."))
