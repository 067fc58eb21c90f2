"""From stored values to luminance in [0, 1]: depth, range, windows and missing values, for every kind of source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from refusion.images.colour import split_colour
from refusion.images.picture import Levels, Picture, PictureError

Window: TypeAlias = tuple[float, float] | Literal["own"]
"""What is black and what is white: two stored values, or the range that all but 1 % of the pixels lie in."""

Windows: TypeAlias = Window | Sequence[Window | None]
"""One window for all sources of more than 8 bits, or one for each source in their order."""

OUTLIERS = 1 / 200
"""Share of the pixels at each end of the scale, at least one pixel, that an own range leaves out: hot pixels, glints, a
small cloud."""

_IN_USE = 1 / 2000
"""Share at each end that does not count when it is said how much of the scale an image uses."""


_SAMPLE = 1 << 22
"""Values that a range is measured on at most, of larger images spread over them."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Values as they are stored, and what the file says of them.

    Attributes:
        values: (H, W) or (H, W, 3), integers or floats.
        ends: what is black and white by the type.
        deep: more than 8 bits.
        alpha: (H, W) in [0, 1], or None.
        premultiplied: whether the values are over black already.
        white_is_zero: whether the scale is upside down.
        missing: bool (H, W), where there is no value; or None.
        missing_is_black: whether that is black and not transparent.
        window: what the file names as black and white, or ``own``.
        notes: what a person should know, as sentences.
        used: as in `Picture`.
    """

    values: np.ndarray
    ends: tuple[float, float]
    deep: bool = False
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    white_is_zero: bool = False
    missing: np.ndarray | None = None
    missing_is_black: bool = False
    window: Window | None = None
    notes: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()


def check_window(window: Window | None) -> None:
    """Refuse what is no window.

    Raises:
        PictureError: it is none.
    """
    if window is None or (isinstance(window, str) and window == "own"):
        return
    if not _is_range(window):
        raise PictureError(f"A window is two numbers, the smaller first, or own; {window} was given.")


def is_one_window(window: Windows | None) -> bool:
    """Whether this is a window for all sources, or none, and not one for each."""
    return window is None or isinstance(window, str) or _are_numbers(window)


def windows_of(window: Windows | None, count: int) -> list[Window | None]:
    """The window of each source.

    Args:
        window: one for all, or one for each source.
        count: how many sources there are.

    Raises:
        PictureError: it is no window, or there are more or fewer than sources.
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


def missing_values(values: np.ndarray, nodata: float) -> np.ndarray:
    """Where a picture holds the value that stands for none, bool (H, W).

    Args:
        values: (H, W) or (H, W, channels); in colour, a pixel has no value if all its channels have none.
        nodata: the value; nan stands for everything that is not finite, in any channel.
    """
    if np.isnan(nodata):
        missing = ~np.isfinite(values)
        return missing if missing.ndim == 2 else missing.any(axis=2)
    # Texts round: the least float32 is often written as -3.40282e+38.
    with np.errstate(over="ignore", invalid="ignore"):
        missing = np.isclose(values, nodata, rtol=1e-5, atol=0) if values.dtype.kind == "f" else values == nodata
    return missing if missing.ndim == 2 else missing.all(axis=2)


def to_picture(stored: Stored, name: str, window: Window | None = None, nodata: float | None = None) -> Picture:
    """Scale stored values to [0, 1].

    Args:
        stored: the values.
        name: of the picture, for messages.
        window: what is black and white; that of the file or of the type if not given. 8-bit values are not touched.
        nodata: value that stands for none in a picture of more than 8 bits or of floats; nan for all that is not
            finite. Such pixels are transparent.

    Raises:
        PictureError: values are not finite, or lie beyond the ends of the type or all beside the window; or there is
            nothing but transparency.
    """
    values, used = stored.values, set(stored.used)
    scalable = stored.deep or values.dtype.kind == "f"
    missing = stored.missing
    if scalable and nodata is not None and (found := missing_values(values, nodata)).any():
        missing = found if missing is None else missing | found
        used.add("nodata")
    hidden = _hidden(missing, stored.alpha)
    valid = values if hidden is None else values[~hidden]
    if not valid.size:
        raise PictureError(f"{name} is transparent or without a value everywhere, so it holds nothing to fuse.")
    _check_finite(valid, name)
    if hidden is not None:
        # Any value of the picture will do: these pixels become black.
        values = np.where(hidden if values.ndim == 2 else hidden[..., None], valid.flat[0], values)
    wanted = window if scalable else None
    if wanted is not None:
        used.add("window")
    chosen = wanted or stored.window
    ends, clip = stored.ends, chosen is not None
    levels = None
    if chosen == "own":
        ends = _own_range(valid) or ends
        levels = Levels(*ends, *ends)
    elif chosen is not None:
        ends = chosen
        if wanted is not None:
            _check_not_beside(valid, ends, name)
    scaled = _scaled(values, ends, name, clip=clip)
    if scalable and chosen != "own" and (wanted is not None or not clip):
        levels = _levels_of(valid, ends, given=wanted is not None)
    if stored.white_is_zero:
        scaled = 1 - scaled
    if hidden is not None:
        scaled[hidden] = 0
    alpha = stored.alpha
    if alpha is not None and not stored.premultiplied:
        scaled = scaled * (alpha if scaled.ndim == 2 else alpha[..., None])
    if missing is not None and not stored.missing_is_black:
        alpha = np.where(missing, 0, 1 if alpha is None else alpha).astype(np.float32)
    if alpha is not None and alpha.min() == 1:
        alpha = None
    luminance, chroma = (scaled, None) if scaled.ndim == 2 else split_colour(scaled)
    return Picture(
        luminance,
        chroma,
        name,
        alpha=alpha,
        bits=16 if stored.deep else 8,
        notes=stored.notes,
        levels=levels,
        used=frozenset(used),
    )


