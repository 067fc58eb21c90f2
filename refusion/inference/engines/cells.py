"""The cells of windowed attention that rows (or columns) of an image are interpolated from."""

import numpy as np


def cells_of(first: int, last: int, cell: int, count: int | None = None) -> tuple[int, int]:
    """The cells from which rows are interpolated: the first, and the one after the last.

    Args:
        first: first row (or column).
        last: the one after the last.
        cell: side of a cell.
        count: number of cells in the image.
    """
    upper, lower = ((2 * row + 1 - cell) // (2 * cell) for row in (first, last - 1))
    return max(0, upper), lower + 2 if count is None else min(count, lower + 2)


def interpolation(first: int, last: int, length: int, cell: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Weights of linear interpolation between cell centres for rows (or columns), (last - first, cells); the cells."""
    count = -(-length // cell)
    upper, lower = cells_of(first, last, cell, count)
    place = ((np.arange(first, last) + 0.5) / cell - 0.5).clip(0, count - 1)
    shares = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(upper, lower)))
    return shares.astype(np.float32), (upper, lower)
