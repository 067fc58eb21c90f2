"""The fusion module on a CPU in ONNX Runtime, tile by tile: the result of `FusionModule.forward`, in little memory.

The network takes a few passes over the picture (see `refusion.onnx_graph`). In each of them, a tile runs through all
the layers while it is in the processor's cache; what the layers need around a tile is computed again for it. What is
held for the whole picture is one map of features, which every pass overwrites. So the rows around each row of tiles are
copied before, and columns are kept from one tile to the next.

The threads take one row of tiles after the other. ONNX Runtime's own threads are not used: they divide every single
operation among them.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from math import ceil

import numpy as np

from refusion.memory import check_memory, free_on_machine
from refusion.onnx_graph import PICTURE_ENDS, Attention, Pass, Weights, passes
from refusion.onnx_runtime import InferenceSession, SessionOptions
from refusion.pictures import MIN_SIDE
from refusion.threads import cpu_threads, side_by_side

TILE = (60, 160)
"""Rows and columns of a tile, at most."""

LEAST_ROWS = 16
"""Rows of a tile at least, where there would be fewer tiles than threads."""


class OnnxNetwork:
    """A fusion module that is ready to run.

    Args:
        weights: its state dict, float32.
        padding_mode: what its 3 x 3 convolutions see beyond the border.
    """

    def __init__(self, weights: Weights, padding_mode: str) -> None:
        self._passes = [(one, _session(one.model.SerializeToString())) for one in passes(weights, padding_mode)]
        self._padding_mode = padding_mode
        self._channels = max(sum(one.outputs) for one, _ in self._passes)

    @property
    def bytes_held(self) -> int:
        """Memory for each pixel of the picture: its features, the copied rows of them, both sources and the result.

        Tiles come on top.
        """
        copied = 2 * max(one.layers for one, _ in self._passes) / TILE[0]
        return ceil((self._channels * (1 + copied) + 3) * np.dtype(np.float32).itemsize)

    def fuse(
        self, a: np.ndarray, b: np.ndarray, *, tile: tuple[int, int] = TILE, threads: int | None = None
    ) -> np.ndarray:
        """Fuse luminance.

        Args:
            a: first source, float32 (H, W) in [0, 1], H and W at least 8.
            b: second source, the same shape.
            tile: rows and columns of a tile, at most.
            threads: how many to use, at most; what suits the machine if not given.

        Returns:
            Fused luminance, float32 (H, W) in (0, 1).

        Raises:
            PictureError: this needs more memory than is free.
            ValueError: the shapes differ, or are not (H, W), or are smaller than 8 x 8.
        """
        if a.shape != b.shape or a.ndim != 2 or min(a.shape) < MIN_SIDE:
            raise ValueError(
                f"The sources have shapes {a.shape} and {b.shape}; equal ones (H, W), from {MIN_SIDE} x {MIN_SIDE} on, "
                "are accepted."
            )
        height, width = a.shape
        check_memory(1, height, width, self.bytes_held, free_on_machine())
        _keep_freed_blocks()
        features = np.empty((self._channels, *a.shape), np.float32)
        fused = np.empty_like(a)
        maps = [a[None], b[None]]
        matrices: list[np.ndarray] = []
        for one, session in self._passes:
            results = list(_divided(features, one.outputs)) if one.attentions else [fused[None]]
            sums = _run(one, session, maps, results, matrices, self._padding_mode, tile, threads or cpu_threads())
            matrices = [attention.matrix(*sums[3 * i : 3 * i + 3]) for i, attention in enumerate(one.attentions)]
            maps = results
        return fused


def _session(model: bytes) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    # An arena of its own for each pass, and room for all maps of a tile at once, would be twice the memory.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _keep_freed_blocks() -> None:
    """Let what tiles take stay with the process until the next tile: with glibc, by freeing a block of nearly 32 MB.

    Blocks larger than any that was freed before come straight from the system and go back to it, page by page.
    """
    np.empty(31 << 20, np.uint8)


def _divided(features: np.ndarray, channels: Sequence[int]) -> Iterator[np.ndarray]:
    first = 0
    for count in channels:
        yield features[first : first + count]
        first += count


def _run(
    one: Pass,
    session: InferenceSession,
    maps: Sequence[np.ndarray],
    results: Sequence[np.ndarray],
    matrices: Sequence[np.ndarray],
    padding_mode: str,
    tile: tuple[int, int],
    threads: int,
) -> list[np.ndarray]:
    """Take a picture through a pass; the sums over all pixels, in float64."""
    height = maps[0].shape[1]
    rows = min(tile[0], max(LEAST_ROWS, -(-height // threads)))
    bands = [
        _Band(one, session, [_Reader(x, one.layers, padding_mode, part) for x in maps], results, matrices, part)
        for part in _parts(height, rows)
    ]
    waiting = deque(bands)

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                band = waiting.popleft()
            except IndexError:
                return
            band.run(tile[1], stop)

    side_by_side([work] * max(1, min(threads, len(bands))))
    return [np.sum(sums, axis=0) for sums in zip(*(band.sums for band in bands), strict=True)]


class _Band:
    """A row of tiles that is taken through a pass.

    Attributes:
        sums: over its pixels.
    """

    def __init__(
        self,
        one: Pass,
        session: InferenceSession,
        readers: "Sequence[_Reader]",
        results: Sequence[np.ndarray],
        matrices: Sequence[np.ndarray],
        rows: tuple[int, int],
    ) -> None:
        self.one, self.session, self.readers, self.results, self.rows = one, session, readers, results, rows
        self.matrices = {f"attention{i}": matrix for i, matrix in enumerate(matrices)}
        self.sums = [np.zeros(shape) for attention in one.attentions for shape in _shapes_of_sums(attention)]

    def run(self, columns: int, stop: threading.Event) -> None:
        """Take tiles of so many columns at most through the pass, from left to right."""
        for part in _parts(self.results[0].shape[2], columns):
            if stop.is_set():
                return
            self._tile(part)

    def _tile(self, columns: tuple[int, int]) -> None:
        (first, last), (left, right), (_, height, width) = self.rows, columns, self.results[0].shape
        feed = {f"x{i}": reader.tile(columns) for i, reader in enumerate(self.readers)}
        for layer in self.one.pads:
            after = self.one.layers - 1 - layer
            feed[f"pads{layer}"] = _ends(first <= after, left <= after, last + after >= height, right + after >= width)
        outputs = self.session.run(None, feed | self.matrices)
        top, begin = min(self.one.left, first), min(self.one.left, left)
        for result, y in zip(self.results, outputs, strict=False):
            result[:, first:last, left:right] = y[0, :, top : top + last - first, begin : begin + right - left]
        for total, part in zip(self.sums, outputs[len(self.results) :], strict=True):
            total += part


class _Reader:
    """Gives the tiles of some rows with what is around them, as they were before the pass.

    Args:
        features: the map, (C, H, W), whose tiles are overwritten once they were given.
        around: rows and columns around a tile.
        padding_mode: what is around the picture, a row and a column of it: nothing for ``zeros``.
        rows: first row of the tiles, and the row after the last one.
    """

    def __init__(self, features: np.ndarray, around: int, padding_mode: str, rows: tuple[int, int]) -> None:
        first, last = rows
        self.features, self.around, self.padding_mode, self.rows = features, around, padding_mode, rows
        # Before others overwrite them.
        self.above = features[:, max(0, first - around) : first].copy()
        self.below = features[:, last : last + around].copy()
        self.before = self.above

    def tile(self, columns: tuple[int, int]) -> np.ndarray:
        """The next tile from left to right: (1, C, h, w)."""
        (first, last), (left, right), (channels, height, width) = self.rows, columns, self.features.shape
        begin, end = max(0, left - self.around), min(width, right + self.around)
        top, bottom = self.above.shape[1], self.below.shape[1]
        pad = 0 if self.padding_mode == "zeros" else 1
        margins = [
            (pad * (first < self.around), pad * (last + self.around > height)),
            (pad * (left < self.around), pad * (right + self.around > width)),
        ]
        sides = [n + sum(margin) for n, margin in zip((top + last - first + bottom, end - begin), margins, strict=True)]
        padded = np.empty((channels, *sides), np.float32)
        tile = padded[:, margins[0][0] : sides[0] - margins[0][1], margins[1][0] : sides[1] - margins[1][1]]
        own = slice(top, top + last - first)
        tile[:, :top] = self.above[:, :, begin:end]
        if left > begin:
            tile[:, own, : left - begin] = self.before[:, :, begin - left :]
        tile[:, own, left - begin :] = self.features[:, first:last, left:end]
        tile[:, own.stop :] = self.below[:, :, begin:end]
        self.before = tile[:, own, : right - begin]
        _fill_margins(padded, margins, 0 if self.padding_mode == "replicate" else 1)
        return padded[None]


def _fill_margins(padded: np.ndarray, margins: list[tuple[int, int]], inner: int) -> None:
    """Write what is around the picture, from the row and the column that lie so far inside."""
    (top, bottom), (left, right) = margins
    if top:
        padded[:, 0] = padded[:, 1 + inner]
    if bottom:
        padded[:, -1] = padded[:, -2 - inner]
    if left:
        padded[:, :, 0] = padded[:, :, 1 + inner]
    if right:
        padded[:, :, -1] = padded[:, :, -2 - inner]


def _shapes_of_sums(attention: Attention) -> tuple[tuple[int, ...], ...]:
    channels = len(attention.projection)
    return (channels, channels), (channels,), (channels,)


def _parts(length: int, most: int) -> list[tuple[int, int]]:
    """Cut a length into parts of nearly the same size, of so much at most: where each begins and ends."""
    count = -(-length // most)
    return list(pairwise(length * i // count for i in range(count + 1)))


@cache
def _ends(top: bool, left: bool, bottom: bool, right: bool) -> np.ndarray:
    """What is padded where the picture ends at these sides."""
    return np.array(PICTURE_ENDS) * (0, 0, top, left, 0, 0, bottom, right)
