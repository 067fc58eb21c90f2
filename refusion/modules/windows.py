"""The window of the attention, for torch and ONNX Runtime alike; see `refusion.modules.blocks.windowed_attention`."""

CELL_WEIGHTS = (1, 2, 3, 2, 1)
"""Weights of the cells along the side of a window; they decrease outwards, so that attention varies smoothly."""

CELLS = len(CELL_WEIGHTS)
"""Cells along the side of a window."""


def cell_of(window: int | None) -> int | None:
    """Side of a cell in pixels; None for the whole image.

    Args:
        window: side of the window in pixels, or None.

    Raises:
        ValueError: it is not a multiple of `CELLS`.
    """
    if window is None:
        return None
    if window < CELLS or window % CELLS:
        raise ValueError(f"window is {window}; it must be a multiple of {CELLS}, or None for the whole image.")
    return window // CELLS
