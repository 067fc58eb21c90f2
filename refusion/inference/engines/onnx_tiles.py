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
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, reduce
from itertools import pairwise, zip_longest

import numpy as np

from refusion.images.picture import MIN_SIDE
from refusion.inference.engines.memory import check_memory, enough_memory
from refusion.inference.engines.onnx_blocks import Architecture
from refusion.inference.engines.onnx_builder import PICTURE_ENDS
from refusion.inference.engines.onnx_fusion import FUSION
from refusion.inference.engines.onnx_graph import Pass, passes
from refusion.inference.engines.onnx_runtime import InferenceSession, SessionOptions
from refusion.inference.engines.onnx_weights import Weights
from refusion.inference.engines.packed import PackedMaps
from refusion.modules.windows import CELL_WEIGHTS, CELLS, cell_of
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


_Maps = np.ndarray | PackedMaps


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
        ahead = (_cells_of(0, self._layers, self._cell)[1] + CELLS // 2) * self._cell
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
        held = bands if self._cell is None else min(bands, self._bands_held)
        shape = self._channels, min(height, held * band), width
        packed = self._is_packed(*shape[1:])
        features = np.empty(shape, np.int16 if packed else np.float32)
        steps = [np.empty(shape[1:], np.float32) for _ in range(self._maps if packed else 0)]
        results = [np.empty((count, height, width), np.float32) for count in self._passes[-1][0].outputs]
        columns = _parts(width, tile[1], self._cell or 1)
        inner = self._inner if min(bands, len(columns)) > 2 else [None] * len(self._passes)
        stages: list[_Stage] = []
        maps: list[_Maps] = [source[None] for source in sources]
        for (one, session), of_inner in zip(self._passes, inner, strict=True):
            made: list[_Maps] = list(_divided(features, one.outputs, steps)) if one.attentions else [*results]
            before = stages[-1] if stages else None
            sessions = session, of_inner
            stages.append(_Stage(one, sessions, before, height, maps, made, self._padding_mode, self._cell))
            maps = made
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


def _divided(features: np.ndarray, channels: Sequence[int], steps: Sequence[np.ndarray]) -> Iterator[_Maps]:
    first = 0
    for index, count in enumerate(channels):
        maps = features[first : first + count]
        yield PackedMaps(maps, steps[index]) if steps else maps
        first += count


@dataclass
class _Tile:
    """A tile of a pass, which is run and later written by a thread.

    Attributes:
        stage: stage of the pass.
        rows: first row, and the one after the last.
        columns: likewise.
        outputs: results of the pass.
    """

    stage: "_Stage"
    rows: tuple[int, int]
    columns: tuple[int, int]
    outputs: list[np.ndarray] = field(default_factory=list)

    def run(self) -> None:
        self.outputs = self.stage.run(self.rows, self.columns)

    def write(self) -> None:
        self.stage.write(self.rows, self.columns, self.outputs)


class _Stage:
    """The state of a pass over one image.

    Args:
        one: the pass.
        sessions: the session that runs it, and the one for tiles that are nowhere padded, if there are any.
        before: the stage of the previous pass.
        height: height of the image.
        given: the maps that it reads, (C, rows, W) each; row y of the image is row y modulo rows.
        made: the maps that it writes, likewise.
        padding_mode: see `OnnxModule`.
        cell: side of the cells of the attention, or None.
    """

    def __init__(
        self,
        one: Pass,
        sessions: tuple[InferenceSession, InferenceSession | None],
        before: "_Stage | None",
        height: int,
        given: Sequence[_Maps],
        made: Sequence[_Maps],
        padding_mode: str,
        cell: int | None,
    ) -> None:
        self.one, self.sessions, self.before, self.given, self.made = one, sessions, before, given, made
        self.padding_mode, self.cell = padding_mode, cell
        self.height, self.width = height, given[0].shape[2]
        self.done = 0
        self._above = [np.empty((maps.shape[0], 0, self.width), np.float32) for maps in given]
        self._matrices: list[np.ndarray] | None = None
        self._bands, self._first_cell = (0, 0), 0
        self._lock = threading.Lock()
        rows, columns = 1, 1
        if cell is not None:
            # The rows of cells in the stored features, and those of the windows around them.
            rows, columns = -(-made[0].shape[1] // cell) + 2 * CELLS, -(-self.width // cell)
        shapes = [attention.shape_of_wanted for attention in one.attentions]
        # Sums over a whole image have many terms.
        dtype = np.float64 if cell is None else np.float32
        self.sums = [np.zeros((rows, columns, *shape), dtype) for shape in shapes]

    def tiles(self, rows: Sequence[tuple[int, int]], columns: Sequence[tuple[int, int]]) -> list[_Tile]:
        """Return the tiles of the next bands; the rows of the previous pass that they need must be finished."""
        self._matrices, self._bands = None, (rows[0][0], rows[-1][1])
        return [_Tile(self, of_rows, of_columns) for of_rows in rows for of_columns in columns]

    def run(self, rows: tuple[int, int], columns: tuple[int, int]) -> list[np.ndarray]:
        """Run the pass on a tile."""
        session, of_inner = self.sessions
        around = self.one.layers
        away = all(
            one >= around and other + around <= length
            for (one, other), length in ((rows, self.height), (columns, self.width))
        )
        if of_inner is not None and away:
            return of_inner.run(None, self._feed(rows, columns))
        return session.run(None, self._feed(rows, columns) | self._pads(rows, columns))

    def _pads(self, rows: tuple[int, int], columns: tuple[int, int]) -> dict[str, np.ndarray]:
        """The inputs of the pass that say how to pad a tile."""
        (first, last), (left, right) = rows, columns
        feed = {}
        for layer in self.one.pads:
            after = self.one.layers - 1 - layer
            ends = first <= after, left <= after, last + after >= self.height, right + after >= self.width
            feed[f"pads{layer}"] = _ends(*ends)
        if self.cell is not None and self.one.attentions:
            feed["cell_pads"] = np.array([0] * 6 + [-(last - first) % self.cell, -(right - left) % self.cell])
        return feed

    def _feed(self, rows: tuple[int, int], columns: tuple[int, int]) -> dict[str, np.ndarray]:
        """The other inputs of the pass for a tile."""
        feed = {f"x{i}": self._read(i, rows, columns)[None] for i in range(len(self.given))}
        if not self.one.attended:
            return feed
        with self._lock:
            if self._matrices is None:
                self._matrices = self._find_matrices(*self._bands)
        if self.cell is None:
            return feed | {f"attention{i}": matrix for i, matrix in enumerate(self._matrices)}
        around = self.one.layers - 1
        (top, bottom), (begin, end) = (
            (max(0, one - around), min(length, other + around))
            for (one, other), length in ((rows, self.height), (columns, self.width))
        )
        feed["rows"], (upper, lower) = _interpolation(top, bottom, self.height, self.cell)
        of_columns, (west, east) = _interpolation(begin, end, self.width, self.cell)
        feed["columns"] = of_columns.T
        upper, lower = upper - self._first_cell, lower - self._first_cell
        for i, matrix in enumerate(self._matrices):
            feed[f"attention{i}"] = matrix[..., upper:lower, west:east]
        return feed

    def finish(self, last: int) -> None:
        """Mark the rows up to `last` as done, and keep those that the next tiles need before they are overwritten."""
        if self.before is not None and last < self.height:
            first = max(0, last - self.one.layers)
            above = [np.empty((maps.shape[0], last - first, self.width), np.float32) for maps in self.given]
            for index, rows in enumerate(above):
                self._copy_rows(index, first, slice(None), rows)
            self._above = above
        self.done = last

    def write(self, rows: tuple[int, int], columns: tuple[int, int], outputs: Sequence[np.ndarray]) -> None:
        """Write the results of the pass for a tile."""
        (first, last), (left, right) = rows, columns
        top, begin = min(self.one.left, first), min(self.one.left, left)
        for maps, y in zip(self.made, outputs, strict=False):
            part = y[0, :, top : top + last - first, begin : begin + right - left]
            for place, of_part in _pieces(first, last, maps.shape[1]):
                maps[:, place, left:right] = part[:, of_part]
        made = zip(self.one.attentions, outputs[len(self.made) :], strict=True)
        for sums, part in zip(self.sums, (attention.wanted(x) for attention, x in made), strict=True):
            if self.cell is None:
                with self._lock:
                    sums += part
            else:
                places = np.arange(first // self.cell, first // self.cell + len(part)) % len(sums)
                sums[places, left // self.cell : left // self.cell + part.shape[1]] = part

    def _find_matrices(self, first: int, last: int) -> list[np.ndarray]:
        """The attention matrices for these rows, computed from the sums of the previous pass."""
        assert self.before is not None
        made = list(zip(self.before.one.attentions, self.before.sums, strict=True))
        if self.cell is None:
            return [attention.projected(sums[0, 0]) for attention, sums in made]
        around, count = self.one.layers - 1, -(-self.height // self.cell)
        upper, lower = _cells_of(max(0, first - around), min(self.height, last + around), self.cell, count)
        self._first_cell = upper
        rows = np.arange(upper - CELLS // 2, lower + CELLS // 2)
        inside = (rows >= 0) & (rows < count)
        matrices = []
        for attention, sums in made:
            padded = np.zeros((len(rows), sums.shape[1] + CELLS - 1, *sums.shape[2:]), sums.dtype)
            padded[inside, CELLS // 2 : -(CELLS // 2)] = sums[rows[inside] % len(sums)]
            shares = attention.shares(_windows(padded))[..., : attention.free_shares]
            matrices.append(np.ascontiguousarray(shares.transpose(4, 2, 3, 0, 1)))
        return matrices

    def _read(self, index: int, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A tile of a map with its halo, with the values before this pass: (C, h, w)."""
        (first, last), (left, right), around = rows, columns, self.one.layers
        maps = self.given[index]
        top, bottom = max(0, first - around), min(self.height, last + around)
        begin, end = max(0, left - around), min(self.width, right + around)
        pad = 0 if self.padding_mode == "zeros" else 1
        margins = [
            (pad * (first < around), pad * (last + around > self.height)),
            (pad * (left < around), pad * (right + around > self.width)),
        ]
        sides = [n + sum(margin) for n, margin in zip((bottom - top, end - begin), margins, strict=True)]
        padded = np.empty((maps.shape[0], *sides), np.float32)
        tile = padded[:, margins[0][0] : sides[0] - margins[0][1], margins[1][0] : sides[1] - margins[1][1]]
        self._copy_rows(index, top, slice(begin, end), tile)
        _fill_margins(padded, margins, 0 if self.padding_mode == "replicate" else 1)
        return padded

    def _copy_rows(self, index: int, first: int, columns: slice, rows: np.ndarray) -> None:
        """Copy the rows of a map from `first` on, with the values before this pass, to (C, rows, columns)."""
        maps, start = self.given[index], first
        if self.before is not None and first < self.done:
            # These rows have been overwritten; sources never are.
            start = min(self.done, first + rows.shape[1])
            kept = self._above[index].shape[1] - self.done
            rows[:, : start - first] = self._above[index][:, kept + first : kept + start, columns]
        for place, of_rows in _pieces(start, first + rows.shape[1], maps.shape[1]):
            rows[:, start - first :][:, of_rows] = maps[:, place, columns]


def _windows(cells: np.ndarray) -> np.ndarray:
    """Weighted sums over the cells of each complete window, from (rows, columns, ...)."""
    high, wide = (length - CELLS + 1 for length in cells.shape[:2])
    cells = reduce(np.add, (weight * cells[i : i + high] for i, weight in enumerate(CELL_WEIGHTS)))
    return reduce(np.add, (weight * cells[:, i : i + wide] for i, weight in enumerate(CELL_WEIGHTS)))


def _pieces(first: int, last: int, held: int) -> Iterator[tuple[slice, slice]]:
    """Slices of a map that stores only the last `held` rows, and the matching slices of the rows `first` to `last`."""
    row = first
    while row < last:
        place = row % held
        count = min(last - row, held - place)
        yield slice(place, place + count), slice(row - first, row - first + count)
        row += count


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


def _cells_of(first: int, last: int, cell: int, count: int | None = None) -> tuple[int, int]:
    """The cells from which rows are interpolated: the first, and the one after the last.

    Args:
        first: first row (or column).
        last: the one after the last.
        cell: side of a cell.
        count: number of cells in the image.
    """
    upper, lower = ((2 * row + 1 - cell) // (2 * cell) for row in (first, last - 1))
    return max(0, upper), lower + 2 if count is None else min(count, lower + 2)


@lru_cache(maxsize=1024)
def _interpolation(first: int, last: int, length: int, cell: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Weights of linear interpolation between cell centres for rows (or columns), (last - first, cells); the cells."""
    count = -(-length // cell)
    upper, lower = _cells_of(first, last, cell, count)
    place = ((np.arange(first, last) + 0.5) / cell - 0.5).clip(0, count - 1)
    shares = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(upper, lower)))
    return shares.astype(np.float32), (upper, lower)


def _fill_margins(padded: np.ndarray, margins: list[tuple[int, int]], inner: int) -> None:
    """Pad the borders of the image, copying the row or column that lies `inner` pixels inside."""
    (top, bottom), (left, right) = margins
    if top:
        padded[:, 0] = padded[:, 1 + inner]
    if bottom:
        padded[:, -1] = padded[:, -2 - inner]
    if left:
        padded[:, :, 0] = padded[:, :, 1 + inner]
    if right:
        padded[:, :, -1] = padded[:, :, -2 - inner]


def _parts(length: int, max_length: int, cell: int) -> list[tuple[int, int]]:
    """Split a length into parts of whole cells and about equal size; returns the start and end of each.

    A part is at most `max_length` long, but at least one cell. Only the last part may end within a cell.
    """
    cells = -(-length // cell)
    count = -(-cells // max(1, max_length // cell))
    ends = [min(cells * i // count * cell, length) for i in range(count + 1)]
    return list(pairwise(ends))


@cache
def _ends(top: bool, left: bool, bottom: bool, right: bool) -> np.ndarray:
    """Pads for a tile whose given sides are borders of the image."""
    return np.array(PICTURE_ENDS) * (0, 0, top, left, 0, 0, bottom, right)
