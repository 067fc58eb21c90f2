"""Find what moved between the exposures of a bracket, and show it as one of them does.

Two exposures of a scene at rest agree in the order of their grey levels, so matching their histograms predicts one from
the other (Grossberg and Nayar, "What can be known about the radiometric response from images?", ECCV 2002). What
departs from the prediction has moved.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from refusion.images.colour import join_colour, split_colour
from refusion.images.picture import NEUTRAL
from refusion.inference.stack_layers import Layer, Loader

LONGEST = 1600
"""Long side, in pixels, of the copies that are compared."""

DEPARTURE, CLEAR_DEPARTURE = 0.02, 0.07
"""Differences from the prediction, of 1: that of an area which moved, and that at its clearest pixel at least."""

CLIPPED = 0.04
"""Grey levels this near to black or white say nothing about another exposure."""

MAX_GAIN = 4
"""Largest factor for differences with which one exposure is predicted from another: more would show its noise."""

TOLERANCE = 2
"""Radius, in pixels of the copies, within which edges may lie elsewhere: frames are registered to about a pixel."""

MAX_SHARE = 0.15
"""Largest share of a frame that is replaced."""


def without_ghosts(
    frames: Sequence[Loader],
    reference: int,
    folder: Path,
    on_frame: Callable[[int, Layer], None],
    shown: np.ndarray | None = None,
) -> tuple[list[Loader], float]:
    """Show in all frames of a bracket what moved where the reference shows it.

    From the reference to both ends of the bracket, each frame is compared with the one before: its exposure is the
    nearest, and what moved in it was replaced already.

    Args:
        frames: functions that load one frame each, from the darkest to the brightest; each is called once.
        reference: index of the frame that is kept as it is.
        folder: a folder for the frames that are changed.
        on_frame: called with the index and the content of each frame, from the reference outwards.
        shown: bool (H, W), the pixels that all frames show, if some were moved; the others are kept.

    Returns:
        Functions that load the frames, and the largest share of a frame that was replaced. A frame that departs from
        the one before in more than `MAX_SHARE` of its pixels is kept: it is not registered, or lit in another way.

    Raises:
        PictureError: a frame cannot be written.
    """
    loaders = list(frames)
    largest = 0.0
    kept = frames[reference]()
    on_frame(reference, kept)
    for side in (range(reference - 1, -1, -1), range(reference + 1, len(frames))):
        last = kept
        for index in side:
            frame = frames[index]()
            moved = ghosts(frame, last, shown)
            share = float(moved.mean())
            if share > MAX_SHARE:
                on_frame(index, frame)
                continue
            moved *= _predictable(frame, last)
            if moved.any():
                frame = _replaced(frame, last, moved)
                loaders[index] = frame.store(folder / f"frame-{index}.npz")
                largest = max(largest, float(moved.mean()))
            last = frame
            on_frame(index, frame)
    return loaders, largest


def ghosts(frame: Layer, reference: Layer, shown: np.ndarray | None = None) -> np.ndarray:
    """Where a frame shows something that the reference, another exposure of the scene, does not.

    Args:
        frame: the frame.
        reference: the reference, of the same size.
        shown: bool (H, W), the pixels that both show; by default all.

    Returns:
        float32 (H, W) in [0, 1], 1 where something moved, smooth at the borders.
    """
    pairs = zip(*_compared(frame, reference), strict=True)
    departure = np.max([_departure(mine, other) for mine, other in pairs], axis=0)
    if shown is not None:
        inside = cv2.resize(shown.astype(np.uint8), departure.shape[::-1], interpolation=cv2.INTER_NEAREST)
        departure = departure * cv2.erode(inside, _square(2 * TOLERANCE + 3))
    departure = cv2.GaussianBlur(departure, (0, 0), 1.5)
    _, parts = cv2.connectedComponents((departure > DEPARTURE).astype(np.uint8))
    clear = np.unique(parts[departure > CLEAR_DEPARTURE])
    found: cv2.typing.MatLike = np.isin(parts, clear[clear > 0]).astype(np.uint8)
    # Specks are noise and edges; holes are where what moved is as bright as what it hides.
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, _square(5))
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, _square(21))
    found = cv2.dilate(found, _square(9))
    if not found.any():
        return np.zeros(frame.luminance.shape, np.float32)
    smooth = cv2.GaussianBlur(found.astype(np.float32), (0, 0), 3)
    return cv2.resize(smooth, frame.luminance.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _departure(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How far a channel is from what the reference predicts, or the reverse: the smaller of what can be told."""
    forth, back = _one_way(reference, frame), _one_way(frame, reference)
    told_forth, told_back = ((x > CLIPPED) & (x < 1 - CLIPPED) for x in (reference, frame))
    return np.where(
        told_forth & told_back, np.minimum(forth, back), np.where(told_forth, forth, np.where(told_back, back, 0))
    )


