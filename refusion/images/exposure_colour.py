"""Colours of exposures of a scene: clipped ones, and dark ones that are brightened or bright ones that are darkened."""

from collections.abc import Callable
from functools import reduce

import numpy as np

NEARLY_CLIPPED, CLIPPED = 0.94, 0.99
"""Between these levels, red, green and blue are taken from the recorded value to that of `unclipped`."""

READABLE = 0.1
"""Distance of the lowest of the three from `NEARLY_CLIPPED` at which it fully says how the exposures are related."""

DARK_NOISE, LIT, WINDOW = 4 / 255, 0.03, 9
"""Added to the other exposure; its mean level from which on its ratios count fully; and side of the squares over which
it is averaged: dark pixels are noisy, and JPEG quantises their colour in blocks."""

EVENING = 49
"""Side of the squares in which dark colours are evened: some of the blocks of 16 x 16 in which JPEG stores colour."""

BLOTCH, SURFACE = 3 / 255, 3 / 255
"""Difference of a colour from its surroundings up to which it is mostly evened; and deviation of the luminance from
which on most of the differences that go with it are kept, since they are those of another surface."""

EVENED_BELOW, KEPT_FROM = 0.07, 0.15
"""Luminance up to which colours are evened, and from which on they are kept."""

EPSILON = 1e-6
"""Keeps the means of what is recorded from a division by zero where everything is clipped."""

MOST = 1.2
"""Highest value that is assumed where one is clipped, relative to white."""

USUAL_POWER, USUAL_WEIGHT = 0.75, 0.02
"""Power of another exposure's ratios that is assumed where the recorded values do not tell it, and its weight, compared
with the sum of the squared logarithms of their ratios."""

BRIGHTENED, BLACK = 0.5, 2 / 255
"""Luminance up to which dark colours are brightened to find their hue, and what is added to them before."""

WHITE = 0.05
"""Added to the distance of bright colours from white before they are darkened, since ratios of small ones are noise."""

BLACKEST = 0.999
"""Largest distance from white, as a share of that of black, of which the logarithm is taken."""


def evened(luminance: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Even out the blotches of colour that JPEG leaves on dark surfaces, before they are brightened.

    In the square around each pixel, chroma is taken to be a linear function of luminance, as in the guided filter (He,
    Sun and Tang, Guided Image Filtering, ECCV 2010). Dark colours that differ from it by little go towards it. A
    coloured thing in the dark, a lamp or a sign, differs by more, and stays.

    Args:
        luminance: (H, W) in [0, 1].
        chroma: (2, H, W).

    Returns:
        Chroma of the same shape; the same where the luminance is at least `KEPT_FROM`.
    """
    shares = ((KEPT_FROM - luminance) / (KEPT_FROM - EVENED_BELOW)).clip(0, 1)
    if not shares.any():
        return chroma
    level = _mean(luminance, EVENING)
    variance = _mean(luminance * luminance, EVENING) - level * level + SURFACE**2
    excess = np.empty_like(chroma)
    for one, result in zip(chroma, excess, strict=True):
        mean = _mean(one, EVENING)
        slope = (_mean(one * luminance, EVENING) - mean * level) / variance
        result[:] = one - mean - slope * (luminance - level)
    shares *= BLOTCH**2 / (excess[0] ** 2 + excess[1] ** 2 + BLOTCH**2)
    return chroma - shares * excess


def _mean(values: np.ndarray, side: int) -> np.ndarray:
    import cv2

    return cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE)


def unclipped(rgb: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Estimate what an exposure clipped: an orange lamp is recorded as yellow, as its red is clipped first.

    The values that are not clipped say how much longer this exposure is than another, and to which power of the other's
    ratios its ratios are, as tone curves make dark colours more saturated: a wall that is brown in the shorter exposure
    would be pink here if all three were as much higher. The clipped ones are those of the other, by both, up to `MOST`.

    Args:
        rgb: the exposure, (H, W, 3) in [0, 1].
        other: another exposure, likewise.

    Returns:
        (H, W, 3), at least `rgb`; the same where nothing or everything is clipped.
    """
    if rgb.max(initial=0) <= NEARLY_CLIPPED:
        return rgb
    other = _mean(other, WINDOW)
    clipped = ((rgb - NEARLY_CLIPPED) / (CLIPPED - NEARLY_CLIPPED)).clip(0, 1)
    weight = clipped * (_of_all(np.add, other) / (3 * LIT)).clip(0, 1)
    weight *= ((NEARLY_CLIPPED - _of_all(np.minimum, rgb)) / READABLE).clip(0, 1)
    recorded = 1 - clipped
    levels, ratios = (np.log(x.clip(0, None) + DARK_NOISE) for x in (rgb, other))
    count = _of_all(np.add, recorded) + EPSILON
    ratios -= _of_all(np.add, recorded * ratios) / count
    agreeing, squared = (_of_all(np.add, recorded * ratios * x) for x in (levels, ratios))
    power = ((agreeing + USUAL_WEIGHT * USUAL_POWER) / (squared + USUAL_WEIGHT)).clip(0, 1)
    longer = np.exp(_of_all(np.add, recorded * levels) / count + power * ratios) - DARK_NOISE
    longer *= np.minimum(1, MOST / np.maximum(_of_all(np.maximum, longer), DARK_NOISE))
    return rgb + weight * np.maximum(longer - rgb, 0)


def _of_all(function: Callable[[np.ndarray, np.ndarray], np.ndarray], rgb: np.ndarray) -> np.ndarray:
    """The sum, minimum or maximum of red, green and blue, (H, W, 1); NumPy is slow over an axis that short."""
    return reduce(function, np.moveaxis(rgb, -1, 0))[..., None]


def brightened(rgb: np.ndarray, luminance: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Brighten dark colours by a power of red, green and blue, as tone curves do.

    Scaled alike, all three keep what a tone curve has done to them: a dark orange becomes pink, a dark blue violet.

    Args:
        rgb: (H, W, 3), at least 0.
        luminance: that of `rgb`, (H, W).
        wanted: luminance that the result should have, up to `BRIGHTENED`, (H, W).

    Returns:
        (H, W, 3); where `rgb` is brighter, it with `BLACK` added, which changes no hue.
    """
    level = luminance.clip(0, BRIGHTENED) + BLACK
    power = np.log(np.maximum(level, wanted.clip(0, BRIGHTENED) + BLACK)) / np.log(level)
    return np.exp(np.log(rgb + BLACK) * power[..., None])


def darkened(rgb: np.ndarray, luminance: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Darken bright colours by a power of their distance from white, as tone curves do.

    Scaled alike, all three keep what the upper end of a tone curve has done to them: a pale green becomes grey.

    Args:
        rgb: (H, W, 3) in [0, 1].
        luminance: that of `rgb`, (H, W).
        wanted: luminance that the result should have, (H, W) in [0, 1].

    Returns:
        (H, W, 3); `rgb` where it is not brighter.
    """
    white = 1 + WHITE
    gap, wanted_gap = (np.minimum((white - x) / white, BLACKEST) for x in (luminance, wanted))
    power = np.log(np.maximum(gap, wanted_gap)) / np.log(gap)
    return white - white * np.exp(np.log((white - rgb) / white) * power[..., None])