def _hidden(missing: np.ndarray | None, alpha: np.ndarray | None) -> np.ndarray | None:
    """Pixels whose value does not count, bool (H, W), or None if all count."""
    hidden = missing
    if alpha is not None:
        hidden = alpha == 0 if hidden is None else hidden | (alpha == 0)
    return hidden if hidden is not None and hidden.any() else None


def _own_range(values: np.ndarray) -> tuple[float, float] | None:
    """The range of all values but the outliers; of all, if these are the only ones that differ; None if none do."""
    low, high = _inner_range(values, OUTLIERS)
    if low == high:
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else None


def _inner_range(values: np.ndarray, outliers: float) -> tuple[float, float]:
    flat = values.reshape(-1)
    if flat.size > _SAMPLE:
        # A step that is odd and no multiple of 3 meets all channels, and all columns but of odd widths.
        step = flat.size // _SAMPLE | 1
        flat = flat[:: step + 2 * (step % 3 == 0)]
    last = flat.size - 1
    left_out = min(max(1, int(flat.size * outliers)), last // 2)
    ordered = np.partition(flat, (left_out, last - left_out))
    return float(ordered[left_out]), float(ordered[last - left_out])


def _levels_of(values: np.ndarray, ends: tuple[float, float], *, given: bool) -> Levels | None:
    if values.min() == values.max():
        return None
    darkest, brightest = np.clip(_inner_range(values, _IN_USE), *ends)
    return Levels(float(ends[0]), float(ends[1]), float(darkest), float(brightest), given)


def _check_not_beside(values: np.ndarray, window: tuple[float, float], name: str) -> None:
    low, high = window
    if not ((values >= low) & (values <= high)).any():
        raise PictureError(
            f"No value of {name} lies in the window {low:g} to {high:g}: they go from {values.min():g} to "
            f"{values.max():g}. Give a window in the file's own numbers, for each source its own (--window-a LOW HIGH "
            "and --window-b LOW HIGH, or window=[(low, high), (low, high)]), or --own-range (window='own')."
        )


def _check_finite(values: np.ndarray, name: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite([values.min(), values.max()]).all():
        raise PictureError(
            f"{name} has values that are not finite (NaN or infinite); with --nodata nan (nodata=math.nan) they count "
            "as missing."
        )


def _scaled(values: np.ndarray, ends: tuple[float, float], name: str, *, clip: bool) -> np.ndarray:
    """A float32 copy in [0, 1].

    Raises:
        PictureError: values lie outside of the ends and are not to be clipped.
    """
    low, high = ends
    if not clip and ((lowest := values.min()) < low or values.max() > high):
        highest = values.max()
        what = "floats must lie in 0 to 1" if values.dtype.kind == "f" else f"whole numbers in {low:g} to {high:g}"
        raise PictureError(
            f"{name} has values from {lowest:.9g} to {highest:.9g}, but {what}; scale them to that range, or give a "
            "window, or --own-range (window='own') for its own range."
        )
    # float32 holds the levels of the types up to 16 bits exactly.
    exact = values.dtype.itemsize <= 2 or (values.dtype.kind == "f" and not clip)
    copied: np.ndarray = values.astype(np.float32 if exact else np.float64, order="C")
    if low != 0:
        copied -= low
    copied /= high - low
    if clip or low != 0:
        np.clip(copied, 0, 1, out=copied)
    return copied.astype(np.float32, copy=False)


def _are_numbers(window: Any) -> bool:
    if isinstance(window, str) or len(window) != 2:
        return False
    return all(np.isscalar(x) and not isinstance(x, str) for x in window)


def _is_range(window: Any) -> bool:
    return _are_numbers(window) and bool(np.isfinite(window).all()) and window[0] < window[1]
