"""The state of one pass over an image in ONNX Runtime: what its tiles read and write, see `onnx_tiles`."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, reduce
from typing import TypeAlias

import numpy as np

from refusion.inference.engines.cells import cells_of, interpolation
from refusion.inference.engines.onnx_builder import PICTURE_ENDS
from refusion.inference.engines.onnx_graph import Pass
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.inference.engines.packed import PackedMaps
from refusion.modules.windows import CELL_WEIGHTS, CELLS

_interpolation = lru_cache(maxsize=1024)(interpolation)

Maps: TypeAlias = np.ndarray | PackedMaps
"""Maps of a pass, (C, rows, W)."""


@dataclass
class Tile:
    """A tile of a pass, which is run and later written by a thread.

    Attributes:
        stage: stage of the pass.
        rows: first row, and the one after the last.
        columns: likewise.
        outputs: results of the pass.
    """

    stage: "Stage"
    rows: tuple[int, int]
    columns: tuple[int, int]
    outputs: list[np.ndarray] = field(default_factory=list)

    def run(self) -> None:
        """Run the pass on the tile, and keep its results."""
        self.outputs = self.stage.run(self.rows, self.columns)

    def write(self) -> None:
        """Write the results to the maps."""
        self.stage.write(self.rows, self.columns, self.outputs)


class Stage:
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
        before: "Stage | None",
        height: int,
        given: Sequence[Maps],
        made: Sequence[Maps],
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

    def tiles(self, rows: Sequence[tuple[int, int]], columns: Sequence[tuple[int, int]]) -> list[Tile]:
        """Return the tiles of the next bands; the rows of the previous pass that they need must be finished."""
        self._matrices, self._bands = None, (rows[0][0], rows[-1][1])
        return [Tile(self, of_rows, of_columns) for of_rows in rows for of_columns in columns]

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
        upper, lower = cells_of(max(0, first - around), min(self.height, last + around), self.cell, count)
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


@cache
def _ends(top: bool, left: bool, bottom: bool, right: bool) -> np.ndarray:
    """Pads for a tile whose given sides are borders of the image."""
    return np.array(PICTURE_ENDS) * (0, 0, top, left, 0, 0, bottom, right)
