"""Modules on a CPU in ONNX Runtime, tile by tile: the result of their `forward`, in little memory.

A module makes a few passes over the image (see `refusion.inference.engines.onnx_graph`). In each pass, a tile runs
through all the layers while it is in the processor's cache; its halo is recomputed for each tile.

If the attention has a window, the passes run down the image behind each other: a pass processes rows as soon as the
previous pass is far enough ahead for the windows. So only a few hundred rows of features are stored, for any height of
the image. If the attention is over the whole image, a pass starts when the previous one has ended, and the features of
all rows are stored, in 16 bits if they are many. In both cases they are stored in one map, in which a pass overwrites
the rows that it has read.

The work is divided into steps. The threads process the tiles of a step and only read features; results are written at
the end of the step. ONNX Runtime's own threads are not used, because they split every single operation.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise, zip_longest

import numpy as np

from refusion.images.picture import MIN_SIDE
from refusion.inference.engines.cells import cells_of
from refusion.inference.engines.memory import check_memory, enough_memory
from refusion.inference.engines.onnx_blocks import Architecture
from refusion.inference.engines.onnx_fusion import FUSION
from refusion.inference.engines.onnx_graph import Pass, passes
from refusion.inference.engines.onnx_runtime import InferenceSession, SessionOptions
from refusion.inference.engines.onnx_stages import Maps, Stage
from refusion.inference.engines.onnx_weights import Weights
from refusion.inference.engines.packed import PackedMaps
from refusion.modules.windows import CELLS, cell_of
from refusion.system.memory import free_for_process
from refusion.system.threads import cpu_threads, interruption_point, side_by_side

TILE = (64, 112)
"""Maximum rows and columns of a tile, unless cells need more; `benchmarks/tile_size.py` compares sizes."""

TILES_A_THREAD = 4
"""Minimum number of tiles per thread in a step, so that threads hardly wait for the last tile."""

BYTES_OF_STEP = 64 << 20
"""Results that a step may keep until its end, unless `TILES_A_THREAD` needs more: in fewer steps, threads wait less."""

BYTES_OF_TILE = 1400
"""Memory of a thread in bytes per pixel of a tile, in addition to the stored maps (measured)."""

PACKED_FROM = 1 << 30
"""Bytes of the features of an image, 8 megapixels of the models here, from which on they are packed into 16 bits."""

LAG = 2
"""Number of bands by which a pass lags behind the previous one, so that the passes of a step run in parallel."""


class OnnxModule:
    """A module in ONNX Runtime.

    Args:
        weights: its state dict, float32.
        padding_mode: padding mode of its 3 x 3 convolutions.
        window: side of the window of its attention; None for the whole image.
        architecture: which module it is.
    """

    def __init__(self, weights: Weights, padding_mode: str, window: int | None, architecture: Architecture) -> None:
        self._cell = cell_of(window)
        self._weights, self._padding_mode, self._architecture = weights, padding_mode, architecture
        made = passes(weights, padding_mode, self._cell, architecture=architecture)
        self._passes = [(one, _session(one)) for one in made]
        self._channels = max(sum(one.outputs) for one in made)
        self._maps = max(len(one.outputs) for one in made)
        self._layers = max(one.layers for one in made)

    def bytes_needed(self, height: int, width: int) -> int:
        """Memory for the features, the sources and the results, in bytes, without that of the tiles.

        Args:
            height: height of the image.
            width: width of the image.
        """
        rows, band = height, self._band_rows(TILE[0])
        waiting = max(TILES_A_THREAD, self._bands_of_step(band, width)) * band
        if self._cell is not None:
            rows = min(height, self._bands_held * band)
            waiting = len(self._passes) * band
        held = self._channels * (min(height, waiting) + len(self._passes) * self._layers)
        held += (self._architecture.sources + sum(self._passes[-1][0].outputs)) * height
        stored = self._channels * rows
        if self._is_packed(rows, width):
            stored = stored // 2 + self._maps * rows
        return (held + stored) * width * np.dtype(np.float32).itemsize

    def _is_packed(self, rows: int, width: int) -> bool:
        """Whether the features of these rows are packed."""
        bytes_of_all = self._channels * rows * width * np.dtype(np.float32).itemsize
        return self._cell is None and bytes_of_all >= PACKED_FROM

    @cached_property
    def _inner(self) -> list[InferenceSession]:
        """Sessions of the passes for tiles away from the borders of the image: a seventh of the time is padding."""
        made = passes(self._weights, self._padding_mode, self._cell, architecture=self._architecture, inner=True)
        return [_session(one) for one in made]

    @property
    def _bands_held(self) -> int:
        return LAG * (len(self._passes) - 1)

    def _bands_of_step(self, band: int, width: int) -> int:
        """Number of bands whose results are within `BYTES_OF_STEP`."""
        return BYTES_OF_STEP // (self._channels * band * width * np.dtype(np.float32).itemsize)

    def _band_rows(self, rows: int) -> int:
        """Rows of a band: whole cells, at least as many as a pass has to be ahead of the next one."""
        if self._cell is None:
            return rows
        ahead = (cells_of(0, self._layers, self._cell)[1] + CELLS // 2) * self._cell
        return max(ahead, rows // self._cell * self._cell)

    def run(self, *sources: np.ndarray, tile: tuple[int, int] = TILE, threads: int | None = None) -> list[np.ndarray]:
        """Run the module.

        Args:
            *sources: its input maps, float32 (H, W) each, H and W at least 8.
            tile: maximum rows and columns of a tile, unless cells need more.
            threads: maximum number of threads; by default chosen for the machine.

        Returns:
            Its results, float32 (C, H, W) each.

        Raises:
            PictureError: there is not enough memory.
            ValueError: the shapes differ, or are not (H, W), or are smaller than 8 x 8.
        """
        shapes = [source.shape for source in sources]
        if len({*shapes}) != 1 or len(shapes[0]) != 2 or min(shapes[0]) < MIN_SIDE:
            raise ValueError(
                f"The sources have shapes {' and '.join(map(str, shapes))}; equal ones (H, W), from {MIN_SIDE} x "
                f"{MIN_SIDE} on, are accepted."
            )
        height, width = shapes[0]
        threads = threads or cpu_threads()
        needed = self.bytes_needed(height, width) + threads * min(height * width, TILE[0] * TILE[1]) * BYTES_OF_TILE
        check_memory(1, height, width, needed, free_for_process())
        with enough_memory(1, height, width):
            return self._in_tiles(sources, tile, threads)

    def _in_tiles(self, sources: Sequence[np.ndarray], tile: tuple[int, int], threads: int) -> list[np.ndarray]:
        height, width = sources[0].shape
        _keep_freed_blocks()
        band = self._band_rows(tile[0])
        bands = -(-height // band)
        columns = _parts(width, tile[1], self._cell or 1)
        results = [np.empty((count, height, width), np.float32) for count in self._passes[-1][0].outputs]
        held = bands if self._cell is None else min(bands, self._bands_held)
        stages = self._stages(sources, min(height, held * band), results, with_inner=min(bands, len(columns)) > 2)
        at_once = -(-TILES_A_THREAD * threads // len(columns))
        if threads > 1:
            at_once = max(at_once, self._bands_of_step(band, width))
        for step in self._steps(bands, at_once):
            interruption_point()
            by_stage = []
            for index, due in step:
                rows = [(i * band, min((i + 1) * band, height)) for i in due]
                by_stage.append(stages[index].tiles(rows, columns))
            # The first tile of a stage computes the matrices; the other threads should not wait for it.
            tiles = [tile for abreast in zip_longest(*by_stage) for tile in abreast if tile is not None]
            _run([tile.run for tile in tiles], threads)
            for index, due in step:
                stages[index].finish(min(due.stop * band, height))
            _run([tile.write for tile in tiles], threads)
        return results

    def _stages(
        self, sources: Sequence[np.ndarray], rows: int, results: Sequence[np.ndarray], *, with_inner: bool
    ) -> list[Stage]:
        """The stages of all passes: the first reads the sources, and the last writes the results.

        Args:
            sources: as for `run`.
            rows: number of rows of features that are stored.
            results: as `run` returns them, to be filled.
            with_inner: whether there may be tiles away from the borders of the image.
        """
        height, width = sources[0].shape
        packed = self._is_packed(rows, width)
        features = np.empty((self._channels, rows, width), np.int16 if packed else np.float32)
        steps = [np.empty((rows, width), np.float32) for _ in range(self._maps if packed else 0)]
        inner = self._inner if with_inner else [None] * len(self._passes)
        stages: list[Stage] = []
        maps: list[Maps] = [source[None] for source in sources]
        for (one, session), of_inner in zip(self._passes, inner, strict=True):
            made: list[Maps] = list(_divided(features, one.outputs, steps)) if one.attentions else [*results]
            before = stages[-1] if stages else None
            sessions = session, of_inner
            stages.append(Stage(one, sessions, before, height, maps, made, self._padding_mode, self._cell))
            maps = made
        return stages

    def _steps(self, bands: int, at_once: int) -> Iterator[list[tuple[int, range]]]:
        """Yield the passes and bands of each step."""
        count = len(self._passes)
        if self._cell is None:
            for index in range(count):
                for first in range(0, bands, at_once):
                    yield [(index, range(first, min(first + at_once, bands)))]
            return
        for step in range(bands + LAG * (count - 1)):
            due = ((index, step - LAG * index) for index in range(count))
            yield [(index, range(band, band + 1)) for index, band in due if 0 <= band < bands]


class OnnxNetwork(OnnxModule):
    """A fusion module in ONNX Runtime.

    Args:
        weights: its state dict, float32.
        padding_mode: padding mode of its 3 x 3 convolutions.
        window: side of the window of its attention; None for the whole image.
    """

    def __init__(self, weights: Weights, padding_mode: str, window: int | None = None) -> None:
        super().__init__(weights, padding_mode, window, FUSION)

    def fuse(
        self, a: np.ndarray, b: np.ndarray, *, tile: tuple[int, int] = TILE, threads: int | None = None
    ) -> np.ndarray:
        """Fuse luminance; errors are those of `run`.

        Args:
            a: first source, float32 (H, W) in [0, 1], H and W at least 8.
            b: second source, the same shape.
            tile: maximum rows and columns of a tile, unless cells need more.
            threads: maximum number of threads; by default chosen for the machine.

        Returns:
            Fused luminance, float32 (H, W) in (0, 1).
        """
        (fused,) = self.run(a, b, tile=tile, threads=threads)
        return fused[0]


def _session(one: Pass) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    # An arena for each pass, and a buffer for all maps of a tile at once, would double the memory.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return InferenceSession(one.model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _keep_freed_blocks() -> None:
    """Make glibc keep the memory of a tile for the next one, by freeing a block of nearly 32 MB.

    Otherwise glibc maps blocks larger than any freed before, and returns them to the system page by page.
    """
    np.empty(31 << 20, np.uint8)


def _divided(features: np.ndarray, channels: Sequence[int], steps: Sequence[np.ndarray]) -> Iterator[Maps]:
    first = 0
    for index, count in enumerate(channels):
        maps = features[first : first + count]
        yield PackedMaps(maps, steps[index]) if steps else maps
        first += count


def _run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run tasks in several threads."""
    waiting = deque(tasks)

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                task = waiting.popleft()
            except IndexError:
                return
            task()

    side_by_side([work] * max(1, min(threads, len(tasks))))


def _parts(length: int, max_length: int, cell: int) -> list[tuple[int, int]]:
    """Split a length into parts of whole cells and about equal size; returns the start and end of each.

    A part is at most `max_length` long, but at least one cell. Only the last part may end within a cell.
    """
    cells = -(-length // cell)
    count = -(-cells // max(1, max_length // cell))
    ends = [min(cells * i // count * cell, length) for i in range(count + 1)]
    return list(pairwise(ends))