def _one_way(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far B is from its prediction by A."""
    predicted = np.interp(a, *_exposure_curve(a, b)).astype(np.float32)
    around = _square(2 * TOLERANCE + 1)
    return np.maximum(np.maximum(b - cv2.dilate(predicted, around), cv2.erode(predicted, around) - b), 0)


def _exposure_curve(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels of A, ascending, and those that B has for them, by matching the histograms."""
    places = np.linspace(0, 1, 257)
    grey, same = np.unique(np.quantile(a, places), return_inverse=True)
    return grey, np.bincount(same, np.quantile(b, places)) / np.bincount(same)


def _predictable(frame: Layer, reference: Layer) -> np.ndarray:
    """Where the reference can be shown at the exposure of the frame, float32 (H, W) in [0, 1].

    Where it is burnt out or black, its grey levels do not say what the frame has, and where the curve is steep, they
    would show more noise than content.
    """
    trusted = np.ones(_small(reference).luminance.shape, np.float32)
    for mine, other in zip(*_compared(frame, reference), strict=True):
        levels = np.linspace(0, 1, 33)
        gain = np.gradient(np.interp(levels, *_exposure_curve(other, mine)), levels)
        steep = np.interp(other, levels, gain) > MAX_GAIN
        clipped = (other < CLIPPED) | (other > 1 - CLIPPED)
        trusted[steep | clipped] = 0
    # Not up to the border of what is burnt out, where a lens spreads its light.
    smooth = cv2.GaussianBlur(cv2.erode(trusted, _square(5)), (0, 0), 2)
    return cv2.resize(smooth, reference.luminance.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _replaced(frame: Layer, reference: Layer, moved: np.ndarray) -> Layer:
    """The frame, and the reference at its exposure where something moved."""
    inside = np.nonzero(moved)
    curves = [_exposure_curve(other, mine) for mine, other in zip(*_compared(frame, reference), strict=True)]
    mine, other = (_channels(layer, len(curves) == 1, inside) for layer in (frame, reference))
    predicted = np.stack([np.interp(values, *curve) for values, curve in zip(other, curves, strict=True)])
    shown = np.clip(mine + moved[inside] * (predicted - mine), 0, 1).astype(np.float32)
    luminance, chroma = frame.luminance.copy(), frame.chroma
    if len(curves) == 1 or chroma is None:
        luminance[inside] = shown[0]
        return Layer(luminance, chroma)
    luminance[inside], colour = split_colour(shown.T[None])
    chroma = chroma.copy()
    for index, channel in enumerate(chroma):
        channel[inside] = NEUTRAL if colour is None else colour[index, 0]
    return Layer(luminance, chroma)


def _compared(frame: Layer, reference: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Small copies of both: red, green and blue, (3, H, W), or luminance, (1, H, W), if one is grey."""
    grey = frame.chroma is None or reference.chroma is None
    frame, reference = _small(frame), _small(reference)
    return _channels(frame, grey), _channels(reference, grey)


def _channels(layer: Layer, grey: bool, inside: tuple[np.ndarray, ...] | slice = np.s_[:]) -> np.ndarray:
    """The luminance of a layer, (1, H, W), or red, green and blue, (3, H, W); of some pixels if `inside` is given."""
    luminance = layer.luminance[inside]
    if grey or layer.chroma is None:
        return luminance[None]
    chroma = np.stack([channel[inside] for channel in layer.chroma])
    return np.moveaxis(join_colour(luminance, chroma), -1, 0)


def _small(layer: Layer) -> Layer:
    scale = LONGEST / max(layer.luminance.shape)
    if scale >= 1:
        return layer
    size = tuple(max(1, round(side * scale)) for side in layer.luminance.shape[::-1])

    def resized(channel: np.ndarray) -> np.ndarray:
        return cv2.resize(np.ascontiguousarray(channel, np.float32), size, interpolation=cv2.INTER_AREA)

    chroma = None if layer.chroma is None else np.stack([resized(channel) for channel in layer.chroma])
    return Layer(resized(layer.luminance), chroma)


def _square(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)
