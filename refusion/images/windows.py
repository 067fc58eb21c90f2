"""Windows: the stored values that become black and white, of one source or of several."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from refusion.images.picture import Levels, PictureError

Window: TypeAlias = tuple[float, float] | Literal["own"]
"""Black and white: two stored values, or ``own``, the range of all but 1 % of the pixels."""

Windows: TypeAlias = Window | Sequence[Window | None]
"""One window for all sources of more than 8 bits, or one for each source, in order."""

_WIDEST = float(np.finfo(np.float32).max)
"""Images are scaled with 32 bits."""


def check_window(window: Window | None) -> None:
    """Check that a window is valid.

    Raises:
        PictureError: it is not.
    """
    if window is None or (isinstance(window, str) and window == "own"):
        return
    if not _is_range(window):
        raise PictureError(f"A window must be two numbers, the smaller first, or own; {window} was given.")
    if window[1] - window[0] > _WIDEST:
        raise PictureError(f"A window may be {_WIDEST:.3g} wide at most, but {window} was given.")


def is_one_window(window: Windows | None) -> bool:
    """Whether this is one window for all sources, valid or not, or None, and not a sequence with one for each."""
    return window is None or isinstance(window, str) or not hasattr(window, "__len__") or _are_numbers(window)


def windows_from(for_all: Window | None, *own: Window | None) -> Windows | None:
    """One window for all sources, or a window for each if any has its own, which replaces that for all."""
    return [window or for_all for window in own] if any(own) else for_all


def windows_of(window: Windows | None, count: int) -> list[Window | None]:
    """The window of each source.

    Args:
        window: one for all, or one for each source.
        count: how many sources there are.

    Raises:
        PictureError: a window is invalid, or there are more or fewer windows than sources.
    """
    if is_one_window(window):
        check_window(cast("Window | None", window))
        return [cast("Window | None", window)] * count
    each = list(cast("Sequence[Window | None]", window))
    for one in each:
        check_window(one)
    if len(each) != count:
        raise PictureError(
            f"{len(each)} windows were given for {count} sources; give one for all (--window LOW HIGH), or one for "
            "each."
        )
    return each


def common_window(levels: Iterable[Levels | None]) -> Window:
    """The range that the own ranges of several images span; ``own`` if it is empty.

    Args:
        levels: of each image, read with the window ``own``; those of 8 bits have none.
    """
    ranges = [one for one in levels if one is not None]
    low, high = min((one.black for one in ranges), default=0.0), max((one.white for one in ranges), default=0.0)
    return (low, high) if low < high else "own"


def _are_numbers(window: Any) -> bool:
    if isinstance(window, str) or not hasattr(window, "__len__") or len(window) != 2:
        return False
    return all(np.isscalar(x) and not isinstance(x, str) for x in window)


def _is_range(window: Any) -> bool:
    return _are_numbers(window) and bool(np.isfinite(window).all()) and window[0] < window[1]
