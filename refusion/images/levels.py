"""Scale stored values to luminance in [0, 1]: bit depth, range, windows and no-data values, for all sources."""

from dataclasses import dataclass, replace

import numpy as np

from refusion.images.colour import split_colour
from refusion.images.picture import Levels, Picture, PictureError, Scan
from refusion.images.windows import Window
from refusion.system.advice import OWN_RANGE, Advised

OUTLIERS = 1 / 200
"""Fraction of the pixels at each end of the scale, at least one pixel, that an own range leaves out, and that do not
count when measuring how much of the scale an image uses: hot pixels, reflections, a small cloud."""

_MAX_GAP = 1 / 2
"""An image at its own range gets a note if more than this fraction of it lies between one value at its end and the
others, as between a value that means missing and the data."""

_SAMPLE = 1 << 22
"""Maximum number of values that a range is measured on; larger images are subsampled."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Pixel values as stored in a file or array, with the metadata that say how to scale them.

    Attributes:
        values: (H, W) or (H, W, 3), integers or floats.
        ends: stored values of black and white for the type.
        deep: whether there are more than 8 bits.
        alpha: (H, W) in [0, 1], or None.
        premultiplied: whether the values are already multiplied by alpha.
        white_is_zero: whether the scale is inverted.
        missing: bool (H, W), True for pixels without a value; or None.
        missing_is_black: whether these pixels are black and not transparent.
        window: the window that the file specifies, or ``own``.
        notes: notes for the user, as sentences.
        used: as in `Picture`.
        scan: as in `Picture`.
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
    scan: Scan | None = None

    @property
    def is_scalable(self) -> bool:
        """Whether windows and no-data values apply: to more than 8 bits, to signed integers, and to floats."""
        return self.deep or self.values.dtype.kind in "fi"


@dataclass(frozen=True)
class _Scale:
    """How the values of one image are scaled.

    Attributes:
        ends: stored values of black and white.
        clip: whether values outside of them are clipped.
        levels: as in `Picture`.
        notes: notes for the user, as sentences.
    """

    ends: tuple[float, float]
    clip: bool
    levels: Levels | None = None
    notes: tuple[str, ...] = ()


def check_nodata(nodata: object) -> None:
    """Check that a no-data value is a number.

    Raises:
        PictureError: it is not.
    """
    if isinstance(nodata, bool) or not isinstance(nodata, (int, float, np.number)):
        raise PictureError(f"The no-data value must be a number, or math.nan; {nodata!r} was given.")


def missing_values(values: np.ndarray, nodata: float) -> np.ndarray:
    """Return a mask of the no-data pixels, bool (H, W).

    Args:
        values: (H, W) or (H, W, channels); a colour pixel is no-data if all its channels are.
        nodata: the no-data value; nan means any value that is not finite, in any channel.

    Raises:
        PictureError: `nodata` is not a number.
    """
    check_nodata(nodata)
    if np.isnan(nodata):
        missing = ~np.isfinite(values)
        return missing if missing.ndim == 2 else missing.any(axis=2)
    # Values written as text are rounded: the lowest float32 is often written as -3.40282e+38.
    with np.errstate(over="ignore", invalid="ignore"):
        missing = np.isclose(values, nodata, rtol=1e-5, atol=0) if values.dtype.kind == "f" else values == nodata
    return missing if missing.ndim == 2 else missing.all(axis=2)


def to_picture(stored: Stored, name: str, window: Window | None = None, nodata: float | None = None) -> Picture:
    """Scale stored values to [0, 1].

    Args:
        stored: the values.
        name: name of the image, used in messages.
        window: stored values of black and white; by default those of the file or the type. Images of unsigned bytes
            are unchanged.
        nodata: no-data value, which unsigned bytes do not have; nan for values that are not finite. Such pixels are
            transparent.

    Raises:
        PictureError: a value is not finite or out of the range of the type, no value is inside the window, or every
            pixel is transparent.
    """
    if nodata is not None and stored.is_scalable:
        stored = _with_nodata(stored, nodata)
    wanted = window if stored.is_scalable else None
    values, hidden = stored.values, _hidden(stored.missing, stored.alpha)
    valid = values if hidden is None else values[~hidden]
    if not valid.size:
        raise PictureError(f"Every pixel of {name} is transparent or has no value, so there is nothing to fuse.")
    check_finite(valid, name)
    if hidden is not None:
        # Any valid value will do here: these pixels are set to black below.
        values = np.where(hidden if values.ndim == 2 else hidden[..., None], valid.flat[0], values)
    chosen = _choose_scale(valid, stored, wanted, name)
    scaled = scale(values, chosen.ends, name, clip=chosen.clip)
    if stored.white_is_zero:
        scaled = 1 - scaled
    if hidden is not None:
        scaled[hidden] = 0
    if stored.alpha is not None and not stored.premultiplied:
        scaled = scaled * (stored.alpha if scaled.ndim == 2 else stored.alpha[..., None])
    luminance, chroma = (scaled, None) if scaled.ndim == 2 else split_colour(scaled)
    return Picture(
        luminance,
        chroma,
        name,
        alpha=_alpha(stored),
        bits=16 if stored.deep else 8,
        notes=stored.notes + chosen.notes,
        levels=chosen.levels,
        used=stored.used if wanted is None else stored.used | {"window"},
        scan=stored.scan,
    )


def _with_nodata(stored: Stored, nodata: float) -> Stored:
    """The same, with the no-data pixels among those without a value."""
    found = missing_values(stored.values, nodata)
    if not found.any():
        return stored
    missing = found if stored.missing is None else stored.missing | found
    return replace(stored, missing=missing, used=stored.used | {"nodata"})


def _choose_scale(valid: np.ndarray, stored: Stored, wanted: Window | None, name: str) -> _Scale:
    """The scale by the window that is wanted, or else by that of the file, or else by the type.

    Raises:
        PictureError: no valid value is inside the window that is wanted.
    """
    chosen, inverted = wanted or stored.window, stored.white_is_zero
    if chosen is None:
        levels = _levels_of(valid, stored.ends, given=False, inverted=inverted) if stored.is_scalable else None
        return _Scale(stored.ends, clip=False, levels=levels)
    if chosen == "own":
        ends = _own_range(valid) or stored.ends
        return _Scale(ends, True, Levels(*ends, *ends, own=True), _far_value_notes(valid, ends, name))
    if wanted is not None:
        _check_overlaps(valid, chosen, name)
        return _Scale(chosen, True, _levels_of(valid, chosen, given=True, inverted=inverted))
    is_empty = not _inside(valid, chosen).any()
    notes = (_empty_window_note(valid, chosen, name, white_is_zero=inverted),) if is_empty else ()
    return _Scale(chosen, True, notes=notes)


def _alpha(stored: Stored) -> np.ndarray | None:
    """Alpha of the image, transparent where there is no value; None if it is opaque."""
    alpha = stored.alpha
    if stored.missing is not None and not stored.missing_is_black:
        alpha = np.where(stored.missing, 0, 1 if alpha is None else alpha).astype(np.float32)
    return None if alpha is None or alpha.min() == 1 else alpha


def _hidden(missing: np.ndarray | None, alpha: np.ndarray | None) -> np.ndarray | None:
    """Pixels whose value is ignored, bool (H, W), or None if there are none."""
    hidden = missing
    if alpha is not None:
        hidden = alpha == 0 if hidden is None else hidden | (alpha == 0)
    return hidden if hidden is not None and hidden.any() else None


def _own_range(values: np.ndarray) -> tuple[float, float] | None:
    """The range without outliers, or of all values if it would be empty; None if all values are equal."""
    low, high = _inner_range(values, OUTLIERS)
    if low == high:
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else None


def _inner_range(values: np.ndarray, outliers: float) -> tuple[float, float]:
    flat = values.reshape(-1)
    if flat.size > _SAMPLE:
        # An odd step that is not a multiple of 3 samples all channels, and all columns unless the width is unusual.
        step = flat.size // _SAMPLE | 1
        flat = flat[:: step + 2 * (step % 3 == 0)]
    last = flat.size - 1
    left_out = min(max(1, int(flat.size * outliers)), last // 2)
    ordered = np.partition(flat, (left_out, last - left_out))
    return float(ordered[left_out]), float(ordered[last - left_out])


def _levels_of(values: np.ndarray, ends: tuple[float, float], *, given: bool, inverted: bool) -> Levels | None:
    if values.min() == values.max():
        return None
    darkest, brightest = np.clip(_inner_range(values, OUTLIERS), *ends)
    above_black, above_white = (
        (values < ends[1], values < ends[0]) if inverted else (values > ends[0], values > ends[1])
    )
    burnt = int(above_white.sum()) / max(1, int(above_black.sum())) if given else 0.0
    return Levels(float(ends[0]), float(ends[1]), float(darkest), float(brightest), given, burnt)


def _check_overlaps(values: np.ndarray, window: tuple[float, float], name: str) -> None:
    low, high = window
    if not _inside(values, window).any():
        raise PictureError(
            f"No value of {name} lies in the window {low:g} to {high:g}: they range from {values.min():g} to "
            f"{values.max():g}. Give a window in stored values, if needed one for each source (--window-a LOW HIGH "
            "and --window-b LOW HIGH, or window=[(low, high), (low, high)]), or --own-range (window='own')."
        )


def _inside(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    return (values >= window[0]) & (values <= window[1])


def _empty_window_note(values: np.ndarray, window: tuple[float, float], name: str, *, white_is_zero: bool) -> str:
    """A note on the window of a file in which no value lies, as after another rescaling."""
    below, above = ("white", "black") if white_is_zero else ("black", "white")
    seen = above if values.min() > window[1] else below if values.max() < window[0] else "black or white"
    return Advised(
        f"No value of {name} lies in the window {window[0]:g} to {window[1]:g} that the file gives, so all of it is "
        f"{seen}: they range from {values.min():g} to {values.max():g}",
        "if it is not meant to be empty, use --own-range (window='own'), or give a window",
        "if it is not meant to be empty, correct the window in the file",
        f"if it is not meant to be empty, {OWN_RANGE}",
    )


def _far_value_notes(values: np.ndarray, own: tuple[float, float], name: str) -> tuple[str, ...]:
    """A note if one value is an end of the own range, and all others lie far from it."""
    for end, others in ((own[0], values[values > own[0]]), (own[1], values[values < own[1]])):
        share = 1 - others.size / values.size
        if not OUTLIERS < share < 1:
            continue
        low, high = float(others.min()), float(others.max())
        gap = max(low - own[0], own[1] - high)
        if low < high and gap > _MAX_GAP * (own[1] - own[0]):
            return (
                Advised(
                    f"{100 * share:.0f} % of {name} have the value {end:g}, far from all others, {low:g} to {high:g}, "
                    "which leaves these with little contrast",
                    f"if it means that there are no data, use --nodata {end:g} (nodata={end:g})",
                    "if it means that there are no data, mark it so in the file",
                ),
            )
    return ()


def check_finite(values: np.ndarray, name: str) -> None:
    """Check that no value is NaN or infinite.

    Raises:
        PictureError: one is; `name` is used in the message.
    """
    if values.dtype.kind == "f" and not np.isfinite([values.min(), values.max()]).all():
        raise PictureError(
            Advised(
                f"{name} has values that are not finite (NaN or infinite)",
                "use --nodata nan (nodata=math.nan) to treat them as missing",
                "replace them first",
                f"replace them first, or {OWN_RANGE}, which takes them as missing",
            )
        )


def scale(values: np.ndarray, ends: tuple[float, float], name: str, *, clip: bool) -> np.ndarray:
    """Return a float32 copy in [0, 1].

    Args:
        values: stored values, of any shape, without NaN.
        ends: stored values of black and white.
        name: used in the message.
        clip: whether values outside of `ends` are clipped.

    Raises:
        PictureError: values are outside of `ends`, and `clip` is False.
    """
    low, high = ends
    if not clip and ((lowest := values.min()) < low or values.max() > high):
        highest = values.max()
        what = "floats" if values.dtype.kind == "f" else "integers"
        raise PictureError(
            Advised(
                f"{name} has values from {lowest:.9g} to {highest:.9g}, but {what} must be in {low:g} to {high:g}",
                "scale them, give a window, or use --own-range (window='own') for the range of its values",
                "scale them to that range",
                OWN_RANGE,
            )
        )
    # float32 represents the levels of all types up to 16 bits exactly, but not the span of every window.
    small = values.dtype.itemsize <= 2 and high - low >= np.finfo(np.float32).tiny
    exact = small or (values.dtype.kind == "f" and not clip)
    copied: np.ndarray = values.astype(np.float32 if exact else np.float64, order="C")
    if low != 0:
        copied -= low
    copied /= high - low
    if clip or low != 0:
        np.clip(copied, 0, 1, out=copied)
    return copied.astype(np.float32, copy=False)
